# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Upstream and downstream modules
#
# When do two units of a network do the same? There are two ways to ask. Do they *respond* to the same things? Or do they *cause*
# the same things? [Lange et al. (2022)](https://arxiv.org/abs/2203.11815) ask both, of the same units, and compare the answers.
#
# [Figure ud-idea](#fig-ud-idea) shows the idea. A hidden unit stands between what drives it, *upstream*, and what it drives,
# *downstream*. Measure how alike all pairs of units are on one side. Group the units so that those in a group are more alike than one
# would expect. The groups are the modules, and how well the grouping works says how *modular* the layer is.
#
# The paper does this with eight measures on many small networks, and reports two surprises. Dropout makes networks far more modular.
# And modules found upstream are not those found downstream. It prints almost no number: the results are curves, heat maps
# and sentences. This chapter trains all its networks again and gives each sentence a rule. At hand were the text of the paper's first
# version, retold, its figures, and the authors' code.

# %% jupyter={"source_hidden": true} tags=["remove-cell"]
from companion.reading import glue, say, show_captions
from companion.study import glue_record
from studies.upstream_downstream import STUDY

show_captions("upstream_downstream.py")
glue_record(STUDY)

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
In short: of {glue:text}`n-claims` claims, {glue:text}`n-holds` hold on {glue:text}`dataset`, {glue:text}`n-in-part` hold in
part, {glue:text}`n-not` do not hold, {glue:text}`n-undecided` are undecided, and {glue:text}`n-untestable` cannot be tested. The five
that matter most:

| Claim | Verdict |
|---|---|
| Dropout raises modularity, whatever the measure ([Figure ud-3-bottom](#fig-ud-3-bottom)) | {glue:text}`U1-verdict` |
| No other regulariser does so as much ([Figure ud-3-bottom](#fig-ud-3-bottom)) | {glue:text}`U2-verdict` |
| Modules agree within a side, much less across ([Figure ud-4](#fig-ud-4)) | {glue:text}`U15-verdict` |
| Agreement among upstream measures comes from training ([Figure ud-4](#fig-ud-4)) | {glue:text}`U19-verdict` |
| Training brings the two sides a little closer ([Figure ud-4](#fig-ud-4)) | {glue:text}`U20-verdict` |

Some claims rest on the strongest penalties (U2, U8, U22, U23), under which networks change long after their accuracy has settled. At full size
these are decided after the paper's 500 epochs, and [How verdicts depend on the length of training](#sec-ud-length) shows what fewer would have said.
""")

# %% tags=["parameters"]
# "paper" shows the record of the full-size runs,
# "quick" computes the figures here, on digits
scale = "paper"
# True ignores the record and computes anew: at paper scale
# hours of work, kept in the cache folder and resumable
recompute = False
# of the small networks on this page, not of the record
seed = 0

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML

from companion import reports
from modutils import plotting
from studies.upstream_downstream import cells, figures

# Every piece of work of the chosen scale; an unknown scale is an error.
plan = cells.plan(scale)
plt.rcParams.update(plotting.STYLE)

# %% mystnb={"figure": {"name": "fig-ud-idea", "caption": "**Figure 1 of the paper**, in our drawing. (a) A hidden unit stands between what drives it, upstream, and what it drives, downstream. (b, c) Two units can be alike on one side and not on the other. (d) So every unit has two modules, one a side. Nine units are shown with the colours of both: do units that share the left colour also share the right one?"}, "image": {"alt": "A small network with one unit marked, its incoming edges orange and its outgoing ones blue; two pairs of units; nine discs of two colours each", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.idea()

# %% [markdown]
# ## The method, step by step
#
# First we do it all on networks small enough to train while you read: handwritten digits of 8×8 pixels, which come with
# scikit-learn, and two hidden layers of 32 units. Everything in this section is computed whenever the page is built.
#
# ### Many networks at once
#
# How networks are *regularised* is the knob of the paper. Write $L$ for the cross-entropy of one image and $W$ for
# all weights of a network, biases not among them. Training minimises
#
# $$\bar L + \lambda_1 \sum |W| + \lambda_2 \sum W^2,$$ (eq-ud-loss)
#
# where $\bar L$ is the mean over images, with Adam ([Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980)). The *L1* penalty $\lambda_1$ pulls small weights to zero, the *L2* penalty $\lambda_2$ keeps all weights
# short. The third knob is *dropout* ([Srivastava et al., 2014](https://jmlr.org/papers/v15/srivastava14a.html)): in every training step each hidden unit is silenced with
# probability $p$, so no unit can rely on any other. When we look at a trained network, dropout is off.
#
# Here are six networks with different settings. They start from the same weights and see the same images in the same order, so what differs
# between them is the regulariser alone. They are also trained together, as one *stack*.

# %%
from modutils import data, stacked

images, labels = data.load("digits", "train")
test_images, test_labels = data.load("digits", "test")

rates = [0.2, 0.4, 0.6]
names = ["plain", *(f"dropout {rate}" for rate in rates), "L2 0.01", "L1 0.001"]
dropout = [0, *rates, 0, 0]
l2 = [1e-5, 1e-5, 1e-5, 1e-5, 1e-2, 1e-5]
l1 = [0, 0, 0, 0, 0, 1e-3]

how = {"epochs": 60, "seeds": [seed], "batch_size": 50}
fresh = stacked.initialize([64, 32, 32, 10], seeds=[seed], copies=len(names))
stack = stacked.train(fresh, images, labels, dropout=dropout, l2=l2, l1=l1, **how).stack

right = stacked.predict(stack, test_images).argmax(dim=2) == test_labels
for name, accuracy in zip(names, right.double().mean(dim=1), strict=True):
    print(f"{name:12} {accuracy:.1%} of the test images right")

# %% [markdown]
# A stack is a matter of speed alone: the first layer of all its networks is one matrix product. Each network gets
# what it would get alone.

# %%
fourth = stacked.take(fresh, slice(3, 4))
alone = stacked.train(fourth, images, labels, dropout=rates[-1], l2=1e-5, **how).stack
error = (alone.weights[0][0] - stack.weights[0][3]).abs().max()
print(f"{names[3]}, in the stack and alone: largest difference of a weight {error:.0e}")

# %% [markdown]
# ### Four ways to be alike
#
# Take one hidden layer with $n$ units. Write $h_i(x)$ for the value of unit $i$ on image $x$, after the ReLU, and $z_i(x)$ for the same minus
# its mean over images. The test images are $x_1, \dots, x_K$, and $x_{k,d}$ is pixel $d$ of image $k$; $y_c$ is the logit of class $c$. All
# derivatives are taken at image $x_k$.
#
# Two measures look *upstream*. Units are alike if they vary together,
#
# $$S^\text{cov}_{ij} = \Bigl| \frac 1K \sum_k z_i(x_k)\, z_j(x_k) \Bigr|,$$ (eq-ud-cov)
#
# or if they are sensitive to the same pixels,
#
# $$S^\text{i-sens}_{ij} = \Bigl| \frac 1K \sum_k \sum_d \frac{\partial h_i}{\partial x_{k,d}} \frac{\partial h_j}{\partial x_{k,d}} \Bigr|.$$ (eq-ud-isens)
#
# Two measures look *downstream*. Units are alike if they move the same logits,
#
# $$S^\text{o-sens}_{ij} = \Bigl| \frac 1K \sum_k \sum_c \frac{\partial y_c}{\partial h_i} \frac{\partial y_c}{\partial h_j} \Bigr|,$$ (eq-ud-osens)
#
# or if what one does to the loss depends on the other,
#
# $$S^\text{hess}_{ij} = \Bigl| \frac 1K \sum_k \frac{\partial^2 L}{\partial h_i\, \partial h_j} \Bigr|.$$ (eq-ud-hess)
#
# The first and the last are *moments*, the other two are *gradients* ([Figure ud-measures](#fig-ud-measures)). (The paper prints the bars inside the sum.
# Its figures come from code that has them outside. [Which definition makes the published figures?](#sec-ud-definitions) shows what this does.)

# %% mystnb={"figure": {"name": "fig-ud-measures", "caption": "**Figure 2 of the paper**, in our drawing. Eight measures of how alike two units are: two sides, two kinds of information, raw or normalised."}, "image": {"alt": "Four cards with a formula each, upstream on the left and downstream on the right, moments above gradients; below them the raw and the normalised form", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.measures_overview()

# %% [markdown]
# Now for two units of the first layer of the network with most dropout: the pair that varies together most. The last four lines
# of the cell are the four equations. `vmap(jacrev(f))` is PyTorch for "all derivatives of $f$, for every image".

# %%
from torch.func import hessian, jacrev, vmap
from torch.nn.functional import cross_entropy

network = stacked.network(stack, 3).requires_grad_(False)
below, above = network[1:3], network[3:]  # up to the first ReLU, and the rest
x = test_images.flatten(1)
h = below(x)

covariance = torch.cov(h.T, correction=0).fill_diagonal_(0).abs()
i, j = divmod(int(covariance.argmax()), len(covariance))

z = h - h.mean(dim=0)
dh_dx = vmap(jacrev(below))(x)  # images × units × pixels
dy_dh = vmap(jacrev(above))(h)  # images × classes × units
d2L = vmap(hessian(lambda h, label: cross_entropy(above(h), label)))(h, test_labels)
by_hand = {
    "covariance": (z[:, i] * z[:, j]).mean().abs(),
    "input_sensitivity": (dh_dx[:, i] * dh_dx[:, j]).sum(dim=1).mean().abs(),
    "output_sensitivity": (dy_dh[:, :, i] * dy_dh[:, :, j]).sum(dim=1).mean().abs(),
    "loss_hessian": d2L[:, i, j].mean().abs(),
}

# %% [markdown]
# The library gives all pairs at once, for any layer of any network. For networks with ReLU it needs no derivatives: such a network is
# linear between its kinks, and the sums above collapse into a few matrix products.

# %%
from modutils import similarity

for measure, value in by_hand.items():
    S = similarity.unit_similarity(network, "act1", test_images, measure=measure)
    print(f"{measure:18}  by hand {value:.6f}  by the library {S[i, j]:.6f}")

# %% mystnb={"figure": {"name": "fig-ud-pair", "caption": "The two units of the first layer that vary together most. Upstream: (a, b) the weights from each pixel, on one scale; (c) the values of both units on all test images. Downstream: (d) how a logit changes with each unit, on average. Look whether the two pairs of pictures are alike in the same way."}, "image": {"alt": "Two small maps of weights, a scatter plot of the values of two units, and bars of their effect on ten logits", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, axes = plt.subplot_mosaic(
    [["a", "b", "c"], ["d", "d", "d"]], figsize=(plotting.WIDTH, 4.6), height_ratios=(1.2, 1)
)
weights = network.hidden1.weight
limit = float(weights[[i, j]].abs().max())
for letter, unit in (("a", i), ("b", j)):
    axes[letter].imshow(weights[unit].reshape(8, 8), cmap=plotting.DIVERGING, vmin=-limit, vmax=limit)
    axes[letter].set(xticks=[], yticks=[], title=f"unit {unit}")
axes["c"].plot(h[:, i], h[:, j], ".", markersize=3)
axes["c"].set(xlabel=f"unit {i}", ylabel=f"unit {j}", title="values", box_aspect=1)
for place, unit in enumerate((i, j)):
    axes["d"].bar(np.arange(10) + 0.4 * place - 0.2, dy_dh[:, :, unit].mean(dim=0), 0.4, label=f"unit {unit}")
axes["d"].axhline(0, color="black", linewidth=0.8)
axes["d"].set(xticks=range(10), xlabel="logit of class", ylabel="change", title="mean effect on the logits")
axes["d"].legend()
plotting.letters(list(axes.values()))
plt.show()

# %% [markdown]
# A unit with large values has large similarities to all others. The *normalised* form takes this out: it divides by what there is of
# each unit,
#
# $$S'_{ij} = \frac{S_{ij}}{\sqrt{S_{ii}\, S_{jj}}},$$ (eq-ud-normal)
#
# so it lies between 0 and 1. For the covariance this is the size of the correlation. Four measures, raw and normalised, make the
# eight of the paper.
#
# ### From similarities to modules
#
# Think of the layer as a graph: units are nodes, and $S_{ij}$ is the weight of the edge between $i$ and $j$. A good module has heavy
# edges inside and light edges to the rest. But some units have heavy edges to everybody. So compare with what one would *expect*: if all units
# kept the sum of their edges and these fell at random, the edge between $i$ and $j$ would have the weight $k_i k_j$, where
#
# $$\tilde A_{ij} = \frac{S_{ij}}{\sum_{a \ne b} S_{ab}} \ (i \ne j), \qquad k_i = \sum_{j \ne i} \tilde A_{ij}.$$ (eq-ud-adjacency)
#
# The diagonal plays no part: how alike a unit is to itself says nothing about modules, so $\tilde A_{ii} = 0$.
#
# Newman's *modularity* ([Newman, 2006](https://doi.org/10.1073/pnas.0601602103)) of a partition into modules is the weight inside modules beyond this expectation,
#
# $$Q = \sum_{i, j \text{ in the same module}} \bigl(\tilde A_{ij} - k_i k_j\bigr).$$ (eq-ud-q)
#
# It is 0 for one single module, and close to 1 only for many modules without any edge between them. In matrix form, with
# $P_{ic} = 1$ if unit $i$ is in module $c$ and else 0, it takes four lines.

# %%
from modutils import modularity

S = similarity.unit_similarity(network, "act1", test_images, measure="covariance")
S = similarity.normalize(S).numpy()
partition = modularity.spectral_modules(S).labels

A = S - np.diag(np.diag(S))
A = A / A.sum()
k = A.sum(axis=1)
P = (partition[:, None] == np.arange(partition.max() + 1)).astype(float)
Q = np.trace(P.T @ A @ P) - np.sum((P.T @ k) ** 2)
print(f"Q by hand {Q:.6f}, by the library {modularity.modularity(S, partition):.6f}")

# %% [markdown]
# ### Searching for the best partition
#
# The modules of the layer are the partition with the highest $Q$, written $P^*$, and this $Q^*$ is the layer's modularity. The number of
# modules need not be said beforehand. But no fast method finds $P^*$ for sure, so one searches. The paper does it in two steps.
#
# A **spectral start** splits the units in two by the signs of the leading eigenvector of $\tilde A_{ij} - k_i k_j$, then splits the halves,
# as long as $Q$ rises. Then a **Monte Carlo chain** takes a random unit at a time, looks at what $Q$ would be if the unit moved to any module, or to
# a new one, and draws its move: mostly the best, sometimes one that is a little worse. The best partition on the way counts.
#
# Where the chain ends is chance. [Figure ud-live-search](#fig-ud-live-search) lets it run 20 times, from the spectral start and from one module that
# holds all units.

# %%
steps = [10, 30, 100, 300, 1000, 3000]
starts = {"single": "from one module", "spectral": "from the spectral start"}
found = {label: np.empty((20, len(steps))) for label in starts.values()}
for start, label in starts.items():
    for (run, place), _ in np.ndenumerate(found[label]):
        # polish=False: the paper's chain and no more
        options = {"start": start, "steps": steps[place], "polish": False}
        found[label][run, place] = modularity.find_modules(S, seed=run, **options).q

# Ours: the library's search as it comes
search = {"start": "leiden", "steps": 1000}
ours = [modularity.find_modules(S, seed=run, **search) for run in range(20)]
lowest, highest = min(one.q for one in ours), max(one.q for one in ours)
print(f"ours, 20 seeds: Q from {lowest:.6f} to {highest:.6f}")

# %% mystnb={"figure": {"name": "fig-ud-live-search", "caption": "Modularity found by chains of different lengths on one matrix of 32 units: mean and range of 20 chains. The dashed line is the spectral start alone, the solid one our search. Look at the ranges: a single chain ends anywhere in them."}, "image": {"alt": "Two curves with ranges against the number of steps: one rises from zero, the other starts high; both end near a horizontal line", "width": "85%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(plotting.WIDTH * 0.85, 3.4))
for color, (label, q) in zip(plotting.COLORS, found.items(), strict=False):
    ax.fill_between(steps, q.min(axis=0), q.max(axis=0), color=color, alpha=0.2, linewidth=0)
    ax.plot(steps, q.mean(axis=0), "o-", color=color, label=label)
ax.axhline(modularity.spectral_modules(S).q, color=plotting.GREY, linestyle="--", label="spectral start alone")
ax.axhline(ours[0].q, color="black", label="ours")
ax.set(xscale="log", xlabel="steps of the chain", ylabel="modularity $Q$")
ax.legend()
plt.show()

# %% [markdown]
# This matters more than it seems to. Untrained and trained networks often differ in $Q$ by no more than a chain misses. And two chains on the
# *same* matrix can end in different modules, which looks like disagreement between measures where there is none. So we search harder than
# the paper did, with the library's search as it comes. *Leiden* ([Traag et al., 2019](https://doi.org/10.1038/s41598-019-41695-z)) moves units one by
# one, takes the modules it finds for units, and begins again. We run it from several starts, a local search goes on from the best, and the
# paper's chain from there.

# %% mystnb={"figure": {"name": "fig-ud-live-matrix", "caption": "Normalised covariance of the 32 units, as they come (a) and sorted by module (b); the diagonal is left out. Lines separate modules. Empty rows, if there are any, are units that never fire: they are in no module."}, "image": {"alt": "Two blue matrices side by side: an irregular one and the same sorted into darker blocks along the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.4))
modules = ours[0].labels
without_diagonal = S - np.diag(np.diag(S))
within = (without_diagonal * (modules[:, None] == modules)).sum(axis=1)
# By module, in it by similarity to the module's other units; units without a module last
order = np.lexsort((-within, modules, modules < 0))
left.imshow(without_diagonal, cmap=plotting.SEQUENTIAL, vmin=0, vmax=1)
image = right.imshow(without_diagonal[order][:, order], cmap=plotting.SEQUENTIAL, vmin=0, vmax=1)
for edge in np.flatnonzero(np.diff(modules[order])):
    right.axhline(edge + 0.5, color=plotting.COLORS[1], linewidth=1.2)
    right.axvline(edge + 0.5, color=plotting.COLORS[1], linewidth=1.2)
left.set_title("as they come")
right.set_title(f"by module, Q = {ours[0].q:.3f}")
plotting.letters([left, right])
for ax in (left, right):
    ax.set(xticks=[], yticks=[], xlabel="units")
    ax.spines[:].set_visible(True)
figure.colorbar(image, ax=[left, right], fraction=0.04, pad=0.02, shrink=0.85, label="similarity")
plt.show()

# %% jupyter={"source_hidden": true} tags=["remove-cell"]
glue("live-number", modularity.effective_number(modules))

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
How many modules are these? Some are large, some small. The paper counts them by the entropy of their sizes: with the share $r_c$ of the
units in module $c$, the *effective number* is $\exp(-\sum_c r_c \log r_c)$. It is the plain number when all have the same size, and
less otherwise. Here: {glue:text}`live-number:.1f`.
""")

# %% [markdown]
# ### Do two measures find the same modules?
#
# Two measures give two partitions of the same units. *Element-centric similarity* ([Gates et al., 2019](https://arxiv.org/abs/1706.06136)) compares them unit by
# unit: how alike are the module that holds the unit in one partition and the module that holds it in the other? For partitions of $n$ units, with
# modules of $a_c$ units in one and $b_d$ in the other, of which $m_{cd}$ are shared, it is
#
# $$\text{similarity} = \frac 1n \sum_{c, d} \frac{m_{cd}^2}{\max(a_c, b_d)}.$$ (eq-ud-similarity)
#
# It is 1 for equal partitions. But it is not 0 for unrelated ones: a few large modules share units by chance. How many depends on the sizes
# of the modules alone, so the *chance level* is computed exactly: the mean over all ways to shuffle the units.

# %%
from modutils import agreement

short = dict(zip(similarity.MEASURES, ("cov", "i-sens", "o-sens", "hess"), strict=True))
labels_of = {}
for measure, name in short.items():
    raw = similarity.unit_similarity(network, "act1", test_images, measure=measure)
    normalised = similarity.normalize(raw).numpy()
    labels_of[name] = modularity.find_modules(normalised, seed=seed, **search).labels

a, b = labels_of["cov"], labels_of["o-sens"]
in_a = a == np.unique(a)[:, None]  # modules × units
in_b = b == np.unique(b)[:, None]
shared = in_a.astype(int) @ in_b.T
largest = np.maximum(in_a.sum(axis=1)[:, None], in_b.sum(axis=1))
print("units shared by the modules of both:", shared, sep="\n")
print(f"by hand        {(shared**2 / largest).sum() / len(a):.4f}")
print(f"by the library {agreement.element_similarity(a, b):.4f}")
print(f"chance         {agreement.chance_similarity(a, b):.4f}")

# %% mystnb={"figure": {"name": "fig-ud-live-agreement", "caption": "Do the four measures find the same modules in one layer of 32 units? (a) Element-centric similarity of the modules. (b) The same minus its chance level. Compare the pairs of one side (top left, bottom right) with the pairs across."}, "image": {"alt": "Two four by four tables of similarity between the modules of four measures", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.3), sharey=True)
partitions = np.array(list(labels_of.values()))
alike = agreement.element_similarities(partitions)
beyond_chance = np.where(np.eye(len(alike), dtype=bool), np.nan, alike - agreement.chance_similarities(partitions))
plotting.heat_table(left, alike, list(labels_of), list(labels_of), low=0, high=1)
plotting.heat_table(
    right,
    beyond_chance,
    list(labels_of),
    list(labels_of),
    text="{:+.2f}",
    cmap=plotting.DIVERGING,
    low=-0.6,
    high=0.6,
)
left.set_title("similarity")
right.set_title("minus chance")
plotting.letters([left, right])
plt.show()

# %% [markdown]
# ### A first look at the regularisers
#
# All is in place for the paper's first question, on our six networks: how modular is the first layer, by four measures?

# %%
networks = {"untrained": stacked.network(fresh, 0)}
for place, name in enumerate(names):
    networks[name] = stacked.network(stack, place)
q = np.empty((len(networks), len(short)))
for row, one in enumerate(networks.values()):
    for column, measure in enumerate(short):
        raw = similarity.unit_similarity(one, "act1", test_images, measure=measure)
        q[row, column] = modularity.find_modules(raw.numpy(), seed=seed, **search).q

# %% mystnb={"figure": {"name": "fig-ud-live-q", "caption": "Modularity of the first layer of seven small networks by four raw measures: one network a row, so differences of a few hundredths mean nothing. Read the rows of dropout from top to bottom. {numref}`fig-ud-3-bottom` has the same at full size."}, "image": {"alt": "Table of modularity, seven networks by four measures", "width": "85%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(plotting.WIDTH * 0.85, 3.4))
plotting.heat_table(ax, q, list(networks), list(short.values()), low=0, text="{:.3f}")
plt.show()

# %% [markdown]
# ## The paper's figures
#
# Now the real size. The network has 784 inputs, two hidden layers of 64 units and 10 outputs. The grid has 30 settings: nine strengths of
# L2, seven of L1, fourteen of dropout; with L1 or dropout a little L2 stays on ($10^{-5}$). There are nine runs of each. Modules are searched in
# each hidden layer, with similarities from all 10 000 test images.

# %% [markdown]
# **Published numbers.** The paper prints its results as figures. Grey hollow marks and values "read off" are ours, from the authors'
# own plots of the first version, good to ±0.01.

# %%
from companion.published import table
from companion.study import open_chapter
from studies.upstream_downstream import STUDY, beyond, chooser, drawing, evidence, length, runs

chapter = open_chapter(STUDY, scale, recompute=recompute, columns=1)
record = chapter.results
dataset = chapter.datasets[0]
params = runs.main_params(scale)
main = runs.load(record, dataset, params)
early = runs.load(record, dataset, runs.early_params(scale))


# %% tags=["remove-cell"] jupyter={"source_hidden": true}
chapter.glue()
glue("epochs", params["epochs"])
glue("n-networks", main.kept.size)
glue("n-lost", int((~main.kept).sum()))
glue("n-untrained", len(main.fresh["q"]))
glue("plain-accuracy", float(100 * main["test_accuracy"][:, main.plain].mean()))
glue("self", float(np.nanmean(main.of("self_similarity"))))
glue("self-untrained", float(main.fresh["self_similarity"].mean()))
of = evidence.Evidence(record, main)
course = runs.followed(record, main)  # epochs: runs
longest = course[max(course)]
glue("longest", max(course))
glue("n-followed", len(longest.seeds))
glue("followed-settings", len(longest.settings))
glue("n-early", len(early.seeds))
glue("n-runs", len(main.seeds))
glue("n-per-run", len(main.settings))
shapes = {"64, 64": cells.FIXED, "five of 64": cells.DEEP, "256, 256": cells.WIDE}
found_shapes = {
    name: runs.load(record, dataset, own)
    for name, own in shapes.items()
    if record.recorded("modules", dataset=dataset, **own)
}
glue("n-shapes", ", ".join(f"{len(one.seeds)} of {name}" for name, one in found_shapes.items()))
fashion = runs.load(record, "fashion-mnist", cells.FIXED) if scale == "paper" else main
glue("n-fashion", len(fashion.seeds))
pairs = {row["pairs"]: row for row in table("upstream_downstream", "published_pairs")}
published_normal = pairs["raw against normalised downstream"]
glue("published-normalised", f"{published_normal['trained']:.2f} to {published_normal['untrained']:.2f}")
glue("stopped-after", float(np.median(early["best_epochs"])))

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
**How long to train?** The first version of the paper trained for 500 epochs and took the last checkpoint. The final code stops
early and keeps the best one. We train for {glue:text}`epochs` epochs at a constant rate and take the last checkpoint, as the first version
did, at an eighth of the price. Every figure says so. {glue:text}`n-followed` runs of {glue:text}`followed-settings` settings go on to
{glue:text}`longest` epochs ([How verdicts depend on the length of training](#sec-ud-length)), and [Stopping early](#sec-ud-regimes) stops early.
""")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.origin()

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
Of {glue:text}`n-networks` networks, {glue:text}`n-lost` stay below 80 % test accuracy. They are left out everywhere, as in the paper. The
least regularised networks reach {glue:text}`plain-accuracy:.1f` % on average.
""")

# %% [markdown]
# ### What do modules look like?
#
# [Figure ud-3-top](#fig-ud-3-top) is the top row of the paper's Figure 3: four matrices of one run with more and more dropout.

# %% mystnb={"figure": {"name": "fig-ud-3-top", "caption": "**Figure 3 of the paper, top.** Similarity of the 64 units of the first layer, sorted by module, for four dropout rates ({glue:text}`dataset`, {glue:text}`epochs` epochs; paper: 500). Look at the contrast between the blocks and the rest: modularity can rise because there are more blocks, or because each is more of a block."}, "image": {"alt": "Four square matrices sorted into blocks along the diagonal, with more contrast at higher dropout", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.sorted_matrices(record, dataset, params)

# %% [markdown]
# ### How does modularity depend on regularisation?
#
# The lower half of Figure 3 is the paper's first main result, [Figure ud-3-bottom](#fig-ud-3-bottom): modularity for all strengths of all three
# regularisers, for every measure.

# %% mystnb={"figure": {"name": "fig-ud-3-bottom", "caption": "**Figure 3 of the paper, bottom.** Modularity against the strength of L2, L1 and dropout ({glue:text}`dataset`, {glue:text}`epochs` epochs; paper: 500). Columns are measures, the upstream two on the left. First look at where the curves of dropout end, then at the grey bands: that is how modular a network is that was never trained."}, "image": {"alt": "Eight panels with three curves each over grey bands", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.q_curves(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U1", "U2", "U3")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
q_of = dict(zip(cells.MEASURES, main.of("q").mean(axis=2).T, strict=True))  # measure: networks × runs
cov, i_sens = (q_of[name, "raw"].T for name in ("covariance", "input_sensitivity"))
weak, strong = main.places("dropout")[0], main.places("dropout")[-1]
strong_l2 = of.last("l2")
downstream = np.mean([q_of[name, "raw"] for name in cells.ORDER[:2]], axis=0).T
published_q = {name: drawing.PUBLISHED_Q[name, "raw"] for name in drawing.BY_SIDE}
at_l2 = [published_q[name]["l2"][10**-1.5] for name in cells.ORDER[:2]]
chapter.remark(
    f"**What we see.** Input sensitivity goes from {i_sens[:, weak].mean():.2f} without dropout to "
    f"{i_sens[:, strong].mean():.2f} at the strongest, where the paper has {published_q['input_sensitivity']['dropout'][0.7]:.2f}, "
    f"and covariance from {cov[:, weak].mean():.2f} to {cov[:, strong].mean():.2f} (paper: "
    f"{published_q['covariance']['dropout'][0.7]:.2f}, after {cells.FOLLOW['epochs'] / params['epochs']:.0f} times as many epochs). "
    "The strongest L2 at which networks still learn comes close to dropout downstream. There the raw "
    f"measures reach {np.nanmean(downstream[:, strong_l2]):.2f} under it after {params['epochs']} epochs, and under the strongest dropout "
    f"{np.nanmean(downstream[:, strong]):.2f}; the paper has {min(at_l2):.2f} to {max(at_l2):.2f} for that L2. Which of the two comes first "
    "turns on how long one trains, so the claim that dropout comes first (U2) is decided after longer training than this figure shows."
)

# %% [markdown]
# The authors had expected the opposite: dropout should spread functions over many units and so *lower* modularity. They also expected L2 to do
# nothing, since it does not care about axes, and L1 to do most, since it makes weights sparse.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U6", "U7", "U10")

# %% [markdown]
# ### Do the measures find the same modules?
#
# How modular a layer is says nothing about *which* units go together. [Figure ud-4](#fig-ud-4) compares the partitions themselves, all pairs of
# measures on the same layer of the same network. This is the paper's second main result.

# %% mystnb={"figure": {"name": "fig-ud-4", "caption": "**Figures 4a and 4b of the paper.** (a) How alike the modules of two measures are, mean over all networks that count. (b) What training changes. (c) Means over the blocks of (a): within a side, and across ({glue:text}`dataset`, {glue:text}`epochs` epochs; paper: 500). In (a) look at the lower left block, upstream against downstream. In (b) look for blocks that are white: there training makes no difference."}, "image": {"alt": "Two eight by eight tables of similarity in four blocks, and dots for the means of the blocks", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.agreement_maps(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U15", "U16", "U17")

# %% [markdown]
# Part (b) subtracts what untrained networks show. Some agreement is there from the start, because two formulas share a
# factor; only the rest can be learned. In [The bake-off](bake_off.py) the two sides meet networks in which they must disagree, since what a unit
# reads and what it serves were planted apart.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U18", "U19", "U20")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
across, chance = (of.untrained_agreement(evidence.CROSS, name).mean() for name in ("similarity", "chance"))
across_now, chance_now = (of.agreement(evidence.CROSS, name).mean() for name in ("similarity", "chance"))
chapter.remark(
    f"**What we see.** In untrained networks the two sides agree to {across:.3f}, and chance alone gives {chance:.3f}: nothing "
    "in a fresh network ties what drives a unit to what it drives. After training they agree to "
    f"{across_now:.3f}, although the chance level is a little lower then, {chance_now:.3f}. So all agreement across the sides "
    "is learned, and it stays far below the agreement within a side."
)

# %% [markdown]
# Choose two measures and see their modules, in the first hidden layer of one network. A line is a unit. Left and right it stands among the units of its
# module, and its colour is its module on the left. Where two measures agree, a colour arrives in one piece. A prime marks the normalised form; grey
# units are unused on the left.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
strongest = main.places("dropout")[-1]
partitions = {
    f"dropout {main.settings[strongest].dropout:.1f}": main["labels"][0, strongest, 0],
    "plain": main["labels"][0, main.plain, 0],
    "untrained": main.fresh["labels"][0, 0],
}
measures = [drawing.NAMES[name] + "′" * (form == "normalised") for name, form in cells.MEASURES]
HTML(chooser.partition_chooser(partitions, measures, first=(next(iter(partitions)), "covariance", "loss Hessian")))

# %% [markdown]
# Before one believes these numbers, two questions must be answered. How similar would unrelated partitions be? And how similar are two searches
# on the *same* matrix? [Chance, and the noise of the search](#sec-ud-chance) does this.
#
# ### What regularisation does to the networks
#
# [Figure ud-s1](#fig-ud-s1) is the paper's Figure S1: what the networks are like whose modules we compare.

# %% mystnb={"figure": {"name": "fig-ud-s1", "caption": "**Figure S1 of the paper.** Accuracy and weights of the trained networks, without leaving any out ({glue:text}`dataset`, {glue:text}`epochs` epochs; paper: 500). Look at where test accuracy crosses 80 %, and at which regularisers make small weights."}, "image": {"alt": "Six rows of three panels: accuracies and sizes of weights against strength", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.training_outcome(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U11", "U12", "U8", "U9")

# %% [markdown]
# ### Does the search find the best partition?
#
# [Figure ud-s2](#fig-ud-s2) is Figure S2, on a random 5 % of all matrices. We add what the paper could not see: how much is still missing.

# %% mystnb={"figure": {"name": "fig-ud-s2", "caption": "**Figure S2 of the paper**, and more. (a) Modularity after the Monte Carlo steps against that of the spectral start. (b) With the spectral start and 5000 steps against 1000 steps from one module. (c) How far searches of different effort stay below the best found ({glue:text}`dataset`, {glue:text}`epochs` epochs). Compare (c) with the differences of {numref}`fig-ud-3-bottom` that you care about."}, "image": {"alt": "Two scatter plots around a diagonal, and a row of dots for six searches", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.search_gains(record, dataset, params)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U24", "U25")

# %% [markdown]
# ### First layer and second layer
#
# [Figure ud-s3](#fig-ud-s3) splits [Figure ud-3-bottom](#fig-ud-3-bottom) by layer.

# %% mystnb={"figure": {"name": "fig-ud-s3", "caption": "**Figure S3 of the paper.** Modularity against strength for each hidden layer ({glue:text}`dataset`, {glue:text}`epochs` epochs; paper: 500); panels with a coloured ground are the second layer. Compare the two layers within one measure: the effect of dropout need not be larger in the first."}, "image": {"alt": "Sixteen panels with three curves each, in four rows", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.q_by_layer(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U4")

# %% [markdown]
# ### How many modules?
#
# Is $Q^*$ higher because there are more modules, or because their units are more alike? [Figure ud-s4](#fig-ud-s4) counts them. If dropout raises $Q^*$
# while the number stays, then units of a module have become copies of each other. The paper draws just this conclusion: dropout
# makes networks *redundant*.

# %% mystnb={"figure": {"name": "fig-ud-s4", "caption": "**Figure S4 of the paper.** Effective number of modules against strength ({glue:text}`dataset`, {glue:text}`epochs` epochs; paper: 500). Look at the curves of dropout: are they flat? And at how far the others leave the grey bands of untrained networks."}, "image": {"alt": "Eight panels of the number of modules with three curves each over grey bands", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.effective_numbers(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U5", "U13", "U14")

# %% [markdown]
# ### Agreement at every strength
#
# [Figure ud-4](#fig-ud-4) averages over all settings, and nearly half of them are dropout; the claim about
# downstream agreement (U18) says what equal weights for the three regularisers give. [Figure ud-s5](#fig-ud-s5) takes the average apart.

# %% mystnb={"figure": {"name": "fig-ud-s5", "caption": "**Figure S5 of the paper**, in another form: agreement along each regulariser ({glue:text}`dataset`, {glue:text}`epochs` epochs; paper: 500). (a) The pairs of measures that the claims below are about; where the dashed line across the sides is hidden, it lies on the solid one. (b) All pairs at one strong setting of each, marked by a dotted line in (a), and (c) their difference to untrained networks. Follow the orange lines, upstream, to the right. Then look where the dashed blue line falls and the solid one does not: there, normalising changes the modules more than another measure does."}, "image": {"alt": "Three panels with five curves each for L2, L1 and dropout; below each of them a table of similarity for pairs of eight measures, and one of its difference to untrained networks", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.agreement_by_strength(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U21", "U22", "U23")

# %% [markdown]
# ### Other scores of agreement
#
# The paper says that other scores tell the same and shows only one. [Figure ud-scores](#fig-ud-scores) has the others. The last one compares the
# similarity matrices directly, without any modules.

# %% mystnb={"figure": {"name": "fig-ud-scores", "caption": "Other ways to say how alike two partitions are, against element-centric similarity ({glue:text}`dataset`, {glue:text}`epochs` epochs). Each dot is a pair of measures. A score that tells the same makes a rising curve, no matter which."}, "image": {"alt": "Six scatter plots of scores against element-centric similarity", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.other_scores(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("U26", "U27")

# %% [markdown]
# ## Claims

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
Every claim with its verdict, in three columns at full size: {glue:text}`epochs` epochs (the paper: 500), early stopping, and Fashion-MNIST
([Xiao et al., 2017](https://arxiv.org/abs/1708.07747)). Intervals are over runs: {glue:text}`n-runs`, {glue:text}`n-early` and {glue:text}`n-fashion`.
[Claims](../book/claims.md) has the rules in words and what lies behind each verdict, [How the rules changed](../book/changes.md) which rules were changed after
the record was made.
""")

# %% tags=["hide-input"] jupyter={"source_hidden": true}
chapter.lines()

# %% [markdown]
# ## What the paper leaves open
#
# ### Text and code
#
# The paper gives equations and pseudocode, and its authors published their code. They differ, and some points are only in one of them. Where
# they differ the figures come from the code, so the figures above follow the code.

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
| Point | Paper | Authors' code | Here |
|---|---|---|---|
| Bars in the similarities | inside the mean | outside | outside; both in [Figure ud-definitions](#fig-ud-definitions) |
| Normalisation | by the larger of $S_{ii}, S_{jj}$ | by $\sqrt{S_{ii} S_{jj}}$ | as the code; both in [Figure ud-definitions](#fig-ud-definitions) |
| Output sensitivity | $J J^\top$, which would compare outputs | $J^\top J$ | $J^\top J$ |
| Leading eigenvector | – | of the eigenvalue largest in size, also a negative one | of the most positive one |
| Order of the splits | the comment says last in first out | first in first out | first in first out |
| Search | 1000 steps in a comparison | one chain of 5000 steps | Leiden and a local search, then the chain, refined |
| Number of modules | all units | all units, but unused ones in no module | units with a module |
| Unused units | – | one module when partitions are compared | the same; without them in [Figure ud-unused](#fig-ud-unused) |
| L2 | "weight decay" | $\lambda_2 \sum W^2$ in the loss, through Adam | as the code |
| Epochs | – | 500 (first version), early stopping (final) | {glue:text}`epochs`; early stopping; 500 for some |
| Untrained networks | – | 500 (first version), 100 (final) | {glue:text}`n-untrained` |
""")

# %% [markdown]
# (sec-ud-definitions)=
# ### Which definition makes the published figures?
#
# Where the bars stand looks like a detail. It is not. Inside the mean, the covariance of equation [ud-cov](#eq-ud-cov) becomes the mean of
# $|z_i|\,|z_j|$. This is nearly a product of one number per unit, and such a product is just what the expectation
# $k_i k_j$ in [ud-q](#eq-ud-q) takes away. Nothing is left to find. See for yourself:

# %%
for inside in (True, False):
    given = {"measure": "covariance", "abs_inside": inside}
    raw = similarity.unit_similarity(network, "act1", test_images, **given).numpy()
    best = modularity.find_modules(raw, seed=seed, **search)
    print(f"bars {'inside' if inside else 'outside':8} Q = {best.q:.4f}")

# %% [markdown]
# [Figure ud-definitions](#fig-ud-definitions) does this at full size, for all measures and both normalisations. The published level of untrained
# networks is the test: a definition that misses it did not make the figures.

# %% mystnb={"figure": {"name": "fig-ud-definitions", "caption": "Modularity under six definitions: bars inside the mean, mean |\u00b7|, or outside, |mean|; raw, divided by the root of the product (\u221a), or by the larger of the two (max) ({glue:text}`dataset`, {glue:text}`epochs` epochs; published after 500). Dashed boxes are the published levels, above the definitions that could have made them. In (a), untrained networks, epochs make no difference: look which rows repeat the box for all four measures."}, "image": {"alt": "Four tables of modularity for six definitions and four measures, untrained and trained, with rows of published levels", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.definitions(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
levels = dict(zip(cells.MEASURES, main.fresh["q"].mean(axis=(0, 1)), strict=True))
off = max(abs(levels[key] - drawing.PUBLISHED_UNTRAINED[key]) for key in cells.MEASURES)
place = cells.VARIANTS.index(("covariance", "inside", "raw"))
chapter.remark(
    f"**What we see.** The code's definitions repeat all eight untrained levels to within {off:.3f}, which is less than one can "
    f"read off a plot. The printed covariance gives {main.fresh['variant_q'][..., place].mean():.3f}. The published figures are those of the code: "
    "bars outside, divided by the root of the product."
)

# %% [markdown]
# (sec-ud-chance)=
# ### Chance, and the noise of the search
#
# Similarities of partitions lie between two bounds that the paper does not show.
#
# * **Chance.** Shuffled modules of the same sizes are still a little alike, and the more so the fewer they are. Training changes
#   the sizes. So agreement can rise without any unit agreeing more.
# * **Ceiling.** Two searches on one and the same matrix do not always end in the same modules. No two measures can be expected to
#   agree better than a measure with itself.

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
With our search a measure agrees with itself to {glue:text}`self:.2f` on trained and {glue:text}`self-untrained:.2f` on untrained networks.
The published {glue:text}`published-normalised` between a raw downstream measure and its own normalised form must be read beside such a
ceiling, which the paper does not give.
""")

# %% mystnb={"figure": {"name": "fig-ud-chance", "caption": "{numref}`fig-ud-4` with its two bounds ({glue:text}`dataset`, {glue:text}`epochs` epochs). (a) Agreement beyond the exact chance level. White is no more than chance. (b) Means over the blocks of (a), trained and untrained. (c) The ceiling: agreement of every measure with itself when the search has another seed. The grey strip is where the paper has a measure and its own normalised form."}, "image": {"alt": "Eight by eight table of agreement beyond chance, dots for the means of its blocks, and dots for the agreement of each measure with itself", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.chance_and_ceiling(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
normal = evidence.NORMALISATION["downstream"]
chapter.remark(
    f"**What we see.** With a thorough search the ceiling is {np.nanmean(main.of('self_similarity')):.2f}. A raw downstream measure and its "
    f"normalised form agree to {of.agreement(normal).mean():.2f} in trained and {of.untrained_agreement(normal).mean():.2f} in "
    f"untrained networks, where the paper has {published_normal['trained']:.2f} and {published_normal['untrained']:.2f}. So what normalisation "
    "changes is seen more clearly here, not less: agreement is higher than published, and still well below that of two searches of one matrix."
)

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
Whether training brings the two sides closer (claim U20: {glue:text}`U20-verdict`) is decided on both numbers, with and without chance.
""")

# %% [markdown]
# ### Units that are not used
#
# A unit that never fires has no covariance and no input sensitivity: upstream it does not exist. Downstream it does, because derivatives with respect
# to $h$ do not ask whether $h$ ever changes. A unit whose outgoing weights are zero is the mirror case. So strong penalties leave different
# units unused on the two sides, and that alone makes modules differ.

# %% mystnb={"figure": {"name": "fig-ud-unused", "caption": "Top: units that are unused on either side, against strength. Bottom: agreement across sides, with them and without them ({glue:text}`dataset`, {glue:text}`epochs` epochs). Look whether the curves of agreement part where units fall out of use."}, "image": {"alt": "Curves of the number of unused units and of agreement across sides against strength", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.unused_units(main)

# %% [markdown]
# ### Are the modules of one measure good for another?
#
# Two partitions can differ and yet be equally good. A fairer question: take the modules of one measure and ask how much of the modularity
# that another measure *could* have they reach.

# %% mystnb={"figure": {"name": "fig-ud-transfer", "caption": "Modularity of one measure's matrix (rows) with another measure's modules (columns), in % of its own best, for trained (a) and untrained (b) networks ({glue:text}`dataset`, {glue:text}`epochs` epochs). 100 is as good as its own modules, 0 is no better than no modules, below 0 is worse. Compare the blocks across sides in (a) and (b)."}, "image": {"alt": "Two eight by eight tables of the share of modularity that the modules of another measure reach", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.transfer(main)


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def reached(transfer):
    """Modularity with the other side's modules over the own, summed over networks and layers, averaged over pairs."""
    total = np.nansum(transfer.reshape(-1, 8, 8), axis=0)
    share = total / np.diag(total)[:, None]
    return (share[:4, 4:].mean() + share[4:, :4].mean()) / 2


chapter.remark(
    f"**What we see.** Before training the modules of one side are worse than no modules for the other: {reached(main.fresh['transfer']):+.0%} "
    f"of its own modularity. After training they reach {reached(main.of('transfer')):+.0%}. The two sides find different partitions, but "
    "no longer unrelated ones."
)

# %% [markdown]
# (sec-ud-regimes)=
# ### Stopping early

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
The final version of the authors' code stops a network when its validation loss has not improved for six epochs, and keeps the best checkpoint.
Our networks in this regime were kept after {glue:text}`stopped-after:.0f` epochs (median). Does the effect of dropout need overlong
training?
""")

# %% mystnb={"figure": {"name": "fig-ud-regimes", "caption": "Modularity with a fixed number of epochs and with early stopping, for dropout and L2, and the epochs trained ({glue:text}`dataset`). Look at the distance between the two regimes at high dropout."}, "image": {"alt": "Curves of modularity in two regimes, dropout above L2, and below them curves of the number of epochs", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.regimes(main, early)

# %% [markdown]
# (sec-ud-length)=
# ### How verdicts depend on the length of training
#
# A penalty pulls at the weights in every step, also when the accuracy has long settled. So a claim about "the strongest L2 or L1" is a claim about
# a moment, and four of the paper's claims are of this kind. [Figure ud-length](#fig-ud-length) asks each rule four times along the same training.

# %% mystnb={"figure": {"name": "fig-ud-length", "caption": "What four rules say after several lengths of training ({glue:text}`dataset`). Dropout first (U2): by how much the best dropout raises modularity above the better of the best L2 and the best L1, for each measure. Small weights (U8): their share at the strongest L2 and L1. Form (U22): agreement of downstream measures minus that of untrained networks, for raw against normalised ones and for two of one form. Across (U23): agreement of downstream with upstream measures at the strongest L1. The signs on top are the verdict after so many epochs: holds (\u2713), in part (\u00bd), does not hold (\u2717), undecided (?). Read each panel from left to right: a verdict that changes belongs to the length, not to the regulariser."}, "image": {"alt": "Four panels of dots with intervals against the number of epochs, with a verdict above each column", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
length.verdicts_by_length(of.by_length())

# %% tags=["remove-input"] jupyter={"source_hidden": true}
first_length, *_, last_length = of.by_length().items()
before, after = (length.verdicts(one) for _, one in (first_length, last_length))
moved = [f"{name} from “{before[name]}” to “{after[name]}”" for name in after if before[name] != after[name]]
chapter.remark(
    f"**What we see.** Between {first_length[0]} and {last_length[0]} epochs "
    + (
        f"the verdict moves for {len(moved)} of {len(after)} rules: {', '.join(moved)}."
        if moved
        else "no verdict moves."
    )
    + f" Runs behind this: {len(longest.seeds)}."
)

# %% [markdown]
# [Figure ud-training](#fig-ud-training) shows the courses themselves for some settings. The published levels are those after 500 epochs.

# %% mystnb={"figure": {"name": "fig-ud-training", "caption": "Modularity along training for a few settings ({glue:text}`dataset`; the axis of epochs is logarithmic). Where known, the published level after 500 epochs is marked. Look which curves are still rising at {glue:text}`epochs` epochs: there, the figures above show less than the paper's."}, "image": {"alt": "Four panels of modularity against epochs with a curve for each setting", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
length.along_training(course)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
rate = longest.places("dropout")[-1]
late = dict(zip(cells.MEASURES, longest["q"][:, rate].mean(axis=(0, 1)), strict=True))
soon = dict(zip(cells.MEASURES, course[params["epochs"]]["q"][:, rate].mean(axis=(0, 1)), strict=True))
chapter.remark(
    f"**What we see.** With dropout {longest.settings[rate].dropout:.1f} modularity after {params['epochs']} and after {max(course)} epochs is "
    + ", ".join(
        f"{soon[name, 'raw']:.2f} and {late[name, 'raw']:.2f} for {drawing.NAMES[name]} (paper: {published:.2f})"
        for name in drawing.BY_SIDE
        for published in [drawing.PUBLISHED_Q[name, "raw"]["dropout"][0.7]]
    )
    + "."
)

# %% [markdown]
# (sec-ud-strong)=
# ### The strongest penalties
#
# The networks at the right end of the curves deserve a look of their own. [Figure ud-strong](#fig-ud-strong) follows the strongest L2 and the
# strongest L1 that leave networks to look at.

# %% mystnb={"figure": {"name": "fig-ud-strong", "caption": "The strongest L2 and L1 that leave networks to look at, along training ({glue:text}`dataset`; the axis of epochs is logarithmic). Top: modularity of the four raw measures. Middle: share of small weights, of units that are unused upstream, and test accuracy. Bottom: agreement across sides, for raw and normalised downstream measures. Where known, the published level after 500 epochs is marked. Compare what {glue:text}`epochs` epochs give with the right end."}, "image": {"alt": "Six panels in two columns, L2 and L1: modularity, shares of small weights and unused units with accuracy, and agreement, against epochs", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
length.strong_penalties(course)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
l2_top, l1_top = (longest.places(kind)[-1] for kind in ("l2", "l1"))
after_ten = [
    100 * (longest["test_accuracy"][:, place] - course[10]["test_accuracy"][:, place]).mean()
    for place in (l2_top, l1_top)
]
highest = max(course, key=lambda epochs: course[epochs]["q"][:, l2_top].mean())
raw, normalised = (longest["similarity"][:, l1_top][:, :, form:4:2, 4:].mean() for form in (0, 1))
across = {name: pairs[f"{name} downstream across the sides"]["trained"] for name in ("raw", "normalised")}
small = drawing.published_levels("sparsity", None, None, None)["l2"][10**-1.5]
chapter.remark(
    f"**What we see.** After the tenth epoch accuracy changes by {after_ten[0]:+.1f} points under the strongest L2, and by {after_ten[1]:+.1f} under "
    f"the strongest L1. The weights change more: under L2 {longest['sparsity'][:, l2_top].mean():.0%} are small after {max(course)} epochs, and "
    f"{course[params['epochs']]['sparsity'][:, l2_top].mean():.0%} after {params['epochs']} (paper: {small:.0%}). Modularity under L2, mean over the "
    f"eight measures, is highest after {highest} epochs, {course[highest]['q'][:, l2_top].mean():.2f}, and {longest['q'][:, l2_top].mean():.2f} at "
    f"the end. Under L1 raw downstream modules agree with upstream ones by {raw:.2f} at the end, and normalised ones by {normalised:.2f} (paper: "
    f"about {across['raw']} and {across['normalised']})."
)

# %% [markdown]
# ### Other data, other shapes

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
All of the paper's first version is on one data set and one shape. At full size we add Fashion-MNIST, and two shapes of the authors'
later sweeps: five hidden layers of 64, and two of 256. Runs that are recorded: {glue:text}`n-shapes`; Fashion-MNIST
{glue:text}`n-fashion`. (At quick scale these three are left out.)
""")

# %% mystnb={"figure": {"name": "fig-ud-fashion", "caption": "The raw measures of {numref}`fig-ud-3-bottom` for two data sets, one above the other ({glue:text}`epochs` epochs). Fashion-MNIST has the format of MNIST but photographs of clothes. Look whether the order of the regularisers is the same."}, "image": {"alt": "Two rows of four panels, a data set each, with three curves of modularity against strength", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
only_paper = "Computed at paper scale only."
beyond.data_sets(main, fashion) if scale == "paper" else only_paper


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def fashion_remark():
    """The two data sets in numbers; Fashion-MNIST is in the record of the full size alone."""
    words = []
    for name in ("input_sensitivity", "output_sensitivity"):
        first, second = (of.of("q").mean(axis=2)[:, :, cells.MEASURES.index((name, "raw"))] for of in (main, fashion))
        words.append(
            f"{drawing.NAMES[name]} from {np.nanmean(first[:, weak]):.2f} to {np.nanmean(first[:, strong]):.2f} on MNIST and "
            f"from {np.nanmean(second[:, weak]):.2f} to {np.nanmean(second[:, strong]):.2f} on Fashion-MNIST"
        )
    return (
        f"**What we see.** Dropout takes {'; '.join(words)}. So the effect upstream carries over to other images. "
        f"Downstream {len(fashion.seeds)} runs do not decide it: by output sensitivity modularity moves little there on average, but the interval "
        "is wide (U1)."
    )


chapter.remark(fashion_remark() if scale == "paper" else "")

# %% mystnb={"figure": {"name": "fig-ud-shapes", "caption": "Modularity of every hidden layer in networks of three shapes, at the weakest L2 and at the strongest L2 and dropout under which they still learn ({glue:text}`dataset`; 60 epochs, for the wide network 30). One panel a measure, one row a layer, the first on top. Compare the star with the circle, row by row: where along the depth does dropout do most? And by which measures?"}, "image": {"alt": "Four panels, one a measure, with a row for each of nine hidden layers of three shapes; in each row marks for an untrained, a hardly regularised and two strongly regularised networks", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.shapes(found_shapes) if scale == "paper" else only_paper


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def shapes_remark():
    """What the strongest dropout adds to input sensitivity, in the first and in the last layer of each shape."""
    words = []
    for name, of_shape in found_shapes.items():
        q = of_shape.of("q")[..., cells.MEASURES.index(("input_sensitivity", "raw"))]
        gain = np.nanmean(q[:, of_shape.well_kept("dropout")[-1]] - q[:, of_shape.plain], axis=0)
        words.append(f"{gain[0]:+.2f} and {gain[-1]:+.2f} ({name})")
    return (
        "**What we see.** Strong dropout adds to the modularity by input sensitivity, in the first and in the last layer: "
        f"{', '.join(words)}. So what it does upstream it does in every shape, and most in the layer next to the images."
    )


chapter.remark(shapes_remark() if scale == "paper" else "")

# %% [markdown]
# ### How many images does it take?
#
# Similarities are means over the test images. [Figure ud-subsets](#fig-ud-subsets) takes fewer.

# %% mystnb={"figure": {"name": "fig-ud-subsets", "caption": "Fewer images ({glue:text}`dataset`, {glue:text}`epochs` epochs). (a) Change of modularity. (b) Agreement with the modules from all test images; the last point is the agreement of two searches on all. Look where the curves of (b) fall below it: there, modules depend on the images drawn."}, "image": {"alt": "Curves of modularity and of agreement against the number of images", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
beyond.subset_sizes(record, dataset, params)

# %% [markdown]
# ### What makes this affordable
#
# Three things take time: training hundreds of networks, differentiating them on 10 000 images, and searching thousands of matrices. The networks are
# trained as stacks; the similarities have closed forms; and the search updates $Q$ with every move and does not compute it anew. Here is the
# second of these, on the small network: input sensitivity of the second layer, by derivatives and in closed form.

# %%
import time


def processor_seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def by_derivatives():
    J = vmap(jacrev(network[1:5]))(x)
    return torch.einsum("kid,kjd->ij", J, J).abs() / len(x)


def by_closed_form():
    return similarity.unit_similarity(network, "act2", test_images, measure="input_sensitivity")


slow, fast = processor_seconds(by_derivatives), processor_seconds(by_closed_form)
error = (by_derivatives() - by_closed_form()).abs().max() / by_closed_form().max()
print(f"derivatives {slow:.3f} s, closed form {fast:.3f} s: {slow / fast:.0f} times less")
print(f"largest difference: {error:.0e} of the largest entry")

# %% [markdown]
# Below are all pieces at full size, each beside what one would otherwise call, with the same result on one thread. `make bench` measures it
# anew.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
HTML(reports.benchmarks("stacked", "similarity", "modularity"))

# %% [markdown]
# ## What to take away

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
*Does dropout make networks modular?* {glue:text}`U1-value`. The claim: {glue:text}`U1-verdict`.

*More than other regularisers do?* {glue:text}`U2-value`. The claim: {glue:text}`U2-verdict`.

*Are there more modules then?* {glue:text}`U5-value`. The claim that their number hardly changes: {glue:text}`U5-verdict`.

*Do modules depend on the side one looks from?* {glue:text}`U15-value`. The claim: {glue:text}`U15-verdict`.

*Is the difference learned?* {glue:text}`U19-value` upstream, {glue:text}`U18-value` downstream. The claims that upstream
agreement comes from training and downstream agreement does not: {glue:text}`U19-verdict` and {glue:text}`U18-verdict`.
""")

# %% [markdown]
# Three lessons reach beyond these numbers. A measure is only as good as its printed definition: where the bars stand can decide everything. A number
# between 0 and 1 means little before one knows what chance gives, and what the method makes of the same data twice. And a network
# is not at rest when its accuracy is: under strong penalties its modules go on changing for hundreds of epochs ([The strongest penalties](#sec-ud-strong)).
#
# (sec-ud-record)=
# ## The record
#
# Every piece of work is one file that says how it was made, so this section is made from the record itself.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.origin_table()

# %% [markdown]
# Processor time, stage by stage; a network that came from the cache counts with its training:

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.durations()

# %% [markdown]
# ## Try it
#
# Open this page in JupyterLab (`make lab`, or the rocket above) and change three things.
#
# 1. **Push dropout further.** In *Many networks at once*, set `rates = [0.5, 0.7, 0.8]`. Does modularity rise until the
#    network stops learning, or does it turn before? Then set `"epochs": 300`: which rows of the table change?
#
#    <details>
#    <summary>What one sees (half a minute, and some minutes for the long training)</summary>
#
#    It rises up to the second rate and turns at the third, where accuracy falls as well. Trained for longer, all networks with dropout
#    are more modular, and by covariance there is no turn any more; by the other measures there still is. The plain network hardly
#    changes.
#
#    </details>
#
# 2. **Bring your own measure.** Two units are also alike if their outgoing weights point the same way. In *Do two measures find the same
#    modules?* add `W = network.hidden2.weight` and `labels_of["weights"] = modularity.find_modules(abs(W.T @ W).numpy(),
#    seed=seed, **search).labels`. Which side does it agree with?
#
#    <details>
#    <summary>What one sees (a few seconds)</summary>
#
#    With the downstream measures, and most with output sensitivity, which for the layer below the logits is made of the outgoing
#    weights.
#
#    </details>
#
# 3. **Search less.** In the same cell put `search = {"start": "spectral", "steps": 1000, "polish": False}`, which is one chain of the paper's.
#    Run it again with `seed=seed + 1`, then with 2. How much of [Figure ud-live-agreement](#fig-ud-live-agreement) changes with the seed of the search alone?
#
#    <details>
#    <summary>What one sees (half a minute)</summary>
#
#    Of the four partitions only that by covariance changes, and its agreement with the others by a few hundredths. Measures differ by
#    more than that. On a matrix of so few units one chain is nearly enough.
#
#    </details>
#
# To compute the figures of this page anew on the small digits, set `scale = "quick"` in the first code cell, or run
#
#     python -m companion execute notebooks/upstream_downstream.py -p scale=quick --output quick
#
# To compute them at full size, run `make paper`: it resumes where it was stopped, and `python -m companion verify upstream_downstream` picks
# pieces of the record at random and recomputes them.
