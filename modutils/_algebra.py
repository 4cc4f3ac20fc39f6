"""Leading eigenvectors and singular vectors of dense matrices in torch, on whatever device they are."""

from __future__ import annotations

import torch
from torch import Tensor

#: Up to this size all eigenvectors at once cost less than the iteration.
_SMALL = 1000
#: Vectors beside those asked for, and products with the matrix before each restart.
_SPARE, _DEPTH = 8, 6
_ROUNDS = 60


def leading_eigenvectors(matrix: Tensor, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues of a symmetric matrix, falling, and their eigenvectors.

    Block Lanczos iteration with full orthogonalisation, restarted from the best vectors until the residual of every one
    asked for is rounding. A block finds repeated eigenvalues, which a single vector misses. Small matrices, and those
    where the iteration does not converge, go through `torch.linalg.eigh`.

    Parameters
    ----------
    matrix : Tensor of float64, shape (n, n)
    count : int
        From 1 to n.
    seed : int
        Of the start, which is drawn on the host, so that it is the same on every device.

    Returns
    -------
    Tensor (count,) and Tensor (n, count), of float64, on the device of the matrix
    """
    n, width = len(matrix), count + _SPARE
    if n > max(_SMALL, 2 * width * _DEPTH):
        start = torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        block = start.to(matrix.device)
        for _ in range(_ROUNDS):
            basis = torch.linalg.qr(block).Q
            for _ in range(1, _DEPTH):  # of all columns, because a block may be next to nothing once it is projected
                basis = torch.linalg.qr(torch.cat([basis, matrix @ basis[:, -width:]], 1)).Q
            images = matrix @ basis
            small = basis.mT @ images
            values, mixed = torch.linalg.eigh((small + small.mT) / 2)
            values, mixed = values[-width:].flip(0), mixed[:, -width:].flip(1)
            block = basis @ mixed
            residual = (images @ mixed - block * values)[:, :count].norm(dim=0).max()
            if residual <= 1e-13 * n**0.5 * values.abs().max():
                return values[:count], block[:, :count]
    values, vectors = torch.linalg.eigh(matrix)
    return values[-count:].flip(0), vectors[:, -count:].flip(1)


def leading_singular_vectors(matrix: Tensor, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular values of a matrix, falling, between their left and right singular vectors.

    From the eigenvectors of the smaller of MᵀM and MMᵀ, and once more in the space that they span, so that small
    singular values, and the vectors of the larger side that belong to them, are not those of a square.

    Returns
    -------
    Tensor (rows, count), Tensor (count,), Tensor (columns, count)
    """
    if matrix.shape[0] < matrix.shape[1]:
        right, values, left = leading_singular_vectors(matrix.mT, count, seed=seed)
        return left, values, right
    _, span = leading_eigenvectors(matrix.mT @ matrix, count, seed=seed)
    left, values, mixed = torch.linalg.svd(matrix @ span, full_matrices=False)
    return left, values, span @ mixed.mT
