"""Group units into modules by maximising Newman's modularity Q.

A is a symmetric, non-negative matrix of similarities between n units. Its diagonal is ignored everywhere: how similar
a unit is to itself says nothing about modules. With A scaled to sum 1, k its row sums and P the 0/1 matrix
(units, modules),

    Q = tr(Pᵀ A P) − ‖Pᵀ k‖²,

the weight inside the modules minus what row sums alone lead one to expect there. Q lies in [−1/2, 1).

Labels are integers; -1 marks units that belong to no module. The searches give it to units whose row is all zero.

References
----------
R. D. Lange, D. S. Rolnick and K. P. Kording, "Clustering units in neural networks: upstream vs downstream
information", TMLR 2022: spectral start and Monte Carlo search. M. E. J. Newman, "Modularity and community structure
in networks", PNAS 103, 2006: Q, its eigenvectors, and the refinement that `find_modules` calls ``polish``.
"""

import math
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy.linalg import eigh

from modutils import _check

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
    labels : ndarray of int64, shape (n,) or (m, n)
        0, 1, ... in the order of first appearance; -1 for units whose row is all zero.
    q : float, or ndarray of float64, shape (m,)
        Newman's Q. 0.0 for an all-zero matrix.
    """

    labels: np.ndarray
    q: Any


def modularity(A: Any, labels: Any) -> float:
    """Newman's modularity Q of a partition.

    Parameters
    ----------
    A : array, shape (n, n)
        Symmetric, non-negative. The diagonal is ignored. Asymmetry up to 1e-6 of the largest entry passes for
        rounding and is averaged out.
    labels : array of int, shape (n,)
        -1 or larger. Units labelled -1 belong to no module and add nothing; their edges still count as edges.

    Returns
    -------
    float
        In [-1/2, 1); 0.0 if A is zero off the diagonal.

    Raises
    ------
    ValueError
        A not square, not symmetric, negative or not finite; labels of another length, not integers, or below -1.

    Examples
    --------
    Two pairs without an edge between them.

    >>> modularity([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], [0, 0, 1, 1])
    0.5
    """
    scaled = _scaled(A, stack=False)[0]
    return _quality(scaled, _check.labels("labels", labels, len(scaled)))


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
    A : array, shape (n, n) or (m, n, n)
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
    stack = _scaled(A)
    labels = np.full(stack.shape[:2], -1, dtype=np.int64)
    for scaled, row in zip(stack, labels, strict=True):
        used = scaled.sum(axis=1) >= _UNUSED
        row[used] = _check.renumbered(_spectral(scaled[np.ix_(used, used)]))
    return _modules(stack, labels, np.ndim(A) == 2)


def find_modules(
    A: Any, *, steps: int = 1000, restarts: int = 1, start: str = "alternate", polish: bool = True, seed: int = 0
) -> Modules:
    """Search for the partition of highest modularity by Monte Carlo.

    A step picks a unit at random, evaluates Q for its move to every module and to a new one, remembers the best
    partition of all evaluated so far, and draws the move it makes with probability proportional to exp(Q / τ). The
    temperature τ in [1e-6, 1e6] is set anew in every step so that these probabilities have an entropy of 0.15 nats
    (within 0.01). Each distinct partition is one candidate: a unit alone in its module has no other new one.

    With ``restarts=1, polish=False`` this is the procedure of the paper. Restarts and polishing are ours: they
    make the result better and, above all, more repeatable. For the same time, many short chains with
    ``start="perturbed"`` do best, for instance ``restarts=100, steps=200``.

    Parameters
    ----------
    A : array, shape (n, n) or (m, n, n)
        One matrix or a stack, as in `modularity`.
    steps : int
        Steps of each chain. 0: the start alone.
    restarts : int
        Chains per matrix; the best result counts.
    start : {"alternate", "spectral", "single", "perturbed"}
        Chains start from `spectral_modules`, from one module that holds all units, or from one and the other in
        turn, spectral first. "perturbed": the first from `spectral_modules`, each later one from the best result
        so far after about 40 % of the units, drawn at random, went to random modules (iterated local search).
        The result is never below the spectral start, save with "single".
    polish : bool
        Refine the best partition of each chain (Newman 2006, after Kernighan and Lin): move every unit once, the
        best move first even if it lowers Q, keep the best partition on the way, and repeat while Q rises. Never
        lowers Q. Afterwards no move of a single unit raises Q.
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
        As `modularity`; or steps < 0, restarts < 1, an unknown start, or a negative seed.

    References
    ----------
    Lange, Rolnick and Kording, TMLR 2022, algorithm of the appendix.

    Examples
    --------
    >>> import networkx as nx
    >>> karate = nx.to_numpy_array(nx.karate_club_graph(), weight=None)
    >>> round(find_modules(karate, restarts=10).q, 4)
    0.4198
    """
    _check.count("steps", steps, 0)
    _check.count("restarts", restarts, 1)
    _check.count("seed", seed, 0)
    _check.choice("start", start, ("alternate", "spectral", "single", "perturbed"))
    stack = _scaled(A)
    labels = np.full(stack.shape[:2], -1, dtype=np.int64)
    for index, (scaled, row) in enumerate(zip(stack, labels, strict=True)):
        used = scaled.sum(axis=1) >= _UNUSED
        if not used.any():
            continue
        edges = np.ascontiguousarray(scaled[np.ix_(used, used)])
        strength = edges.sum(axis=1)
        single = np.zeros(len(edges), dtype=np.int64)
        spectral = single if start == "single" else _spectral(edges)
        best = -np.inf
        for restart in range(restarts):
            rng = np.random.default_rng([seed, index, restart])
            units, uniforms = rng.integers(len(edges), size=steps), rng.random(steps)
            first = single if start == "single" or (start == "alternate" and restart % 2) else spectral
            if start == "perturbed" and restart:
                first = row[used]
                anew = rng.random(len(edges)) < _PERTURBED
                first[anew] = rng.integers(first.max() + 2, size=anew.sum())  # one of them may be a new module
                first = _check.renumbered(first)
            found = _check.renumbered(_chain(edges, strength, first, units, uniforms))
            if polish:
                found = _check.renumbered(_polish(edges, strength, found))
            if (q := _quality(edges, found)) > best + _RISE:
                best, row[used] = q, found
    return _modules(stack, labels, np.ndim(A) == 2)


def _scaled(A: Any, stack: bool = True) -> np.ndarray:
    """Checked copy (m, n, n) in float64: symmetric, diagonal zero, each matrix of sum 1 (or all zero)."""
    given = np.asarray(A)
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


def _quality(edges: np.ndarray, labels: np.ndarray) -> float:
    """Q of a scaled matrix."""
    names, modules = np.unique(labels, return_inverse=True)
    membership = (modules[:, None] == np.flatnonzero(names >= 0)).astype(np.float64)
    inside = np.einsum("ic,ic->", membership, edges @ membership)
    return float(inside - np.square(edges.sum(axis=1) @ membership).sum())


def _modules(stack: np.ndarray, labels: np.ndarray, single: bool) -> Modules:
    q = np.array([_quality(scaled, row) for scaled, row in zip(stack, labels, strict=True)])
    return Modules(labels[0], float(q[0])) if single else Modules(labels, q)


def _spectral(edges: np.ndarray) -> np.ndarray:
    """Labels by repeated splits; no row of the scaled matrix is zero."""
    strength = edges.sum(axis=1)
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


@njit(cache=True)
def _polish(edges, strength, start):  # type: ignore[no-untyped-def]
    """Newman's refinement: passes that move every unit once, until none raises Q. Labels as in `_chain`."""
    n = len(edges)
    best = start.copy()
    towards, volume = np.empty((n, n + 2)), np.empty(n + 2)
    size = np.empty(n + 2, dtype=np.int64)
    moved = np.empty(n, dtype=np.bool_)
    while True:
        labels = best.copy()
        towards[:], volume[:], size[:], moved[:] = 0.0, 0.0, 0, False
        for i in range(n):
            volume[labels[i]] += strength[i]
            size[labels[i]] += 1
            for j in range(n):
                towards[j, labels[i]] += edges[i, j]
        slots = labels.max() + 2  # the last is a new module
        gain = best_gain = 0.0
        for _ in range(n):
            top_gain, unit, target = -np.inf, 0, 0
            for i in range(n):
                if moved[i]:
                    continue
                own, k = labels[i], strength[i]
                here = towards[i, own] - k * (volume[own] - k)
                for c in range(slots):
                    if c == own or (size[c] == 0 and size[own] == 1):
                        continue
                    rise = 2.0 * (towards[i, c] - k * volume[c] - here)
                    if rise > top_gain:
                        top_gain, unit, target = rise, i, c
            if top_gain == -np.inf:
                break
            own, k = labels[unit], strength[unit]
            labels[unit] = target
            moved[unit] = True
            volume[own] -= k
            volume[target] += k
            size[own] -= 1
            size[target] += 1
            if size[own] == 0:
                volume[own] = 0.0
            for j in range(n):
                towards[j, own] = towards[j, own] - edges[unit, j] if size[own] else 0.0
                towards[j, target] += edges[unit, j]
            if target == slots - 1 and slots < n + 2:
                slots += 1
            gain += top_gain
            if gain > best_gain + _RISE:
                best_gain = gain
                best[:] = labels
        if best_gain == 0.0:
            return best
        # Number without gaps, or slots would run out.
        names = np.full(n + 2, -1)
        count = 0
        for i in range(n):
            if names[best[i]] < 0:
                names[best[i]] = count
                count += 1
            best[i] = names[best[i]]
