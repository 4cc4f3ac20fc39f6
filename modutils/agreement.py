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
import torch
from torch import Tensor

from modutils import _arrays, _check

__all__ = ["chance_similarities", "chance_similarity", "element_similarities", "element_similarity"]


def element_similarity(a: Any, b: Any, *, unused: str = "one module") -> float:
    """Element-centric similarity of two partitions.

    Parameters
    ----------
    a, b : array or Tensor of int, shape (n,)
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


def element_similarities(labels: Any, *, unused: str = "one module") -> Any:
    """Element-centric similarities of all pairs of partitions.

    Parameters
    ----------
    labels : array or Tensor of int, shape (m, n)
        One partition per row, as in `element_similarity`.
    unused : {"one module", "drop"}
        As in `element_similarity`.

    Returns
    -------
    ndarray of float64, shape (m, m)
        Symmetric, 1 on the diagonal. NaN for pairs without a unit to compare. A tensor beside the labels if they are
        one; those of an accelerator are compared where they are.

    Raises
    ------
    ValueError
        Labels not of shape (m, n), not integers, or below -1; unknown ``unused``.
    """
    return _all_pairs(labels, unused, chance=False)


def chance_similarities(labels: Any, *, unused: str = "one module") -> Any:
    """Chance levels, as `chance_similarity` gives them, of all pairs of partitions.

    Parameters, shape of the result, NaN and what is raised are as in `element_similarities`. The diagonal holds the
    chance level of each partition against itself.
    """
    return _all_pairs(labels, unused, chance=True)


def _of_two(a: Any, b: Any, unused: str, chance: bool) -> float:
    a = _check.labels("a", a)
    b = _check.labels("b", b, len(a))
    value = float(_all_pairs(np.stack([a, b]), unused, chance)[0, 1])
    if np.isnan(value):
        raise ValueError('no unit has a module in both a and b; unused="one module" compares unused units too')
    return value


def _all_pairs(labels: Any, unused: str, chance: bool) -> Any:
    _check.choice("unused", unused, ("one module", "drop"))
    on_device = _arrays.on_device(labels)
    given, labels = labels, labels if on_device else _arrays.host(labels)
    if labels.ndim != 2 or 0 in labels.shape:
        shape = tuple(labels.shape)
        raise ValueError(f"labels has shape {shape}; (m, n) of one partition and one unit or more is needed")
    m, n = labels.shape
    modules: Any
    used: Any
    if on_device:
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or labels.min() < -1:
            raise ValueError(f"labels is {labels.dtype} from {int(labels.min())} on; integers, -1 or more, are needed")
        modules = _renumbered(labels)
        number = torch.arange(int(modules.max()) + 1, device=labels.device)
        used = torch.ones_like(labels, dtype=torch.float64) if unused == "one module" else (labels >= 0).double()
        members = (modules[:, None] == number[:, None]).double()
    else:
        _check.labels("labels", labels.ravel())
        modules = np.stack([np.unique(row, return_inverse=True)[1] for row in labels])
        members = (modules[:, None] == np.arange(modules.max() + 1)[:, None]).astype(np.float64)  # (m, modules, units)
        used = np.ones((m, n)) if unused == "one module" else (labels >= 0).astype(np.float64)
    xp: Any = torch if on_device else np
    members *= used[:, None]

    units = used @ used.T  # (m, m): compared by each pair
    sizes = members @ used.T  # (m, modules, m): of a module, among the units with a module in the other partition
    ours, theirs = xp.moveaxis(sizes, 1, 2)[:, :, :, None], xp.moveaxis(sizes, 2, 0)[:, :, None, :]
    total = units.clip(1)[:, :, None, None]
    if chance:
        mean = ours * theirs / total
        squares = mean**2 + mean * (1 - ours / total) * (total - theirs) / (total - 1).clip(1)
    else:
        flat = members.reshape(-1, n)
        squares = xp.square(flat @ flat.T).reshape(m, len(flat) // m, m, -1).swapaxes(1, 2)
    shares = (squares / xp.maximum(ours, theirs).clip(1)).sum(axis=(2, 3))
    with np.errstate(invalid="ignore"):
        similarities = shares / xp.where(units > 0, units, np.nan)
    return _arrays.like((similarities + similarities.T) / 2, given)


def _renumbered(labels: Tensor) -> Tensor:
    """Place of each label among those of its row, in rising order, so that large ones take no memory."""
    ordered, place = labels.sort(1)
    new = torch.cat([torch.zeros_like(place[:, :1]), (ordered.diff(dim=1) > 0).long().cumsum(1)], 1)
    return torch.empty_like(new).scatter_(1, place, new)
