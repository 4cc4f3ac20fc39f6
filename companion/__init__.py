"""How a paper is reproduced: cells of work, their record and its witness, sweeps, claims, reports, and execution.

Knows no paper: what one paper asks lives in `studies`, what is computed in `modutils`.
"""
