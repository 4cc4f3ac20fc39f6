"""How much two partitions of the same units agree.

Element-centric similarity with its exact chance level. Partitions are integer labels; -1 marks unused units, which
`modutils.modularity` puts into no module. Normalised mutual information and the adjusted Rand index are in
`sklearn.metrics`.

For two partitions of n units with modules of sizes a_c and b_d, and m_cd units in c and d at once, the similarity is

    (1 / n) Σ_cd m_cd² / max(a_c, b_d).

This is what ``clusim.sim.element_sim`` gives for partitions, whatever its alpha.

References
----------
A. J. Gates, I. B. Wood, W. P. Hetrick and Y.-Y. Ahn, "Element-centric clustering comparison unifies overlaps and
hierarchy", Scientific Reports 9, 2019. Used by R. D. Lange, D. S. Rolnick and K. P. Kording, "Clustering units in
neural networks: upstream vs downstream information", TMLR 2022.
"""

from typing import Any

import numpy as np

from modutils import _check

__all__ = ["chance_similarities", "chance_similarity", "element_similarities", "element_similarity"]


def element_similarity(a: Any, b: Any, *, unused: str = "one module") -> float:
    """Element-centric similarity of two partitions.

    Parameters
    ----------
    a, b : array of int, shape (n,)
        Labels of the same units, -1 or larger. Only which units share a label matters, not its number.
    unused : {"one module", "drop"}
        Units labelled -1 form a module of their own, as in the authors' code: partitions with the same unused
        units look more alike. Or only units with a module in both partitions are compared.

    Returns
    -------
    float
        In (0, 1]; 1 for the same partition. Not corrected for chance: see `chance_similarity`.

    Raises
    ------
    ValueError
        Labels of different lengths, not integers, or below -1; unknown ``unused``; no unit to compare.

    Examples
    --------
    >>> element_similarity([0, 0, 1, 1], [5, 5, 2, 2])
    1.0
    >>> element_similarity([0, 0, 1, 1], [0, 1, 0, 1])
    0.5
    """
    return _of_two(a, b, unused, chance=False)


def chance_similarity(a: Any, b: Any, *, unused: str = "one module") -> float:
    """Mean element-centric similarity when the labels of one partition are shuffled over the units.

    Exact, without sampling: under shuffling m_cd is hypergeometric, with mean μ = a_c b_d / n and variance
    μ (1 − a_c / n) (n − b_d) / (n − 1), and the similarity is linear in m_cd².

    Parameters are those of `element_similarity`. With ``unused="drop"``, labels are shuffled over the units with a
    module in both partitions.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    ValueError
        As `element_similarity`.

    Examples
    --------
    >>> chance_similarity([0, 0, 1, 1], [0, 0, 1, 1])  # two of the six ways to place 0011 give 1, four give 0.5
    0.6666...
    """
    return _of_two(a, b, unused, chance=True)


def element_similarities(labels: Any, *, unused: str = "one module") -> np.ndarray:
    """Element-centric similarities of all pairs of partitions.

    Parameters
    ----------
    labels : array of int, shape (m, n)
        One partition per row, as in `element_similarity`.
    unused : {"one module", "drop"}
        As in `element_similarity`.

    Returns
    -------
    ndarray of float64, shape (m, m)
        Symmetric, 1 on the diagonal. NaN for pairs without a unit to compare.

    Raises
    ------
    ValueError
        Labels not of shape (m, n), not integers, or below -1; unknown ``unused``.
    """
    return _all_pairs(labels, unused, chance=False)


def chance_similarities(labels: Any, *, unused: str = "one module") -> np.ndarray:
    """Chance levels, as `chance_similarity` gives them, of all pairs of partitions.

    Parameters, shape of the result, NaN and what is raised are as in `element_similarities`. The diagonal holds the
    chance level of each partition against itself.
    """
    return _all_pairs(labels, unused, chance=True)


def _of_two(a: Any, b: Any, unused: str, chance: bool) -> float:
    a = _check.labels("a", a)
    b = _check.labels("b", b, len(a))
    value = float(_all_pairs([a, b], unused, chance)[0, 1])
    if np.isnan(value):
        raise ValueError('no unit has a module in both a and b; unused="one module" compares unused units too')
    return value


def _all_pairs(labels: Any, unused: str, chance: bool) -> np.ndarray:
    _check.choice("unused", unused, ("one module", "drop"))
    labels = np.asarray(labels)
    if labels.ndim != 2 or not labels.size:
        raise ValueError(f"labels has shape {labels.shape}; (m, n) of one partition and one unit or more is needed")
    _check.labels("labels", labels.ravel())
    m, n = labels.shape
    modules = np.stack([np.unique(row, return_inverse=True)[1] for row in labels])
    members = (modules[:, None] == np.arange(modules.max() + 1)[:, None]).astype(np.float64)  # (m, modules, units)
    used = np.ones((m, n)) if unused == "one module" else (labels >= 0).astype(np.float64)
    members *= used[:, None]

    units = used @ used.T  # (m, m): compared by each pair
    sizes = members @ used.T  # (m, modules, m): of a module, among the units with a module in the other partition
    ours, theirs = sizes.transpose(0, 2, 1)[:, :, :, None], sizes.transpose(2, 0, 1)[:, :, None, :]
    total = np.maximum(units, 1)[:, :, None, None]
    if chance:
        mean = ours * theirs / total
        squares = mean**2 + mean * (1 - ours / total) * (total - theirs) / np.maximum(total - 1, 1)
    else:
        flat = members.reshape(-1, n)
        squares = np.square(flat @ flat.T).reshape(m, len(flat) // m, m, -1).transpose(0, 2, 1, 3)
    shares = (squares / np.maximum(np.maximum(ours, theirs), 1)).sum(axis=(2, 3))
    with np.errstate(invalid="ignore"):
        similarities = shares / np.where(units > 0, units, np.nan)
    return (similarities + similarities.T) / 2
