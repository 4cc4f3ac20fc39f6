"""Group units into modules by maximising Newman's modularity Q.

A is a symmetric, non-negative matrix of similarities between n units. Its diagonal is ignored everywhere: how similar
a unit is to itself says nothing about modules. With A scaled to sum 1, k its row sums and P the 0/1 matrix
(units, modules),

    Q = tr(Pᵀ A P) − ‖Pᵀ k‖²,

the weight inside the modules minus what row sums alone lead one to expect there. Q lies in [−1/2, 1). A ``resolution``
γ other than 1 multiplies the second term (Reichardt and Bornholdt 2006): above 1, smaller modules pay.

A tensor on an accelerator is searched where it is, all matrices of a stack in lock-step; its labels are a tensor there.

Labels are integers; -1 marks units that belong to no module. The searches give it to units whose row is all zero.

References
----------
R. D. Lange, D. S. Rolnick and K. P. Kording, "Clustering units in neural networks: upstream vs downstream
information", TMLR 2022: spectral start and Monte Carlo search. M. E. J. Newman, "Modularity and community structure
in networks", PNAS 103, 2006: Q, its eigenvectors, and the refinement that `find_modules` calls ``polish``. V. A. Traag,
L. Waltman and N. J. van Eck, "From Louvain to Leiden", Scientific Reports 9, 2019. J. Reichardt and S. Bornholdt,
"Statistical mechanics of community detection", Physical Review E 74, 2006: the resolution.
"""

import math
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from scipy.linalg import eigh
from torch import Tensor

from modutils import _check, _lockstep, _search
from modutils._search import _polish

__all__ = ["Modules", "effective_number", "find_modules", "modularity", "spectral_modules"]

_UNUSED = 1e-15  # row sums of the scaled matrix below this are zero
_RISE = 1e-12  # Q must rise by more than rounding
_ENTROPY, _TOLERANCE = 0.15, 0.01  # of the distribution over moves, nats
_PERTURBED = 0.4  # share of units
_LOW, _HIGH = math.log(1e-6), math.log(1e6)  # of the temperature


class Modules(NamedTuple):
    """A partition, or one per matrix of a stack, and its modularity.

    Attributes
    ----------
    labels : ndarray or Tensor of int64, shape (n,) or (m, n)
        0, 1, ... in the order of first appearance; -1 for units whose row is all zero. A tensor, on the device of the
        matrices, if these are one.
    q : float, or ndarray or Tensor of float64, shape (m,)
        Newman's Q. 0.0 for an all-zero matrix.
    """

    labels: Any
    q: Any


def modularity(A: Any, labels: Any, *, resolution: float = 1.0) -> float:
    """Newman's modularity Q of a partition.

    Parameters
    ----------
    A : array or Tensor, shape (n, n)
        Symmetric, non-negative. The diagonal is ignored. Asymmetry up to 1e-6 of the largest entry passes for
        rounding and is averaged out. Computed in float64, a tensor on its device.
    labels : array or Tensor of int, shape (n,)
        -1 or larger. Units labelled -1 belong to no module and add nothing; their edges still count as edges.
    resolution : float
        Factor of what row sums lead one to expect, not negative.

    Returns
    -------
    float
        In [-1/2, 1) with a resolution of 1; 0.0 if A is zero off the diagonal.

    Raises
    ------
    ValueError
        A not square, not symmetric, complex, negative or not finite; labels of another length, not integers, or below
        -1; resolution negative or not finite.

    Examples
    --------
    Two pairs without an edge between them.

    >>> modularity([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], [0, 0, 1, 1])
    0.5
    """
    _check_resolution(resolution)
    if _on_accelerator(A):
        stack = _lockstep.scaled(A, stack=False)
        names = torch.as_tensor(_check.labels("labels", labels, stack.shape[-1]), device=A.device)
        return float(_lockstep.quality(stack, names[None], resolution)[0])
    scaled = _scaled(A, stack=False)[0]
    return _quality(scaled, _check.labels("labels", labels, len(scaled)), resolution)


def effective_number(labels: Any) -> float:
    """Effective number of modules: exp of the entropy (nats) of the shares of units per module.

    Parameters
    ----------
    labels : array of int, shape (n,)
        -1 or larger. Shares are of the units with a module, so units labelled -1 do not count.

    Returns
    -------
    float
        Between 1 and the number of modules, which it reaches when all have the same size. 0.0 without any unit
        in a module.

    Examples
    --------
    >>> effective_number([0, 0, 1, 1, -1])
    2.0
    """
    labels = _check.labels("labels", labels)
    sizes = np.unique(labels[labels >= 0], return_counts=True)[1]
    shares = sizes / max(sizes.sum(), 1)
    return float(np.exp(-(shares @ np.log(shares)))) if len(sizes) else 0.0


def spectral_modules(A: Any) -> Modules:
    """Split modules in two by the leading eigenvector, as long as Q rises.

    A module is split by the signs of the eigenvector of the most positive eigenvalue of B = A − k kᵀ, restricted to
    the module as it stands; zeros go to the + side. The split is kept if Q rises, and both halves queue for the
    next, first in first out. (The authors' code takes the eigenvalue largest in magnitude, which may be negative.)

    Parameters
    ----------
    A : array or Tensor, shape (n, n) or (m, n, n)
        One matrix or a stack, as in `modularity`.

    Returns
    -------
    Modules

    Raises
    ------
    ValueError
        As `modularity`.

    References
    ----------
    Lange, Rolnick and Kording, TMLR 2022, algorithm of the appendix.

    Examples
    --------
    >>> spectral_modules([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    Modules(labels=array([0, 0, 1, 1]), q=0.5)
    """
    if _on_accelerator(A):
        tensors = _lockstep.scaled(A)
        return _on_device(A, tensors, _lockstep.spectral(tensors), 1.0)
    stack = _scaled(A)
    labels = np.full(stack.shape[:2], -1, dtype=np.int64)
    for scaled, row in zip(stack, labels, strict=True):
        used = scaled.sum(axis=1) >= _UNUSED
        row[used] = _check.renumbered(_spectral(scaled[np.ix_(used, used)]))
    return _modules(A, stack, labels)


def find_modules(
    A: Any,
    *,
    steps: int = 1000,
    restarts: int = 1,
    start: str | None = None,
    polish: bool = True,
    resolution: float = 1.0,
    k: int | None = None,
    seed: int = 0,
) -> Modules:
    """Search for the partition of highest modularity.

    By default: several runs of Leiden, each followed by an iterated local search (two modules share their units anew,
    merge or are halved, or some units go elsewhere; then single units move while Q rises), until three agree on the
    best Q or eight are done; then the Monte Carlo chain of the paper from the best, and its refinement.

    A step of the chain picks a unit at random, evaluates Q for its move to every module and to a new one, remembers
    the best partition of all evaluated so far, and draws the move it makes with probability proportional to
    exp(Q / τ). The temperature τ in [1e-6, 1e6] is set anew in every step so that these probabilities have an entropy
    of 0.15 nats (within 0.01). Each distinct partition is one candidate: a unit alone in its module has no other new
    one.

    With ``start="alternate", restarts=1, polish=False`` this is the procedure of the paper.

    Parameters
    ----------
    A : array or Tensor, shape (n, n) or (m, n, n)
        One matrix or a stack, as in `modularity`. A tensor on an accelerator stays there: all matrices of a stack are
        searched in lock-step by the local search alone, from random partitions, without a chain. There the numbers of a
        search come from the seed and the shape of the stack.
    steps : int
        Steps of each chain. 0: no chain.
    restarts : int
        Searches per matrix; the best result counts.
    start : {"leiden", "alternate", "spectral", "single", "perturbed"}, optional
        Where chains start; by default "leiden", or "alternate" (the paper's) without ``polish``. "leiden": from the
        best of the local searches. Others: from `spectral_modules`, from one module that holds all units, or from one
        and the other in turn, spectral first. "perturbed": the first from `spectral_modules`, each later one from the
        best result so far after about 40 % of the units, drawn at random, went to random modules. With the last three
        but "single" the result is never below the spectral start.
    polish : bool
        Refine the best partition of each chain (Newman 2006, after Kernighan and Lin): move every unit once, the
        best move first even if it lowers Q, keep the best partition on the way, and repeat while Q rises. Never
        lowers Q. Afterwards no move of a single unit raises Q.
    resolution : float
        As in `modularity`; Q is that with this resolution.
    k : int, optional
        So many modules, no more and no less, in each matrix: what was found is merged or halved where Q suffers least,
        and the local search repeated with k modules.
    seed : int
        Not negative. The numbers of a chain come from ``numpy.random.default_rng([seed, place in the stack,
        restart])``: a single matrix gives what it gives as the first of a stack, equal matrices at two places get
        independent chains, and more restarts extend fewer.

    Returns
    -------
    Modules

    Raises
    ------
    ValueError
        As `modularity`; or steps < 0, restarts < 1, an unknown start, k < 1 or more than the units with a similarity,
        a negative seed; or, on an accelerator, another start than "leiden".

    References
    ----------
    Lange, Rolnick and Kording, TMLR 2022, algorithm of the appendix. Traag, Waltman and van Eck, Scientific Reports 9,
    2019.

    Examples
    --------
    >>> import networkx as nx
    >>> karate = nx.to_numpy_array(nx.karate_club_graph(), weight=None)
    >>> round(find_modules(karate).q, 4)
    0.4198
    >>> find_modules(karate, k=2).labels.max() + 1
    np.int64(2)
    """
    _check.count("steps", steps, 0)
    _check.count("restarts", restarts, 1)
    _check.count("seed", seed, 0)
    if start is None:
        start = "leiden" if polish else "alternate"
    _check.choice("start", start, ("leiden", "alternate", "spectral", "single", "perturbed"))
    _check_resolution(resolution)
    if k is not None:
        _check.count("k", k, 1)
    if _on_accelerator(A):
        if start != "leiden":
            raise ValueError(f'start={start!r} needs the CPU; on {A.device} use "leiden", or A.cpu()')
        tensors = _lockstep.scaled(A)
        names = _lockstep.find(tensors, restarts=restarts, resolution=resolution, k=k, seed=seed)
        return _on_device(A, tensors, names, resolution)
    stack = _scaled(A)
    labels = np.full(stack.shape[:2], -1, dtype=np.int64)
    for index, (scaled, row) in enumerate(zip(stack, labels, strict=True)):
        used = scaled.sum(axis=1) >= _UNUSED
        if k is not None and k > used.sum():
            raise ValueError(f"k={k}; matrix {index} has {used.sum()} units that are similar to any other")
        if not used.any():
            continue
        edges = np.ascontiguousarray(scaled[np.ix_(used, used)])
        strength = edges.sum(axis=1) * math.sqrt(resolution)  # so that its square has the factor
        single = np.zeros(len(edges), dtype=np.int64)
        spectral = single if start in ("single", "leiden") else _spectral(edges, resolution)
        best = -np.inf
        for restart in range(restarts):
            rng = np.random.default_rng([seed, index, restart])
            units, uniforms = rng.integers(len(edges), size=steps), rng.random(steps)
            first = single if start == "single" or (start == "alternate" and restart % 2) else spectral
            if start == "leiden":
                first = _search.climbed(edges, strength, resolution, rng)
            if start == "perturbed" and restart:
                first = row[used]
                anew = rng.random(len(edges)) < _PERTURBED
                first[anew] = rng.integers(first.max() + 2, size=anew.sum())  # one of them may be a new module
                first = _check.renumbered(first)
            found = _check.renumbered(_chain(edges, strength, first, units, uniforms))
            if polish:
                found = _check.renumbered(_polish(edges, strength, found))
            if k is not None:
                found = _check.renumbered(_search.of_size(edges, strength, found, k, rng))
            if (q := _quality(edges, found, resolution)) > best + _RISE:
                best, row[used] = q, found
    return _modules(A, stack, labels, resolution)


def _on_accelerator(A: Any) -> bool:
    return isinstance(A, Tensor) and A.device.type != "cpu"


def _on_device(A: Tensor, edges: Tensor, labels: Tensor, resolution: float) -> Modules:
    q = _lockstep.quality(edges, labels, resolution)
    return Modules(labels[0], float(q[0])) if A.ndim == 2 else Modules(labels, q)


def _check_resolution(resolution: float) -> None:
    if not 0 <= resolution < math.inf:
        raise ValueError(f"resolution={resolution!r}; a finite number, 0 or more, is needed")


def _scaled(A: Any, stack: bool = True) -> np.ndarray:
    """Checked copy (m, n, n) in float64: symmetric, diagonal zero, each matrix of sum 1 (or all zero)."""
    given = A.detach().double().numpy() if isinstance(A, Tensor) and not A.is_complex() else np.asarray(A)
    if np.iscomplexobj(given):
        raise ValueError(f"A is of type {given.dtype}; real numbers are needed, such as abs(A)")
    if given.ndim not in ((2, 3) if stack else (2,)) or given.shape[-1] != given.shape[-2] or not given.shape[-1]:
        shapes = "(n, n) or (m, n, n)" if stack else "(n, n)"
        raise ValueError(f"A has shape {given.shape}; {shapes} with n of 1 or more is needed")
    edges = given.astype(np.float64).reshape(-1, *given.shape[-2:])
    for wrong, what in ((~np.isfinite(edges), "finite"), (edges < 0, "non-negative")):
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0].tolist())
            where = ", ".join(map(str, place[3 - given.ndim :]))
            raise ValueError(f"A[{where}] = {edges[place]}; {what} entries are needed")
    flipped = edges.transpose(0, 2, 1)
    excess = np.abs(edges - flipped) - 1e-6 * edges.max(axis=(1, 2), keepdims=True)
    if (excess > 0).any():
        m, i, j = np.argwhere(excess > 0)[0].tolist()
        raise ValueError(
            f"A is not symmetric: entry ({i}, {j}) of matrix {m} is {edges[m, i, j]} and ({j}, {i}) is "
            f"{edges[m, j, i]}; use (A + A.T) / 2 if that is meant"
        )
    edges = np.ascontiguousarray(edges / 2 + flipped / 2)
    for matrix in edges:  # one by one: a slice of a stack then gets the very numbers it gets alone
        np.fill_diagonal(matrix, 0)
        if (largest := matrix.max()) > 0:
            matrix /= largest  # first, so that neither tiny nor huge entries spoil the sum
            matrix /= matrix.sum()
    return edges


def _quality(edges: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Q of a scaled matrix."""
    names, modules = np.unique(labels, return_inverse=True)
    membership = (modules[:, None] == np.flatnonzero(names >= 0)).astype(np.float64)
    inside = np.einsum("ic,ic->", membership, edges @ membership)
    return float(inside - resolution * np.square(edges.sum(axis=1) @ membership).sum())


def _modules(A: Any, stack: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> Modules:
    """The result in the form of what was given."""
    q = np.array([_quality(scaled, row, resolution) for scaled, row in zip(stack, labels, strict=True)])
    form = torch.from_numpy if isinstance(A, Tensor) else np.asarray
    return Modules(form(labels[0]), float(q[0])) if np.ndim(A) == 2 else Modules(form(labels), form(q))


def _spectral(edges: np.ndarray, resolution: float = 1.0) -> np.ndarray:
    """Labels by repeated splits; no row of the scaled matrix is zero."""
    strength = edges.sum(axis=1) * math.sqrt(resolution)
    B = edges - np.outer(strength, strength)
    labels = np.zeros(len(B), dtype=np.int64)
    queue = deque([np.arange(len(B))] if len(B) else [])
    while queue:
        members = queue.popleft()
        size = len(members)
        vector = eigh(B[np.ix_(members, members)], subset_by_index=(size - 1, size - 1))[1][:, 0]
        # An eigenvector has no sign of its own, and its zeros come out as rounding: without these two the
        # result would depend on the linear algebra library.
        vector *= np.sign(vector[np.abs(vector).argmax()])
        plus = vector > -1e-12
        kept, moved = members[plus], members[~plus]
        if len(moved) and -2 * B[np.ix_(kept, moved)].sum() > _RISE:
            labels[moved] = labels.max() + 1
            queue.extend((kept, moved))
    return labels


@njit(cache=True)
def _soften(scores, log_tau, weights):  # type: ignore[no-untyped-def]
    """Set weights = exp((scores − max) / τ) with an entropy of 0.15 nats; return log τ and the entropy.

    Newton's method on the logarithm of the entropy, which rises with log τ, from the last step's temperature and
    inside a bracket. If several scores tie at the top no τ may do; the lowest is then used.
    """
    low, high = _LOW, _HIGH
    top = scores.max()
    while True:
        beta = math.exp(-log_tau)
        total = mean = square = 0.0
        for j in range(len(scores)):
            x = (scores[j] - top) * beta
            weight = math.exp(x) if x > -40.0 else 0.0
            weights[j] = weight
            total += weight
            mean += weight * x
            square += weight * x * x
        mean /= total
        entropy, slope = math.log(total) - mean, square / total - mean * mean
        if abs(entropy - _ENTROPY) <= _TOLERANCE or high - low < 1e-3:
            return log_tau, entropy
        if entropy < _ENTROPY:
            low = log_tau
        else:
            high = log_tau
        step = 2.0 if entropy < _ENTROPY else -2.0
        if entropy > 0 and slope > 0:
            step = min(max(math.log(_ENTROPY / entropy) * entropy / slope, -2.0), 2.0)
        log_tau += step
        if not low < log_tau < high:
            log_tau = (low + high) / 2


@njit(cache=True)
def _chain(edges, strength, start, units, uniforms):  # type: ignore[no-untyped-def]
    """Best partition that a chain evaluates. Labels of the start are 0, 1, ... without a gap; those returned may not.

    Without unit i, whose row sum is k_i, let module c have the row sum a_c, and the weight w_c of edges to i. With i
    in c, Q is a constant + 2 (w_c − k_i a_c); with i alone it is that constant.
    """
    n = len(edges)
    labels, best = start.copy(), start.copy()
    count = labels.max() + 1
    towards = np.zeros((n + 1, n))  # weight of edges from each module to each unit
    volume = np.zeros(n + 1)
    size = np.zeros(n + 1, dtype=np.int64)
    for i in range(n):
        volume[labels[i]] += strength[i]
        size[labels[i]] += 1
        for j in range(n):
            towards[labels[i], j] += edges[i, j]
    scores, weights = np.empty(n + 1), np.empty(n + 1)
    gain = best_gain = 0.0  # over the start
    log_tau = -5.0

    for step in range(len(units)):
        i = units[step]
        own, k = labels[i], strength[i]
        for c in range(count):
            scores[c] = 2.0 * (towards[c, i] - k * volume[c])
        options = count
        if size[own] > 1:
            scores[own] += 2.0 * k * k
            scores[count] = 0.0
            options += 1
        else:
            scores[own] = 0.0
        top = 0
        for c in range(1, options):
            if scores[c] > scores[top]:
                top = c
        if gain + scores[top] - scores[own] > best_gain + _RISE:
            best_gain = gain + scores[top] - scores[own]
            best[:] = labels
            best[i] = top

        log_tau, _ = _soften(scores[:options], log_tau, weights)
        total = 0.0
        for c in range(options):
            total += weights[c]
        rest = uniforms[step] * total
        new = top  # should rounding leave something over
        for c in range(options):
            rest -= weights[c]
            if rest < 0.0:
                new = c
                break
        if new == own:
            continue

        gain += scores[new] - scores[own]
        labels[i] = new
        count = max(count, new + 1)
        volume[own] -= k
        volume[new] += k
        size[own] -= 1
        size[new] += 1
        for j in range(n):
            towards[own, j] -= edges[i, j]
            towards[new, j] += edges[i, j]
        if size[own] == 0:  # the last module takes its place
            count -= 1
            if own < count:
                for j in range(n):
                    if labels[j] == count:
                        labels[j] = own
            volume[own], size[own] = volume[count], size[count]
            towards[own] = towards[count]
            volume[count], size[count] = 0.0, 0
            towards[count] = 0.0
    return best
