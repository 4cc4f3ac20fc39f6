"""Leading eigenvectors and singular vectors against decompositions of the whole."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from modutils import _algebra
from modutils._algebra import leading_eigenvectors, leading_singular_vectors

EPS = np.finfo(float).eps


def normalised(kind: str, n: int) -> Tensor:
    rng = np.random.default_rng(0)
    parts = {
        "noise": rng.random((n, n)),
        "repeated eigenvalues": np.kron(np.eye(20), rng.random((n // 20, n // 20))),
        "rank one": np.ones((n, n)),
        "groups": rng.random((n, n)) * np.where(np.add.outer(np.arange(n), np.arange(n)) % 5, 0.2, 1),
    }
    matrix = parts[kind] + parts[kind].T
    root = matrix.sum(0) ** -0.5
    return torch.tensor(matrix * root[:, None] * root)


@pytest.mark.parametrize("kind", ["noise", "repeated eigenvalues", "rank one", "groups"])
@pytest.mark.parametrize("rounds", [60, 1])
def test_the_iteration_gives_eigenvectors(kind: str, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_algebra, "_SMALL", 1)
    monkeypatch.setattr(_algebra, "_ROUNDS", rounds)  # 1 is too few for noise, which then takes the other way
    n = 300
    matrix = normalised(kind, n)
    values, vectors = leading_eigenvectors(matrix, 6)
    exact = torch.linalg.eigvalsh(matrix)[-6:].flip(0)
    torch.testing.assert_close(values, exact, rtol=0, atol=100 * n * EPS)
    torch.testing.assert_close(matrix @ vectors, vectors * values, rtol=0, atol=100 * n * EPS)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(6).double(), rtol=0, atol=100 * n * EPS)


def test_the_iteration_is_not_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_algebra, "_SMALL", 1)
    with mock.patch.object(torch.linalg, "eigh", wraps=torch.linalg.eigh) as whole:
        leading_eigenvectors(normalised("groups", 300), 6)
    assert {len(call.args[0]) for call in whole.call_args_list} == {(6 + _algebra._SPARE) * _algebra._DEPTH}


@pytest.mark.parametrize("shape", [(30, 80), (80, 30), (40, 40)])
@pytest.mark.parametrize("rank", [4, 30])
def test_singular_vectors(shape: tuple[int, int], rank: int) -> None:
    rng = np.random.default_rng(0)
    matrix = torch.tensor(rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1])))
    left, values, right = leading_singular_vectors(matrix, 7)
    size = 100 * max(shape) * EPS * float(values[0])
    torch.testing.assert_close(values, torch.linalg.svdvals(matrix)[:7], rtol=0, atol=size)
    torch.testing.assert_close(left * values @ right.T, left @ left.T @ matrix @ right @ right.T, rtol=0, atol=size)
    if rank == 4:
        torch.testing.assert_close(left * values @ right.T, matrix, rtol=0, atol=size)
    for vectors in (left, right):
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(7).double(), rtol=0, atol=100 * max(shape) * EPS)
