"""The RevealCancel rule and bipartite modularity: definitions, published examples, planted modules."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from modutils import attribution
from studies.biclustering import others


def _net(*sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = [nn.Flatten()]
    for below, above in pairwise(sizes):
        parts += [nn.Linear(below, above).double(), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*parts[:-2]).eval()


def test_a_minimum_is_shared_by_both_of_its_inputs() -> None:
    """Figure 2 of Shrikumar et al. (2017): o = i₁ − ReLU(i₁ − i₂), where the rescale rule gives all to one input."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    for place, weight in ((0, [[1.0, 0.0], [1.0, -1.0]]), (2, [[1.0, -1.0]])):
        net[place].weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))
    values = torch.tensor([[3.0, 1.0], [5.0, 4.0]], dtype=torch.float64)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    found = others.reveal_cancel(net, values, zero, torch.ones(2, 1, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [2.0, 2.0]], dtype=torch.float64))
    rescaled = attribution.attribute(nn.Sequential(nn.Identity(), *net), "0", values, target=0, baseline=zero)
    torch.testing.assert_close(rescaled, torch.tensor([[0.0, 1.0], [0.0, 4.0]], dtype=torch.float64))


@pytest.mark.parametrize("sizes", [(6, 5, 3), (6, 8, 5, 3)], ids=["one ReLU", "two ReLUs"])
def test_parts_sum_to_the_change_of_the_outputs(sizes: tuple[int, ...]) -> None:
    net = _net(*sizes)
    values, zero = torch.randn(20, 6, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
    outputs = torch.randn(20, 3, dtype=torch.float64)
    with torch.no_grad():
        change = ((net(values) - net(zero)) * outputs).sum(1)
    found = others.reveal_cancel(net, values, zero, outputs)
    torch.testing.assert_close(found.sum(1), change, rtol=1e-12, atol=1e-12)


def test_without_parts_that_cancel_it_is_the_rescale_rule() -> None:
    net = _net(6, 5, 3)
    with torch.no_grad():
        for weight in (own for name, own in net.named_parameters() if "weight" in name):
            weight.abs_()
    values, zero = torch.rand(20, 6, dtype=torch.float64), torch.zeros(1, 6, dtype=torch.float64)
    outputs = torch.zeros(20, 3, dtype=torch.float64)
    outputs[:, 1] = 1
    whole = nn.Sequential(nn.Identity(), *net)
    rescaled = attribution.attribute(whole, "0", values, target=1, baseline=zero)
    torch.testing.assert_close(others.reveal_cancel(net, values, zero, outputs), rescaled, rtol=1e-10, atol=1e-12)


def test_other_layers_are_refused() -> None:
    one = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="Tanh"):
        others.reveal_cancel(nn.Sequential(nn.Tanh()), one, one, one)


def _planted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(3, size=30), rng.integers(3, size=40)
    return rng.random((30, 40)) * np.where(rows[:, None] == columns, 1.0, 0.05), rows, columns


def test_bipartite_modularity_is_the_sum_over_pairs() -> None:
    matrix, rows, columns = _planted(0)
    rows[:2] = columns[:3] = -1
    total = matrix.sum()
    pairs = [
        matrix[i, j] / total - matrix[i].sum() * matrix[:, j].sum() / total**2
        for i in range(30)
        for j in range(40)
        if rows[i] == columns[j] >= 0
    ]
    assert others.bipartite_modularity(matrix, rows, columns) == pytest.approx(sum(pairs), rel=1e-12)
    assert others.bipartite_modularity(matrix, rows * 0, columns * 0) == pytest.approx(0, abs=1e-12)


def test_planted_modules_are_found_and_never_fewer_than_a_start_has() -> None:
    matrix, rows, columns = _planted(1)
    matrix[4], matrix[:, 7] = 0, 0
    rng = np.random.default_rng(0)
    starts = list(rng.integers(3, size=(10, 40)))
    found_rows, found_columns = others.bipartite_modules(matrix, 3, starts)
    assert found_rows[4] == found_columns[7] == -1
    kept = np.arange(30) != 4
    assert len({(a, b) for a, b in zip(rows[kept], found_rows[kept], strict=True)}) == 3
    best = others.bipartite_modularity(matrix, found_rows, found_columns)
    assert best >= max(
        others.bipartite_modularity(matrix, *others.bipartite_modules(matrix, 3, [start])) for start in starts
    )
    truth = np.where(kept, rows, -1), np.where(np.arange(40) != 7, columns, -1)
    assert best == pytest.approx(others.bipartite_modularity(matrix, *truth), rel=1e-12)


def test_no_row_and_no_column_would_rather_be_elsewhere() -> None:
    rng = np.random.default_rng(2)
    matrix = rng.random((20, 25)) * np.exp(rng.normal(size=(20, 1)) + rng.normal(size=25))  # some weigh much more
    rows, columns = others.bipartite_modules(matrix, 4, list(rng.integers(4, size=(5, 25))))
    best = others.bipartite_modularity(matrix, rows, columns)
    assert best > 0
    for labels in (rows, columns):
        for place, own in enumerate(labels.copy()):
            for other in range(4):
                labels[place] = other
                assert others.bipartite_modularity(matrix, rows, columns) <= best + 1e-12
            labels[place] = own
