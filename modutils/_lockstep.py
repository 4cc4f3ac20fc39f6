"""Newman's Q and a search for modules, in torch, for a stack of matrices on the device where they are.

Every matrix is searched by several copies at once, from random partitions of as many sizes. A step makes, for each copy
by itself, the move of one unit that raises Q most; where none does, the copy waits. When all wait, modules merge that
are each other's best to merge with; when none gains by that, each copy is shaken, as `modutils._search` does it, and
climbs again. Twice on the way the better half takes the place of the others. Only single numbers leave the device, and
random numbers come to it from the host, so that a seed means the same on every device.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

_UNUSED, _RISE = 1e-15, 1e-12  # as in `modutils.modularity`
_COPIES, _ROUNDS = 24, 6000  # of each matrix; of each copy, over the number of units
_ENTRIES = 1 << 27  # of the largest array
_HEAT = 0.002  # what a round may lose in Q at first
_BETWEEN = 8  # steps between two looks whether all wait


def scaled(A: Tensor, stack: bool = True) -> Tensor:
    """Checked copy (m, n, n) in float64 on the same device, as `modutils.modularity._scaled`."""
    if A.ndim not in ((2, 3) if stack else (2,)) or A.shape[-1] != A.shape[-2] or not A.shape[-1]:
        shapes = "(n, n) or (m, n, n)" if stack else "(n, n)"
        raise ValueError(f"A has shape {tuple(A.shape)}; {shapes} with n of 1 or more is needed")
    if A.is_complex():
        raise ValueError(f"A is of type {A.dtype}; real numbers are needed, such as A.abs()")
    edges = A.detach().double().reshape(-1, *A.shape[-2:])
    flipped = edges.mT
    largest = edges.amax((1, 2), keepdim=True)
    for wrong, what in (
        (~edges.isfinite(), "is not finite"),
        (edges < 0, "is negative"),
        (
            (edges - flipped).abs() > 1e-6 * largest,
            "has no equal mirror image: use (A + A.mT) / 2",
        ),
    ):
        if wrong.any():
            m, i, j = np.unravel_index(int(wrong.flatten().int().argmax()), tuple(edges.shape))
            raise ValueError(f"A: entry ({i}, {j}) of matrix {m} is {float(edges[m, i, j])}, which {what}")
    edges = edges / 2 + flipped / 2
    edges.diagonal(dim1=1, dim2=2).zero_()
    for total in (torch.amax, torch.sum):  # the largest first, so that neither tiny nor huge entries spoil the sum
        size = total(edges, (1, 2), keepdim=True)
        edges = edges / size.where(size > 0, 1.0)
    return edges


def quality(edges: Tensor, labels: Tensor, resolution: float = 1.0) -> Tensor:
    """Q (m,) of scaled matrices (m, n, n) and labels (m, n)."""
    names = labels.unique(sorted=True)
    members = (labels[..., None] == names[names >= 0]).to(edges.dtype)
    inside = (members * (edges @ members)).sum((1, 2))
    return inside - resolution * (edges.sum(2)[:, None] @ members).square().sum((1, 2))


def spectral(edges: Tensor) -> Tensor:
    """Labels (m, n) by repeated splits, as `modutils.modularity.spectral_modules`."""
    labels = torch.full(edges.shape[:2], -1, device=edges.device)
    for one, row in zip(edges, labels, strict=True):
        strength = one.sum(1)
        B = one - torch.outer(strength, strength)
        everyone = (strength >= _UNUSED).nonzero()[:, 0]
        row[everyone], count = 0, 1
        queue = deque([everyone] if len(everyone) else [])
        while queue:
            members = queue.popleft()
            vector = torch.linalg.eigh(B[members][:, members]).eigenvectors[:, -1]
            plus = vector * vector[vector.abs().argmax()].sign() > -1e-12
            kept, moved = members[plus], members[~plus]
            if len(moved) and -2 * B[kept][:, moved].sum() > _RISE:
                row[moved], count = count, count + 1
                queue.extend((kept, moved))
    return _renumbered(labels)


def find(edges: Tensor, *, restarts: int, resolution: float, k: int | None, seed: int) -> Tensor:
    """Labels (m, n) of scaled matrices (m, n, n); -1 where a row is all zero."""
    m, n, _ = edges.shape
    used = edges.sum(2) >= _UNUSED
    if k is not None and (least := int(used.sum(1).min())) < k:
        raise ValueError(f"k={k}; a matrix has {least} units that are similar to any other")
    rng = np.random.default_rng([seed, m, n])
    best = torch.full((m, n), -1, device=edges.device)
    top = torch.full((m,), -torch.inf, dtype=edges.dtype, device=edges.device)
    at_once = max(1, _ENTRIES // (_COPIES * n * n))
    for _ in range(restarts):
        parts = zip(edges.split(at_once), used.split(at_once), strict=True)
        found = torch.cat([_climb(*part, resolution, k, rng) for part in parts]).where(used, -1)
        q = quality(edges, found, resolution)
        best, top = torch.where((q > top + _RISE)[:, None], found, best), torch.maximum(q, top)
    return _renumbered(best)


def _climb(edges: Tensor, used: Tensor, resolution: float, k: int | None, rng: np.random.Generator) -> Tensor:
    """Labels (m, n) of the best of the copies."""
    m, n, _ = edges.shape
    copies, rounds, device = _COPIES, min(100, max(10, _ROUNDS // n)), edges.device

    def uniform(*shape: int) -> Tensor:
        return torch.as_tensor(rng.random(shape), device=device)

    pull = (edges.sum(2) * resolution**0.5)[:, None]  # (m, 1, n)
    here = used[:, None]
    # Copies start from 2 to n / 2 modules, in equal ratios.
    sizes = torch.as_tensor(np.geomspace(2, max(2, n // 2), copies), device=device)[:, None].floor()
    labels = _packed((uniform(m, copies, n) * (sizes if k is None else k)).long(), here)
    if k is not None:  # one unit of each module for sure
        order = uniform(m, copies, n).masked_fill(~here, 2.0).argsort(-1)
        labels.scatter_(2, order[..., :k], torch.arange(k, device=device).expand(m, copies, k))
    labels, q = _descended(edges, pull, here, labels, k)
    best, best_q = labels, q
    for turn in range(rounds):
        if turn in (rounds // 3, 2 * rounds // 3):  # the better half goes on, twice
            order = best_q.argsort(1, descending=True)[:, : (copies + 1) // 2].repeat_interleave(2, 1)[:, :copies]
            labels = best = best.gather(1, order[..., None].expand(m, copies, n))
            q = best_q = best_q.gather(1, order)
        target = _shaken(labels, here, uniform, k)
        moved, new_q = _descended(edges, pull, here, target, k)
        heat = _HEAT * (1 - turn / rounds) * uniform(m, copies)
        accept = new_q >= q - heat - _RISE
        labels, q = torch.where(accept[..., None], moved, labels), torch.where(accept, new_q, q)
        better = q > best_q + _RISE
        best, best_q = torch.where(better[..., None], labels, best), torch.where(better, q, best_q)
    first = best_q.argmax(1)
    return best[torch.arange(m, device=device), first]


def _shaken(labels: Tensor, here: Tensor, uniform: Any, k: int | None) -> Tensor:
    """Labels after some units, or two modules, were shaken; each copy in one of four ways."""
    m, copies, n = labels.shape
    place = (uniform(m, copies, n) - 2 * (~here)).argsort(-1, descending=True)  # used units first, in random order
    one, two = labels.gather(2, place[..., :1]), labels.gather(2, place[..., 1 % n : 1 % n + 1])
    kind = (4 * uniform(m, copies, 1)).long()
    if k is not None:
        kind = torch.where(kind == 0, 0, 3)
    count = labels.amax(2, keepdim=True) + 1
    two = torch.where((kind == 2) | ((one == two) & (kind == 3)), count if k is None else one, two)
    pair = (labels == one) | (labels == two)
    shared = torch.where(uniform(m, copies, n) < 0.5, one, two)
    others = labels.gather(2, (uniform(m, copies, n) * here.sum(2, keepdim=True)).long().clamp(max=n - 1))
    some = uniform(m, copies, n) < 0.02 + 0.6 * uniform(m, copies, 1) ** 2
    new = torch.where(pair, torch.where(kind == 1, two, shared), labels)
    new = torch.where(kind == 0, torch.where(some, others, labels), new).where(here, -1)
    if k is None:
        return _packed(new, here)
    whole = _onehot(new, k).any(2).all(-1, keepdim=True)  # where a module was lost, nothing is shaken
    return torch.where(whole, new, labels)


def _descended(edges: Tensor, pull: Tensor, here: Tensor, labels: Tensor, k: int | None) -> tuple[Tensor, Tensor]:
    """Labels (m, copies, n) that neither a move of a unit nor a merger of two modules improves, and their Q."""
    while True:
        labels, q, between = _moved(edges, pull, here, labels, k)
        if k is not None:
            return labels, q
        rise, partner = between.max(-1)
        names = torch.arange(between.shape[-1], device=labels.device)
        # Pairs that are each other's best: what they gain adds up.
        merged = (rise > _RISE) & (partner.gather(-1, partner) == names)
        if not merged.any():
            return _packed(labels, here), q
        new = torch.where(merged, torch.minimum(partner, names), names)
        labels = _packed(new.gather(-1, labels.clamp(min=0)), here)


def _moved(edges: Tensor, pull: Tensor, here: Tensor, labels: Tensor, k: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Labels that no move of a single unit improves, their Q, and what mergers would add (m, copies, c, c)."""
    m, copies, n = labels.shape
    labels = labels.clone()
    width = k or min(n + 1, int(labels.max()) + 4)  # a copy that opens more modules in one round has to wait
    members = _onehot(labels, width).to(edges.dtype)
    towards = (edges @ members.permute(0, 2, 1, 3).reshape(m, n, -1)).reshape(m, n, copies, width).transpose(1, 2)
    towards = towards.contiguous()
    volume, size = (pull[:, :, None] @ members).squeeze(2), members.sum(2)  # (m, copies, width)
    row, copy = torch.arange(m, device=edges.device)[:, None], torch.arange(copies, device=edges.device)
    step = 0
    while True:
        own = labels.clamp(min=0)[..., None]
        mine = towards.gather(3, own)[..., 0] - pull * (volume.gather(2, own[..., 0]) - pull)
        alone = size.gather(2, own[..., 0]) == 1
        gain = 2 * (towards - pull[..., None] * volume[:, :, None] - mine[..., None])
        gain.scatter_(3, own, 0.0)
        # A unit alone has its module; with k the modules stay as many.
        barred = ~here if k is None else alone | ~here
        gain.masked_fill_((alone[..., None] & (size == 0)[:, :, None]) | barred[..., None], 0.0)
        rise, flat = gain.flatten(2).max(2)
        moves = rise > _RISE
        step += 1
        if step % _BETWEEN == 1 and not moves.any():
            break
        unit, new = flat // width, flat % width
        old = labels.gather(2, unit[..., None])[..., 0].clamp(min=0)
        new = torch.where(moves, new, old)
        change = edges[row, unit] * moves[..., None]  # (m, copies, n), zero where a copy waits
        towards[row, copy, :, old] -= change
        towards[row, copy, :, new] += change
        weight = pull.expand(m, copies, n).gather(2, unit[..., None])[..., 0] * moves
        volume[row, copy, old] -= weight
        volume[row, copy, new] += weight
        size[row, copy, old] -= moves.to(size.dtype)
        size[row, copy, new] += moves.to(size.dtype)
        labels = torch.where(moves[..., None], labels.scatter(2, unit[..., None], new[..., None]), labels)
    members = _onehot(labels, width).to(edges.dtype)
    inside = (edges @ members.permute(0, 2, 1, 3).reshape(m, n, -1)).reshape(m, n, copies, width).transpose(1, 2)
    blocks, volume = members.mT @ inside, (pull[:, :, None] @ members).squeeze(2)
    q = blocks.diagonal(dim1=2, dim2=3).sum(2) - volume.square().sum(2)
    between = 2 * (blocks - volume[..., None] * volume[:, :, None])
    between.diagonal(dim1=2, dim2=3).fill_(-torch.inf)
    return labels, q, between


def _onehot(labels: Tensor, width: int) -> Tensor:
    return labels[..., None] == torch.arange(width, device=labels.device)


def _packed(labels: Tensor, here: Tensor) -> Tensor:
    """Numbered 0, 1, ... without a gap where ``here``; -1 elsewhere."""
    labels = labels.where(here, -1)
    present = _onehot(labels, int(labels.max()) + 1).any(-2)
    return (present.cumsum(-1) - 1).gather(-1, labels.clamp(min=0)).where(here, -1) if present.shape[-1] else labels


def _renumbered(labels: Tensor) -> Tensor:
    """Numbered in the order of first appearance; -1 stays."""
    n = labels.shape[-1]
    first = torch.where(_onehot(labels, n), torch.arange(n, device=labels.device)[:, None], n).amin(-2)
    return first.argsort(-1).argsort(-1).gather(-1, labels.clamp(min=0)).where(labels >= 0, -1)
