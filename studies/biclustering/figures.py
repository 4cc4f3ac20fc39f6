"""The figures and tables of the biclustering chapter, each from the record alone.

Those that look at one network on one data set take a :class:`claims.Setting`; those that compare take the
:class:`records.Results`. Every figure says in small print below it what it is made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from companion.records import Results
from companion.reports import DATASETS, spaced
from modutils import data
from modutils.plotting import (
    COLORS,
    DIVERGING,
    GREY,
    WIDTH,
    band_curves,
    diverging_image,
    figure,
    heat_table,
    interval_dots,
    letters,
    note,
    tiles,
)
from modutils.statistics import Interval, mean_interval
from studies.biclustering import cells
from studies.biclustering.claims import FORM, Setting, area

METHODS = {
    "deeplift": "DeepLIFT",
    "gradient_x_activation": "gradient × activation",
    "conductance": "conductance",
    "integrated_gradients": "integrated gradients",
    "internal_influence": "internal influence",
    "guided_backprop": "guided backprop",
}
LAYERS = {
    ("cnn", "act1"): "CNN, convolution 1",
    ("cnn", "act2"): "CNN, convolution 2",
    ("cnn", "act3"): "CNN, dense",
    ("mlp", "act1"): "MLP, hidden 1",
    ("mlp", "act2"): "MLP, hidden 2",
    ("mlp", "act3"): "MLP, hidden 3",
}
ACTIVATIONS = {"relu": "ReLU", "leaky_relu": "leaky", "elu": "ELU", "tanh": "tanh", "gelu": "GELU"}
_NO_TICKS: dict[str, Any] = {"xticks": [], "yticks": []}
BARS = "bars: 95\u00a0% intervals over training seeds"
BANDS = "bands: 95\u00a0% intervals over training seeds"


def images_used(of: Setting) -> int:
    """How many test images the matrix has."""
    values = of.values("structure")[0][FORM]
    return int(values["label_table"].sum() + values["labels"]["unassigned"])


def _caption(made: Figure, of: Setting, *parts: str, seeds: int | None = None) -> Figure:
    """Data, layer and n in small print below a figure, and more; the figure."""
    seeds = seeds or len(of.values("structure"))
    trained = f"{seeds} training seeds" if seeds > 1 else "training seed 0"
    images = f"{DATASETS[of.where['dataset']]}, {spaced(images_used(of))} test images"
    where = LAYERS[of.where["model"], of.where["layer"]]
    return note(made, "; ".join((images, where, trained, *parts)) + ".")


# --- the idea ---------------------------------------------------------------------------------------------------------


@figure
def idea() -> Figure:
    """The paper's idea on a made-up layer of 18 units and 30 samples in three planted modules."""
    generator = np.random.default_rng(4)
    unit_module, sample_module = generator.integers(0, 3, 18), generator.integers(0, 3, 30)
    same = unit_module[:, None] == sample_module
    scores = np.where(same, generator.gamma(2.0, 0.5, same.shape), generator.normal(0, 0.12, same.shape))
    by_unit, by_sample = np.argsort(unit_module, kind="stable"), np.argsort(sample_module, kind="stable")

    made = plt.figure(figsize=(WIDTH, 3.1))
    network, raw, ordered = made.subplots(1, 3, width_ratios=(1.05, 1, 1))
    columns = [np.linspace(0.1, 0.9, count) for count in (5, 18, 5, 3)]
    columns[1] = np.linspace(0, 1, 18)
    for left, (below, above) in enumerate(pairwise(columns)):
        for start in below:
            for end in above:
                network.plot([left, left + 1], [start, end], color="#dddddd", linewidth=0.4, zorder=0)
    for place, heights in enumerate(columns):
        colors = [COLORS[module] for module in unit_module] if place == 1 else "white"
        network.scatter([place] * len(heights), heights, s=32, c=colors, edgecolors="#555555", linewidths=0.7)
    network.set_axis_off()
    network.set_title("pick a layer")
    network.text(1, -0.07, "18 units", ha="center", va="top")
    network.set_ylim(-0.2, 1.03)

    for ax, entries, title in (
        (raw, scores, "score its units"),
        (ordered, scores[by_unit][:, by_sample], "sort into modules"),
    ):
        ax.imshow(entries, cmap=DIVERGING, vmin=-2, vmax=2, aspect="auto")
        ax.set(title=title, xlabel="samples", ylabel="units", **_NO_TICKS)
        ax.spines[:].set_visible(True)
    for module in range(3):
        rows = np.flatnonzero(unit_module[by_unit] == module)
        inside = np.flatnonzero(sample_module[by_sample] == module)
        box = (inside[0] - 0.5, rows[0] - 0.5), len(inside), len(rows)
        ordered.add_patch(plt.Rectangle(*box, fill=False, edgecolor=COLORS[module], linewidth=2.5))
    letters([network, raw, ordered])
    return made


# --- the paper's figures ----------------------------------------------------------------------------------------------


def _matrix(of: Setting, which: str) -> tuple[Figure, Axes, dict[str, Any]]:
    picture = of.values("pictures")[0]
    thumbnail = picture[which]
    made, ax = plt.subplots(figsize=(WIDTH, 4.9))
    limit = thumbnail["limit"]
    diverging_image(ax, thumbnail["pixels"] * (limit / 127), limit, label="score e (logits)")
    units, samples = int(picture["row_sizes"].sum()), int(picture["column_sizes"].sum())
    tall, wide = thumbnail["units_per_pixel"], thumbnail["samples_per_pixel"]
    _caption(made, of, f"a pixel is the mean over {tall}\u00a0×\u00a0{wide} entries (units × samples)", seeds=1)
    ax.set(xlabel=f"{spaced(samples)} samples", ylabel=f"{spaced(units)} units", **_NO_TICKS)
    return made, ax, picture


@figure
def matrix(of: Setting) -> Figure:
    """Figure 1a: the neuron–sample matrix as it comes."""
    return _matrix(of, "raw")[0]


@figure
def matrix_in_modules(of: Setting) -> Figure:
    """Figure 1b: rows and columns sorted by module."""
    made, ax, picture = _matrix(of, "reordered")
    thumbnail = picture["reordered"]
    rows = np.cumsum(picture["row_sizes"]) / thumbnail["units_per_pixel"] - 0.5
    columns = np.cumsum(picture["column_sizes"]) / thumbnail["samples_per_pixel"] - 0.5
    for edge in rows[:-1]:
        ax.axhline(edge, color="black", linewidth=0.5)
    for edge in columns[:-1]:
        ax.axvline(edge, color="black", linewidth=0.5)
    modules = [str(module) for module in range(cells.K)]
    ax.set_yticks((rows[1:] + rows[:-1]) / 2, modules)
    filled = _filled(picture)
    ax.set_xticks([(columns[module] + columns[module + 1]) / 2 for module in filled], [modules[m] for m in filled])
    ax.tick_params(length=0)
    ax.set_xlabel(f"{spaced(int(picture['column_sizes'].sum()))} samples, by module")
    ax.set_ylabel(f"{spaced(int(picture['row_sizes'].sum()))} units, by module")
    return made


def _histogram(ax: Axes, edges: np.ndarray, counts: np.ndarray, color: str) -> None:
    share = counts / max(counts.sum(), 1)
    ax.stairs(share, edges, fill=True, color=color)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yscale("log")


@figure
def scores(of: Setting) -> Figure:
    """Figure 2: scores in the whole matrix (a) and in one block (b)."""
    picture = of.values("pictures")[0]
    made, (whole, block) = plt.subplots(2, 1, figsize=(WIDTH, 4.6), sharex=True)
    _histogram(whole, picture["edges"], picture["histogram"], GREY)
    first = _filled(picture)[0]
    _histogram(block, picture["edges"], picture["block_histograms"][first], COLORS[0])
    whole.set_title(f"whole matrix, {picture['histogram'].sum() / 1e6:.3g} million entries")
    block.set_title(f"block {first}, {picture['block_histograms'][first].sum() / 1e3:.3g} thousand entries")
    block.set_xlabel("score e (logits)")
    for ax in (whole, block):
        ax.set_ylabel("share of entries")
    _zoom(block, picture)
    letters([whole, block])
    return _caption(made, of, "each bar is one of equally wide bins; note the logarithmic scale", seeds=1)


@figure
def scores_of_every_block(of: Setting) -> Figure:
    """Figure 2b for all blocks: the paper shows one."""
    picture = of.values("pictures")[0]
    positive = of.values("structure")[0][FORM]["positive"]
    made, axes = plt.subplots(2, 5, figsize=(WIDTH, 3.7), sharex=True, sharey=True)
    for module, ax in enumerate(axes.flat):
        counts = picture["block_histograms"][module]
        ax.set_title(f"block {module}")
        if counts.sum():
            _histogram(ax, picture["edges"], counts, COLORS[0])
            words = f"{positive['fraction'][module]:.0%} > 0"
            ax.text(0.98, 0.95, words, transform=ax.transAxes, ha="right", va="top", fontsize=9)
        else:
            ax.text(0.5, 0.5, "no samples", transform=ax.transAxes, ha="center", fontsize=9)
    _zoom(axes[0, 0], picture)
    made.supxlabel("score e (logits)", fontsize=11)
    made.supylabel("share of entries", fontsize=11)
    return _caption(made, of, "“> 0”: share of the block's entries above zero", seeds=1)


def _filled(picture: Mapping[str, Any]) -> list[int]:
    """Modules that have samples."""
    return [module for module in range(cells.K) if picture["column_sizes"][module + 1]]


def _zoom(ax: Axes, picture: Mapping[str, Any]) -> None:
    """From the lowest to the highest bin that is not empty."""
    used = np.flatnonzero(picture["histogram"])
    ax.set_xlim(picture["edges"][used[0]], picture["edges"][used[-1] + 1])


@figure
def samples(of: Setting, *, show: Sequence[int] = (0, 1)) -> Figure:
    """Figure 3: random samples of two modules; of modules without samples the next ones are shown."""
    picture = of.values("pictures")[0]
    filled = _filled(picture)
    chosen = [module for module in show if module in filled]
    chosen += [module for module in filled if module not in chosen][: len(show) - len(chosen)]
    names = data.class_names(of.where["dataset"])
    made, axes = plt.subplots(1, len(chosen), figsize=(WIDTH, 3.6))
    for module, ax in zip(chosen, axes, strict=True):
        tiles(ax, picture["samples"][module])
        classes = Counter(int(label) for label in picture["sample_labels"][module])
        words = ", ".join(f"{count} × {names[label]}" for label, count in classes.most_common(2))
        rest = sum(count for _, count in classes.most_common()[2:])
        more = f", {rest} other" if rest else ""
        ax.set_title(f"module {module}\n{words}{more}", fontsize=10)
    letters(axes)
    return _caption(made, of, "25 samples of each module drawn at random, with their true classes", seeds=1)


@figure
def classes_of_modules(of: Setting) -> Figure:
    """Figure 4: true classes in every module, and the purity of the modules against simpler clusterings."""
    made, (table, dots) = plt.subplots(2, 1, figsize=(WIDTH, 6.9), height_ratios=(1.6, 1))
    counts = of.values("structure")[0][FORM]["label_table"]
    order = _by_class(counts)
    sizes = counts.sum(axis=1, keepdims=True)
    shares = np.where(sizes > 0, counts / np.maximum(sizes, 1), np.nan)
    _class_table(table, of, shares, order, text=lambda share: "" if share < 0.005 else f"{100 * share:.0f}", high=1)
    for row, module in enumerate(order):
        table.text(9.6, row, f"n = {sizes[module, 0]}", va="center", fontsize=9)
    rows = {
        "modules (paper's form)": of.numbers("structure", FORM, "labels", "purity"),
        "modules (k − 1 vectors,\nunit rows)": of.numbers("structure", "unit", "labels", "purity"),
        "k-means on the matrix": of.numbers("controls", "k-means on matrix", "k-means", "purity"),
        "k-means on activations": of.numbers("controls", "k-means on activations", "k-means", "purity"),
        "k-means on pixels": of.numbers("controls", "k-means on pixels", "k-means", "purity"),
        "samples dealt out at random": of.numbers("controls", "samples dealt out at random", FORM, "purity"),
    }
    colors = [COLORS[0]] * 2 + [GREY] * 4
    interval_dots(dots, list(rows), [mean_interval(values) for values in rows.values()], reference=0.9, colors=colors)
    dots.set_xlim(0, 1.02)
    dots.set_xlabel("purity of the grouping")
    table.set_title("classes in each module (%), one network")
    letters([table, dots])
    return _caption(made, of, "a: training seed 0", BARS, "dashed: the claim's bar of 0.9")


def _by_class(counts: np.ndarray) -> list[int]:
    """Modules in the order of their most frequent class."""
    return sorted(range(len(counts)), key=lambda module: (counts[module].argmax(), -counts[module].max()))


def _class_table(ax: Axes, of: Setting, values: np.ndarray, order: list[int], **options: Any) -> None:
    """A table of numbers by module and class."""
    names = data.class_names(of.where["dataset"])
    heat_table(ax, values[order], [f"module {module}" for module in order], names, low=0, **options)
    if names == data.CLOTHES:
        ax.set_xticks(range(10), names, rotation=35, ha="left")


def _curves(of: Setting, names: Mapping[str, str]) -> Figure:
    """Accuracy while units are removed in several orders; ``names`` are labels by name in the record."""
    made, ax = plt.subplots(figsize=(WIDTH, 4.3))
    records = of.values("ablate")
    grid = np.linspace(0, 100, len(records[0]["zero"][next(iter(names))]["curve"]))
    curves = {}
    for name, label in names.items():
        curves[f"{label}: {area(of, name).mean():.3f}"] = [values["zero"][name]["curve"] for values in records]
    band_curves(ax, grid, curves)
    ax.axhline(0.1, color=GREY, linewidth=0.8, linestyle=":")
    ax.text(1, 0.095, "guessing", fontsize=9, color=GREY, va="top")
    ax.set(xlim=(0, 100), ylim=(0, 1.01), xlabel="units removed (%)", ylabel="accuracy")
    ax.legend(title="area under the curve", alignment="left", loc="lower left", bbox_to_anchor=(0, 0.11))
    measured = records[0]["samples"]
    words = f"modules found on the first {measured} images, accuracy on the others"
    return _caption(made, of, f"k = {cells.EFFORTS[of.where['dataset']].k_ablation}", words, BANDS)


@figure
def removal(of: Setting) -> Figure:
    """Figure 5a: accuracy while units are removed by module, greedily, at random."""
    return _curves(
        of,
        {
            f"deeplift/{FORM}/mass": "by module",
            "deeplift/greedy mean": "greedy, top units first",
            "random": "random units",
        },
    )


@figure
def removal_by_method(of: Setting) -> Figure:
    """Figure 5b: the same by module, with modules from each attribution method; thin, greedily by the same method."""
    made = _curves(of, {f"{method}/{FORM}/mass": label for method, label in METHODS.items()})
    (ax,) = made.axes
    for line, method in zip(list(ax.lines), METHODS, strict=False):
        greedy = np.mean([values["zero"][f"{method}/greedy mean"]["curve"] for values in of.values("ablate")], axis=0)
        ax.plot(line.get_xdata(), greedy, color=line.get_color(), linestyle=line.get_linestyle(), linewidth=0.8)
    return made


# --- beyond the paper -------------------------------------------------------------------------------------------------

_CONTROLS: dict[str, tuple[str, ...]] = {
    "trained, predicted class": ("predicted class", FORM),
    "… mean image as baseline": ("predicted class, mean image as baseline", FORM),
    "untrained, same classes": ("untrained, predicted class of the trained", FORM),
    "untrained, true labels": ("untrained, label", FORM),
    "untrained, its own prediction": ("untrained, its own predicted class", FORM),
    "trained, runner-up class": ("runner-up class", FORM),
    "trained, random class": ("random class", FORM),
    "trained, activations only": ("no target: activations", FORM),
    "trained, size over classes": ("no target: size over classes", FORM),
    "untrained, activations only": ("untrained, activations", FORM),
    "k-means on pixels": ("k-means on pixels", "k-means"),
    "samples dealt out at random": ("samples dealt out at random", FORM),
}


@figure
def controls(of: Setting) -> Figure:
    """Claim B7: how well sample clusters agree with the classes, by what the matrix was told."""
    made, ax = plt.subplots(figsize=(WIDTH, 5.2))
    intervals = [mean_interval(of.numbers("controls", *path, "nmi")) for path in _CONTROLS.values()]
    colors = [COLORS[1] if "untrained" in name else COLORS[0] for name in _CONTROLS]
    colors[-2:] = [GREY, GREY]
    interval_dots(ax, list(_CONTROLS), intervals, colors=colors, reference=intervals[0].mean)
    for row, (control, *_) in enumerate(_CONTROLS.values()):
        if control in ("runner-up class", "random class"):
            with_target = mean_interval(of.numbers("controls", control, FORM, "nmi_with_target"))
            label = "NMI with the class it was told" if control == "random class" else None
            ax.plot(with_target.mean, row, "o", color=COLORS[0], markerfacecolor="white", label=label)
    ax.legend(loc="lower right", handletextpad=0.2, frameon=True, framealpha=1, edgecolor="none")
    for edge in (1.5, 4.5, 6.5, 9.5):
        ax.axhline(edge, color="#bbbbbb", linewidth=0.8)
    ax.set_xlim(0, 1.03)
    ax.set_xlabel("NMI of sample clusters and true classes")
    return _caption(made, of, "blue: trained, orange: untrained, grey: without a network", BARS)


@figure
def places(of: Setting) -> Figure:
    """Claim B8: where the units of the modules sit, and five permutation tests."""
    modules = of.values("pictures")[0]["unit_modules"].astype(int)
    channels, height, width = modules.shape
    made = plt.figure(figsize=(WIDTH, 7.6))
    upper, middle, lower = made.subfigures(3, 1, height_ratios=(1.15, 1.15, 1.25), squeeze=False)[:, 0]
    counts = np.array([(modules == module).sum(axis=0) for module in range(cells.K)])
    expected = np.maximum(counts.mean(axis=(1, 2), keepdims=True), 1e-9)
    first = upper.subplots(2, 5, subplot_kw=_NO_TICKS)
    for module, ax in enumerate(first.flat):
        image = ax.imshow(counts[module] / expected[module], cmap=DIVERGING, vmin=0, vmax=2)
        ax.set_ylabel(f"{module}", rotation=0, ha="right", va="center")
    bar = upper.colorbar(image, ax=first, fraction=0.03, extend="max")
    bar.set_label("units ÷ even spread")
    second = middle.subplots(2, 8, subplot_kw=_NO_TICKS)
    for channel, ax in enumerate(second.flat):
        ax.imshow(np.ones((height, width)), cmap="Greys", vmin=0, vmax=8)
        for (row, column), module in np.ndenumerate(modules[channel]):
            neighbours = [
                modules[channel, y, x]
                for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
                if 0 <= y < height and 0 <= x < width
            ]
            if module >= 0 and module in neighbours:
                ax.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, color=COLORS[4], linewidth=0))
            ax.text(column, row, "–" if module < 0 else module, ha="center", va="center", fontsize=8)
        ax.set_title(f"{channel}", fontsize=9, loc="center", pad=2)
    tests = {
        "module and channel (NMI)": "channel",
        "module and position (NMI)": "position",
        "neighbours alike, any shuffle": "neighbours:all",
        "… shuffled within channels": "neighbours:within_channel",
        "… shuffled within positions": "neighbours:within_position",
    }
    third = lower.subplots()
    z = [mean_interval(of.numbers("structure", FORM, "space", name, "z")) for name in tests.values()]
    interval_dots(third, list(tests), z, reference=0)
    third.axvspan(-2, 2, color="#eeeeee", zorder=0)
    third.set_xlabel("standard deviations above chance")
    upper.suptitle(
        r"$\bf{a}$  where the units of modules 0 to 9 sit, all channels together", x=0.01, ha="left", fontsize=11
    )
    middle.suptitle(r"$\bf{b}$  module of every unit in channels 0 to 15", x=0.01, ha="left", fontsize=11)
    third.set_title(r"$\bf{c}$  tests against shuffled units")
    shown = f"a, b: training seed 0, {height}\u00a0×\u00a0{width} positions, {channels} channels"
    beside = "b: orange where a neighbour is in the same module"
    return _caption(made, of, shown, beside, f"c: {cells.EFFORTS[of.where['dataset']].draws} shuffles a seed", BARS)


@figure
def lesions_by_class(of: Setting) -> Figure:
    """Claim B13: accuracy lost when one module is removed, by class, and on own against other samples."""
    values = of.values("structure")
    by_class, counts = values[0][FORM]["lesions"]["by_class"], values[0][FORM]["label_table"]
    made, (table, dots) = plt.subplots(2, 1, figsize=(WIDTH, 6.0), height_ratios=(2.2, 1))
    high, written = max(float(100 * by_class.max()), 1.0), lambda lost: f"{lost:.0f}" if round(lost) else ""
    _class_table(table, of, 100 * by_class, _by_class(counts), text=written, cmap="Oranges", high=high)
    table.set_title("points of accuracy lost in each class, one network")
    rows = {
        "own samples": "own",
        "all other samples": "other",
        "own samples, as many\nrandom units": "random_own",
    }
    lost = [mean_interval([100 * found[FORM]["lesions"][name].mean() for found in values]) for name in rows.values()]
    interval_dots(dots, list(rows), lost, colors=[COLORS[1], COLORS[0], GREY], reference=0)
    dots.set_xlabel("points of accuracy lost, mean over modules")
    dots.locator_params(axis="x", integer=True)
    letters([table, dots])
    return _caption(made, of, "a: training seed 0, empty below 0.5 points", BARS)


@figure
def methods_side_by_side(of: Setting) -> Figure:
    """Claims B1, B12: how sparse each method's matrix is, how coherent its modules, and how far two methods agree."""
    made = plt.figure(figsize=(WIDTH, 7.4))
    upper, lower = made.subfigures(2, 1, height_ratios=(1, 1.25), squeeze=False)[:, 0]
    sparse, coherent = upper.subplots(1, 2, sharey=True)
    names = list(METHODS.values())
    for ax, path, label, reference in (
        (sparse, ("sparsity", "positive"), "share of entries above 0", 0.25),
        (coherent, ("forms", FORM, "nmi"), "NMI with the classes", None),
    ):
        found = [mean_interval(of.numbers("describe", "methods", method, *path)) for method in METHODS]
        interval_dots(ax, names, found, reference=reference)
        ax.set_xlabel(label)
        ax.set_xlim(0, 1.02)
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    sparse.set_title("sparsity")
    coherent.set_title("coherence")
    table = lower.subplots()
    agreement = np.full((len(METHODS), len(METHODS)), np.nan)
    for a, b in combinations(range(len(METHODS)), 2):
        pair = f"{cells.METHODS[a]}|{cells.METHODS[b]}"
        agreement[a, b] = of.numbers("describe", "agreement", pair, "rows").mean()
        agreement[b, a] = of.numbers("describe", "agreement", pair, "columns").mean()
    short = ["Deep-\nLIFT", "grad.\n× act.", "con-\nduct.", "integr.\ngrad.", "influ-\nence", "guided"]
    heat_table(table, agreement, names, short, low=0, high=1)
    table.set_title("agreement of two methods (ARI),\nunits above, samples below the diagonal")
    letters([sparse, coherent, table])
    return _caption(made, of, f"k = {cells.K}", BARS, "dashed: the claim's bar of 0.25", "c: means over seeds")


@figure
def number_of_modules(of: Setting) -> Figure:
    """Claim B15: singular values, and what other numbers of modules give."""
    made, (spectrum, stability) = plt.subplots(2, 1, figsize=(WIDTH, 5.6))
    values = np.array([found["k"]["singular_values"] for found in of.values("structure")])
    numbers = np.arange(1, values.shape[1] + 1)
    band_curves(spectrum, numbers, {"mean": values})
    spectrum.plot(numbers, values.mean(axis=0), "o", color=COLORS[0], markersize=4)
    spectrum.axvline(cells.K + 0.5, color=GREY, linestyle="--", linewidth=1)
    spectrum.text(cells.K + 0.6, 0.97, f"k = {cells.K}", color=GREY, va="top", transform=spectrum.get_xaxis_transform())
    spectrum.set_xticks(numbers[::1], [str(n) if n % 2 else "" for n in numbers])
    spectrum.set(xlabel="number of the singular value (the first is trivial)", ylabel="singular value", ylim=(0, 1.03))
    spectrum.set_title("is there a gap after the tenth?")
    ks = ("5", "10", "20", "40")
    rows = {
        "agreement with classes (NMI)": "nmi",
        "units, between k-means seeds (ARI)": "stability_units",
        "samples, between k-means seeds (ARI)": "stability_samples",
    }
    for index, (label, name) in enumerate(rows.items()):
        mean, low, high, _ = np.transpose([mean_interval(of.numbers("structure", "k", k, name)) for k in ks])
        at, look = np.arange(4) + 0.12 * (index - 1), {"fmt": "os^"[index], "color": COLORS[index], "label": label}
        stability.errorbar(at, mean, (mean - low, high - mean), **look)
    stability.set_xticks(range(4), ks)
    stability.set(xlabel="number of modules k", ylim=(0, 1.05), title="other numbers of modules")
    stability.grid(True, axis="y")
    stability.legend(loc="lower left")
    letters([spectrum, stability])
    return _caption(made, of, "bars and band: 95\u00a0% intervals over training seeds")


_FORMS = {
    "paper": "positive part, 4 vectors (paper)",
    "unit": "positive part, k − 1 vectors, unit rows",
    "stock": "shifted above 0 (scikit-learn)",
    "abs": "absolute values",
}


@figure
def ways_to_cluster(of: Setting) -> Figure:
    """Sensitivity: other treatments of the same matrix, and other clusterings of it."""
    made, (coherent, blocks) = plt.subplots(1, 2, figsize=(WIDTH, 3.9), sharey=True)
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for form, label in _FORMS.items():
        path = ("describe", "methods", "deeplift", "forms", form)
        rows[label] = of.numbers(*path, "nmi"), _mass_ratio(of, *path)
    rows["RevealCancel rule"] = of.numbers("compare", "RevealCancel", "nmi"), _mass_ratio(of, "compare", "RevealCancel")
    for name in ("bipartite modularity", "non-negative matrix factorization", "checkerboard biclustering"):
        label = name.replace("factorization", "factorisation")
        rows[label] = of.numbers("compare", name, "nmi"), _mass_ratio(of, "compare", name)
    colors = [COLORS[0], COLORS[0], COLORS[1], COLORS[4], *[GREY] * (len(rows) - 4)]
    labels = [label.replace(", ", ",\n", 1).replace("non-negative matrix ", "non-negative\nmatrix ") for label in rows]
    interval_dots(coherent, labels, [mean_interval(a) for a, _ in rows.values()], colors=colors)
    interval_dots(blocks, labels, [mean_interval(b) for _, b in rows.values()], colors=colors, reference=1)
    coherent.set_xlim(0, 1.02)
    coherent.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    coherent.set_xlabel("NMI with the classes")
    blocks.set_xlim(0, None)
    blocks.set_xlabel("mass share ÷ area share\nof the blocks")
    letters([coherent, blocks])
    others = len(of.numbers("compare", "checkerboard biclustering", "nmi"))
    return _caption(made, of, f"k = {cells.K}", BARS, f"grey: {others} seeds, intervals are wide for so few")


@figure
def ways_to_remove(of: Setting) -> Figure:
    """Sensitivity: area under the ablation curve by form, order, greedy rule and replacement."""
    rows: list[tuple[str, str, str, str]] = []
    for form, label in (("paper", "paper's form"), ("unit", "k − 1 vectors"), ("stock", "shifted")):
        for order, words in (("mass", "by mass"), ("density", "by density"), ("random order", "random order")):
            rows.append((f"modules, {label}, {words}", f"deeplift/{form}/{order}", "zero", COLORS[0]))
    rows += [
        ("greedy, mean score", "deeplift/greedy mean", "zero", COLORS[1]),
        ("greedy, mean positive part", "deeplift/greedy positive part", "zero", COLORS[1]),
        ("greedy, predicted class", "deeplift/greedy predicted class", "zero", COLORS[1]),
        ("greedy, size for predicted class", "deeplift/greedy size for predicted class", "zero", COLORS[1]),
        ("random units", "random", "zero", GREY),
        ("modules, set to their mean", f"deeplift/{FORM}/mass", "mean", COLORS[0]),
        ("greedy, set to their mean", "deeplift/greedy mean", "mean", COLORS[1]),
        ("random units, set to their mean", "random", "mean", GREY),
    ]
    made, ax = plt.subplots(figsize=(WIDTH, 6.2))
    intervals = [mean_interval(area(of, name, replacement)) for _, name, replacement, _ in rows]
    reference = mean_interval(area(of, f"deeplift/{FORM}/mass")).mean
    interval_dots(ax, [row[0] for row in rows], intervals, colors=[row[3] for row in rows], reference=reference)
    for edge in (2.5, 5.5, 8.5, 12.5, 13.5):
        ax.axhline(edge, color="#bbbbbb", linewidth=0.8)
    ax.set_xlabel("area under the curve\n(lower: hurts more)")
    return _caption(
        made, of, f"k = {cells.EFFORTS[of.where['dataset']].k_ablation}", BARS, "dashed: as in the paper's figure 5a"
    )


def _mass_ratio(of: Setting, *path: str) -> np.ndarray:
    """Share of the positive mass over share of the area, of the blocks, per training seed."""
    return of.numbers(*path, "mass_share") / of.numbers(*path, "area_share")


def _gain(of: Setting) -> Interval:
    """NMI of the trained minus that of the untrained network with the same targets, where the plan has controls."""
    if not any(cell.stage == "controls" and of.where.items() <= cell.params.items() for cell in of.results.cells):
        return mean_interval([])
    trained = of.numbers("controls", "predicted class", FORM, "nmi")
    return mean_interval(trained - of.numbers("controls", "untrained, predicted class of the trained", FORM, "nmi"))


@figure
def settings_side_by_side(results: Results, datasets: Sequence[str]) -> Figure:
    """Claims B1, B2, B6, B7 for every network and data set of the record: CNN and MLP, each with its seeds."""
    where = [("cnn", "act2"), ("mlp", "act1"), ("mlp", "act2")]
    settings = [Setting(results, dataset, *place) for dataset in datasets for place in where]
    names = [LAYERS[place] for _ in datasets for place in where]
    colors = [COLORS[0], COLORS[1], COLORS[1]] * len(datasets)
    blocks = "structure", FORM, "blocks"
    panels: dict[str, tuple[list[Interval], float | None]] = {
        "entries above 0 (share)": ([of.interval("structure", "sparsity", "positive") for of in settings], 0.25),
        "mass share ÷ area share": ([mean_interval(_mass_ratio(of, *blocks)) for of in settings], 4),
        "purity": ([of.interval("structure", FORM, "labels", "purity") for of in settings], 0.9),
        "NMI, trained − untrained": ([_gain(of) for of in settings], 0),
    }
    made, axes = plt.subplots(2, 2, figsize=(WIDTH, 2.4 + 0.55 * len(settings)), sharey=True)
    for ax, (title, (intervals, reference)) in zip(axes.flat, panels.items(), strict=True):
        interval_dots(ax, names, intervals, colors=colors, reference=reference)
        ax.set_title(title)
        for index in range(1, len(datasets)):
            ax.axhline(3 * index - 0.5, color="#bbbbbb", linewidth=0.8)
        if len(datasets) > 1:
            look: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 9, "color": GREY}
            for index, dataset in enumerate(datasets):
                ax.text(0.98, 3 * index - 0.45, DATASETS[dataset], transform=ax.get_yaxis_transform(), **look)
    letters(axes.flat)
    seeds = panels["purity"][0][0].n
    return note(
        made,
        f"{' and '.join(DATASETS[dataset] for dataset in datasets)}, {seeds} training seeds each; {BARS}; "
        "dashed: the claims' bars (a, b, c) and no difference (d, same classes given as targets; empty: not measured).",
    )
