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
# # The bake-off
#
# Four papers, four definitions of a module. Each was tried on networks of its own, where nobody knows which modules there are. So which of
# them is right? Here we ask all four, on the same networks, and on networks whose modules are *known*, because we planted them. Who finds the
# plant? When do the definitions part? And does it hurt as it should to remove what was found? No paper answers this.
#
# A network with planted modules reads several images side by side and names each of them. Its hidden units belong to groups, one for each
# image, in a random order. Between groups weights are masked and stay zero, but for a share $\delta$ that is free. At $\delta = 0$ the groups
# are networks of their own. At $\delta = 1$ nothing is masked: there is no plant, only a task that falls into parts. Two more kinds of
# networks are made to set the definitions against each other:
#
# - **aligned**: the same groups in both hidden layers;
# - **crossed**: the lower layer is grouped by the image that it *reads*, the upper by the output that it *serves*, and the outputs, the
#   largest and the smallest of the digits, need all images;
# - **columns**: two groups that compute the *same*, from one image for one output.
#
# A method gets a trained network, some images, and the number of groups. It is scored by the adjusted Rand index (ARI) between its modules
# and the planted groups: 1 if they are the same, 0 on average for guesses. Units that never fire do not count.

# %% jupyter={"source_hidden": true} tags=["remove-cell"]
from companion.reading import glue, say, show_captions

show_captions("bake_off.py")

# %% tags=["parameters"]
# "paper" shows the record of networks on pairs of MNIST,
# "quick" computes a few small ones on digits
scale = "paper"
# True ignores the record and computes anew: half an hour
# of work, kept in the cache folder and resumable
recompute = False
# of the small network on this page, not of the record
seed = 0
# share of the weights between its groups that is kept
delta = 0.5

# %%
import matplotlib.pyplot as plt
import torch
from IPython.display import HTML

from companion.reports import table
from modutils import planted, plotting, units
from studies.bake_off import cells, figures, leaderboard, methods

# Every piece of work of the chosen scale; an unknown scale is an error.
plan = cells.plan(scale)
plt.rcParams.update(plotting.STYLE)

# %% [markdown]
# ## One network, seen by everybody
#
# We plant two groups in a network that reads two handwritten digits of 8×8 pixels, and train it.

# %%
groups = 2
plant = planted.network("aligned", sizes=[64 * groups, 48, 48, 10 * groups], groups=groups, delta=delta, seed=seed)
images, digits = planted.samples("aligned", "digits", "train", 6000, groups=groups, seed=seed)
planted.train(plant.model, images, digits, epochs=8, batch_size=64, seed=seed)
test = planted.samples("aligned", "digits", "test", 2000, groups=groups, seed=seed)
right = planted.accuracy(plant.model, *test)
print("right by head (%):", (100 * right).round(1))

# %% [markdown]
# Now everybody looks. A competitor is a *description* of the units and a way to *group* them:
#
# - **co-clustering** (Lu and Ester): DeepLIFT attributions of units to the predicted digits, rows and columns clustered together;
# - **four similarities** (Lange et al.): covariance and input sensitivity look upstream, output sensitivity and the loss Hessian
#   downstream; here with spectral clusters;
# - **weight graph** (Hod et al.): spectral clusters of the sizes of the weights, of all layers, the hidden ones, or each layer with its
#   neighbours; and the **activation graph**, of squared rank correlations;
# - **sculpting** (Patil et al.): prune, then group units by the units that they still reach.
#
# Baselines are simpler. *In-weight* asks which image most weight comes from, *out-weight* which head most weight goes to, *head preferred*
# which head has the largest attributions, *single lesions* which head suffers most without the unit; *k-means* takes the activations as they
# are.

# %%
net = methods.Net(
    planted.plain(plant.model), images[:500], digits[:500], (images, digits), 64,
    images=groups, heads=groups, ks=(groups, groups), seed=seed,
)  # fmt: skip
labels, seconds = methods.compete(net)
print(f"{len(labels)} methods, both layers, in {sum(seconds.values()):.1f} s of processor time")

# %% mystnb={"figure": {"name": "fig-bo-seen", "caption": "The upper hidden layer of one network, seen by eight descriptions (live, digits, one network). Rows are units in the order of their planted groups; columns are the same units, for *weights* the units below and for *attributions* images, first for one head and then for the other. Orange lines are the borders of the groups; the number is the ARI of what each method makes of its picture. Where you see blocks, a method can."}, "image": {"alt": "Nine square heat maps in three rows: the planted blocks, then weights, attributions, activations, reach and four similarities, with blocks that are clear in some and faint in others", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.seen(net, plant.labels, labels)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
standings = figures.standings(plant.labels, labels, net)
HTML(
    table(
        ("Method", "ARI, lower layer", "ARI, upper layer"),
        [(figures.word(name), figures.two(lower), figures.two(upper)) for name, lower, upper in standings],
    )
)

# %% [markdown]
# A name with *Q* is Newman's search, which chooses the number of modules itself. One network proves little. The record has many of each kind.

# %%
from companion.study import open_chapter
from studies.bake_off import STUDY

chapter = open_chapter(STUDY, scale, recompute=recompute, columns=1)
found = next(iter(STUDY.evidence(chapter.results, scale).values()))()
chapter.origin()

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
chapter.glue()
glue("bo-counted", figures.counted(found))

# %% jupyter={"source_hidden": true} tags=["remove-input"]
say(r"""
What we expected is written down as eight hypotheses (H1 to H8) from a pilot on other seeds. Their rules were committed before the record
was made. Of eight, {glue:text}`n-holds` hold, {glue:text}`n-in-part` hold in part, {glue:text}`n-not` do not and {glue:text}`n-undecided` are
undecided. In this record {glue:text}`bo-counted`.
""")

# %% [markdown]
# ## Who finds it
#
# The more weights between groups are free, the less is left to find.

# %% mystnb={"figure": {"name": "fig-bo-delta", "caption": "Agreement with the plant against the share \u03b4 of the weights between groups that is kept, aligned networks. Lines are means over networks, bands their 95 % intervals; baselines are grey. The thin line is one half. Look who falls first, and whether anybody outlasts the grey lines."}, "image": {"alt": "Two panels of falling curves, lower and upper layer; co-clustering and the loss Hessian fall first, the weight graph and the in-weight baseline last", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.against_delta(found)

# %% mystnb={"figure": {"name": "fig-bo-half", "caption": "The share \u03b4 at which a method's ARI, mean of both layers, falls below one half; 95 % bootstrap intervals over seeds. Baselines are grey, and the dashed line is the simplest of them: which image a unit's weights come from."}, "image": {"alt": "A list of methods, best on top, with a dot and an interval each, and a dashed line at the in-weight baseline", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.half_way(found)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("H1", "H6", "H7")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.remark(
    lambda: (
        "**What we see.** Up to δ = 0.3 nearly everybody finds everything. Then the functional methods fall, co-clustering first in the lower layer and the loss "
        "Hessian in the upper. Simple baselines are hard to beat: to ask which head a unit's attributions prefer goes further (δ50 "
        f"{figures.two(found.d50('class preference').mean)}) than to cluster the same attributions ({figures.two(found.d50('co-clustering').mean)}). "
        f"The graph of all weights finds the plant at δ = 0.6 (ARI {figures.two(found.ari('weights, all', 'aligned', 0.6).mean())}) and has lost it at δ = 0.7 "
        f"({figures.two(found.ari('weights, all', 'aligned', 0.7).mean())}), where the hidden layers alone still give "
        f"{figures.two(found.ari('weights, hidden', 'aligned', 0.7).mean())}. Its two modules have not become vague: they are now the layers (ARI with the layer "
        f"that a unit is in {figures.two(figures.across(found, 'weights, all', 'aligned', 0.7))}). To cut a network across, between the lower layer and the upper, has become cheaper than to cut it "
        "along, between the groups."
    )
)

# %% [markdown]
# ## When they part
#
# In crossed networks the two layers have different groups, so *what a unit reads* and *what it serves* are different questions. In
# columns there is structure, but no function that goes with it.

# %% mystnb={"figure": {"name": "fig-bo-apart", "caption": "Mean ARI where the definitions must part: crossed networks and columns, \u03b4 = 0.1, by layer. Baselines stand below the white line. A row that is dark in one column only answers one question only."}, "image": {"alt": "A table of numbers on blue cells: upstream methods are dark for the lower layer of crossed networks, downstream ones for the upper, and weight graphs for columns", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.apart(found)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("H2", "H3")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.remark(
    lambda: (
        "**What we see.** Upstream and downstream measures disagree because they answer different questions, and each is right about its own. Of all methods, only the weight graph "
        "that is cut layer by layer is right in all four columns. In columns, what units reach after pruning finds the lower layer (ARI "
        f"{figures.two(found.ari('reach 0.8', 'columns', 0.1, 0).mean())}) and nothing in the upper one ({figures.two(found.ari('reach 0.8', 'columns', 0.1, 1).mean())}), "
        "whose units all reach the same outputs. Of the functional methods the loss Hessian comes closest, in the lower layer "
        f"({figures.two(found.ari('loss Hessian', 'columns', 0.1, 0).mean())}). The rule for functional methods in columns (H3) takes the mean of both layers; of the lower layer alone it would be undecided."
    )
)

# %% [markdown]
# ## What rescaling does
#
# Multiply what comes into a unit by ten and divide what leaves it by ten: with ReLU the network computes the same function. A definition of a
# module that changes its mind is not about the function. We rescale every unit by a log-normal factor and train no further.

# %% mystnb={"figure": {"name": "fig-bo-rescaled", "caption": "Agreement with the plant before (hollow) and after (orange) all units were rescaled, aligned networks, \u03b4 = 0.3, mean of both layers; 95 % intervals over networks. The function of the network is unchanged. Look for marks that come apart."}, "image": {"alt": "A list of methods with two marks each; they coincide for most and lie far apart for the weight graph of all layers, the local weight graph and all that is pruned", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.rescaling(found)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("H4")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.remark(
    lambda: (
        "**What we see.** The graph of all weights and its local variant change their minds about a function that has not changed: again the cut runs across, at least in part (ARI "
        f"with the layers {figures.two(figures.across(found, 'weights, all', 'rescaled', 0.3))}). In the network that we looked at, a unit of the lower layer went with the inputs if its incoming "
        "weights had been scaled up, and with the layer above if its outgoing ones had. "
        "The graph of the hidden layers alone and in-weight stay. Pruning by "
        "size removes whole units: at 90 % zeros "
        f"{100 * figures.left_out(found, 'reach 0.9', 'rescaled', 0.3):.0f} % of the units that fire are left without any path to an output, before it were "
        f"{100 * figures.left_out(found, 'reach 0.9', 'aligned', 0.3):.0f} %. "
    )
)

# %% [markdown]
# ## Who agrees with whom
#
# Where there are modules, methods agree because all find them. Where there are none, do they at least agree with each other?

# %% mystnb={"figure": {"name": "fig-bo-agreement", "caption": "How alike the modules of two methods are beyond chance: element-centric similarity minus its expectation for shuffled labels, mean of both layers and over networks. (a) With a clear plant; (b) without any. Columns have the numbers of the rows. With two groups of equal size, 0.5 is the most that there can be."}, "image": {"alt": "Two square tables of numbers on blue cells; the upper is dark nearly everywhere, the lower nearly white but for a few cells beside the diagonal", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.agreements(found)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("H8")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.remark(
    "**What we see.** Without a plant there is no common ground. What agreement is left is between methods that look at the same thing: covariance and the activation graph are two "
    "correlations of the same activations. So that two methods agree is evidence for modules only if they do not share their description."
)

# %% [markdown]
# ## What removal shows
#
# Papers test a module by removing it: a good one costs its own task much and the others little. We call the difference its *selectivity*, on
# images that nobody has seen. It is tempting to search for it directly. Take units away one by one, each time the one without which the first
# head loses most and the other least.

# %% mystnb={"figure": {"name": "fig-bo-removal", "caption": "Selectivity in the upper layer: accuracy that a removed set costs its own head minus what it costs the other, mean over modules matched one to one to heads; aligned networks, test images, bands are 95 % intervals. The greedy search finds a selective set even at \u03b4 = 1, where nothing was planted. Look at what its complement does to the mean."}, "image": {"alt": "Six curves over the share of kept weights: the greedy set stays high throughout, the greedy set with its complement and the modules of all methods fall, random sets stay low", "width": "100%"}} tags=["hide-input"] jupyter={"source_hidden": true}
figures.removal(found)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.boxes("H5")

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.remark(
    lambda: (
        "**What we see.** "
        f"At δ = 1 the modules of input sensitivity have a selectivity of {figures.two(figures.selective(found, 'input sensitivity', 1.0))}, random sets of the same sizes "
        f"{figures.two(figures.selective(found, 'input sensitivity', 1.0, 'random'))}. The greedy set is as selective at every δ, whatever is planted. Even together with its complement it is more "
        "selective there than any method's modules, since this is what it was chosen for. A search for selectivity finds selectivity."
    )
)

# %% [markdown]
# A selective set is there for the taking in a network without any modules. What is not there is a *partition*: the units that are left do not
# serve the other head alone. So one selective set proves nothing; its complement must be shown, too.
#
# ## Which definition for which question
#
# The definitions do not compete for one truth, they answer different questions. The third column has the ARI where a definition must stand
# on its own, since others fail there; the fourth where the answer to all questions is the same.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
HTML(figures.choice(found))

# %% [markdown]
# ## All hypotheses
#
# Beside each number is that of the pilot, where it had one.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
HTML(figures.pilot(next(iter(chapter.verdicts.values()))))

# %% [markdown]
# ## Your own method
#
# A method is one function. It gets the network, the name of a layer, images and the number of groups, and returns a label for each unit. Here
# is one that is in none of the papers: swap one of the images for that of another sample and see which units change.


# %%
def mine(model, layer, inputs, k):
    """Units belong together if the same image moves them most."""
    values = units.layer_activations(model, layer, inputs)
    moved = []
    for image in range(inputs.shape[1]):
        other = inputs.clone()
        other[:, image] = inputs[:, image].roll(1, dims=0)
        moved.append((units.layer_activations(model, layer, other) - values).abs().mean(0))
    return torch.stack(moved).argmax(0)


own = leaderboard.on_network(mine, net, plant.labels)
print("ARI, lower and upper layer:", [round(value, 2) for value in own.ari])

# %% [markdown]
# To score yours on all networks of the record, beside all of the above, save it in a file and say
#
#     python -m companion run bake_off --method file:mine
#
# [The leaderboard](../book/leaderboard.md) shows what comes out. With `--scale quick` it takes half a minute.
#
# ## What it costs
#
# Processor time of everybody on one network of the record's size, both layers, in one run; descriptions that several ways of grouping share are
# counted for each. The *usual call* is the training of the network.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
from companion import reports

HTML(reports.benchmarks("bake_off"))

# %% [markdown]
# ## Try it
#
# 1. **Hide the plant.** Set `delta = 0.8` in the first code cell. Who still sees it, in the picture and in the table?
#
#    <details>
#    <summary>What one sees (a few seconds)</summary>
#
#    The simplest baselines and two of the weight graphs, and these by halves. Methods that look at what units do see next to nothing:
#    their order in the table is nearly chance.
#
#    </details>
#
# 2. **Blank instead of swap.** In *Your own method* replace `inputs[:, image].roll(1, dims=0)` by `0`. A blank image is none that the network
#    knows. Is the method still as good?
#
#    <details>
#    <summary>What one sees (a few seconds)</summary>
#
#    Not quite: it finds fewer of the groups in both layers. What a unit does far from the data says less about what it is for, and that
#    holds of lesions as well.
#
#    </details>
#
# 3. **Three images.** Set `groups = 3` where the network is planted. What does the picture look like, and who finds three groups?
#
#    <details>
#    <summary>What one sees (a few seconds)</summary>
#
#    Three blocks instead of two. The local weight graph and the baselines that look at weights find them; so does the largest attribution
#    in the upper layer. Co-clustering, the loss Hessian and k-means find much less.
#
#    </details>
#
# To compute every figure of this page anew on digits, set `scale = "quick"` in the first code cell, or run
#
#     python -m companion execute notebooks/bake_off.py -p scale=quick --output quick

# %% [markdown]
# ## The record

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.lines()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.origin_table()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
chapter.durations()
