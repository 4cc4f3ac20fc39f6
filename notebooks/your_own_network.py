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
# # Your own network
#
# The four papers looked at networks of their own. What you have is another one: it has residual connections, batch normalisation,
# tokens, or more than one output. This chapter takes a network that no paper studied through the three steps that all of them share,
#
# $$\text{describe every unit} \;\to\; \text{group units into modules} \;\to\; \text{test the modules},$$
#
# and then says what to change for yours.
#
# Any description goes with any grouping and any test. So there is not one way through the steps, there are many: here three descriptions
# times three groupings make nine partitions of the same channels. A finding that holds for one of the nine is a finding about that
# choice. The table at the end shows which do better than chance.

# %% jupyter={"source_hidden": true} tags=["remove-cell"]
from companion.reading import glue, say, show_captions

show_captions("your_own_network.py")

# %% tags=["parameters"]
# "paper" shows the record of networks trained on CIFAR-10,
# "quick" computes the same on digits
scale = "paper"
# True ignores the record and computes anew: about half an
# hour of work, kept in the cache folder and resumable
recompute = False
# of the small network on this page, not of the record
seed = 0

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML, Code

from modutils import data, plotting, training
from studies.your_own_network import cells, figures

# Every piece of work of the chosen scale; an unknown scale is an error.
plan = cells.plan(scale)
plt.rcParams.update(plotting.STYLE)

# %% [markdown]
# ## A network
#
# Three residual blocks, each of two convolutions with batch normalisation and a way around them. Nothing in it was written for
# this library: it is a plain `torch.nn.Module` with a `forward` of its own.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
import inspect

Code("\n\n".join(inspect.getsource(part) for part in (cells.Block, cells.Residual)), language="python")

# %% [markdown]
# We train it on handwritten digits of 8×8 pixels, which come with scikit-learn. The images are split: one half of the test images describes
# the units, the other half tests the modules, so that no module is tested on what it was found on.

# %%
images, labels = data.load("digits", "train")
test_images, test_labels = data.load("digits", "test")
describe_with, test_with = test_images[:250], test_images[250:]
classes = test_labels[250:]

torch.manual_seed(seed)
network = cells.Residual(image_channels=1, channels=(8, 16, 32))
training.train(network, images, labels, epochs=10, batch_size=64, seed=seed)
accuracy = training.accuracy(network, test_images, test_labels)
print(f"{100 * accuracy:.1f} % of {len(test_images)} test images are right")

# %% [markdown]
# ## Describe every unit
#
# A layer is a submodule or its dotted name. We take the output of the last block, `blocks.2`: 32 channels at 2×2 positions. A *unit*
# is either an *element*, one number per image, or a *channel*, a whole feature map. Every function takes `units=`, and a partition
# of channels handed on as one of elements is an error.
#
# Three descriptions of the same channels:
#
# - **attribution**: how much each channel contributes to the prediction of each image (DeepLIFT, first chapter);
# - **similarity**: the covariance of every two channels, position by position (second chapter);
# - **correlation**: the squared rank correlation of their mean values (fourth chapter).

# %%
from modutils import attribution, graphs, similarity, units

layer = "blocks.2"
scores = attribution.neuron_sample_matrix(network, layer, describe_with, units="channel")
covariance = similarity.unit_similarity(network, layer, describe_with, measure="covariance", units="channel")
alike = similarity.normalize(covariance)
values = units.layer_activations(network, layer, describe_with, units="channel")
correlated = graphs.correlation_graph(values)
print("channels × images:", tuple(scores.shape), " channels × channels:", tuple(alike.shape), correlated.shape)

# %% [markdown]
# ## Group units into modules
#
# Three groupings: co-clustering sorts rows and columns of a matrix together; modularity looks for the partition with the most
# weight inside modules, and finds their number itself; the normalised cut splits a graph into `k` parts. Co-clustering takes all three
# descriptions. The other two take a graph, and the attributions become one by the correlation of their rows.

# %%
from modutils import coclustering, modularity, spectral

by_coclustering = coclustering.spectral_cocluster(scores, 4, seed=seed).row_labels
by_modularity = modularity.find_modules(alike, seed=seed).labels
by_cut = spectral.spectral_clusters(correlated, 4, seed=seed)
# Labels come back as what was given, here tensors.
by_coclustering, by_modularity, by_cut = map(np.asarray, (by_coclustering, by_modularity, by_cut))
for found in (by_coclustering, by_modularity, by_cut):
    print(found)

# %% [markdown]
# ## Test the modules
#
# A partition is only worth something if it beats a random one. The test removes every module and, beside it, 99 random sets of as many
# channels. *Accuracy lost* is the mean over classes; *selectivity* is the loss of the class that suffers most minus that of the class
# that suffers least. Everything below the layer runs once for all sets.

# %%
from modutils import lesions, partitions, statistics

intact = lesions.correct_counts(network, layer, test_with, classes, [[]], units="channel")


def lost(_, sets):
    left = lesions.correct_counts(network, layer, test_with, classes, sets, units="channel")
    share = (intact - left) / intact
    return {"lost": share.mean(axis=1), "selectivity": np.ptp(share, axis=1)}


shuffled = np.random.default_rng(seed).permutation(by_modularity)  # for the second exercise
tested = partitions.permutation_test([by_modularity], lost, draws=99, seed=seed)
for name, found in tested.values.items():
    p = statistics.rank_p_values(found[:, 0], found[:, 1:-1])
    print(f"{name:12} modules {found[:, 0].round(2)}  random {found[:, 1:-1].mean(axis=1).round(2)}  p {p.round(2)}")

# %% [markdown]
# The second test asks what *drives* a module: of the fifty images on which its channels are most active, how mixed are the classes?
# Their entropy is 0 nats if all are of one class, and $\ln 10 \approx 2.3$ if every class is equally frequent.

# %%
from modutils import coherence

sets = [np.flatnonzero(by_modularity == module) for module in np.unique(by_modularity)]
activity = units.layer_activations(network, layer, test_with, units="channel").T
drive = torch.stack([activity[torch.as_tensor(channels)].sum(dim=0) for channels in sets])
print("entropy of the classes (nats):", np.asarray(coherence.label_entropy(drive, classes, top=50)).round(2))

# %% [markdown]
# ## All nine at full size

# %%
from companion.study import open_chapter
from studies.your_own_network import STUDY

chapter = open_chapter(STUDY, scale, recompute=recompute)
records = list(chapter.results.records("modules"))
runs = [record.values for record in records]
first = runs[0]

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
glue("own-accuracy", figures.accuracy(runs))
glue("own-n", len(runs))
glue("own-data", figures.origin(records[0]))
table = figures.table(runs)
for name in ("accuracy", "most", "entropy"):
    glue(f"own-{name}-n", figures.beyond_chance(table, name))

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
The same, with a wider network on colour images. The record says which images they were: {glue:text}`own-data`. Test accuracy is
{glue:text}`own-accuracy` over {glue:text}`own-n` networks that differ in their seed.
""")

# %% mystnb={"figure": {"name": "fig-own-partitions", "caption": "Three descriptions, top to bottom, of the same channels of one network (seed 0), as graphs: the darker a cell, the stronger two channels are joined; the diagonal is left out. In each panel channels are sorted by what one way of grouping, left to right, found; orange squares are its modules. Look for squares that are darker than what is around them."}, "image": {"alt": "Nine square heat maps of one layer's channels in three rows and three columns, each with a few orange squares along the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.partitions(first)

# %% [markdown]
# In the table, a row is a partition. Numbers are means over all modules of all networks, beside those of *random* sets of as many channels. The p
# values of the modules are joined by Fisher's method; with 99 random sets each, none alone can be below 1/200. Larger losses and larger selectivity
# are better than chance, and so is smaller entropy. Nine partitions times three tests are 27 chances: only what is below
# 0.05 / 27 = 0.002 stands for itself.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
HTML(figures.shown(table))

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
Of the nine partitions, {glue:text}`own-accuracy-n` cost more accuracy than chance by this bar, {glue:text}`own-most-n` are more selective,
and in {glue:text}`own-entropy-n` the images that drive a module are of fewer classes. A module that matters need not be one that
answers to a class: which test you choose decides as much as which definition.
""")

# %% mystnb={"figure": {"name": "fig-own-agreement", "caption": "How alike the nine partitions are: element-centric similarity, 1 for equal partitions, as a mean over networks. Blocks along the diagonal are partitions of one description. If two descriptions found the same modules, a block off the diagonal would be as dark."}, "image": {"alt": "A table of nine by nine numbers on blue cells, dark on the diagonal and pale nearly everywhere else", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.agreement(runs)

# %% [markdown]
# ## Now yours
#
# **A model from torchvision.** Everything above works as it stands: name a layer. Inputs are whatever the model takes; weights may be
# random, as here, or loaded by you.

# %%
torchvision = data.torchvision()
torch.manual_seed(seed)
resnet = torchvision.models.resnet18().eval()
pictures = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
channels = units.layer_activations(resnet, "layer3", pictures, units="channel")
print("layer3 of ResNet-18, images × channels:", tuple(channels.shape))
print(modularity.find_modules(graphs.correlation_graph(channels)).labels[:20])

# %% [markdown]
# **A transformer.** A layer of tokens gives (N, tokens, features). An element is a feature of one token, a channel is a feature over all
# tokens. Token ids are integers, so nothing can be attributed to *them*, but every layer above the embedding can be described.

# %%
torch.manual_seed(seed)
embedding = torch.nn.Embedding(50, 24)
encoder = torch.nn.TransformerEncoderLayer(24, 4, 48, dropout=0.0, batch_first=True)
reader = torch.nn.Sequential(embedding, encoder, torch.nn.Flatten(), torch.nn.Linear(24 * 6, 3)).eval()
sentences = torch.randint(50, (40, 6))
features = units.layer_activations(reader, "1", sentences, units="channel")
print("sentences × features:", tuple(features.shape))
print(spectral.spectral_clusters(graphs.correlation_graph(features), 3))

# %% [markdown]
# **A GPU.** Move the model: `network.to("cuda")`. Inputs follow batch by batch, and descriptions, graphs, partitions and tests are
# computed where the model is.
#
# **Images of your own.** Any tensor (N, channels, height, width) will do. Keep some images back for the tests, as above. A test on the images that
# found the modules says that they fit these images, and no more.
#
# **A model that returns more than logits.** Give `output=`, a function from what the model returns to the logits, such as
# `output=lambda out: out["logits"]` or `output=lambda out: out[1]` for the second of two heads.
#
# **What is refused.** A model in training mode; a layer that runs twice or gives something else than one tensor; labels for elements where
# channels are meant. Each says what it was and what would do.
#
# ## What it costs
#
# ResNet-18 beside captum and a hook, the module search beside Leiden, Louvain and a greedy search, and k-means in torch beside scikit-learn's:
# each pair gives the same result, or says how far apart they are. `make bench` measures it anew.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
from companion import reports

HTML(reports.benchmarks("own_network", "module_search", "kmeans"))

# %% [markdown]
# ## Try it
#
# 1. **Test another partition.** In *Test the modules* replace `permutation_test([by_modularity]` by `permutation_test([by_cut]`. Which of the
#    two is more selective?
#
#    <details>
#    <summary>What one sees (a few seconds)</summary>
#
#    By selectivity the modules of the cut lie a little further from their random sets. But no p value of either is small: with four
#    modules of one small network, neither can be told from chance.
#
#    </details>
#
# 2. **Shuffle it.** Replace it by `permutation_test([shuffled]`. The p values should now be anything
#    between 0 and 1, and the values those of the random sets.
#
#    <details>
#    <summary>What one sees (a few seconds)</summary>
#
#    They are: some modules do better than their random sets, some worse, and the p values lie anywhere.
#
#    </details>
#
# 3. **Look at another layer.** Set `layer = "blocks.1"`, which has 16 channels. Are its modules as selective as those of the last block?
#
#    <details>
#    <summary>What one sees (a minute)</summary>
#
#    The modules of this layer cost more when they are removed, and they are more selective. So are random sets of as many of its few
#    channels, and no p value is small.
#
#    </details>
#
# To compute every figure of this page anew on digits, set `scale = "quick"` in the first code cell, or run
#
#     python -m companion execute notebooks/your_own_network.py -p scale=quick --output quick

# %% [markdown]
# ## The record

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.origin_table()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.durations()
