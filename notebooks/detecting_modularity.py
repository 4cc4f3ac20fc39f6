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
# # Detecting modularity
#
# Cut a trained network into groups of units. How would you know whether the groups mean anything? [Hod et al. (2021)](https://arxiv.org/abs/2110.08058) propose two
# signs. A group is *important* if the network does worse without it. It is *coherent* if its units go with the same features of the inputs. Both
# are compared with random groups of the same size from the same layer.
#
# [Figure dm-idea](#fig-dm-idea) shows the whole path. A network becomes a graph of its units. Spectral clustering divides the graph. What a
# cluster has of one layer, a *sub-cluster*, is then removed, or driven by an image made for it. The graph can be built from the
# activations of the units, or from the weights alone. With weights, no data ever runs through the network before the groups are tested.
#
# The paper says that even the weights alone give groups that are important and coherent. Its predecessor
# ([Filan et al., 2021](https://arxiv.org/abs/2103.03386)) asks an earlier question: are trained networks easier to cluster than chance has it? This chapter
# tests both, on MNIST and Fashion-MNIST.
#
# **What stands behind the numbers.** Of the paper itself only the abstract could be read here. The method is that of the authors' public
# code. Published numbers in this chapter come from result tables that are stored with the code of the earlier generation of the same study. They are
# yardsticks, not tables of the paper: where ours differ, a difference of generations may be the reason. The claims come from the abstract, and from what
# these tables show.

# %% jupyter={"source_hidden": true} tags=["remove-cell"]
from companion.reading import glue, say, show_captions
from companion.study import glue_record
from studies.detecting_modularity import STUDY

show_captions("detecting_modularity.py")
glue_record(STUDY)

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
In short: of {glue:text}`n-claims` claims, {glue:text}`n-holds` hold on {glue:text}`dataset`, {glue:text}`n-in-part` hold in part,
{glue:text}`n-not` do not hold, {glue:text}`n-undecided` are undecided, and {glue:text}`n-untestable` cannot be tested. The ones that matter most:

| Claim | Verdict |
|---|---|
| Trained networks are easier to cluster than their shuffles | {glue:text}`C2-verdict` |
| Pruned networks are, and by more | {glue:text}`C3-verdict` |
| Clusters of the weights give groups that are more important than random ones | {glue:text}`M1-verdict` |
| Class by class, with the published statistic, small networks show no coherence | {glue:text}`M3-verdict` |
| With images made for a group, small networks show little coherence | {glue:text}`M4-verdict` |
| Clusters of activations give important and coherent groups too | {glue:text}`M5-verdict` |
| Control of ours: where there is nothing to find, nothing is found | {glue:text}`M9-verdict` |
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
from IPython.display import HTML, Markdown

from companion import reports
from modutils import plotting
from studies.detecting_modularity import cells, cluster_figures, cut_figures, drawing, figures

# Every piece of work of the chosen scale; an unknown scale is an error.
plan = cells.plan(scale)
plt.rcParams.update(plotting.STYLE)

# %% mystnb={"figure": {"name": "fig-dm-idea", "caption": "The idea, in our drawing. (a, b) A network becomes a graph of its units. (c) Spectral clustering divides the graph; what a cluster has of one layer is a sub-cluster. (d) Random sets have as many units of the same layer. (e) Two tests: what does the network lose without the units (importance), and how far can one image drive them (coherence)? (f) Each sub-cluster has a rank among its random sets; the ranks are combined."}, "image": {"alt": "Six panels: a small network, its graph, its clusters in colours, one sub-cluster with random sets, two tests of it, and p-values that are combined", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
drawing.idea()

# %% [markdown]
# ## The method, step by step
#
# First we do it all on one small network: handwritten digits of 8×8 pixels, which come with scikit-learn, and four hidden layers of 64 units.
# Everything in this section is computed whenever the page is built.
#
# The network is trained, and then *pruned*: it trains on while more and more of its smallest weights are set to zero, layer by layer, until
# 90 % are gone ([Zhu and Gupta, 2017](https://arxiv.org/abs/1710.01878)). A dropout of 0.3 is on in training. Without it, networks as small as this one are often no
# easier to cluster than their shuffles: we chose an example with something to see.

# %%
import copy

from modutils import data, stacked, training
from studies.detecting_modularity import nets

images, labels = data.load("digits", "train")
test_images, test_labels = data.load("digits", "test")
truth = test_labels.numpy()

how = {"epochs": 40, "batch_size": 32, "seed": seed}
trained = stacked.network(nets.start("digits", "plain", seed), 0, dropout=0.3)
training.train(trained, images, labels, schedule="constant", **how)
pruned = copy.deepcopy(trained)
training.prune(pruned, images, labels, sparsity=0.9, **how)
for name, network in {"trained": trained, "pruned": pruned}.items():
    print(f"{name}: {training.accuracy(network, test_images, test_labels):.1%} of the test images right")

# %% [markdown]
# ### A network as a graph
#
# Units are nodes: the pixels, all hidden units, and the ten outputs. Two units of neighbouring layers are joined by an edge, and the weight
# of the edge is the size of the weight between them. Signs are dropped, biases play no part, and units of one layer are never joined. Write
# $W_l$ for the weights from layer $l$ to layer $l + 1$, with one row for each unit of layer $l + 1$. The adjacency matrix is
#
# $$A = \begin{pmatrix} 0 & |W_1|^\top & & \\ |W_1| & 0 & |W_2|^\top & \\ & |W_2| & 0 & \ddots \\ & & \ddots & \ddots \end{pmatrix}.$$ (eq-dm-adjacency)

# %%
from modutils import graphs

weights = graphs.layer_weights(pruned)
sizes = graphs.layer_sizes(weights)
ends = np.cumsum(sizes)

A = np.zeros((ends[-1], ends[-1]))
for W, end in zip(weights, ends, strict=False):
    above, below = slice(end, end + len(W)), slice(end - W.shape[1], end)
    A[above, below] = np.abs(W)
    A[below, above] = np.abs(W).T

print(f"layers of {sizes} units, {np.count_nonzero(A) // 2} edges")
print("equal to the library's:", np.array_equal(A, graphs.weight_graph(weights)))
print(f"{(A.sum(axis=0) == 0).sum()} units have no edge left; they belong to no cluster")

# %% [markdown]
# ### What a good division is
#
# The *degree* of node $i$ is the sum of its edges, $d_i = \sum_j A_{ij}$. The *volume* of a cluster $c$ is the sum of the degrees of its
# nodes, $\text{vol}(c) = \sum_{i \in c} d_i$. What leaves the cluster is its *cut*, $\text{cut}(c) = \sum_{i \in c,\, j \notin c} A_{ij}$.
# The *n-cut* of a division into $k$ clusters ([Shi and Malik, 2000](https://doi.org/10.1109/34.868688)) adds up the shares that leave:
#
# $$\text{n-cut} = \sum_{c=1}^{k} \frac{\text{cut}(c)}{\text{vol}(c)}.$$ (eq-dm-ncut)
#
# It is 0 if no edge joins two clusters, and at most $k$. Random clusters of equal volume have about $k - 1$. The lower the n-cut, the better the network
# falls into parts.
#
# Nobody can try all divisions. *Spectral clustering* ([Luxburg, 2007](https://doi.org/10.1007/s11222-007-9033-z)) solves an easier problem in which a node may belong to
# clusters by any real number. Its answer comes from the *normalised Laplacian*
#
# $$L = I - D^{-1/2} A\, D^{-1/2},$$ (eq-dm-laplacian)
#
# where $D$ has the degrees on its diagonal. Take the $k$ eigenvectors with the smallest eigenvalues and divide entry $i$ by $\sqrt{d_i}$. Now every node is a
# point in $k$ dimensions, and k-means groups the points. The sum of these $k$ eigenvalues is a floor: no division into $k$ clusters has a smaller n-cut.

# %%
from sklearn.cluster import KMeans

from modutils import spectral

k = 12
nodes = np.flatnonzero(A.sum(axis=0) > 0)
a = A[np.ix_(nodes, nodes)]
d = a.sum(axis=0)
L = np.eye(len(d)) - a / np.sqrt(d[:, None] * d)
eigenvalues, vectors = np.linalg.eigh(L)
points = vectors[:, :k] / np.sqrt(d)[:, None]
by_hand = KMeans(k, n_init=25, random_state=seed).fit_predict(points)

member = (by_hand[:, None] == np.arange(k)).astype(float)
volume = d @ member
inside = np.diag(member.T @ a @ member)
clusters = spectral.spectral_clusters(A, k, seed=seed)
print(f"n-cut by hand        {((volume - inside) / volume).sum():.6f}")
print(f"n-cut by the library {spectral.ncut(A, clusters):.6f}")
print(f"no division is below {eigenvalues[:k].sum():.6f}")

# %% mystnb={"figure": {"name": "fig-dm-live-graph", "caption": "The adjacency matrix of the pruned network (digits, one network), by layer (a) and by cluster (b); darker is a larger weight, on a scale of square roots. Lines separate layers and clusters. In (b) look how much of the weight lies in the blocks along the diagonal: the rest is what the n-cut counts."}, "image": {"alt": "Two square matrices: blocks beside the diagonal where neighbouring layers meet, and the same entries sorted into blocks along the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.5))
layer = np.repeat(np.arange(len(sizes)), sizes)
order = nodes[np.lexsort((layer[nodes], clusters[nodes]))]
for ax, shown, groups in ((left, nodes, layer), (right, order, clusters)):
    ax.imshow(np.sqrt(A[np.ix_(shown, shown)]), cmap="Greys", vmin=0, vmax=np.sqrt(np.quantile(A[A > 0], 0.8)))
    for edge in np.flatnonzero(np.diff(groups[shown])):
        ax.axhline(edge + 0.5, color=plotting.COLORS[1], linewidth=0.7)
        ax.axvline(edge + 0.5, color=plotting.COLORS[1], linewidth=0.7)
    ax.set(xticks=[], yticks=[], xlabel="units", ylabel="units")
    ax.spines[:].set_visible(True)
left.set_title("by layer")
right.set_title(f"by cluster, n-cut {spectral.ncut(A, clusters):.2f}")
plotting.letters([left, right])
plt.show()

# %% [markdown]
# ### A shortcut
#
# Every edge joins an even layer and an odd one. So the graph has two sides, and its matrix has a simple form. Let $B$ be the weights between
# even layers (rows) and odd layers (columns), and $N = D_\text{even}^{-1/2} B\, D_\text{odd}^{-1/2}$. With the nodes sorted by side,
#
# $$D^{-1/2} A\, D^{-1/2} = \begin{pmatrix} 0 & N \\ N^\top & 0 \end{pmatrix}.$$ (eq-dm-bipartite)
#
# If $N v = \sigma u$ and $N^\top u = \sigma v$, then $(u, v)/\sqrt 2$ is an eigenvector of this matrix with eigenvalue $\sigma$. So the singular
# vectors of $N$ are all we need, and these come from the smaller of $N^\top N$ and $N N^\top$. Here is the embedding of a graph of the size
# that we use later, 784 inputs and four layers of 256 units, in both ways.

# %%
import time


def timed(work):
    """What the work gives, and the seconds of processor time that it takes."""
    start = time.process_time()
    return work(), time.process_time() - start


rng = np.random.default_rng(seed)
wide = [rng.random((above, below)) for below, above in [(784, 256), (256, 256), (256, 256), (256, 256), (256, 10)]]
whole, slow = timed(lambda: spectral.embedding(graphs.weight_graph(wide), k))
short, fast = timed(lambda: spectral.layered_embedding(wide, k))
print(f"whole graph {slow:.3f} s, one block {fast:.3f} s: {slow / fast:.0f} times less")
print(f"largest difference of an eigenvalue: {np.abs(whole.eigenvalues - short.eigenvalues).max():.0e}")


# %% [markdown]
# `spectral.layered_clusters` takes this way, and `spectral.layered_ncut` computes the n-cut without the large matrix.
#
# ### Is that low?
#
# An n-cut alone says little: it depends on $k$, on the sizes of the layers, and on how many weights are zero. A sparse graph can be cut well even if
# its edges fell at random. So the weights of
# each layer are *shuffled*, zeros included, and the shuffled network is clustered with the same effort. A network is called *clusterable* if its
# n-cut $x$ is below those of $n$ shuffles. With their mean $m$, their standard deviation $s$, and the number $b$ of shuffles below $x$,
#
# $$z = \frac{x - m}{s}, \qquad p = \frac{b + 1}{n + 1}.$$ (eq-dm-shuffles)


# %%
def beside_shuffles(network, shuffles=30):
    """N-cut of a network's graph of weights, and those of its shuffles."""
    W = graphs.layer_weights(network)
    cut = spectral.layered_ncut(W, spectral.layered_clusters(W, k, seed=seed))
    null = [
        spectral.layered_ncut(shuffled, spectral.layered_clusters(shuffled, k, seed=draw))
        for draw, shuffled in zip(range(shuffles), spectral.shuffled_weights(W, seed=seed), strict=False)
    ]
    return spectral.clusterability(cut, null)


found = {"trained": beside_shuffles(trained), "pruned": beside_shuffles(pruned)}
for name, one in found.items():
    print(f"{name}: n-cut {one.ncut:.2f}, shuffles {one.null.mean():.2f} ± {one.null.std():.2f}")

# %% mystnb={"figure": {"name": "fig-dm-live-shuffles", "caption": "N-cut of the network (line) and of 30 shuffles of its weights (bars), before (a) and after pruning (b); digits, 12 clusters, one network. Look on which side of the bars the line lies, and how far away. The smallest possible p is 1/31."}, "image": {"alt": "Two histograms of the n-cut of shuffles, each with a vertical line for the network", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 2.7), sharey=True)
for ax, (name, one) in zip(axes, found.items(), strict=True):
    ax.hist(one.null, bins=10, color=plotting.COLORS[5], edgecolor="white")
    ax.axvline(one.ncut, color=plotting.COLORS[1], linewidth=2)
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="n-cut", title=f"{name}: z = {one.z:.1f}, p = {one.p:.2f}".replace("-", "−"))
axes[0].set_ylabel("shuffles")
plotting.letters(axes)
plt.show()

# %% [markdown]
# Two things deserve care. K-means does not find the best division, so both sides need the same number of restarts. And
# scaling the incoming weights of a ReLU unit up and its outgoing ones down changes the graph but not what the network does.
#
# ### Sub-clusters
#
# Clusters run through layers. But a lesion in the first layer is not comparable with one in the last. So the tests take one layer at a time. A
# *sub-cluster* is what a cluster has of one hidden layer, if that is at least two units and not the whole layer.

# %%
layers = np.split(clusters, ends[:-1])[1:5]  # the hidden ones
live = [np.flatnonzero(own >= 0) for own in layers]
subclusters = [
    (number, np.flatnonzero(own == cluster))
    for number, own in enumerate(layers)
    for cluster in range(k)
    if 2 <= (own == cluster).sum() <= 0.99 * len(live[number])
]
# The example from here on: the largest with at most half of its layer
chosen = max(
    (place for place, (number, units) in enumerate(subclusters) if len(units) <= len(live[number]) / 2),
    key=lambda place: len(subclusters[place][1]),
)
at, example = subclusters[chosen]
print(
    f"{len(subclusters)} sub-clusters; our example: {len(example)} of the {len(live[at])} live units of hidden layer {at + 1}"
)

# %% mystnb={"figure": {"name": "fig-dm-live-subclusters", "caption": "Units that each of the 12 clusters has in each layer of the pruned network (digits). A cell of a hidden layer with two units or more is a sub-cluster, unless it is the whole layer. Look whether clusters run through several layers, or are little more than one layer each: then few sub-clusters are left to test."}, "image": {"alt": "Table of the number of units, six layers by twelve clusters", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(plotting.WIDTH, 2.6))
counts = [np.bincount(own[own >= 0], minlength=k) for own in np.split(clusters, ends[:-1])]
names = ["inputs", *(f"hidden {number}" for number in range(1, 5)), "outputs"]
plotting.heat_table(ax, counts, names, [str(cluster + 1) for cluster in range(k)], text="{:.0f}", low=0)
ax.set_xlabel("cluster")
ax.xaxis.set_label_position("top")
plt.show()

# %% [markdown]
# ### Importance: remove a sub-cluster
#
# A *lesion* sets the activations of a set of units to zero and asks how many test images are still right. That alone says little: a large
# set costs more than a small one. So the same is done with 19 random sets of as many live units of the same layer. (A unit is *live* if it has
# an edge left.) PyTorch can do it with a hook. The library computes what lies below the lesion once, and gives the same integers.

# %%
from modutils import lesions


def zero(_module, _inputs, output):
    output[:, example] = 0
    return output


with pruned.get_submodule(f"act{at + 1}").register_forward_hook(zero):
    by_hook = int((training.predict(pruned, test_images).argmax(dim=1) == test_labels).sum())


def correct(number, sets, network=pruned, of=slice(None)):
    """Correct predictions per class with each set of units removed from a hidden layer."""
    return lesions.correct_counts(network, f"act{number + 1}", test_images[of], truth[of], sets)


intact = correct(0, [[]])[0]
by_library = correct(at, [example]).sum()
print(f"right of {len(truth)}: intact {intact.sum()}, without the sub-cluster {by_hook} (hook), {by_library} (library)")

# %% [markdown]
# Now for all sub-clusters. Each gets random sets of its own.

# %%
rng = np.random.default_rng(seed)
sets = [
    [units, *(rng.choice(live[number], len(units), replace=False) for _ in range(19))] for number, units in subclusters
]
right = np.array([correct(number, of) for (number, _), of in zip(subclusters, sets, strict=True)])
lost = intact.sum() - right.sum(axis=2)  # sub-clusters × (true set, then random ones)

# %% mystnb={"figure": {"name": "fig-dm-live-lesions", "caption": "Accuracy lost without a set of units: sub-clusters (diamonds) and 19 random sets of as many units of the same layer (dots); pruned network, 500 test images of digits. The arrow marks our example. Look how many diamonds are above nearly all of their dots. Some lesions cost nothing, or even help a little."}, "image": {"alt": "Columns of grey dots, each with one orange diamond, for the sub-clusters of four layers", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(plotting.WIDTH, 3.2))
percent = 100 * lost / len(truth)
of_layer = np.array([number for number, _ in subclusters])
x = np.arange(len(lost)) + of_layer  # a gap between layers
ax.plot(x, percent[:, 1:], ".", color=plotting.GREY, markersize=3, alpha=0.6)
ax.plot(x, percent[:, 0], "D", color=plotting.COLORS[1], markersize=4.5)
# An empty series for each row of the legend
ax.plot([], [], "D", color=plotting.COLORS[1], markersize=4.5, label="sub-cluster")
ax.plot([], [], ".", color=plotting.GREY, label="random sets")
top = percent[chosen].max()
ax.annotate(
    "",
    (x[chosen], top + 0.02 * percent.max()),
    (x[chosen], top + 0.15 * percent.max()),
    arrowprops={"arrowstyle": "->"},
)
present = np.unique(of_layer)
ax.set_xticks([x[of_layer == one].mean() for one in present], [f"hidden {one + 1}" for one in present])
ax.tick_params(axis="x", length=0)
ax.set_ylabel("accuracy lost (points)")
ax.legend()
plt.show()

# %% [markdown]
# Why would clusters matter more than random sets? In the last hidden layer one reason is plain: a cluster that holds an output mostly holds units
# that feed it too, and a lesion takes them all at once.
#
# The p-value of a sub-cluster is its rank. Of $n = 19$ random sets let $b$ cost more than the sub-cluster, and $t$ just as much. The authors' code
# takes $p = (b + 1)/(n + 1)$, which does not look at ties. We use the *mid-p-value*
#
# $$p = \frac{b + (t + 1)/2}{n + 1},$$ (eq-dm-midp)
#
# which counts each tie by half. [From many sub-clusters to one answer](#sec-dm-ties) shows why this matters.

# %%
from modutils import statistics

true, null = lost[:, 0], lost[:, 1:]
beyond, tied = (null > true[:, None]).sum(axis=1), (null == true[:, None]).sum(axis=1)
p = (beyond + (tied + 1) / 2) / 20
print("as the library has it:", np.allclose(p, statistics.rank_p_values(true, null)))
print(f"our example costs {percent[chosen, 0]:.1f} points, its random sets {percent[chosen, 1:].mean():.1f} on average")
print(f"p = {p[chosen]:.3f}; {(p <= 0.05).sum()} of {len(p)} sub-clusters have p of at most 0.05")

# %% [markdown]
# ### Coherence by class: who suffers?
#
# If the units of a set serve the same classes, a lesion should hurt these classes and spare the others. Let $\Delta_c$ be the change of accuracy
# in class $c$ and $\bar\Delta$ its mean over classes. The simplest measure of unevenness is the *spread*. The published one, the *normalised
# class range*, divides it by the mean change:
#
# $$\text{spread} = \max_c \Delta_c - \min_c \Delta_c, \qquad r = \frac{\text{spread}}{|\bar\Delta|}.$$ (eq-dm-range)
#
# Larger is more coherent: the damage falls on few classes. Again only the comparison with random sets counts.

# %%
from modutils import coherence

changes = (right - intact) / np.bincount(truth)  # sub-clusters × sets × classes
spread = np.ptp(changes, axis=2)
with np.errstate(divide="ignore", invalid="ignore"):
    r = spread / np.abs(changes.mean(axis=2))

library = coherence.class_ranges(changes[chosen])
print(f"spread of our example {spread[chosen, 0]:.3f}, by the library {library.spread[0]:.3f}")
print(f"normalised range      {r[chosen, 0]:.3f}, by the library {library.normalised[0]:.3f}")

# %% [markdown]
# The division does something unexpected. A set that costs nothing on average has $\bar\Delta$ near 0, so that its $r$ is huge or not defined at all. A set that
# costs much is divided by much. So $r$ *falls* with importance, and important sub-clusters tend to look incoherent next to their random sets.

# %% mystnb={"figure": {"name": "fig-dm-live-classes", "caption": "Coherence by class in the pruned network (digits). (a) Change of accuracy in each class without the sub-cluster of our example; dots are its 19 random sets. (b, c) All sub-clusters (diamonds) and all random sets (dots) by what they cost on average: the spread rises with the cost, the normalised range falls (both axes logarithmic; lesions without any cost or with a gain are left out). Far to the left are lesions whose gains and losses nearly cancel."}, "image": {"alt": "Bars of the change in ten classes with dots for random sets, and two scatter plots with opposite trends", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, axes = plt.subplot_mosaic([["a", "a"], ["b", "c"]], figsize=(plotting.WIDTH, 5.2), height_ratios=(1, 1.3))
axes["a"].bar(range(10), 100 * changes[chosen, 0], color=plotting.COLORS[1], alpha=0.7)
shift = np.linspace(-0.3, 0.3, 19)
for one in range(10):
    axes["a"].plot(one + shift, 100 * changes[chosen, 1:, one], ".", color=plotting.GREY, markersize=3)
axes["a"].axhline(0, color="black", linewidth=0.8)
axes["a"].set(xticks=range(10), xlabel="class", ylabel="change (points)", title="our example")
cost = -changes.mean(axis=2)
some = cost > 1e-9
for letter, value, name in (("b", spread, "spread"), ("c", r, "normalised range")):
    for marker, color, size, kept in (
        (".", plotting.GREY, 3, np.s_[:, 1:]),
        ("D", plotting.COLORS[1], 4.5, np.s_[:, 0]),
    ):
        axes[letter].plot(100 * cost[kept][some[kept]], value[kept][some[kept]], marker, color=color, markersize=size)
    axes[letter].set(xscale="log", yscale="log", xlabel="mean cost (points)", title=name)
plotting.letters(list(axes.values()))
plt.show()

# %% [markdown]
# ### Coherence by features: one image for all
#
# If the units of a set look for the same thing, one image can drive them all. *Feature visualisation* ([Olah et al., 2017](https://doi.org/10.23915/distill.00007)) makes
# such an image. Let $z_u(x)$ be the value of unit $u$ on image $x$, before the ReLU. For a set $S$ of units, gradient ascent looks for an image with a large
#
# $$\text{score}(S) = \sum_{u \in S} |z_u(x)|.$$ (eq-dm-score)
#
# The image is built from waves, so that it stays smooth, and 65 steps of Adam are taken. A coherent set has a higher score than random
# sets. The authors have a second statistic: the *entropy* of the network's answer to the image, which is low if the image clearly belongs to a class.

# %%
from modutils import visualization

three = [place for place, (_, units) in enumerate(subclusters) if len(units) >= 3]  # as in the authors' code
scores = np.empty((len(subclusters), 20))
pictures = {}
for number in range(4):
    of_this = [place for place in three if subclusters[place][0] == number]
    if of_this:
        every = [units for place in of_this for units in sets[place]]
        seen = visualization.feature_visualization(pruned, f"hidden{number + 1}", every, (1, 8, 8))
        scores[of_this] = seen.scores.reshape(-1, 20)
        pictures |= dict(zip(of_this, seen.images.reshape(-1, 20, 8, 8), strict=True))
above = int((scores[three, 0] > scores[three, 1:].mean(axis=1)).sum())
print(f"{len(three)} sub-clusters of three or more units; {above} score higher than their random sets on average")

# %% mystnb={"figure": {"name": "fig-dm-live-images", "caption": "Images made to drive all units of a set, for the largest sub-cluster of each hidden layer that takes up at most half of it (left, outlined) and four of its 19 random sets (right); pruned network, digits. Numbers are scores. Compare the score on the left with those of its row. Do not expect digits: the image only has to drive the units."}, "image": {"alt": "Rows of five grey images with their scores, one row a layer", "width": "90%"}} tags=["hide-input"] jupyter={"source_hidden": true}
half = [place for place in three if len(subclusters[place][1]) <= len(live[subclusters[place][0]]) / 2]
rows = [
    max(own, key=lambda place: len(subclusters[place][1]))
    for number in range(4)
    if (own := [place for place in half if subclusters[place][0] == number])
]
figure, axes = plt.subplots(len(rows), 5, figsize=(plotting.WIDTH * 0.9, 1.35 * len(rows)), squeeze=False)
for place, row in zip(rows, axes, strict=True):
    number, units = subclusters[place]
    for draw, ax in enumerate(row):
        ax.imshow(pictures[place][draw], cmap="Greys", vmin=0, vmax=1)
        ax.set_title(f"{scores[place, draw]:.1f}", fontsize=10, loc="center", pad=3)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
        if draw == 0:
            ax.spines[:].set(color=plotting.COLORS[1], linewidth=2.5)
    row[0].set_ylabel(f"hidden {number + 1},\n{len(units)} units", fontsize=10)
plt.show()

# %% [markdown]
# (sec-dm-ties)=
# ### From many sub-clusters to one answer
#
# Each of $m$ sub-clusters has a p-value $p_s$. *Fisher's method* combines them:
#
# $$X = -2 \sum_{s=1}^{m} \ln p_s.$$ (eq-dm-fisher)
#
# If the sub-clusters were no better than random sets, and the p-values independent and uniform, $X$ would follow a $\chi^2$ distribution with $2m$ degrees of freedom. A large $X$
# means that the p-values are smaller than chance has them. One p-value for the network comes out.

# %%
for name, value in {"importance": lost, "spread": spread, "score": scores[three]}.items():
    p = statistics.rank_p_values(value[:, 0], value[:, 1:])
    print(f"{name:10} X = {-2 * np.log(p).sum():6.1f}, 2m = {2 * len(p)}, p = {statistics.fisher(p):.1g}")

# %% [markdown]
# For several networks the authors take the mean of their p-values, which has a known distribution too. For many such tests they control the
# false discovery rate ([Benjamini and Hochberg, 1995](https://doi.org/10.1111/j.2517-6161.1995.tb02031.x)).
#
# **Ties.** Is the p-value of a sub-cluster uniform when there is nothing to find? Suppose that a lesion changes nothing, and none of the random ones does
# either. Then no random set is beyond the true one, $b = 0$, and the published rule gives the smallest p-value that exists, $1/20$. The mid-p-value is $1/2$.
# This is no odd case. Below are 20 pairs of units, drawn at random from the unpruned network, and the 100 test images on which the network is
# surest.

# %%
rng = np.random.default_rng(seed)
best, second = training.predict(trained, test_images).topk(2).values.T
easy = (best - second).argsort(descending=True)[:100]
pairs = [rng.choice(64, 2, replace=False) for _ in range(20 * 20)]
nothing = 100 - correct(1, pairs, trained, easy).sum(axis=1).reshape(20, 20)
print(f"{(nothing != 0).sum()} of {nothing.size} lesions change a prediction")
for rule, ties in {"published": "ignored", "mid": "mid"}.items():
    p = statistics.rank_p_values(nothing[:, 0], nothing[:, 1:], ties=ties)
    print(
        f"{rule:9} p of the first pair {p[0]:.3f}, Fisher {statistics.fisher(p, 19 if ties == 'ignored' else None):.1g}"
    )


# %% [markdown]
# (The authors take $1/40$ off every p-value before they combine, which centres them at $1/2$ if there are no ties. So do we, for the published rule.)
#
# A test is *calibrated* if it says $p \le 0.05$ in 5 % of the cases where there is nothing. To see whether it is, put random sets in the place of the true ones,
# 200 times, and look at the 200 combined p-values. (Each draw is ranked among 19 of the other draws.)


# %%
def lost_at_random(network, draws=200):
    """What random sets cost: a row for each sub-cluster of the network, a column for each draw."""
    W = graphs.layer_weights(network)
    labels = np.split(spectral.layered_clusters(W, k, seed=seed), ends[:-1])[1:5]
    rng, rows = np.random.default_rng(seed), []
    for number, own in enumerate(labels):
        live = np.flatnonzero(own >= 0)
        for size in np.bincount(own[live]):
            if 2 <= size <= 0.99 * len(live):
                drawn = [rng.choice(live, size, replace=False) for _ in range(draws)]
                rows.append(-correct(number, drawn, network).sum(axis=1))
    return np.array(rows)


def combined(table, ties):
    """Fisher's p-value with each column in turn as the true sets, against 19 other columns."""
    rng, found = np.random.default_rng(seed), []
    for column, values in enumerate(table.T):
        others = rng.choice(np.delete(np.arange(table.shape[1]), column), 19, replace=False)
        p = statistics.rank_p_values(values, table[:, others], ties=ties)
        found.append(statistics.fisher(p, 19 if ties == "ignored" else None))
    return np.sort(found)


tables = {"trained": lost_at_random(trained), "pruned": lost_at_random(pruned)}

# %% mystnb={"figure": {"name": "fig-dm-live-calibration", "caption": "Is the test of importance calibrated? Combined p-values with random sets in the place of all sub-clusters, 200 draws, sorted, with the published rule for ties and with mid-p-values, for the network before (a) and after pruning (b); digits, 500 test images. A calibrated test follows the diagonal. A curve below it finds importance where there is none; a curve above it is too careful."}, "image": {"alt": "Two panels with two rising curves each and the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.3), sharey=True)
uniform = (np.arange(200) + 0.5) / 200
false_alarms = {}
for ax, (name, table) in zip(axes, tables.items(), strict=True):
    ax.plot([0, 1], [0, 1], color=plotting.GREY, linestyle="--", linewidth=1, label="calibrated")
    for ties, label, color, line in (("ignored", "published rule", 1, "-"), ("mid", "mid-p-value", 0, "-.")):
        p = combined(table, ties)
        false_alarms[name, ties] = (p <= 0.05).mean()
        ax.plot(uniform, p, color=plotting.COLORS[color], linestyle=line, linewidth=2, label=label)
    ax.set(xlabel="expected p", title=name, aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
axes[0].set_ylabel("Fisher's p")
axes[0].legend()
plotting.letters(axes)
plt.show()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(
    "**What we see.** With the published rule "
    + " and ".join(f"{false_alarms[name, 'ignored']:.0%} of the draws in the {name} network" for name in tables)
    + " are called important at the level of 5 %. With mid-p-values it is "
    + " and ".join(f"{false_alarms[name, 'mid']:.0%}" for name in tables)
    + ". All verdicts on groups in this chapter use mid-p-values."
)

# %% [markdown]
# Fisher's method also takes the sub-clusters as independent, and they are not quite: they share a layer and the test images. So the chapter has a
# second test. It permutes the labels within layers and compares the whole partition with whole random partitions ([Phipson and Smyth, 2010](https://doi.org/10.2202/1544-6115.1585)).
#
# How *large* is an effect? The authors take $2t / (t + \bar r)$, where $t$ is the statistic of a sub-cluster and $\bar r$ its mean over the random sets: 1 means no
# difference.
#
# ### A second graph: units that vary together
#
# The other graph needs data. Its nodes are the hidden units, and the weight between any two of them is the square of the *rank correlation* of
# their values before the ReLU, on training images:
#
# $$A_{ij} = \rho_{ij}^2 \ (i \ne j), \qquad A_{ii} = 0.$$ (eq-dm-correlation)
#
# Here units of one layer can be joined, and so can units of distant layers. How much do the clusters of the two graphs have in common? *Normalised mutual information*
# (NMI) is 1 for equal partitions, and near 0 for unrelated ones. Small clusters bring it above 0 by chance, so we permute one of the two as well.

# %%
from sklearn.metrics import normalized_mutual_info_score

from modutils.units import layer_activations

values = [layer_activations(pruned, f"hidden{number}", images) for number in range(1, 5)]
graph = graphs.correlation_graph(np.concatenate(values, axis=1))
by_activations = spectral.spectral_clusters(graph, k, seed=seed)

by_weights = np.concatenate(layers)
both = (by_weights >= 0) & (by_activations >= 0)
one, other = by_weights[both], by_activations[both]
rng = np.random.default_rng(seed)
chance = [normalized_mutual_info_score(one, rng.permutation(other)) for _ in range(100)]
print(f"{len(graph)} units, n-cut {spectral.ncut(graph, by_activations):.2f}")
print(
    f"NMI with the clusters of the weights {normalized_mutual_info_score(one, other):.3f}, by chance {np.mean(chance):.3f}"
)

# %% mystnb={"figure": {"name": "fig-dm-live-activations", "caption": "The graph of activations: squared rank correlation of the hidden units of the pruned network (digits), by layer (a) and by cluster (b). Lines separate layers and clusters; units with constant values are left out. Unlike {numref}`fig-dm-live-graph`, nearly every pair of units has an edge. Look for blocks in (b) that are darker than their surroundings."}, "image": {"alt": "Two square blue matrices, by layer and sorted by cluster into darker blocks along the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.4))
active = np.flatnonzero(by_activations >= 0)
layer = np.repeat(np.arange(4), sizes[1:5])
order = active[np.lexsort((layer[active], by_activations[active]))]
for ax, shown, groups in ((left, active, layer), (right, order, by_activations)):
    image = ax.imshow(graph[np.ix_(shown, shown)], cmap=plotting.SEQUENTIAL, vmin=0, vmax=0.5)
    for edge in np.flatnonzero(np.diff(groups[shown])):
        ax.axhline(edge + 0.5, color=plotting.COLORS[1], linewidth=0.7)
        ax.axvline(edge + 0.5, color=plotting.COLORS[1], linewidth=0.7)
    ax.set(xticks=[], yticks=[], xlabel="units")
    ax.spines[:].set_visible(True)
left.set_title("by layer")
right.set_title("by cluster")
plotting.letters([left, right])
figure.colorbar(
    image, ax=[left, right], fraction=0.04, pad=0.02, shrink=0.85, label="squared correlation", extend="max"
)
plt.show()

# %% [markdown]
# (sec-dm-control)=
# ### Does it find modules that are there?
#
# A test that finds nothing proves little, unless it finds something where something is. So here is a network whose modules we know. It has ten
# groups of hidden units, one for each class, and weights only within the groups. The first layer alone is whole. Each group feeds the output of its class and no
# other.

# %%
blocks = nets.blocks("digits", seed)
planted = [own.numpy() for own in nets.groups(nets.sizes("digits"))[:-1]]

W = graphs.layer_weights(blocks)
recovered = np.split(spectral.layered_clusters(W, 10, seed=seed), ends[:-1])[1:5]
agreement = normalized_mutual_info_score(np.concatenate(planted), np.concatenate(recovered))
print(f"{training.accuracy(blocks, test_images, test_labels):.1%} of the test images right")
print(f"NMI of the planted groups with 10 clusters of the weights: {agreement:.3f}")

# %% [markdown]
# From here on `proxies.test_partition` does all of the above in one call: for every sub-cluster of a partition it gives the statistics and the p-values, and those of a
# *random partition* with the same sizes, tested in its place. [Figure dm-live-summary](#fig-dm-live-summary) is the whole study in small.

# %%
from studies.detecting_modularity import proxies

subject = {
    name: proxies.subjects(network, cells.hidden("plain"), test_images, test_labels, per_class=40)
    for name, network in {"pruned": pruned, "blocks": blocks}.items()
}
of_activations = np.split(by_activations, np.cumsum(sizes[1:5])[:-1])
tested = {
    "planted modules": proxies.test_partition(subject["blocks"], planted, seed=seed),
    "clusters of weights": proxies.test_partition(subject["pruned"], layers, seed=seed),
    "clusters of activations": proxies.test_partition(subject["pruned"], of_activations, seed=seed),
}
shown = ["importance", "normalised range", "spread", "score", "entropy"]
table = np.array(
    [
        [statistics.fisher(proxies.p_values(one, statistic, control=control)) for statistic in shown]
        for one in tested.values()
        for control in (False, True)  # the partition, and the random one in its place
    ]
)

# %% mystnb={"figure": {"name": "fig-dm-live-summary", "caption": "Fisher's p-values (mid-p) of three partitions, each above a random partition of the same layers into parts of the same sizes; darker is smaller. Planted modules are in a network that has nothing else, the clusters in the pruned network (digits, 400 test images, one network each). The rows of random partitions should have no small numbers, the first row should."}, "image": {"alt": "Table of p-values, six partitions by five statistics", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(plotting.WIDTH, 3.0))
depth = -np.log10(np.maximum(table, 1e-300))
rows = [row for name in tested for row in (name, "random")]
columns = [name.replace(" ", "\n") for name in shown]
plotting.heat_table(ax, depth, rows, columns, text=lambda x: f"{10**-x:.1g}", low=0, high=8)
plt.show()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
seen_by = [name for name, p in zip(shown, table[0], strict=True) if p < 0.01]
unseen_by = [name for name in shown if name not in seen_by]
Markdown(
    f"**What we see.** The planted modules are detected, at p < 0.01, by {', '.join(seen_by) or 'no statistic'}; for a random partition of "
    f"the same network importance has p = {table[1, 0]:.2g}. "
    + (
        f"They are not detected by {', '.join(unseen_by)}: a large p of these does not show that modules are missing. "
        if unseen_by
        else ""
    )
    + "What one small network says of its clusters is no result yet. For that we need larger networks, several of each kind, and networks that "
    "were never trained."
)

# %% [markdown]
# ## The paper's figures at full size
#
# Now the networks of the paper. An MLP has 784 pixels as inputs, four hidden layers of 256 units and 10 outputs, 1818 nodes in all. It is trained on MNIST or
# Fashion-MNIST for 20 epochs with Adam, without or with dropout of 0.5, and then pruned for 20 more epochs until 90 % of the weights of every layer are zero. So there
# are four *groups*: plain, dropout, and both of them pruned. Each has five seeds. Networks of one seed start from the same weights and see the images in the same order.
#
# **Controls.** The same networks before training. Random partitions, which are tested as if they were found. Networks with *planted* groups: their first weights are
# larger within ten groups than between them. And networks in which ten groups are true modules, because weights between them do not exist.

# %% [markdown]
# **Left out.** The paper also studies VGG networks on CIFAR-10, trained for 200 epochs, and pretrained networks on ImageNet. Neither fits two processor cores, and ImageNet is
# not free to pass on. The price is known: by the authors' stored results the clearest coherence is found in these large networks. So weak coherence in what follows *agrees* with
# them. The claims of the abstract are about the method, and small networks on these two data sets are part of the authors' own study.
#
# **Published numbers.** The body of the paper could not be read here. Open diamonds and tan spans are from result tables that the authors store beside their code of 2021. They belong
# to the predecessors of the paper, [Filan et al. (2021)](https://arxiv.org/abs/2103.03386) among them, with $k$ = 12 clusters. The paper itself has $k$ = 16. We take 12 for n-cuts and 16 for importance and coherence.

# %%
from companion.published import table
from companion.study import open_chapter
from studies.detecting_modularity import STUDY, evidence

chapter = open_chapter(STUDY, scale, recompute=recompute)
record = chapter.results
of = {reports.DATASETS[name]: evidence.Evidence(record, name) for name in chapter.datasets}
first = next(iter(of.values()))


# %% tags=["remove-cell"] jupyter={"source_hidden": true}
chapter.glue()
FURTHER = {"cnn": "CNN", "l1": "L1", "independent": "halves"}
extra = [
    np.mean([100 * one.excess("weights/global", "importance") for one in where.tested(kind, "trained")])
    for where in of.values()
    for kind in ("plain", "dropout")
]
glue("unpruned-extra", f"{min(extra):+.2f} to {max(extra):+.2f}".replace("-", "−"))
seeds = {
    name: [f"{words} {len(where.cuts(kind, 'trained'))}" for kind, words in FURTHER.items()]
    for name, where in of.items()
}
glue("further-seeds", "; ".join(f"{', '.join(words)} ({name})" for name, words in seeds.items()))


# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
**Further networks.** A small CNN, an L1 penalty, and a task whose images are two half-images. Recorded seeds: {glue:text}`further-seeds`.
""")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.origin()

# %% [markdown]
# ### Are networks clusterable?
#
# First the structure alone. An n-cut says how well a graph can be cut into $k$ parts, and less is better. What is a low n-cut? The natural yardstick is the same weights in another order: permute them
# within each layer, cluster again with the same effort, and see where the network stands ([Figure dm-ncuts](#fig-dm-ncuts)).

# %% mystnb={"figure": {"name": "fig-dm-ncuts", "caption": "N-cuts with k = 12. Dots: one network each. Grey: mean and standard deviation of the n-cuts of its 50 shuffles. Diamonds: published (2021). Look how far a dot lies left of its shuffles, and how far the shuffles themselves move with pruning."}, "image": {"alt": "Rows of dots for groups of networks beside grey bars of their shuffles, with published values as diamonds", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
cut_figures.ncuts(of)

# %% [markdown]
# The distance to the shuffles in units of their standard deviation is $z$. [Figure dm-z](#fig-dm-z) shows it with two variants. A unit's incoming weights can be scaled up and its outgoing ones down without changing what
# a ReLU network does, but the graph changes. ([The bake-off](bake_off.py) does so to networks whose modules are known.) So we also scale the incoming weights of every unit to one length first. And in a pruned network the shuffles move zeros about. So we also shuffle only the weights
# that are left, which keeps the pattern of who is joined to whom.

# %% mystnb={"figure": {"name": "fig-dm-z", "caption": "N-cut minus mean of its shuffles, in their standard deviations (the axis is linear near 0 and logarithmic further out). Dots: one network each. Diamonds: published. Triangles: after scaling every unit; squares: with shuffles that keep the pattern of zeros. Look whether triangles and squares stay on the side of the dots: if not, the finding depends on a choice that the function of the network does not."}, "image": {"alt": "Rows of dots, squares and triangles on an axis of z scores, with published values as diamonds", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
cut_figures.z_scores(of)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("C1", "C2", "C3", "C4", "C7")


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def mean_z(where, kind, state, graph="weights"):
    return np.mean([cut.of(graph).z for cut in where.cuts(kind, state)])


chapter.remark(
    lambda: (
        "**What we see.** N-cuts, shuffles and accuracies lie where the authors have them. The two variants deserve a second look. After scaling every unit's incoming weights to one length, the mean z of plain networks goes "
        + "; ".join(
            f"from {mean_z(where, 'plain', 'trained'):.1f} to {mean_z(where, 'plain', 'trained', 'unit norm'):.1f}, and of pruned ones from "
            f"{mean_z(where, 'plain', 'pruned'):.1f} to {mean_z(where, 'plain', 'pruned', 'unit norm'):+.1f} ({name})"
            for name, where in of.items()
        )
        + ". So unpruned networks are clusterable either way. For pruned ones even the sign can depend on a scale that what the network does does not depend on. Shuffles that keep the pattern of zeros leave "
        + " and ".join(
            f"{mean_z(where, 'plain', 'pruned', 'pattern kept'):.1f}, with dropout {mean_z(where, 'dropout', 'pruned', 'pattern kept'):.1f} ({name})"
            for name, where in of.items()
        )
        + ". So most of what sets pruned networks apart from their shuffles is which weights are left, and not how large they are. "
        "That pruned networks stand further away than unpruned ones (C3) our seeds do not show for sure: with dropout they do, without it the difference of z is within its interval."
    )
)

# %% [markdown]
# ### Where the yardstick bends
#
# Three more kinds of networks ([Figure dm-further](#fig-dm-further)). An *L1 penalty* on the weights makes most of them nearly zero. A small *CNN*: nodes are filters, and an edge is the sum of the sizes of a kernel. And MLPs on images of *two halves*: with
# *independent* halves the answer is the sum of two classes modulo 10, so the network has two things to read; with *redundant* halves both are of the class that is asked for.

# %% mystnb={"figure": {"name": "fig-dm-further", "caption": "As before for further networks: z (left) and n-cuts beside those of shuffles (right); dots are networks. Under L1 look at the shuffles, not at the networks. Compare independent with redundant halves."}, "image": {"alt": "Rows of dots for CNNs, networks with L1 penalty and tasks with two halves: z on the left, n-cuts on the right", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
cut_figures.further_cuts(of) if scale == "paper" else "Computed in part at quick scale; see the paper scale."

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("C5", "C6", "C8")

# %% [markdown]
# ### Graphs of activations
#
# Now the other kind of edge. Two hidden units are joined by the square of the correlation between the ranks of their values before the ReLU, over 5000 training images. All pairs of hidden units have an edge, also within a layer and
# between distant layers. The yardstick is the same graph with its edges permuted.

# %% mystnb={"figure": {"name": "fig-dm-activations", "caption": "Left: n-cuts of activation graphs (dots) beside those of permuted edges (grey), k = 12. Right: how much the partition agrees with that of the weights: normalised mutual information, 0 = not at all, 1 = the same. Look how far dots and grey marks are apart on the left, and how near to 0 the dots are on the right."}, "image": {"alt": "Rows of dots far from grey bars, and rows of small values of mutual information", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
cut_figures.activation_cuts(of)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("C10")

# %% [markdown]
# A correlation matrix is never like a random graph with the same edges: if $a$ goes with $b$ and $b$ with $c$, then $a$ tends to go with $c$. So z of some hundreds says little by itself, and untrained networks have it too.
#
# ### What the clusters are made of
#
# Before importance, a look at the partitions themselves. Clusters may follow the layers. A cluster that holds a whole layer gives no sub-cluster to test, because no random set of the layer is different.

# %% mystnb={"figure": {"name": "fig-dm-composition", "caption": "Weights/global with k = 16. Top: for one network of each group, the units of each layer by cluster; each part of a bar is a cluster, coloured by the mean layer of its units. Bottom: sub-clusters per hidden layer that are tested, mean over seeds. Look for layers that one part fills, and for parts in the colour of another layer: those clusters run through several."}, "image": {"alt": "Stacked bars of clusters by layer for three networks, and below them bars of the number of sub-clusters", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
cluster_figures.composition(first)

# %% [markdown]
# ### Importance and coherence
#
# [Figure dm-p](#fig-dm-p) is the main result. For every network and each of its four partitions, all sub-clusters are compared with 19 random sets each, and the p-values are combined into one. Partitions come from weights or from activations, and are of the whole network or of one layer at a time.

# %% mystnb={"figure": {"name": "fig-dm-p", "caption": "Fisher's combined p-value over the sub-clusters of a network, on a scale on which evidence grows to the right; the dashed line is at 0.05. Above: clusters of the weights, below: of the activations. Columns: importance of lesions, class-wise range as published, score and entropy of feature visualisation. Filled marks: median over networks of partitions of the whole network, with their range as a bar; hollow marks: median of partitions of single layers; colours: data sets. Last row of each part: random partitions of the same networks, tested in the same way. Tan spans: published. Look which rows are wholly to the right of the line, then at untrained networks: what is significant there is not learned."}, "image": {"alt": "Eight panels, weights above activations and a column for each of four statistics; rows are groups of networks, with a mark and a bar for each of two data sets on an axis of p-values", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.p_values(of)

# %% [markdown]
# A small p-value says that there is something, not how much. [Figure dm-effects](#fig-dm-effects) shows how much.

# %% mystnb={"figure": {"name": "fig-dm-effects", "caption": "Effect sizes, mean over sub-clusters and over seeds; panels and marks as in {numref}`fig-dm-p`, bars are 95 % intervals. Importance: extra drop of accuracy over random sets, in percentage points. The others: 2t/(t + r), where t is the statistic and r its mean over random sets; 1 is no effect, and for entropy an effect lies below 1. Grey: random partitions. Look whether a mark is clear of both the dashed line and the grey."}, "image": {"alt": "Eight panels, weights above activations and a column for each of four statistics; rows are groups of networks, with a mean and an interval for each of two data sets", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.effects(of)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("M1", "M3", "M4", "M5", "M6", "M7")

# %% mystnb={"figure": {"name": "fig-dm-drops", "caption": "Every sub-cluster of the weights/global partitions (all seeds): the accuracy that its lesion costs against the mean cost of its random sets, in percentage points; colours are hidden layers. On the line a sub-cluster is as important as a random set. Look which lie far above it, and in which layer they are."}, "image": {"alt": "Scatter plots of accuracy drops against the mean drop of random sets, with the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.drops(of)


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def by_layer(where, kind, state):
    """Extra drop over random sets in points, hidden layer by hidden layer, as text."""
    found = [one.values["weights/global"] for one in where.tested(kind, state)]
    layer = np.concatenate([one["layer"] for one in found])
    extra = [
        100 * (proxies.column(one, "importance", "value") - proxies.column(one, "importance", "null_mean"))
        for one in found
    ]
    extra = np.concatenate(extra)
    return ", ".join(f"{extra[layer == number].mean():.1f}" for number in np.unique(layer))


def entries(where, statistic, which):
    """Mean effects of plain networks, untrained and trained, as text."""
    return " and ".join(
        f"{statistics.mean_interval([one.effect(which, statistic) for one in where.tested('plain', state)]).mean:.3f}"
        for state in ("untrained", "trained")
    )


chapter.remark(
    lambda: (
        "**What we see.** In every group some lesions cost more than those of random sets, and no such sign is seen before training. On average over "
        "sub-clusters the extra drop need not be above none in unpruned networks (M1).\n\n"
        "How much it is depends on the layer. In the four hidden layers of pruned networks a sub-cluster by weights costs, beyond a random set, "
        + "; ".join(f"{by_layer(where, 'plain', 'pruned')} points ({name})" for name, where in of.items())
        + ". The last layer stands out. A cluster that holds an output holds most of what is left of the units that feed it. A lesion takes these together, while a "
        "random set leaves each output most of its own.\n\n"
        "The score of feature visualisation has small p-values too. But its mean effect is a few percent, and not on the same side everywhere "
        "([effects](#fig-dm-effects), above). For partitions by activations it is there before training as well: "
        + "; ".join(f"{entries(where, 'score', 'activations/global')} ({name})" for name, where in of.items())
        + ", untrained and trained, where 1 is none. Units that go together can be driven together, whatever they mean.\n\n"
        "Class by class the published range has large p-values, some near 1. That is no absence. With a p near 1 sub-clusters are *below* random sets, because "
        "the range is divided by a drop that is larger for them (see *What does the class-wise range measure?*, below)."
    )
)

# %% mystnb={"figure": {"name": "fig-dm-classes", "caption": "One pruned network ({glue:text}`dataset`): accuracy that each lesion costs, class by class, in percentage points. Rows are the sub-clusters that cost some class five points or more (hidden layer, number of units); a row of others has the largest losses among the rest of a layer. Look for rows with one dark cell: those would be coherent by class. And look how many sub-clusters are among the others: they hardly matter."}, "image": {"alt": "Table of accuracy lost, with sub-clusters by layer in rows and ten classes in columns; a few dark cells, many empty ones", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
cluster_figures.classes(first)

# %% mystnb={"figure": {"name": "fig-dm-pictures", "caption": "Images that drive sub-clusters as far as they go (upper rows) and random sets of as many units of the same layer (lower rows), with the score of each; weights/global, one plain network ({glue:text}`dataset`). Try to tell the upper rows from the lower ones."}, "image": {"alt": "Four rows of abstract black and white images made by optimisation, with a score above each", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
cluster_figures.pictures(first)

# %% [markdown]
# ### A small CNN
#
# In a convolutional network a unit is a filter, and a lesion silences it at all places. Our CNN has 32, 64 and 64 filters and is trained for three epochs; the authors' is larger and trained for ten.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("M2")

# %% [markdown]
# ## All claims
#
# One row a claim: verdict, value and interval. Rules, published values and reasons are on [Claims](../book/claims.md); [How the rules changed](../book/changes.md) says which
# rules were changed after the record was made.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.lines()

# %% [markdown]
# ## What the paper leaves open
#
# (sec-dm-trust)=
# ### Ties, and whether the p-values can be trusted
#
# The published p-value counts the random sets that are *strictly* more extreme. A lesion that changes nothing, beside random lesions that change nothing either, then gets the smallest p-value there is: 1/20. The same happens where entropies
# underflow to zero. [Figure dm-calibration](#fig-dm-calibration) tests random partitions as if they had been found, with both rules. P-values of random partitions must be uniform.

# %% mystnb={"figure": {"name": "fig-dm-calibration", "caption": "P-values of random partitions, sorted, against uniform quantiles: with mid-p-values and with the published rule. The band is where 95 % of uniform samples stay. Look at the entropy in single precision, as the published code computes it: where the curve sags below the band, random partitions look significant."}, "image": {"alt": "Quantile plots of p-values for four statistics and two rules, with a diagonal and a band", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.calibration(of)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("M9")


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def alarms(statistic, ties):
    """Share of random partitions that look significant at 5 %."""
    found = [
        one.fisher(which, statistic, ties=ties, control=True)
        for where in of.values()
        for kind, state in cells.TESTED
        for one in where.tested(kind, state)
        for which in cells.PARTITIONS
    ]
    return f"{np.mean(np.array(found) <= 0.05):.0%}"


chapter.remark(
    lambda: (
        "**What we see.** With the published rule random partitions look significant at the level of 5 % far too often: "
        + ", ".join(
            f"{alarms(name, 'ignored')} for {name}"
            for name in ("importance", "normalised range", "entropy, single precision")
        )
        + ". With mid-p-values it is "
        + ", ".join(
            f"{alarms(name, 'mid')} for {name}" for name in ("importance", "normalised range", "score", "entropy")
        )
        + ". Their mean is a little above 1/2 where it is not 1/2 (M9), so the test is rather too careful than too bold. Two reasons are at hand. Ties make a p-value less variable. And the parts of one layer share its units out among "
        "them: where one has more than its share, others have less, most of all for the score, which is close to a sum over units."
    )
)

# %% [markdown]
# Fisher's method assumes that the p-values of a network's sub-clusters are independent. They share one network and one test set. So we also rank whole partitions among partitions with permuted labels, which assumes nothing of the kind
# ([Figure dm-permutation](#fig-dm-permutation)).

# %% mystnb={"figure": {"name": "fig-dm-permutation", "caption": "P-value of each partition by Fisher's method (smaller to the right) and by ranking the whole partition among 19 with permuted labels (smaller above; it cannot be below 1/40). Look whether marks that Fisher calls significant, on the right, stand high up as well."}, "image": {"alt": "Scatter plots of two kinds of p-values on logarithmic axes", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.permutation(of)

# %% [markdown]
# (sec-dm-range)=
# ### What does the class-wise range measure?
#
# The published measure of class-wise coherence divides the range of the changes by their mean. So a set that hurts a lot has a small value, however uneven it is, and a set that hurts nobody can have any. [Figure dm-spreads](#fig-dm-spreads) compares it with the range as it is, and with the range beyond what sets
# of this importance have. The last row are networks whose modules are true ones.

# %% mystnb={"figure": {"name": "fig-dm-spreads", "caption": "Fisher's p for three ways to measure how unevenly a lesion falls on the classes; weights/global, and in the last row the ten true modules, each of which serves one class. Look at the last row: which measure sees them?"}, "image": {"alt": "Rows of dots on an axis of p-values for three statistics", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.spreads(of)

# %% mystnb={"figure": {"name": "fig-dm-true", "caption": "True modules (separate, one a class) and planted groups (larger first weights within groups, then trained): p-values and effects of four statistics. Dots: one network each. Look at the size of the effects: planted groups are detected nearly as surely, but they matter far less."}, "image": {"alt": "Panels of p-values and effects for networks with true modules and with planted groups", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.true_modules(of)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("M10")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.remark(
    lambda: (
        "**What we see.** Ten modules that serve one class each are the clearest case of class-wise structure there can be, and the published range does not see them. Why not? Without its module an output is stuck at its bias, "
        "while the outputs of the wrong classes are far below. So images of all the *other* classes go to it, and its own class loses nothing. The damage is large and falls on nine classes of ten: the range is as large as it can be, "
        "and so is the mean that divides it. The range itself sees them. *Planted groups*, which only start with larger weights, are seen as well, although they are free to dissolve: their "
        "importance has "
        + "; ".join(
            f"p = {min(one.fisher('planted', 'importance') for one in where.tested('planted', 'trained')):.1g} to "
            f"{max(one.fisher('planted', 'importance') for one in where.tested('planted', 'trained')):.1g} ({name})"
            for name, where in of.items()
        )
        + "."
    )
)

# %% [markdown]
# ### How many clusters, how many images?
#
# The number of clusters $k$ must be chosen, and never by the result. [Figure dm-k](#fig-dm-k) varies it.

# %% mystnb={"figure": {"name": "fig-dm-k", "caption": "Fisher's p of importance and score for other numbers of clusters, weights/global. Curves join the first network of each group; small marks are other networks. Look whether a curve crosses the line at 0.05."}, "image": {"alt": "Curves of p-values against the number of clusters for four groups", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.clusters(of)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("M8")

# %% [markdown]
# Lesions above are tested on 2000 test images, 200 of every class. On nearly all (892 of every class) small drops are seen better:

# %% mystnb={"figure": {"name": "fig-dm-images", "caption": "Fisher's p with few test images (hollow) and with nearly all (filled), joined by a line; one network of each group ({glue:text}`dataset`). Where a line is short the number of images hardly matters."}, "image": {"alt": "Rows of pairs of marks joined by lines: p-values with few and with nearly all test images", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.images_used(first) if scale == "paper" else "Computed at paper scale only."

# %% [markdown]
# (sec-dm-penalty)=
# ### Beyond: if structure is made, does function follow?
#
# So far structure was found. It can also be made. [Filan et al. (2021)](https://arxiv.org/abs/2103.03386) add to the loss a penalty on the small eigenvalues of the Laplacian, which are small where a graph is easy to cut. Here is a small MLP, three layers of 64 units on MNIST at 7×7 pixels, with and without it. The weights of every unit
# are rescaled after each step, so that scale alone cannot lower the penalty. Then we ask what the paper does not ask: are the clusters of the more clusterable network also more important and more coherent?

# %% mystnb={"figure": {"name": "fig-dm-penalty", "caption": "Networks trained with a penalty on clusterability, by its strength: n-cut and its shuffles, accuracy, importance of sub-clusters (extra drop over random sets, in percentage points) and effect of the visualisation score (weights/global, k = 12). Lines join networks of one seed. Look whether importance and score follow the n-cut."}, "image": {"alt": "Four panels of n-cut, accuracy, importance and score against the strength of a penalty, with lines for seeds", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.penalty(first)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("C9")


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def follows(statistic, number):
    """Paired difference between the strongest penalty and none, as text."""
    strong, none = first.penalised(cells.STRENGTHS[-1]), first.penalised(0.0)
    found = statistics.mean_interval(evidence.paired(strong, none, number))
    return f"{statistic} {found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def direction(statistic):
    """Whether a statistic rises or falls with the strongest penalty, as a word."""
    number = evidence.Tested.excess if statistic == "importance" else evidence.Tested.effect
    strong, none = first.penalised(cells.STRENGTHS[-1]), first.penalised(0.0)
    found = statistics.mean_interval(
        evidence.paired(strong, none, lambda one: number(one, "weights/global", statistic))
    )
    return "rises" if found.low > 0 else "falls" if found.high < 0 else "is undecided"


published_z = {row["quantity"]: row for row in table("detecting_modularity", "published_penalty")}["z"]


def penalty_z(one):
    return evidence.Cut(one.seed, one.values).of().z


chapter.remark(
    lambda: (
        f"**What we see.** Strongest penalty against none, paired over {len(first.penalised(0.0))} seeds: "
        + "; ".join(
            [
                follows("n-cut", lambda one: one.values["weights"]["ncut"]),
                follows("accuracy in points", lambda one: 100 * one.values["accuracy"]),
                follows("extra drop in points", lambda one: 100 * one.excess("weights/global", "importance")),
                follows("score effect", lambda one: one.effect("weights/global", "score")),
                follows("spread effect", lambda one: one.effect("weights/global", "spread")),
            ]
        )
        + ". The penalty does what it is made for: networks with it are much easier to cut. But so are their shuffles. At the authors' strength of 0.1 mean z goes from "
        + " to ".join(
            f"{np.mean([penalty_z(one) for one in first.penalised(strength)]):+.1f}" for strength in (0.0, 0.1)
        )
        + f" (published: {published_z['without']:+.1f} to {published_z['with']:+.1f}). Do importance and coherence follow? "
        f"The extra drop {direction('importance')}, the score effect {direction('score')}, the spread effect {direction('spread')}. With so few "
        "seeds only a large effect would show."
    )
)

# %% [markdown]
# ### Where text and code leave a choice
#
# *Sizes.* A sub-cluster is tested if it has at least two units (three for visualisation) and at most 99 % of the layer's live units, as in the code of 2022.
#
# *Random sets.* The authors draw them anew for each sub-cluster. We permute the labels of a layer, which gives a random set for each of its sub-clusters at once. Every single set is drawn in the same way, and whole partitions can be compared. Visualisations use live units too; the
# authors draw from all.
#
# *Local partitions.* A layer gets as many clusters as it has labels in the global partition. The published code for MLPs takes these numbers from input pixels instead, which is a slip.
#
# *Convolutions.* The kernel's weight is described as an L1 norm; the code takes a matrix norm. The claim about filters (C6) gives both. The activation of a filter is our mean size over space, theirs a matrix norm.
#
# *Visualisation.* As Lucid does by default, but on grey images and with plain gradients: Lucid redirects gradients at a ReLU only where none gets through at all.
#
# *Pruning.* Weights at zero stay at zero, and the optimiser starts anew for the second 20 epochs.
#
# ### What makes this affordable
#
# The test of one network is some 3000 lesions and as many visualisations, and every n-cut needs 50 shuffles. The graph of layers is bipartite, so its eigenvectors follow from a matrix that is several times smaller. Lesions run only what lies above the layer; how much that saves depends on the
# layer. For the first of four layers nearly the whole network lies above, and no exact method can skip it. Images of many sets are optimised together. Below is each piece beside what one would otherwise call, with the same result on one thread. `make bench` measures it anew.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
HTML(reports.benchmarks("spectral", "lesions"))

# %% [markdown]
# ## What to take away

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
*Are trained networks clusterable?* {glue:text}`C2-value`. The claim: {glue:text}`C2-verdict`.

*Do weights alone give important groups?* {glue:text}`M1-value`. The claim: {glue:text}`M1-verdict`.

*Are they coherent?* By class, with the published measure: {glue:text}`M3-value`. By feature visualisation: {glue:text}`M4-value`.

*Would true modules be seen?* {glue:text}`M10-value`. The control: {glue:text}`M10-verdict`.

Three lessons reach beyond these numbers. A p-value needs a rule for ties: with the published one random partitions look important ([Figure dm-calibration](#fig-dm-calibration)). A ratio can hide what it is
meant to show: the normalised range misses modules that are there by construction ([Figure dm-spreads](#fig-dm-spreads)). And a small p-value is not a large effect. In unpruned networks a sub-cluster by weights costs
{glue:text}`unpruned-extra` points beyond a random set, group by group, and where it costs much more, in the last layer of pruned networks, the wiring says so by itself ([Figure dm-drops](#fig-dm-drops)).
""")

# %% [markdown]
# (sec-dm-record)=
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
# 1. **Other clusters.** In *What a good division is* set `k = 8`. Does the p-value of the lesion change sides?
#
#    <details>
#    <summary>What one sees (a minute)</summary>
#
#    Here it does, and the cluster that is looked at is another one. A p value of one group says little, which is why all are combined
#    in the end.
#
#    </details>
#
# 2. **Another graph.** In the live part add `kind="pearson"` to `graphs.correlation_graph`, in place of ranks. How much does the partition change? Compare with the NMI between weights and activations.
#
#    <details>
#    <summary>What one sees (a minute)</summary>
#
#    Hardly: the n-cut and the agreement with the clusters of the weights change little. Partitions by weights and by
#    activations differ far more from each other than two kinds of correlation do.
#
#    </details>
#
# 3. **Your own network.** `graphs.layer_weights(model)` takes any network of linear layers, or of convolutions. Cluster it, cut the labels by layer, and hand the units of a sub-cluster to
#    `lesions.correct_counts` with `units="channel"`, together with random sets of as many units of that layer.
#
#    <details>
#    <summary>What one sees (a few minutes)</summary>
#
#    You get a row of right answers, by class, for each set. Compare the first with the range of the others. Try an untrained network
#    first: there all rows are alike but for chance.
#
#    </details>
#
# To compute the figures of this page anew at small size, set `scale = "quick"` in the first code cell, or run
#
#     python -m companion execute notebooks/detecting_modularity.py -p scale=quick --output quick
#
# To compute them at full size, run `make paper`: it resumes where it was stopped, and `python -m companion verify detecting_modularity` picks
# pieces of the record at random and recomputes them.
