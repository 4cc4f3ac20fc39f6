"""Neural sculpting: prune a network's hidden units, then its edges, as far as it can still learn its task.

Both phases repeat one step: remove what scores lowest, train on from the weights that are left, and keep the result if
the network is still right; else restore the last one kept and try half the step. What is left of the network shows
how the task is built. Source: Patil, Michael & Dovrolis, "Neural Sculpting", NeurIPS 2023; settings that the slides do
not state are those of the authors' code.

Sculpting takes thousands of trainings of networks of which little is left. So a network is trained as what it has
become: a compiled loop runs over the units and edges that are alive. Where many are, matrix products are faster (and
they run on a GPU); :func:`train` takes whichever needs less work. Every network has a random stream of its own, so each
run of a grid is exactly the run one gets alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from modutils import _check, _storage
from modutils._masked_training import Network, Training, _forward, bits_right, density, initialize, train
from modutils.tasks import Task
from modutils.training import HERE, Execution

__all__ = [
    "EDGE_STEPS",
    "PHASES",
    "UNIT_STEPS",
    "Attempt",
    "Network",
    "Schedule",
    "Sculpted",
    "Training",
    "bits_right",
    "density",
    "initialize",
    "prune_edges",
    "prune_units",
    "sculpt",
    "sparsest",
    "tied",
    "train",
    "unit_scores",
]

#: The grid of steps of both phases, in percent, that the slides choose the sparsest network from.
UNIT_STEPS = tuple(float(step) for step in range(5, 75, 5))
EDGE_STEPS = (0.5, 1.0, 1.5, 2.0, 2.5)
#: The phases in the order of the method.
PHASES = ("units", "edges")


class Attempt(NamedTuple):
    """One step of a phase.

    ``nominal`` is the percentage that the schedule asked to be gone, ``density`` the share of edges left, ``units`` the
    number of hidden units left, ``right`` the number of test bits that the network got right after training, −1 if it
    was not trained because nothing would have been left.
    """

    phase: str
    nominal: float
    density: float
    units: int
    right: int
    accepted: bool


@dataclass
class Sculpted:
    """One run: what became of a network.

    ``network`` is the last one accepted. ``failed`` says that no step of the first phase was ever accepted: then it is
    the dense network and no result. ``dense_right`` and ``right`` count the test bits that the dense network and
    this one get right, of ``bits``. ``trace`` lists all attempts, and ``history`` the masks of the dense network and
    of every accepted step, if they were asked for.
    """

    seed: int
    unit_step: float | None
    edge_step: float | None
    network: Network
    failed: bool
    dense_right: int
    right: int
    bits: int
    trace: list[Attempt] = field(default_factory=list)
    history: list[list[np.ndarray]] = field(default_factory=list)

    @property
    def density(self) -> float:
        """Edges left, as a share of those of the dense network."""
        return density(self.network.masks)


@dataclass
class Schedule:
    """Step halving: which percentage to try next, from whether the last try was accepted.

    Parameters
    ----------
    position : float
        Percentage that was last accepted, at first where the phase starts.
    step : float
        Percent to add; halved after every rejection, and never raised again.
    smallest : float
        Percent; a rejected step that is no larger ends the phase.

    Examples
    --------
    >>> schedule = Schedule(position=0.0, step=40.0, smallest=15.0)
    >>> for accepted in (True, False, False, True, False):
    ...     print(schedule.proposal, end=" ")
    ...     schedule.report(accepted)
    40.0 80.0 60.0 55.0 70.0
    >>> schedule.done
    True
    """

    position: float
    step: float
    smallest: float
    done: bool = False

    @property
    def proposal(self) -> float:
        """Percentage to try; at 100 or more nothing would be left, and the try counts as rejected."""
        return self.position + self.step

    def report(self, accepted: bool) -> None:
        """Say whether the proposal was accepted."""
        if accepted:
            self.position = self.proposal
        elif self.step > self.smallest:
            self.step = max(self.step / 2, self.smallest)
        else:
            self.done = True


def unit_scores(
    weights: Sequence[Any], biases: Sequence[Any], inputs: Any, targets: Any, *, batch_size: int = 4096
) -> np.ndarray:
    """Loss sensitivity of every hidden unit of a ReLU network: the mean over rows of \\|a ∂ℓ/∂a\\|.

    ℓ is a row's binary cross-entropy in nats, averaged over outputs, and a the unit's activation. It estimates to
    first order how much the loss of a row changes when the unit is silenced.

    Parameters
    ----------
    weights, biases : sequences of arrays
        Per layer (outputs, inputs) and (outputs,).
    inputs, targets : array
        (R, n) and (R, m); targets in {0, 1}.
    batch_size : int
        Rows at a time.

    Returns
    -------
    numpy.ndarray
        (hidden units,), float64, at least 0, all hidden layers one after the other. Exactly 0 for a unit that is
        silent on all rows.

    Raises
    ------
    ValueError
        Shapes that do not fit, or numbers that are not finite.
    """
    w = [torch.as_tensor(_check.tensor(weight)) for weight in weights]
    w = [weight if weight.is_floating_point() else weight.double() for weight in w]
    b = [torch.as_tensor(_check.tensor(bias), dtype=w[0].dtype if w else None) for bias in biases]
    _check_network(w, b)
    x, y = (torch.as_tensor(_check.tensor(given)).to(w[0]) for given in (inputs, targets))
    _check_rows("inputs", x, "targets", y, w[0].shape[1], w[-1].shape[0])
    total = [torch.zeros(weight.shape[0], dtype=torch.float64) for weight in w[:-1]]
    for rows, wanted in zip(x.split(batch_size), y.split(batch_size), strict=True):
        activities = _forward(w, b, rows)
        slope = (torch.sigmoid(activities[-1]) - wanted) / y.shape[1]
        for layer in range(len(w) - 1, 0, -1):
            slope = slope @ w[layer]
            a = activities[layer - 1]
            total[layer - 1] += (a * slope).abs_().sum(0, dtype=torch.float64).cpu()
            slope = slope * (a > 0)
    return (torch.cat(total) / len(x)).numpy()


# --- pruning ----------------------------------------------------------------------------------------------------------


def prune_units(network: Network, scores: np.ndarray, percentage: float) -> Network:
    """Remove the hidden units whose score is not above the given percentile of all scores.

    Parameters
    ----------
    network : Network
    scores : array
        (hidden units,), as of :func:`unit_scores`; units that are gone already count, with score 0.
    percentage : float
        In [0, 100). The percentile is interpolated linearly and a unit must lie strictly above it, so a unit that is
        silent on all rows goes at once.

    Raises
    ------
    ValueError
        A percentage outside [0, 100), or not one score a hidden unit.
    """
    hidden = [len(bias) for bias in network.biases[:-1]]
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (sum(hidden),):
        raise ValueError(f"scores has shape {values.shape}, but there are {sum(hidden)} hidden units")
    keep = np.split(values > _percentile(values, percentage), np.cumsum(hidden)[:-1])
    return _masked(network, [_cut(mask, keep, layer) for layer, mask in enumerate(network.masks)])


def _cut(mask: np.ndarray, keep: list[np.ndarray], layer: int) -> np.ndarray:
    if layer < len(keep):
        mask = mask & keep[layer][:, None]
    return mask & keep[layer - 1] if layer else mask.copy()


def prune_edges(network: Network, percentage: float, *, scores: Sequence[np.ndarray] | None = None) -> Network:
    """Remove the edges whose score is not above the given percentile of all edges of the dense network.

    Parameters
    ----------
    network : Network
    percentage : float
        In [0, 100). Edges that are gone already count, with score 0; biases do not count.
    scores : sequence of arrays, optional
        Like the weights, positive (default: the sizes of the weights).

    Raises
    ------
    ValueError
        A percentage outside [0, 100).
    """
    sizes = [abs(w) for w in network.weights] if scores is None else scores
    sizes = [size * mask for size, mask in zip(sizes, network.masks, strict=True)]
    threshold = _percentile(np.concatenate([size.ravel() for size in sizes]), percentage)
    return _masked(network, [mask & (size > threshold) for size, mask in zip(sizes, network.masks, strict=True)])


def _percentile(values: np.ndarray, percentage: float) -> float:
    if not 0 <= percentage < 100:
        raise ValueError(f"percentage={percentage} must be at least 0 and below 100")
    # numpy.percentile, without what it takes to allow for other cases
    position = percentage / 100 * (values.size - 1)
    below = int(position)
    part = np.partition(values, [below, min(below + 1, values.size - 1)])
    low, high = float(part[below]), float(part[min(below + 1, values.size - 1)])
    return low + (position - below) * (high - low)


def _masked(network: Network, masks: list[np.ndarray]) -> Network:
    weights = [w * mask for w, mask in zip(network.weights, masks, strict=True)]
    return Network(weights, [b * mask.any(axis=1) for b, mask in zip(network.biases, masks, strict=True)], masks)


# --- sculpting --------------------------------------------------------------------------------------------------------


def sculpt(
    task: Task,
    hidden: Sequence[int],
    training: Training,
    *,
    unit_steps: Sequence[float] = UNIT_STEPS,
    edge_steps: Sequence[float] = EDGE_STEPS,
    seeds: Sequence[int] = (0,),
    threshold: float = 1.0,
    tolerance: float | None = None,
    phases: Sequence[str] = PHASES,
    random_scores: Sequence[str] = (),
    halving: bool = True,
    retrain: bool = True,
    history: bool = False,
    execution: Execution = HERE,
) -> list[Sculpted]:
    """Sculpt networks of one shape: every seed with every pair of steps.

    All runs of a seed start from the same trained dense network, and all that share the step of the first phase share
    that phase. Each run is what it would be alone.

    Parameters
    ----------
    task : Task
        Of :mod:`modutils.tasks`.
    hidden : sequence of int
        Units of each hidden layer.
    training : Training
        For the dense network and after every step.
    unit_steps, edge_steps : sequence of float
        Percent by which the phases begin to prune, in (0, 100).
    seeds : sequence of int
        One dense network each.
    threshold : float
        Share of the test bits that must be right for a step to be accepted, in (0, 1]; 1 is all of them, exactly.
    tolerance : float, optional
        Instead of ``threshold``: how much smaller the share may be than that of the dense network.
    phases : sequence of str
        In which order: ``units``, ``edges``, or both. With one phase the other's steps do not count.
    random_scores : sequence of str
        Phases in which random scores decide, as a control.
    halving : bool
        False ends a phase at the first rejection, as a control.
    retrain : bool
        False keeps the weights as they are after a step, as a control.
    history : bool
        Keep the masks of every accepted step.
    execution : Execution
        Matrix products are taken on its device (default: the CPU). A checkpoint is for a single run.

    Returns
    -------
    list of Sculpted
        Seeds × steps of the first phase × steps of the second phase, the last fastest.

    Raises
    ------
    ValueError
        A number out of range, an unknown phase, a task with values that are not finite, or a checkpoint for several
        runs or of another call.

    Examples
    --------
    >>> from modutils import tasks
    >>> runs = sculpt(tasks.load("separable"), [24, 24], Training(0.05, 8, 10), unit_steps=[40.0], edge_steps=[2.5])
    >>> runs[0].right == runs[0].bits, runs[0].density < 0.06
    (True, True)
    """
    steps = {"units": [float(s) for s in unit_steps], "edges": [float(s) for s in edge_steps]}
    _check_settings(task, hidden, training, steps, seeds, threshold, tolerance, phases, random_scores)
    chosen = [steps[name] for name in phases]
    if execution.checkpoint is not None and (len(seeds) > 1 or any(len(each) > 1 for each in chosen)):
        raise ValueError("checkpoint is for a single run: one seed, one unit step, one edge step")
    sizes = [task.inputs.shape[1], *hidden, task.targets.shape[1]]
    checkpoint = _storage.Checkpoint(
        execution.checkpoint,
        execution.checkpoint_every,
        {
            "function": "modutils.sculpting.sculpt",
            "inputs and targets": [task.inputs, task.targets, task.test_inputs, task.test_targets],
            "noise": task.noise,
            "sizes": sizes,
            "training": training,
            "steps": chosen,
            "seeds": seeds,
            "threshold": threshold,
            "tolerance": tolerance,
            "phases": phases,
            "random_scores": random_scores,
            "halving": halving,
            "retrain": retrain,
            "history": history,
        },
    )
    device = str(execution.device or "cpu")
    how = _How(
        task, training, threshold, tolerance, tuple(random_scores), halving, retrain, history, device, checkpoint
    )
    total = len(seeds) * math.prod(len(each) for each in chosen)
    found = []
    with tqdm(total=total, desc="sculpting", unit="run", disable=not execution.progress) as bar:
        for seed in seeds:
            for run in _branches([_start(how, sizes, seed)], how, list(zip(phases, chosen, strict=True))):
                found.append(run.result)
                bar.update()
    checkpoint.remove()
    return found


def tied(runs: Sequence[Sculpted]) -> list[int]:
    """Places of all runs with the lowest density, in order; empty if all have failed.

    Often there are several, with different modules: which of them counts decides what is reported.
    """
    lowest = min((run.density for run in runs if not run.failed), default=None)
    return [place for place, run in enumerate(runs) if not run.failed and run.density == lowest]


def sparsest(runs: Sequence[Sculpted]) -> int:
    """Place of the run with the lowest density, the first of equals; −1 if all have failed."""
    return next(iter(tied(runs)), -1)


class _How(NamedTuple):
    """What all runs of a call share."""

    task: Task
    training: Training
    threshold: float
    tolerance: float | None
    random_scores: tuple[str, ...]
    halving: bool
    retrain: bool
    history: bool
    device: str
    checkpoint: _storage.Checkpoint

    def needed(self, dense_right: int) -> int:
        """Test bits that must be right."""
        bits = self.task.test_targets.numel()
        if self.tolerance is not None:
            return math.ceil(dense_right - self.tolerance * bits)
        return math.ceil(self.threshold * bits - 1e-9)


@dataclass
class _Run:
    """A run on its way: what a checkpoint holds."""

    result: Sculpted
    phase: str = ""
    schedule: Schedule | None = None
    rng: np.random.Generator | None = None
    finished: tuple[str, ...] = ()


def _start(how: _How, sizes: Sequence[int], seed: int) -> _Run:
    if (saved := how.checkpoint.load()) is not None:
        return _unpacked(saved)
    rng = np.random.default_rng([seed, 0])
    network, right = train(initialize(sizes, seed=seed), how.task, how.training, rng, device=how.device)
    bits = how.task.test_targets.numel()
    run = _Run(Sculpted(seed, None, None, network, False, right, right, bits))
    if how.history:
        run.result.history.append([mask.copy() for mask in network.masks])
    how.checkpoint.save(_packed(run))
    return run


def _packed(run: _Run) -> dict[str, Any]:
    """As dictionaries, lists, arrays and numbers."""
    return {
        "result": vars(run.result),
        "phase": run.phase,
        "schedule": None if run.schedule is None else vars(run.schedule),
        "random": None if run.rng is None else run.rng.bit_generator.state,
        "finished": run.finished,
    }


def _unpacked(saved: dict[str, Any]) -> _Run:
    result = Sculpted(**saved["result"])
    result.network = Network(*result.network)
    result.trace = [Attempt(*attempt) for attempt in result.trace]
    run = _Run(result, saved["phase"], finished=tuple(saved["finished"]))
    if saved["schedule"] is not None:
        run.schedule = Schedule(**saved["schedule"])
    if saved["random"] is not None:
        run.rng = np.random.default_rng()
        run.rng.bit_generator.state = saved["random"]
    return run


def _branches(runs: list[_Run], how: _How, phases: list[tuple[str, list[float]]]) -> Iterator[_Run]:
    """Every run through the phases that are left, depth first; what runs have in common is computed once."""
    for run in runs:
        if not phases:
            yield run
            continue
        (name, steps), *rest = phases
        for step in steps:
            branch = _Run(_copy(run.result), run.phase, run.schedule, run.rng, run.finished)
            if name == "units":
                branch.result.unit_step = step
            else:
                branch.result.edge_step = step
            if name not in branch.finished and not branch.result.failed:
                _phase(branch, name, step, how)
            yield from _branches([branch], how, rest)


def _copy(result: Sculpted) -> Sculpted:
    """Networks are never changed in place, so only the lists are copied."""
    own = Sculpted(**vars(result))
    own.trace, own.history = list(result.trace), list(result.history)
    return own


def _phase(run: _Run, name: str, step: float, how: _How) -> None:
    """Prune until the schedule ends."""
    result = run.result
    needed = how.needed(result.dense_right)
    if run.phase != name:  # else a checkpoint is gone on with
        steps = [result.unit_step, result.edge_step]
        run.rng = np.random.default_rng(
            [result.seed, 1 + PHASES.index(name), *(round(1000 * each) if each is not None else 0 for each in steps)]
        )
        if run.finished and how.retrain:  # once before a second phase
            network, right = train(result.network, how.task, how.training, run.rng, device=how.device)
            if right >= needed:
                result.network, result.right = network, right
        if name == "units":
            start, count = 0.0, sum(len(bias) for bias in result.network.biases[:-1])
        else:
            start, count = 100 * (1 - result.density), sum(mask.size for mask in result.network.masks)
        run.schedule = Schedule(start, step, 100 / count if how.halving else step)
        run.phase = name
    schedule, rng = run.schedule, run.rng
    assert schedule is not None
    assert rng is not None
    training = how.training if how.retrain else how.training._replace(epochs=0)
    while not schedule.done:
        percentage = schedule.proposal
        pruned, right, accepted = result.network, -1, False
        if percentage < 100:
            pruned = _pruned(result.network, name, percentage, how, rng)
            pruned, right = train(pruned, how.task, training, rng, device=how.device)
            accepted = right >= needed
        units = sum(int(mask.any(axis=1).sum()) for mask in pruned.masks[:-1])
        result.trace.append(Attempt(name, percentage, density(pruned.masks), units, right, accepted))
        if accepted:
            result.network, result.right = pruned, right
            if how.history:
                result.history.append([mask.copy() for mask in pruned.masks])
        schedule.report(accepted)
        if how.checkpoint.due(len(result.trace)):
            how.checkpoint.save(_packed(run))
    if not run.finished:
        result.failed = not any(attempt.accepted for attempt in result.trace)
    run.finished = (*run.finished, name)
    how.checkpoint.save(_packed(run))


def _pruned(network: Network, name: str, percentage: float, how: _How, rng: np.random.Generator) -> Network:
    drawn = name in how.random_scores
    if name == "units":
        if drawn:
            alive = np.concatenate([mask.any(axis=1) for mask in network.masks[:-1]])
            return prune_units(network, rng.random(len(alive)) * alive, percentage)
        scores = unit_scores(network.weights, network.biases, how.task.test_inputs, how.task.test_targets)
        return prune_units(network, scores, percentage)
    return prune_edges(network, percentage, scores=[rng.random(w.shape) for w in network.weights] if drawn else None)


def _check_network(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
    if len(weights) < 2 or len(weights) != len(biases):
        raise ValueError(f"{len(weights)} weights and {len(biases)} biases; needed are as many, at least 2 of each")
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        below = weights[layer - 1].shape[0] if layer else weight.shape[-1]
        if weight.ndim != 2 or weight.shape[1] != below or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"layer {layer}: weights {tuple(weight.shape)} and biases {tuple(bias.shape)} do not chain; "
                f"needed are (outputs, {below}) and (outputs,)"
            )
        if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise ValueError(f"layer {layer}: weights or biases have numbers that are not finite")


def _check_rows(name: str, x: Tensor, other: str, y: Tensor, n: int, m: int) -> None:
    if x.ndim != 2 or x.shape[1] != n or y.shape != (len(x), m) or not len(x):
        raise ValueError(
            f"{name} {tuple(x.shape)} and {other} {tuple(y.shape)} do not fit; needed are (R, {n}) and (R, {m}), R ≥ 1"
        )
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} has {int((~torch.isfinite(x)).sum())} numbers that are not finite")
    if not ((y == 0) | (y == 1)).all():
        raise ValueError(f"{other} must be 0 or 1")


def _check_settings(
    task: Task,
    hidden: Sequence[int],
    training: Training,
    steps: dict[str, list[float]],
    seeds: Sequence[int],
    threshold: float,
    tolerance: float | None,
    phases: Sequence[str],
    random_scores: Sequence[str],
) -> None:
    n, m = task.inputs.shape[1], task.targets.shape[1]
    _check_rows("task.inputs", task.inputs, "task.targets", task.targets, n, m)
    _check_rows("task.test_inputs", task.test_inputs, "task.test_targets", task.test_targets, n, m)
    if not len(hidden) or min(hidden) < 1:
        raise ValueError(f"hidden={list(hidden)} must name at least one layer, each of at least 1 unit")
    rate, decay = training.learning_rate, training.weight_decay
    if not (0 < rate < math.inf and 0 <= decay < math.inf) or training.batch_size < 1 or training.epochs < 1:
        raise ValueError(
            f"{training}: needed are a rate above 0, at least 1 row and 1 epoch, and a decay of at least 0, all finite"
        )
    if not phases or set(phases) - set(PHASES) or len(set(phases)) < len(phases):
        raise ValueError(f"phases={tuple(phases)} must be 'units', 'edges', or both, each once")
    if unknown := set(random_scores) - set(PHASES):
        raise ValueError(f"random_scores names {unknown.pop()!r}; choose from 'units', 'edges'")
    for name in phases:
        if not steps[name] or not all(0 < step < 100 for step in steps[name]):
            raise ValueError(f"{name[:-1]}_steps={steps[name]} must be one or more percentages between 0 and 100")
    if not len(seeds):
        raise ValueError("seeds is empty; at least one is needed")
    if not 0 < threshold <= 1 or (tolerance is not None and not 0 <= tolerance < 1):
        raise ValueError(f"threshold={threshold} must be in (0, 1], tolerance={tolerance} in [0, 1)")
