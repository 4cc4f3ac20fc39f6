"""What `modutils.modularity.find_modules` is made of: climbs, and Newman's refinement.

A climb is a run of Leiden followed by an iterated local search.

Matrices are scaled as `modutils.modularity` does it: symmetric, diagonal zero, sum 1, no row zero. ``pull`` holds their
row sums times the root of the resolution γ, so that Q = tr(Pᵀ A P) − ‖Pᵀ pull‖². Labels are 0, 1, ... without a gap.
"""

from __future__ import annotations

import random

import igraph
import numpy as np
from numba import njit

_RISE = 1e-12  # Q must rise by more than rounding
_SAME = 1e-9  # two climbs that end this close ended at the same height
_TRIES, _AGREEING = 8, 3  # climbs at most, and how many at the best height suffice
_ROUNDS = 12000  # of one climb, over the number of units
_HEAT = 0.002  # what a round may lose in Q at first


def climbed(edges: np.ndarray, pull: np.ndarray, resolution: float, rng: np.random.Generator) -> np.ndarray:
    """Labels of the best of several climbs, each from a run of Leiden (Traag, Waltman and van Eck 2019).

    Some of the later runs start from what the two best partitions so far have in common (Ovelgönne and Geyer-Schulz
    2013), until some climbs agree on the best Q.
    """
    graph, weights = _graph(edges)
    ends: list[tuple[float, np.ndarray]] = []  # the best two, of different Q
    agreeing, start = 0, None
    igraph.set_random_number_generator(random.Random(int(rng.integers(1 << 62))))
    try:
        for turn in range(_TRIES):
            if len(ends) == 2 and turn > 2:
                common = ends[0][1] * len(edges) + ends[1][1]
                start = np.unique(common, return_inverse=True)[1].tolist() if turn % 2 else None
            found = graph.community_leiden(
                "modularity", weights=weights, resolution=resolution, initial_membership=start
            ).membership
            labels, q = _climb(edges, pull, np.array(found), _rounds(edges), False, rng)
            top = ends[0][0] if ends else -np.inf
            agreeing = agreeing * (q < top + _SAME) + (q > top - _SAME)
            if all(abs(q - other) > _SAME for other, _ in ends):
                ends = sorted([*ends, (q, labels)], key=lambda end: -end[0])[:2]
            if agreeing >= _AGREEING:
                break
    finally:
        igraph.set_random_number_generator(random)  # igraph's default; it does not tell what it had
    return ends[0][1]


def of_size(edges: np.ndarray, pull: np.ndarray, labels: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """The partition into k modules that a climb reaches after the least costly mergers, or the best halvings."""
    labels = labels.copy()
    while (count := labels.max() + 1) > k:
        members = (labels[:, None] == np.arange(count)).astype(np.float64)
        volume = pull @ members
        gain = members.T @ edges @ members - np.outer(volume, volume)
        gain[np.tril_indices(count)] = -np.inf
        kept, gone = np.unravel_index(gain.argmax(), gain.shape)
        labels[labels == gone] = kept
        labels[labels > gone] -= 1
    while (count := labels.max() + 1) < k:
        best, top = labels, -np.inf
        for module in np.flatnonzero(np.bincount(labels) > 1):
            inside = np.flatnonzero(labels == module)
            block, part = np.ascontiguousarray(edges[np.ix_(inside, inside)]), np.ascontiguousarray(pull[inside])
            halves, _ = _climb(block, part, (np.arange(len(inside)) % 2), 20, True, rng)
            cut = block[halves == 0][:, halves == 1].sum() - part[halves == 0].sum() * part[halves == 1].sum()
            if -cut > top:
                best, top = labels.copy(), -cut
                best[inside[halves == 1]] = count
        labels = best
    return max((_climb(edges, pull, labels, _rounds(edges), True, rng) for _ in range(3)), key=lambda found: found[1])[
        0
    ]


def _rounds(edges: np.ndarray) -> int:
    return max(20, _ROUNDS // len(edges))


def _graph(edges: np.ndarray) -> tuple[igraph.Graph, list[float]]:
    """The graph and the weights of its edges, of mean about 1."""
    n = len(edges)
    upper = np.triu(edges)
    first, second = np.nonzero(upper)
    weights = upper[first, second]
    scale = 1 / weights.mean()
    if 4 * len(weights) > n * (n - 1):
        # A complete graph has its edges in this order, and is made without a list of pairs, which takes longer than
        # Leiden does. Edges of weight 0 change no Q.
        return igraph.Graph.Full(n), (upper[np.triu_indices(n, 1)] * scale).tolist()
    return igraph.Graph(n, np.stack([first, second], axis=1)), (weights * scale).tolist()


@njit(cache=True)
def _climb(edges, pull, start, rounds, fixed, rng):  # type: ignore[no-untyped-def]
    """Best partition of an iterated local search, and its Q.

    Each round shakes some units, or two modules, and moves single units while one of them raises Q. It is kept if Q
    falls by no more than a random share of a heat that goes to zero. ``fixed``: the number of modules stays.
    """
    n = len(edges)
    labels = start.copy()
    count = labels.max() + 1
    towards, volume, size = np.zeros((n + 1, n)), np.zeros(n + 1), np.zeros(n + 1, dtype=np.int64)
    for i in range(n):
        volume[labels[i]] += pull[i]
        size[labels[i]] += 1
        for j in range(n):
            towards[labels[i], j] += edges[i, j]
    q = 0.0
    for i in range(n):
        q += towards[labels[i], i]
    for c in range(count):
        q -= volume[c] * volume[c]
    best, best_q = labels.copy(), q
    kept, kept_q, kept_count = labels.copy(), -np.inf, 0
    kept_towards, kept_volume, kept_size = np.empty_like(towards), volume.copy(), size.copy()
    targets = np.empty(n, dtype=np.int64)
    queue, waiting = np.empty(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)

    for turn in range(rounds + 1):
        if turn:
            _shake(labels, count, fixed, targets, rng)
            for i in range(n):
                if targets[i] >= 0 and targets[i] != labels[i] and not (fixed and size[labels[i]] == 1):
                    q += _move(edges, pull, i, targets[i], labels, towards, volume, size)
                    count = max(count, targets[i] + 1)
        head = length = 0
        for i in rng.permutation(n):
            if turn == 0 or targets[i] >= 0:
                queue[length], waiting[i] = i, True
                length += 1
        while length:
            i = queue[head]
            head = head + 1 if head + 1 < n else 0
            length -= 1
            waiting[i] = False
            own, k = labels[i], pull[i]
            if fixed and size[own] == 1:
                continue
            top, new, free = towards[own, i] - k * (volume[own] - k) + _RISE, own, count
            for c in range(count):
                if size[c] == 0:
                    free = c
                elif c != own:
                    score = towards[c, i] - k * volume[c]
                    if score > top:
                        top, new = score, c
            if top < 0.0 and size[own] > 1 and not fixed:
                new = free
            if new == own:
                continue
            q += _move(edges, pull, i, new, labels, towards, volume, size)
            count = max(count, new + 1)
            for j in range(n):
                if edges[i, j] > 0.0 and not waiting[j] and labels[j] != new:
                    tail = head + length if head + length < n else head + length - n
                    queue[tail], waiting[j] = j, True
                    length += 1
        c = 0
        while c < count:  # the last module takes the place of an empty one
            if size[c]:
                c += 1
                continue
            count -= 1
            for j in range(n):
                if labels[j] == count:
                    labels[j] = c
            volume[c], size[c], towards[c] = volume[count], size[count], towards[count]
            volume[count], size[count], towards[count] = 0.0, 0, 0.0

        if q > best_q + _RISE:
            best_q = q
            best[:] = labels
        if q >= kept_q - _HEAT * (1.0 - turn / (rounds + 1.0)) * rng.random() - _RISE:
            kept_q, kept[:], kept_volume[:], kept_size[:] = q, labels, volume, size
            kept_towards[:count], kept_count = towards[:count], count
        else:
            q, labels[:], volume[:], size[:] = kept_q, kept, kept_volume, kept_size
            towards[:kept_count], towards[kept_count:count], count = kept_towards[:kept_count], 0.0, kept_count
    return best, best_q


@njit(cache=True)
def _shake(labels, count, fixed, targets, rng):  # type: ignore[no-untyped-def]
    """Set targets to the modules where units go, -1 for those that are left alone."""
    n = len(labels)
    targets[:] = -1
    kind = int(4 * rng.random())
    if kind == 0:  # some units go to the modules of others
        share = 0.02 + 0.6 * rng.random() ** 2
        for i in range(n):
            if rng.random() < share:
                targets[i] = labels[int(n * rng.random())]
        return
    one = labels[int(n * rng.random())]
    two = labels[int(n * rng.random())]
    if kind == 1 and not fixed:  # two modules become one
        for i in range(n):
            if labels[i] == one or labels[i] == two:
                targets[i] = two
        return
    if (kind == 2 or one == two) and not fixed and count < n:
        two = count  # one module is halved
    for i in range(n):  # two modules share their units anew
        if labels[i] == one or labels[i] == two:
            targets[i] = one if rng.random() < 0.5 else two


@njit(cache=True)
def _move(edges, pull, i, new, labels, towards, volume, size):  # type: ignore[no-untyped-def]
    """Move a unit to another module; returns what Q gains."""
    own, k = labels[i], pull[i]
    gain = 2.0 * (towards[new, i] - towards[own, i] - k * (volume[new] - volume[own] + k))
    labels[i] = new
    volume[own] -= k
    volume[new] += k
    size[own] -= 1
    size[new] += 1
    for j in range(len(edges)):
        towards[own, j] -= edges[i, j]
        towards[new, j] += edges[i, j]
    if size[own] == 0:
        volume[own], towards[own] = 0.0, 0.0
    return gain


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
