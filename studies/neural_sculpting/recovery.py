"""Was the task's hierarchy found? The criteria of the chapter, for modules of a sculpted network.

The slides report success rates without the rule behind them; these criteria are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from modutils import hierarchy
from modutils.tasks import Task


def verdicts(task: Task, labels: Sequence[np.ndarray]) -> dict[str, bool]:
    """What was found of the task's modules.

    Parameters
    ----------
    task : Task
    labels : sequence of arrays
        Module of every unit, layer by layer, as of :func:`modutils.hierarchy.detect_modules`.

    Returns
    -------
    dict
        ``inputs``: the groups of inputs are modules, each of its own. ``outputs``: so are the groups of outputs.
        ``hidden``: these are right, and every hidden unit is in the module of a group of outputs, each of which has
        some. ``success``: all that a network of this depth can show.
    """
    images = len(task.sources) < task.inputs.shape[1]
    inputs = _found(labels[0], [module.inputs for module in task.modules if module.inputs], dead_allowed=images)
    outputs = _found(labels[-1], [module.outputs for module in task.modules if module.outputs])
    units = np.concatenate(list(labels[1:-1]))
    hidden = outputs and set(units[units >= 0].tolist()) == set(labels[-1].tolist())
    if images:
        whole = inputs and outputs
    elif task.name.startswith("overlap"):
        whole = inputs and outputs and hidden
    else:
        whole = hierarchy.signature(labels) == expected(task, len(labels) - 2)
    return {"inputs": inputs, "hidden": hidden, "outputs": outputs, "success": whole}


def success(task: Task, labels: Sequence[np.ndarray]) -> bool:
    """Whether all was found that a network of this depth can show."""
    return verdicts(task, labels)["success"]


def expected(task: Task, layers: int) -> Counter[tuple[frozenset[int], frozenset[int]]] | None:
    """Inputs and outputs of every module that a network with so many hidden layers can show, None if it cannot at all.

    The functions of ``reused`` need two hidden layers, the middle one of ``depth`` a third: with two, it is one module
    with the outputs.
    """
    if task.name == "reused" and layers < 2:
        return None
    found = Counter((module.inputs, module.outputs) for module in task.modules)
    if task.name == "depth" and layers < 3:
        upper = [pair for pair in found if not pair[0]]
        for pair in upper:
            del found[pair]
        found[frozenset(), frozenset().union(*(pair[1] for pair in upper))] = 1
    return found


def _found(labels: np.ndarray, groups: Sequence[frozenset[int]], *, dead_allowed: bool = False) -> bool:
    """Whether every group is in one module, and no two in the same."""
    modules = []
    for group in groups:
        own = set(labels[sorted(group)].tolist())
        if dead_allowed:
            own.discard(-1)
        if len(own) != 1 or own == {-1}:
            return False
        modules.append(own.pop())
    return len(set(modules)) == len(modules)
