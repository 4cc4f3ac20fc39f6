# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Cliques
#
# In short: of {glue:text}`n-claims` claim, {glue:text}`n-holds` holds.

# %% tags=["parameters"]
scale = "paper"
recompute = False
seed = 0

# %%
from companion.study import open_chapter
from studies.cliques import STUDY

chapter = open_chapter(STUDY, scale, recompute=recompute)
chapter.glue()

# %% tags=["remove-input"]
chapter.origin()

# %% tags=["remove-input"]
chapter.boxes("X1")

# %% [markdown]
# ## Where the numbers come from

# %% tags=["remove-input"]
chapter.origin_table()

# %% tags=["remove-input"]
chapter.durations()
