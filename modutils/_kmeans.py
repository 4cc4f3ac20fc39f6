"""k-means in torch, all restarts as one batch, on whatever device the points are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEPS = 300
#: Centres that move by less than this share of the variance have arrived, as in scikit-learn.
_TOLERANCE = 1e-4
#: Most distances held at once (float64), so that memory grows with points and clusters but not with restarts.
_HELD = 1 << 27


def kmeans(points: Tensor, k: int, *, restarts: int = 10, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Group points around k centres, so that the sum of squared distances to the nearest is small.

    Lloyd's algorithm from greedy k-means++ seeds (Arthur & Vassilvitskii 2007), the best of several restarts: as
    ``sklearn.cluster.KMeans``, which copies tensors to the host, but not with its draws.

    Parameters
    ----------
    points : Tensor of float64, shape (m, d)
        Finite.
    k : int
        From 1 to m.
    restarts : int
    seed : int
        The few random numbers are drawn on the host, so that they are the same on every device.

    Returns
    -------
    labels : Tensor of int64, shape (m,)
        0 … k − 1, on the device of the points. Fewer are met where fewer points differ.
    inertia : Tensor of float64, shape ()
        Sum of squared distances to the nearest centre.

    References
    ----------
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    generator = torch.Generator().manual_seed(seed)
    points = points - points.mean(0)  # distances do not change, rounding errors shrink
    at_once = max(1, min(restarts, _HELD // (len(points) * (k + 2 + int(math.log(k))))))
    found = [
        _lloyd(points, _seeds(points, k, min(at_once, restarts - first), generator))
        for first in range(0, restarts, at_once)
    ]
    labels, inertia = (torch.cat(parts) for parts in zip(*found, strict=True))
    best = inertia.argmin()
    return labels[best], inertia[best]


def _seeds(points: Tensor, k: int, restarts: int, generator: torch.Generator) -> Tensor:
    """Centres (restarts, k, d): each the best of a few points drawn by their squared distance to the others."""
    trials = 2 + int(math.log(k))
    draws = torch.rand(k, restarts, trials, dtype=torch.float64, generator=generator).to(points.device)
    size = points.square().sum(1)
    first = (draws[0, :, 0] * len(points)).long()
    centres = points[first][:, None]
    nearest = _squares(points, size, centres)[:, 0]
    for draw in draws[1:]:
        sums = nearest.cumsum(1)
        drawn = torch.searchsorted(sums, draw * sums[:, -1:], right=True).clamp(max=len(points) - 1)
        tried = torch.minimum(nearest[:, None], _squares(points, size, points[drawn]))
        best = tried.sum(2).argmin(1)
        row = torch.arange(restarts, device=points.device)
        nearest = tried[row, best]
        centres = torch.cat([centres, points[drawn[row, best]][:, None]], 1)
    return centres


def _squares(points: Tensor, size: Tensor, centres: Tensor) -> Tensor:
    """Squared distances (restarts, centres, m), from the points' squared lengths."""
    products = (centres.flatten(0, 1) @ points.T).view(*centres.shape[:2], len(points))
    return (size + centres.square().sum(2)[..., None] - 2 * products).clamp_(min=0)


def _lloyd(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (restarts, m) and inertia (restarts,), each once no label changes, or no centre moves any more."""
    size, centres = points.square().sum(1), centres.clone()
    arrived = _TOLERANCE * points.var(0, correction=0).mean()
    labels = torch.full((len(centres), len(points)), -1, device=points.device)
    moving = torch.arange(len(centres), device=points.device)
    for _ in range(_STEPS):
        nearest, found = _squares(points, size, centres[moving]).min(1)
        means = _means(points, found, nearest, centres.shape[1])
        shift = (means - centres[moving]).square().sum((1, 2))
        going = (shift > arrived) & (found != labels[moving]).any(1)
        labels[moving], centres[moving] = found, means
        moving = moving[going]
        if not len(moving):
            break
    labels = _squares(points, size, centres).argmin(1)
    # Once more as differences: of close points, that of squares has nothing left after rounding.
    away = points - centres.gather(1, labels[..., None].expand(-1, -1, points.shape[1]))
    return labels, away.square().sum((1, 2))


def _means(points: Tensor, labels: Tensor, nearest: Tensor, k: int) -> Tensor:
    """Centres (restarts, k, d); one without points becomes one of the points farthest from theirs."""
    member = points.new_zeros(len(labels), k, len(points)).scatter_(1, labels[:, None], 1)
    sizes = member.sum(2)
    # A product, because sums by atomic additions differ from run to run.
    sums = (member.flatten(0, 1) @ points).view(len(labels), k, points.shape[1])
    centres = sums / sizes.clamp(min=1)[..., None]
    empty = sizes == 0
    if empty.any():
        farthest = points[nearest.topk(k, dim=1).indices]
        place = (empty.cumsum(1) - 1).clamp(min=0)
        spare = farthest.gather(1, place[..., None].expand(-1, -1, points.shape[1]))
        centres = torch.where(empty[..., None], spare, centres)
    return centres
