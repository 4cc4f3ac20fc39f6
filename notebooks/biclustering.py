# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Biclustering task-specific hidden neurons
#
# This page is a placeholder for the chapter on {cite:t}`lu2019checking`.
# The page uses the values below; the tests pass smaller ones.

# %% tags=["parameters"]
scale = "paper"  # "paper" reads the record, "quick" computes everything here
recompute = False
seed = 0

# %%
import matplotlib.pyplot as plt
from myst_nb import glue
from sklearn.datasets import load_digits

if scale not in ("paper", "quick"):
    raise ValueError(f'scale={scale!r}; use "paper" or "quick"')
images, labels = load_digits(return_X_y=True)
glue("n_images", len(images), display=False)

# %% [markdown]
# There are {glue:text}`n_images` images in the embedded data. {numref}`fig-digits` shows the first eight.
# A module is scored as
#
# $$\begin{aligned}
# e(n, x) &= a(n, x, \hat y(x)), \\
# \hat y(x) &= \arg\max_y f_y(x).
# \end{aligned}$$ (eq-score)

# %% mystnb={"figure": {"name": "fig-digits", "caption": "The first eight digits, 8×8 pixels each."}, "image": {"alt": "Eight small grey-scale images of handwritten digits in a row", "width": "100%"}} tags=["hide-input"]
figure, axes = plt.subplots(1, 8, figsize=(8, 1.2), facecolor="white")
for axis, image in zip(axes, images, strict=False):
    axis.imshow(image.reshape(8, 8), cmap="gray_r")
    axis.set_axis_off()
