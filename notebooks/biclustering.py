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
# # Biclustering task-specific hidden units
#
# A hidden layer answers every image with hundreds of numbers. Do its units work alone, or in groups? [Lu and Ester (2019)](https://openreview.net/forum?id=HJghQ7YU8H)
# ask whether a trained network falls into *functional modules*: groups of units that work together for the same kind of image.
#
# Their idea has three steps, shown in [Figure idea](#fig-idea). Take a trained network and pick one hidden layer. Score how much each
# unit of the layer contributes to the prediction of each sample. Then sort units and samples *at the same time*, so that large
# scores gather in blocks. A block pairs a group of units, the module, with the group of samples that it serves.
#
# The paper does this on MNIST and draws far-reaching conclusions. It prints no number: every result is a picture or
# a sentence. This chapter turns each of them into a number with a rule, and says what holds. At hand was the paper's text and the authors'
# page on the project; no code of theirs was found.

# %% jupyter={"source_hidden": true} tags=["remove-cell"]
from companion.reading import glue, say, show_captions
from companion.study import glue_record
from studies.biclustering import STUDY

show_captions("biclustering.py")
glue_record(STUDY)

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
In short: of {glue:text}`n-claims` claims, {glue:text}`n-holds` hold on {glue:text}`dataset`, {glue:text}`n-in-part` hold in part,
{glue:text}`n-not` do not hold, {glue:text}`n-undecided` are undecided, and {glue:text}`n-untestable` cannot be tested. The four that matter most:

| Claim | Verdict |
|---|---|
| Modules matter for their own samples ([Figure lesions](#fig-lesions)) | {glue:text}`B13-verdict` |
| Samples group by class without any label ([Figure controls](#fig-controls)) | {glue:text}`B7-verdict` |
| Removing modules hurts more than any other removal ([Figure 5a](#fig-5a)) | {glue:text}`B10-verdict` |
| The units of a module have no spatial relation ([Figure places](#fig-places)) | {glue:text}`B8-verdict` |
""")

# %% tags=["parameters"]
# "paper" shows the record of the full-size runs,
# "quick" computes all figures here, on digits
scale = "paper"
# True ignores the record and computes anew: at paper scale
# hours of work, kept in the cache folder and resumable
recompute = False
# of the small network on this page, not of the record
seed = 0

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML

from companion import reports
from modutils import plotting, statistics
from studies.biclustering import cells, figures, grid

# Every piece of work of the chosen scale; an unknown scale is an error.
plan = cells.plan(scale)
plt.rcParams.update(plotting.STYLE)

# %% mystnb={"figure": {"name": "fig-idea", "caption": "The idea, on a made-up layer of 18 units. (a) Pick one layer of a trained network. (b) Score every unit for every sample; red is support for the prediction. (c) Sort units and samples together until the support gathers in blocks. Each block is a module; its colour marks its units in (a)."}, "image": {"alt": "A small network with one coloured layer, an unsorted matrix of scores, and the same matrix sorted into three diagonal blocks", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.idea()

# %% [markdown]
# ## The method, step by step
#
# First we do it all on a network small enough to train while you read: the handwritten digits that come with scikit-learn,
# 8×8 pixels each. Everything in this section is computed whenever the page is built.
#
# The network is the paper's, made smaller: two convolutions, one dense layer, ten outputs. We keep a copy of it as it was
# before training. It will matter later.

# %%
import copy

from modutils import data, networks, training

images, labels = data.load("digits", "train")
test_images, test_labels = data.load("digits", "test")

torch.manual_seed(seed)
network = networks.cnn(image_size=8)
untrained = copy.deepcopy(network).eval()
training.train(network, images, labels, epochs=15, batch_size=32, seed=seed)
accuracy = training.accuracy(network, test_images, test_labels)
network

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
glue("live-accuracy", 100 * accuracy)
glue("live-train", len(images))
glue("live-test", len(test_images))

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
Trained on {glue:text}`live-train` images, it gets {glue:text}`live-accuracy:.1f` % of {glue:text}`live-test` others right.
We look at the layer after the second convolution, `act2`.
""")

# %% [markdown]
# ### How much does a unit contribute?
#
# An *attribution method* splits an output of the network among the units of a layer. Write $f_y(x)$ for the logit of class
# $y$ on image $x$, $h_n(x)$ for the activation of unit $n$, and $x'$ for a baseline image without content: here all
# black. DeepLIFT ([Shrikumar et al., 2017](https://arxiv.org/abs/1704.02685)) gives unit $n$ the score
#
# $$a(n, x, y) = \bigl(h_n(x) - h_n(x')\bigr)\, m_n(x, y),$$ (eq-deeplift)
#
# its change against the baseline times a multiplier $m_n$. The multiplier is like a gradient, but where a gradient takes the
# slope of a nonlinearity at one point, it takes the slope between baseline and image. So nothing is lost: the scores of a
# layer add up to the change of the output,
#
# $$\sum_n a(n, x, y) = f_y(x) - f_y(x').$$ (eq-complete)
#
# Here are the scores of every unit for all ten classes on one image, and the check that they add up.

# %%
from modutils import attribution

image, black = test_images[:1], torch.zeros(1, 1, 8, 8)
a = attribution.attribute(network, "act2", image, target="all")[0]
change = (training.predict(network, image) - training.predict(network, black))[0]
print("scores: classes × units =", tuple(a.shape))
error = (a.sum(dim=1) - change).abs().max()
print(f"largest error of the sum: {error:.1e} logits")

# %% mystnb={"figure": {"name": "fig-one-image", "caption": "One image and the scores of its units for the predicted class, largest first. Some units carry much of the sum, many next to nothing, and some speak against the class."}, "image": {"alt": "A digit of 8 by 8 pixels beside a falling curve of unit scores that crosses zero", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(plotting.WIDTH, 2.6), width_ratios=(1, 2.6))
plotting.tiles(left, image[0], columns=1)
ordered = np.sort(a[change.argmax()].numpy())[::-1]
right.fill_between(np.arange(len(ordered)), ordered, color=plotting.COLORS[0])
right.axhline(0, color="black", linewidth=0.8)
right.set_xlabel("units, sorted by score")
right.set_ylabel("score (logits)")
left.set_title(f"predicted: {int(change.argmax())}")
plt.show()

# %% [markdown]
# ### The neuron–sample matrix
#
# The paper keeps one number per unit and sample. With $\hat y = \arg\max_y f_y(x)$ for the predicted class, it is the score for
# $\hat y$ minus the mean over all $C$ classes,
#
# $$e(n, x) = a(n, x, \hat y) - \frac{1}{C} \sum_{c} a(n, x, c).$$ (eq-matrix)
#
# The subtraction is there because a constant added to all logits changes no prediction. Read $e > 0$ as "this unit speaks
# for the predicted class more than for the average class".
#
# `neuron_sample_matrix` computes it for all test images. Equation [matrix](#eq-matrix) asks for ten attributions per image.
# One is enough: every step of DeepLIFT is linear in the output it starts from, so $e$ is the attribution of the single output
# $f_{\hat y} - \frac{1}{C} \sum_c f_c$. The cell below does both.

# %%
e = attribution.neuron_sample_matrix(network, "act2", test_images).numpy()
print("matrix: units × samples =", e.shape)

# The definition: all ten classes, shape (samples, classes, units)
every = attribution.attribute(network, "act2", test_images, target="all")
predicted = training.predict(network, test_images).argmax(dim=1)
by_definition = every[torch.arange(len(every)), predicted] - every.mean(dim=1)
error = np.abs(by_definition.T.numpy() - e).max()
print(f"one pass against ten: largest difference {error:.1e} logits")

# %% [markdown]
# ### Co-clustering
#
# Think of the matrix as a graph. Units and samples are its nodes; a positive score $e(n, x)$ is an edge of that weight between
# unit $n$ and sample $x$. A good module is a set of units and samples with heavy edges inside and light edges to the rest.
# This is a *normalised cut*, and [Dhillon (2001)](https://doi.org/10.1145/502512.502550) solves it approximately in three lines of algebra: divide the
# matrix $A = \max(e, 0)$ by the roots of its row and column sums, take singular vectors, run k-means.

# %%
from sklearn.cluster import KMeans

# Only support makes an edge; a unit or sample without any edge is left out.
A = np.maximum(e, 0)
rows, columns = A.any(axis=1), A.any(axis=0)
A = A[rows][:, columns]

row_scale = np.sqrt(A.sum(axis=1, keepdims=True))
column_scale = np.sqrt(A.sum(axis=0, keepdims=True))
U, singular_values, Vt = np.linalg.svd(A / row_scale / column_scale, full_matrices=False)

# The first vector is trivial; the next four place units and samples in one space.
points = np.vstack([U[:, 1:5] / row_scale, Vt[1:5].T / column_scale.T])
by_hand = KMeans(10, n_init=10, random_state=seed).fit_predict(points)

# %% [markdown]
# Units and samples are now points in one space of $\lceil \log_2 k \rceil = 4$ dimensions, and k-means has given each a module
# out of $k = 10$. The library's function does the same, and marks what it had to leave out with −1.

# %%
from sklearn.metrics import adjusted_rand_score

from modutils import coclustering

form = {"n_vectors": 4, "embedding": "degree", "seed": seed}
found = coclustering.spectral_cocluster(e, 10, **form)

agreement = adjusted_rand_score(by_hand[: rows.sum()], found.row_labels[rows])
print(f"by hand and by the library: agreement {agreement:.3f} (1 is equal)")
print("units without a module:", (found.row_labels == -1).sum())

# %% mystnb={"figure": {"name": "fig-live-blocks", "caption": "The matrix of the small network as it comes (a) and sorted by module (b). Lines separate modules. Red: support for the predicted class; colour is full at the 99th percentile. Compare this with the same figure at full size, {numref}`fig-1b`."}, "image": {"alt": "Two signed matrices side by side: a striped one, and the same sorted into blocks along the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.4), sharey=True)
limit = np.percentile(np.abs(e), 99)
by_row = np.argsort(found.row_labels, kind="stable")
by_column = np.argsort(found.column_labels, kind="stable")
left.imshow(e, cmap=plotting.DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
plotting.diverging_image(right, e[by_row][:, by_column], limit, label="score e (logits)")
for edge in np.flatnonzero(np.diff(found.row_labels[by_row])):
    right.axhline(edge + 0.5, color="black", linewidth=0.5)
for edge in np.flatnonzero(np.diff(found.column_labels[by_column])):
    right.axvline(edge + 0.5, color="black", linewidth=0.5)
left.set_title("as it comes")
right.set_title("sorted by module")
plotting.letters([left, right])
left.set_ylabel(f"{e.shape[0]} units")
for ax in (left, right):
    ax.set(xticks=[], yticks=[], xlabel=f"{e.shape[1]} samples")
plt.show()

# %% [markdown]
# ### What is in a module?
#
# No label was used so far, or so it seems. Count the true classes of the samples in each module:

# %%
from sklearn.metrics import normalized_mutual_info_score

from modutils import coherence

table = coherence.class_table(found.column_labels, test_labels, k=10)
nmi = normalized_mutual_info_score(test_labels, found.column_labels)
purity = coherence.purity(found.column_labels, test_labels)

# %% mystnb={"figure": {"name": "fig-live-classes", "caption": "Samples of each true class (columns) in each module (rows) of the small network, sorted by main class."}, "image": {"alt": "Table of ten modules by ten classes with most counts near the diagonal", "width": "85%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(plotting.WIDTH * 0.85, 3.6))
order = np.argsort(table.argmax(1), kind="stable")
plotting.heat_table(
    ax, table[order], [f"module {m}" for m in order], range(10), text=lambda n: f"{n:.0f}" if n else "", low=0
)
plt.show()

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
glue("live-purity", purity)
glue("live-nmi", nmi)

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
Two numbers sum the table up. *Purity* is the share of samples that belong to the main class of their module:
{glue:text}`live-purity:.2f`. *Normalised mutual information* (NMI) is 0 when modules say nothing about classes and 1 when
each determines the other: {glue:text}`live-nmi:.2f`.
""")

# %% [markdown]
# ### Does it matter for the network?
#
# Remove units and see what breaks. The paper finds modules on one half of the images and measures accuracy on the other half,
# while one module after the other is set to zero. It compares with removing the top-scoring units first (*greedy*)
# and with removing random units, always the same number. More modules, $k = 40$, make the curve smoother.

# %%
from modutils import lesions

half = len(test_images) // 2
first = e[:, :half]
forty = coclustering.spectral_cocluster(first, 40, **form | {"n_vectors": 6})

# The heaviest module goes first, units without a module go last.
order = coclustering.module_order(first, forty.row_labels, forty.column_labels, 40)
modules = [np.flatnonzero(forty.row_labels == module) for module in (*order, -1)]
cuts = np.cumsum([len(module) for module in modules])[:-1]
greedy = np.argsort(-first.mean(axis=1))
random = np.random.default_rng(seed).permutation(len(first))

removals = {
    "by module": modules,
    "greedy": np.split(greedy, cuts),
    "random": np.split(random, cuts),
}
second = test_images[half:], test_labels[half:]
correct = {}
for name, groups in removals.items():
    correct[name] = lesions.ablation_curve(network, "act2", *second, groups)

# %% mystnb={"figure": {"name": "fig-live-removal", "caption": "Accuracy of the small network on the second half of the test images while units are removed. One network, one random order: a single draw, without an interval. {numref}`fig-5a` has both at full size."}, "image": {"alt": "Three falling curves of accuracy against the number of removed units", "width": "85%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(plotting.WIDTH * 0.85, 3.4))
for name, count in correct.items():
    ax.plot([0, *cuts, len(first)], count / half, label=name)
ax.set(xlabel="units removed", ylabel="accuracy", ylim=(0, 1.01))
ax.legend()
plt.show()

# %% [markdown]
# ### A question to take along
#
# Equation [matrix](#eq-matrix) contains $\hat y$, the predicted class. For a good network $\hat y$ is nearly always the label. So how
# much of the table above does the method *find*, and how much was it *told*?
#
# One experiment tells. Take the copy that was never trained, which knows nothing about digits. Ask for its scores towards
# the same classes. Cluster as before.

# %%
target = predicted
told = attribution.neuron_sample_matrix(untrained, "act2", test_images, target=target)
of_untrained = coclustering.spectral_cocluster(told, 10, **form)
untrained_nmi = normalized_mutual_info_score(test_labels, of_untrained.column_labels)
with_target = normalized_mutual_info_score(target, of_untrained.column_labels)
print(
    f"untrained network: NMI with the labels {untrained_nmi:.2f}, with the classes it was asked for {with_target:.2f}"
)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
glue("live-untrained-nmi", untrained_nmi)
glue("live-untrained-accuracy", 100 * training.accuracy(untrained, test_images, test_labels))

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
The untrained network classifies {glue:text}`live-untrained-accuracy:.0f` % of the images correctly. Its modules agree with the
classes with an NMI of {glue:text}`live-untrained-nmi:.2f`, against {glue:text}`live-nmi:.2f` for the trained network. Keep this in
mind for [Who told the method about classes?](#sec-controls), where the same comparison is made at full size.
""")

# %% [markdown]
# ## The paper's figures
#
# Now the real size: the paper's network with 1600 units after its second convolution, and all 10 000 test images of MNIST.
# The paper dissects one pre-trained network. We train our own, once per seed, so that every number comes with an interval.

# %%
from companion.study import open_chapter
from studies.biclustering import STUDY, claims

chapter = open_chapter(STUDY, scale, recompute=recompute)
record = chapter.results
names = chapter.datasets
settings = [claims.Setting(record, name) for name in names]
main, last = settings[0], settings[-1]

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
chapter.glue()
reached = 100 * record.numbers(
    "train", "test_accuracy", dataset=names[0], model="cnn", activation="relu", regularization="dropout"
)
glue("lowest-accuracy", float(reached.min()))
glue("mean-accuracy", float(reached.mean()))
for key, path in {
    "activations": ("no target: activations", claims.FORM),
    "sizes": ("no target: size over classes", claims.FORM),
    "pixels": ("k-means on pixels", "k-means"),
}.items():
    glue(f"nmi-{key}", float(main.numbers("controls", *path, "nmi").mean()))
glue("last-dataset", reports.DATASETS[names[-1]])
glue("grid-seeds", grid.complete_seeds(record))

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.origin()

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
The networks reach {glue:text}`mean-accuracy:.2f` % test accuracy on average, the worst {glue:text}`lowest-accuracy:.2f` %.
""")

# %% [markdown]
# ### Is the matrix sparse, and does it have blocks?
#
# [Figure 1a](#fig-1a) is the paper's Figure 1a, the matrix as it comes. [Figure 1b](#fig-1b) is Figure 1b, the same matrix with units and
# samples sorted by their module out of ten.

# %% mystnb={"figure": {"name": "fig-1a", "caption": "**Figure 1a of the paper.** The neuron\u2013sample matrix ({glue:text}`dataset`). Rows are units in the order of the layer (channel after channel), columns are test images as they come. Look for how much is white: white is zero. The thumbnail averages neighbouring entries, so the true matrix is emptier than it looks. The two halves of MNIST's test set come from different writers: a step in the middle would show it."}, "image": {"alt": "Matrix of units by images, pale, with thin red stripes along its rows", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.matrix(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B1")

# %% mystnb={"figure": {"name": "fig-1b", "caption": "**Figure 1b of the paper.** The same matrix ({glue:text}`dataset`) sorted by module; lines separate the modules, numbered as the algorithm left them. Look along the diagonal for the blocks, then beside it: rows and columns are not empty outside their block."}, "image": {"alt": "The matrix sorted into ten groups of units and ten of images, with redder blocks on the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.matrix_in_modules(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B2")

# %% [markdown]
# ### How are the scores distributed?
#
# The paper shows a histogram of all scores, and one of the scores inside one block. One block is little to go by, so
# [Figure 2-all](#fig-2-all) adds the others.

# %% mystnb={"figure": {"name": "fig-2", "caption": "**Figure 2 of the paper.** Scores in the whole matrix (a) and in one block (b) ({glue:text}`dataset`). Look at where the mass lies relative to the line at zero. The vertical axis is logarithmic; on a linear one the bar at zero hides all else."}, "image": {"alt": "Two histograms of scores, the upper one peaked at zero with two tails, the lower one mostly on the positive side", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.scores(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B3")

# %% mystnb={"figure": {"name": "fig-2-all", "caption": "Figure 2b for every block ({glue:text}`dataset`). If the paper's block is typical, all ten lie to the right of zero."}, "image": {"alt": "Ten small histograms, one for each block", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.scores_of_every_block(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B4")

# %% [markdown]
# ### Do the samples of a module look alike?
#
# [Figure 3](#fig-3) draws 25 samples of two modules at random.

# %% mystnb={"figure": {"name": "fig-3", "caption": "**Figures 3a and 3b of the paper.** Random samples of the first two modules ({glue:text}`dataset`); above them the count of each true class. Images: MNIST by LeCun, Cortes and Burges, CC BY-SA 3.0."}, "image": {"alt": "Two sheets of 25 handwritten digits, each sheet mostly of one digit", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.samples(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B5")

# %% [markdown]
# ### Which classes are in a module?
#
# [Figure 4](#fig-4) is the paper's Figure 4 as a table. Its lower half is ours: what simpler ways of grouping the same samples reach.

# %% mystnb={"figure": {"name": "fig-4", "caption": "**Figure 4 of the paper.** (a) Share of each true class in each module ({glue:text}`dataset`), rows sorted by main class. Look for rows with more than one dark cell and for classes without a row. (b) Purity of the paper's modules, of a better conditioned form of the same algorithm, and of k-means on the matrix, on activations and on plain pixels."}, "image": {"alt": "Table of ten modules by ten classes, and dots with intervals for the purity of six groupings", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.classes_of_modules(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B6")

# %% [markdown]
# Whether this is a discovery is another matter. [Who told the method about classes?](#sec-controls) asks where the classes come from.
#
# ### What happens when modules are removed?
#
# The ablation experiment is the paper's only test of what modules *do*. [Figure 5a](#fig-5a) is its Figure 5a: units are removed by
# module, greedily by their mean score, and at random. A curve that falls earlier means that the removal hurts more; the *area* under
# it sums this up.

# %% mystnb={"figure": {"name": "fig-5a", "caption": "**Figure 5a of the paper.** Accuracy while units of one layer are set to zero ({glue:text}`dataset`). Look at which curve falls first, and whether the bands overlap."}, "image": {"alt": "Three curves of accuracy against the share of removed units, with bands", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.removal(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B10")

# %% [markdown]
# [Figure 5b](#fig-5b) is Figure 5b: always by module, but the modules come from the matrices of different attribution methods.

# %% mystnb={"figure": {"name": "fig-5b", "caption": "**Figure 5b of the paper.** Accuracy while modules are removed (thick, with bands), for modules from six attribution methods ({glue:text}`dataset`). Thin: greedy removal by the same method, which the paper does not show. DeepLIFT and integrated gradients differ by numerical and clustering noise only: here they are the same method ({ref}`sec-same`)."}, "image": {"alt": "Six thick and six thin curves of accuracy against the share of removed units", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.removal_by_method(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B11")

# %% [markdown]
# The rule asks for more than the paper did. A test that finds no difference has not shown that there is none; only an
# equivalence test can. Its margin must be wider than what k-means alone makes of one network, or two runs of one method would fail it.
#
# ## Claims
#
# Every claim with its verdict on each data set; intervals are over training seeds. [Claims](../book/claims.md) has the rules in words and what
# lies behind each verdict, [How the rules changed](../book/changes.md) which rules were changed after the record was made.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
chapter.lines()

# %% [markdown]
# ## What the paper leaves open
#
# (sec-controls)=
# ### Who told the method about classes?
#
# The paper stresses that no label supervision was used. True, no label enters. But the predicted class does, in equation
# [matrix](#eq-matrix): each column of the matrix is the score *towards one class*, the same for all samples that are predicted alike. So
# the columns of a class resemble each other already through the question that was asked.
#
# [Figure controls](#fig-controls) takes the question apart. Three kinds of control matter:
#
# * **Untrained networks given the same targets.** They have learned nothing, so all agreement with classes comes from the targets.
# * **Trained networks given other targets**, the runner-up or a random class. If clusters follow the target and not the image, the target rules.
# * **Matrices without any target**: the activations themselves, or how much a unit matters for any class.

# %% mystnb={"figure": {"name": "fig-controls", "caption": "Where the agreement with classes comes from ({glue:text}`dataset`). Filled dots: normalised mutual information (NMI) of sample clusters and true classes, by what the matrix was told. Hollow dots: NMI with the class that was given as the target. Compare the first row with the untrained networks that get the same targets, then with the target-free rows."}, "image": {"alt": "Dots with intervals for twelve ways to make the matrix, trained networks in blue and untrained in orange", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.controls(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B7")

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
A fair statement needs the trained network *without* targets. There the activations reach an NMI of {glue:text}`nmi-activations:.2f` and
the target-free scores {glue:text}`nmi-sizes:.2f`; k-means on plain pixels reaches {glue:text}`nmi-pixels:.2f`. What lies between
pixels and target-free scores is the layer's own doing.
""")

# %% [markdown]
# ### Where do the units of a module sit?
#
# The units of a convolution have a place: a channel and a position in the image. The paper looks at the modules and sees no
# spatial relation, neither by channel nor by position. An eye is a poor test for this, so we shuffle: if place did not matter,
# the same statistic would come out as large after the units have been permuted.

# %% mystnb={"figure": {"name": "fig-places", "caption": "Where the units of the modules sit ({glue:text}`dataset`). (a) For each module, units per position over those expected if they were spread evenly; white is even. (b) The module number of every unit in the first channels; \u2013 is unassigned. (c) Five tests in standard deviations of their null; the grey strip is \u00b12."}, "image": {"alt": "Ten small heat maps of positions, sixteen channels with module numbers, and five dots with intervals beside a strip around zero", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.places(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B8")

# %% [markdown]
# ### One module at a time
#
# The curves above remove modules on top of each other. [Figure lesions](#fig-lesions) removes a single module of ten and asks who suffers. It looks at
# what the network does. But which samples are a module's *own* is read from the matrix that the module was made from, and so nearly a class:
# any group of units that does most for one class would hurt that class most. The box below says what this does to the claim. That a selective set
# can be had in a network without any modules, [The bake-off](bake_off.py) shows.

# %% mystnb={"figure": {"name": "fig-lesions", "caption": "Accuracy lost when one module alone is removed ({glue:text}`dataset`). (a) Points lost in each true class; rows and columns are sorted as in {numref}`fig-4`, so damage to a module's own class lies on the diagonal. (b) Points lost by a module's own samples, by all others, and by its own samples when as many random units are removed."}, "image": {"alt": "Table of accuracy lost by module and class, and three dots with intervals below it", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.lesions_by_class(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B13")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B14")

# %% [markdown]
# ### Do attribution methods agree?
#
# Curves that look alike can come from modules that are not. [Figure methods](#fig-methods) compares the methods themselves: how sparse their
# matrices are, and how far two methods put the same units, or the same samples, together. The *adjusted Rand index* (ARI) is 1
# for equal groupings and 0 for chance.

# %% mystnb={"figure": {"name": "fig-methods", "caption": "Six attribution methods on the same networks ({glue:text}`dataset`). (a) Share of entries above zero. (b) Agreement of sample clusters with classes. (c) Agreement of two methods: units in the upper right triangle, samples in the lower left."}, "image": {"alt": "Dots for sparsity and coherence of six methods, and a six by six table of their agreement", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.methods_side_by_side(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B12")

# %% [markdown]
# (sec-same)=
# ### Two of the methods are one
#
# DeepLIFT and integrated gradients in layer space are the same here, by algebra. Above the layer lies one ReLU: with
# $z = W_1 h + b_1$, the outputs are $f = W_2 \max(z, 0) + b_2$. Integrated gradients average the gradient along the straight path
# $h' + \alpha (h - h')$. On that path every $z_j$ moves at constant speed, so the average slope of its ReLU is
#
# $$\int_0^1 \mathbb 1[z_j(\alpha) > 0]\, d\alpha = \frac{\max(z_j, 0) - \max(z'_j, 0)}{z_j - z'_j},$$ (eq-same)
#
# which is DeepLIFT's multiplier. Agreement between the two is no evidence that methods agree, and none of our tests counts both. Here
# they are on the small network; what is left is the error of the numerical integral with 50 steps.

# %%
methods = ("deeplift", "integrated_gradients")
pair = attribution.neuron_sample_matrices(network, "act2", test_images, methods=methods)
one, other = (matrix.numpy().ravel() for matrix in pair.values())
error = np.abs(one - other).max() / np.abs(one).max()
print(f"correlation {np.corrcoef(one, other)[0, 1]:.7f}")
print(f"largest difference: {error:.1%} of the largest score")

# %% [markdown]
# ### How many modules?
#
# The paper takes $k = 10$ because there are ten classes. If the data asked for ten, the singular values of the normalised matrix
# should show a gap after the tenth, and repeated k-means should agree.

# %% mystnb={"figure": {"name": "fig-k", "caption": "(a) Singular values of the normalised matrix ({glue:text}`dataset`), descending; look for a step at the dashed line. (b) Agreement with classes and stability between k-means seeds for other numbers of modules. Where units move between k-means seeds, a statement about a single module is worth little."}, "image": {"alt": "A falling curve of singular values, and three series of dots for four numbers of modules", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.number_of_modules(main)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B15")

# %% [markdown]
# ### Where the paper is silent
#
# A short paper leaves choices open. We found neither code nor the longer manuscript that the authors' page
# names. These are our choices.
#
# | Choice | Paper | Here | Alternatives in |
# |---|---|---|---|
# | Network | one pre-trained model, settings unknown | trained by us, one per seed | every interval |
# | Pixels | – | scaled to [0, 1] | |
# | Layer value | – | after the ReLU, as in the ablation | |
# | Baseline image | – | black | [Figure controls](#fig-controls) |
# | Rule of DeepLIFT | – | rescale | RevealCancel in [Figure ways-to-cluster](#fig-ways-to-cluster) |
# | Steps of path integrals | – | 50, as captum; doubled for a network where a sample's sum is off by more than 5 % | |
# | Negative scores | – | set to zero before clustering | [Figure ways-to-cluster](#fig-ways-to-cluster) |
# | Singular vectors | – | $\lceil \log_2 k \rceil$, as Dhillon | [Figure ways-to-cluster](#fig-ways-to-cluster) |
# | Units without positive score | – | unassigned, removed last | |
# | Order of modules | – | by positive mass of their block | [Figure ways-to-remove](#fig-ways-to-remove) |
# | Greedy score | "top-important" | mean of $e$ over samples | [Figure ways-to-remove](#fig-ways-to-remove) |
# | Removed value | zero | zero | [Figure ways-to-remove](#fig-ways-to-remove) |
#
# scikit-learn's function, called on a matrix with negative entries, shifts all entries until none is negative. That is likely what the
# authors ran. It turns every zero into an edge.

# %% mystnb={"figure": {"name": "fig-ways-to-cluster", "caption": "Other treatments of the same DeepLIFT matrix (blue, orange, yellow) and other ways (grey): the RevealCancel rule of DeepLIFT, modules of highest bipartite modularity, and two of scikit-learn ({glue:text}`dataset`). (a) Agreement with classes. (b) How much more positive mass the blocks hold than their area would; the dashed line is chance."}, "image": {"alt": "Dots with intervals for eight ways to cluster, in two panels", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.ways_to_cluster(main)

# %% mystnb={"figure": {"name": "fig-ways-to-remove", "caption": "Area under the ablation curve for other forms, orders, greedy scores and removed values ({glue:text}`dataset`). Lower means that the removal hurts more. Look at how far the blue dots move without any change in the network: the order of removal is a choice, too."}, "image": {"alt": "Dots with intervals for seventeen ways to remove units, in groups", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.ways_to_remove(main)

# %% [markdown]
# ### Other networks, other data
#
# The paper mentions multilayer perceptrons with "very similar" results and shows none. [Figure settings](#fig-settings) puts networks and data
# sets side by side: the CNN above, both wide hidden layers of a perceptron with 256, 256 and 128 units, and Fashion-MNIST
# ([Xiao et al., 2017](https://arxiv.org/abs/1708.07747)), which has the format of MNIST but photographs of clothes.

# %% mystnb={"figure": {"name": "fig-settings", "caption": "The main numbers for every network and data set of the record. Dashed lines are the bars of three claims (B1, B2, B6); in (d) it is no difference between the trained network and an untrained one that is given the same targets."}, "image": {"alt": "Four panels of dots with intervals, one row for each network and data set", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.settings_side_by_side(record, names)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("B9")

# %% mystnb={"figure": {"name": "fig-fashion-samples", "caption": "As {numref}`fig-3`, for {glue:text}`last-dataset`. Images: Fashion-MNIST by Zalando, MIT licence."}, "image": {"alt": "Two sheets of 25 small photographs of clothes, each sheet of similar items", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.samples(last)

# %% mystnb={"figure": {"name": "fig-fashion-classes", "caption": "As {numref}`fig-4`, for {glue:text}`last-dataset`. Where classes look alike, as shirts and pullovers do, modules and classes can part."}, "image": {"alt": "Table of ten modules by ten classes of clothes, and dots for the purity of six groupings", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.classes_of_modules(last)

# %% mystnb={"figure": {"name": "fig-fashion-removal", "caption": "As {numref}`fig-5a`, for {glue:text}`last-dataset`."}, "image": {"alt": "Three curves of accuracy against the share of removed units, with bands", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.removal(last)

# %% [markdown]
# ### The investigation that the paper asks for

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
The paper ends with its limitation: it has not tested "different layers, different activation function, different models
trained on more diverse datasets", and calls such an investigation necessary. Here is a first one: three layers, five activation
functions, two models and two data sets. Training seeds of each: {glue:text}`grid-seeds`, so small differences may be chance;
[Figure settings](#fig-settings) shows for some of these networks how far seeds differ. [Figure grid-modules](#fig-grid-modules) asks what
the modules look like, [Figure grid-tests](#fig-grid-tests) what they do.
""")

# %% mystnb={"figure": {"name": "fig-grid-modules", "caption": "The grid, part one: what modules look like. A row is a layer, a mark an activation function, filled or hollow by data set. (a) Sparsity. (b) Strength of the blocks. (c) Agreement of sample clusters with the predicted classes. (d) The same minus the agreement that an untrained network reaches when it is given these classes as targets: right of the line training adds agreement, left of it the untrained network has more. Look where ReLU, the function of all figures above, stands among the others, and how far rows and data sets differ."}, "image": {"alt": "Four panels of marks with a row for each of six layers; five kinds of marks for activation functions, filled and hollow for two data sets", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
grid.grid_of_modules(record)

# %% mystnb={"figure": {"name": "fig-grid-tests", "caption": "The grid, part two: what modules do. Rows and marks as in {numref}`fig-grid-modules`. (a) Area under the ablation curve, by module minus greedy: right of the line greedy removal hurts more. (b) The same minus random removal: left of the line modules hurt more. (c) Neighbouring units in one module, in standard deviations above chance, for layers that have places."}, "image": {"alt": "Three panels of marks with a row for each layer, filled and hollow for two data sets; nearly all marks of the first lie right of its line, of the second left", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
grid.grid_of_tests(record)

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
Which axis matters? The table compares, for four measures, the level of each axis with the lowest mean and the one with the
highest. Differences are paired within the settings of the other axes, and their 95 % intervals are over training seeds, of which there are
{glue:text}`grid-seeds`. The two levels are picked from the data that they are compared on, so read the differences as a ranking of the axes.
""")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
HTML(grid.effects(record))

# %% [markdown]
# The network of the paper's example is trained with dropout. [Figure regularization](#fig-regularization) leaves it out, or takes weight decay instead.

# %% mystnb={"figure": {"name": "fig-regularization", "caption": "The layer of the paper in networks that are trained with dropout, with weight decay, or with neither. (a) Sparsity of the matrix. (b) Agreement of sample clusters with the predicted class, minus that of the untrained network with the same classes. (c) Area under the ablation curve, by module minus greedy: above 0, greedy removal hurts more."}, "image": {"alt": "Three panels of dots with intervals, one row for each way to train", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
grid.regularization(record)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
ways = grid.ways_to_train(record, names[0])
areas = {
    way: statistics.mean_interval([own["area"]["module"] - own["area"]["greedy"] for own in found])
    for way, found in ways.items()
}
chapter.remark(
    "**What we see.** The distance between removal by module and greedy removal, as an area, is "
    + ", ".join(f"{area.mean:.2f} {area.text('.2f')} with {way}" for way, area in areas.items())
    + f" on {reports.DATASETS[names[0]]}."
)

# %% [markdown]
# The rule of DeepLIFT needs care with smooth activations: the multiplier is the slope between baseline and image, whatever the
# function. The implementation here takes any elementwise function, which is why the grid can hold GELU.
#
# ### One pass instead of ten
#
# Ten attributions per image can be one because every method here but guided backprop is linear in the output it starts from
# (guided backprop cuts negative gradients, and the sum of cuts is not the cut of the sum). The difference is not small:

# %%
import time


def processor_seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def ten_attributions():
    for label in range(10):
        attribution.attribute(network, "act2", test_images, target=label)


def one_attribution():
    return attribution.neuron_sample_matrix(network, "act2", test_images)


ten, one = processor_seconds(ten_attributions), processor_seconds(one_attribution)
print(f"ten attributions {ten:.3f} s, one {one:.3f} s: {ten / one:.0f} times less")

# %% [markdown]
# That is this library against itself. Here is captum ([Kokhlikyan et al., 2020](https://arxiv.org/abs/2009.07896)), which one would call otherwise, on the same
# network and the same images. It explains one class at a time, so ten calls make the matrix. The numbers are the same; the time is not.

# %%
import warnings

with warnings.catch_warnings(action="ignore"):  # its progress bars miss a widget
    from captum.attr import LayerDeepLift


def by_captum():
    explain = LayerDeepLift(network, network.act2)
    baseline = torch.zeros_like(test_images)
    with warnings.catch_warnings(action="ignore"):  # it says that it sets hooks on the network
        scores = [explain.attribute(test_images, baseline, target=label).flatten(1) for label in range(10)]
    predicted = training.predict(network, test_images).argmax(dim=1)
    a = torch.stack(scores).detach()
    return (a[predicted, torch.arange(len(predicted))] - a.mean(dim=0)).T


captums, ours = by_captum(), one_attribution()
apart = float((captums - ours).abs().max() / ours.abs().max())
theirs = processor_seconds(by_captum)
print(f"largest difference {apart:.0e} of the largest score")
print(f"captum {theirs:.2f} s, this library {one:.3f} s: {theirs / one:.0f} times less")

# %% [markdown]
# The same at the size of the paper: captum for attribution, scikit-learn for co-clustering, forward hooks for removal, each with the same
# result on one thread. `make bench` measures it anew.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
HTML(reports.benchmarks("attribution", "coclustering", "lesions"))

# %% [markdown]
# ## What to take away

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
*Do modules matter for their own samples?* {glue:text}`B13-value`. The claim: {glue:text}`B13-verdict`.

*Are they the parts that matter most?* {glue:text}`B10-value`; lower is worse for the network. The claim: {glue:text}`B10-verdict`.

*Did the method find the classes by itself?* {glue:text}`B7-value`. The claim: {glue:text}`B7-verdict`.

*Are modules independent of place?* {glue:text}`B8-value`. The claim: {glue:text}`B8-verdict`.

*Are they the same modules, whoever looks?* {glue:text}`B12-value`. The claim: {glue:text}`B12-verdict`.
""")

# %% [markdown]
# One lesson depends on none of these numbers. A matrix made by asking about classes contains classes. So test a module on what
# the network does without it, and try every test on a network that has learned nothing.
#
# (sec-record)=
# ## The record
#
# Every piece of work is one file that says how it was made, so this section is made from the record itself.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.origin_table()

# %% [markdown]
# Processor time, stage by stage:

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.durations()

# %% [markdown]
# ## Try it
#
# Open this page in JupyterLab (`make lab`, or the rocket above) and change three things.
#
# 1. **Ask a meaningless question.** In *A question to take along*, replace `target = predicted` by a random class for every image,
#    `target = torch.randint(10, predicted.shape)`. The cell prints how far its groups are these classes. Does an untrained network
#    group images by whatever you tell it?
#
#    <details>
#    <summary>What one sees (a few seconds)</summary>
#
#    It does. The groups agree with the random classes nearly perfectly, and with the labels hardly at all. The network knows nothing
#    of the images; the matrix has the classes because they were asked for.
#
#    </details>
#
# 2. **Use all the vectors.** Set `form = {"n_vectors": 9, "embedding": "unit", "seed": seed}`. Nothing else has changed:
#    what does this do to purity? (For the curves, set the 6 to 39.)
#
#    <details>
#    <summary>What one sees (half a minute)</summary>
#
#    Purity rises clearly, with the network and the matrix as they were. So a number about modules is also one about the form of the
#    algorithm, and has to be given with it.
#
#    </details>
#
# 3. **Change the network.** Build it with `networks.cnn(image_size=8, activation="tanh")`. Is the matrix still sparse? Are there still
#    blocks?
#
#    <details>
#    <summary>What one sees (a minute)</summary>
#
#    A tanh is hardly ever zero and can be negative, so more entries are above zero than with ReLU: the matrix is less sparse. There
#    are still blocks, and about as pure.
#
#    </details>
#
# To compute every figure of this page anew on the small digits, set `scale = "quick"` in the first code cell, or run
#
#     python -m companion execute notebooks/biclustering.py -p scale=quick --output quick
#
# To compute them at full size, run `make paper`: it resumes where it was stopped, and `python -m companion verify biclustering` picks
# pieces of the record at random and recomputes them.
