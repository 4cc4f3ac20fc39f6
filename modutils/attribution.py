r"""How much does each unit of a layer contribute to a network's output, sample by sample?

Notation: :math:`f_y` is the logit of class :math:`y`, :math:`h` the value of the layer, :math:`x'` the baseline
input and :math:`h' = h(x')`. Each method equals a class of captum wherever captum covers the network:

.. list-table::
   :header-rows: 1

   * - method
     - attribution of a unit to class :math:`y`
     - source
     - in captum
   * - ``deeplift``
     - :math:`(h - h')\, m_y`, with the multiplier :math:`m_y` of the rescale rule
     - Shrikumar et al. 2017
     - ``LayerDeepLift``
   * - ``conductance``
     - :math:`\int \partial f_y / \partial h \; dh`, while the input goes straight from :math:`x'` to :math:`x`
     - Dhamdhere et al. 2019
     - ``LayerConductance``
   * - ``internal_influence``
     - :math:`\int_0^1 \partial f_y / \partial h \; d\alpha`, on the same path
     - Leino et al. 2018
     - ``InternalInfluence``
   * - ``integrated_gradients``
     - :math:`(h - h') \int_0^1 \partial f_y / \partial h \; d\alpha`, straight from :math:`h'` to :math:`h`
     - Sundararajan et al. 2017
     - ``LayerIntegratedGradients``
   * - ``gradient_x_activation``
     - :math:`h \; \partial f_y / \partial h`
     -
     - ``LayerGradientXActivation``
   * - ``guided_backprop``
     - :math:`\partial f_y / \partial h`, with negative gradients cut at every ReLU above the layer
     - Springenberg et al. 2015
     - ``GuidedBackprop``, on what lies above the layer

captum gives other numbers, without a word, where a non-linearity is called as a function or is unknown to it, and where
two of them touch, such as a ReLU before a max-pooling: it then drops the rule of the upper one. Here all elementwise
functions of :mod:`torch.nn.functional` and max-pooling are covered, and what is not is a `CompletenessError`.

Integrals are sums over Gauss-Legendre nodes. Conductance is captum's sum, which takes the gradient at the left end of
each interval: in trained networks it misses completeness by up to 10 % of the largest logit at 50 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from modutils._attribution import COMPLETE, METHODS, CompletenessError, Job
from modutils.units import Output, undisturbed

__all__ = [
    "METHODS",
    "CompletenessError",
    "attribute",
    "neuron_sample_matrices",
    "neuron_sample_matrix",
]


@undisturbed
def attribute(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    *,
    method: str = "deeplift",
    target: int | Tensor | Literal["all"],
    baseline: Tensor | np.ndarray | None = None,
    steps: int = 50,
    units: str = "element",
    output: Output | None = None,
    incomplete: str = "raise",
    return_delta: bool = False,
    batch_size: int = 500,
) -> Any:
    """Attribute logits to the units of a layer.

    Parameters
    ----------
    model : torch.nn.Module
        Any network that maps inputs (N, ...) to logits (N, classes), in evaluation mode; a single output counts as one
        class. It runs on the device and in the precision (float32 or float64) of its parameters.
    layer : torch.nn.Module or str
        Submodule of `model` or its dotted name. Its output is attributed: name the activation function, not the
        linear map below it.
    inputs : torch.Tensor or numpy.ndarray
        (N, ...) floating point. Moved to the model's device chunk by chunk. A model of token ids takes integers, but
        not for `conductance` and `internal_influence`, whose paths lie between inputs.
    method : str
        One of `METHODS`, see the table at the top of this module.
    target : int, torch.Tensor or "all"
        Class whose logit is attributed: one for all samples, an (N,) integer tensor, or "all".
    baseline : torch.Tensor or numpy.ndarray, optional
        The reference input x': one sample, or (N, ...) for one per sample. Default: zeros; among token ids it must be
        named. Not used by `gradient_x_activation` and `guided_backprop`.
    steps : int
        Nodes of the Gauss-Legendre quadrature for the methods with an integral. Conductance takes one more, whose
        intervals it sums over, as captum does.
    units : {"element", "channel"}
        See `modutils.units`. What a channel contributes is the sum over its places, so that completeness is kept.
    output : callable, optional
        Picks the logits (N, classes) from what the model returns. Default: all that it returns.
    incomplete : {"raise", "warn"}
        What to do where attributions do not add up. To be told is enough for a layer inside a branch: what goes past
        it is not attributed.
    return_delta : bool
        Also give the sum over units minus the change of the logit, for `deeplift`, `conductance` and
        `integrated_gradients`.
    batch_size : int
        Most samples to run at once. Apart from the result, memory grows with it, not with N.

    Returns
    -------
    torch.Tensor
        (N, units), for ``target="all"`` (N, classes, units), on the model's device. Elements of the layer's output are
        in C order. With `return_delta` a pair, of this and a tensor (N,) or (N, classes).

    Raises
    ------
    ValueError
        For an argument that cannot be used; the text names it, its value and what would do.
    CompletenessError
        If the attributions by `deeplift`, `conductance` or `integrated_gradients` do not sum to
        :math:`f_y(x) - f_y(x')`, measured by the largest such change of any logit, or by half the sum of the sizes of
        the attributions where they cancel.
        Then something above the layer is beyond the method (such as a product of two activations under DeepLIFT),
        something bypasses the layer, or there are too few steps.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = net[0].weight.copy_(torch.eye(2)), net[2].weight.copy_(torch.tensor([[3.0, -1.0]]))
    >>> attribute(net, "1", torch.tensor([[1.0, 2.0]]), target=0)
    tensor([[ 3., -2.]])
    """
    if return_delta and method in METHODS and method not in COMPLETE:
        raise ValueError(f"return_delta=True: {method!r} need not add up; only {', '.join(sorted(COMPLETE))} do")
    job = Job(model, layer, inputs, [method], target, baseline, steps, batch_size, units, output, incomplete)
    samples = len(job.inputs)
    shape = (samples, job.classes, job.units) if job.all_classes else (samples, job.units)
    out, delta = (torch.empty(each, dtype=job.dtype, device=job.device) for each in (shape, shape[:-1]))
    for part, results, deltas in job.run(centred=False):
        result = results[method]  # (seeds, samples, units)
        out[part] = result.transpose(0, 1) if job.all_classes else result[0]
        if return_delta:
            delta[part] = deltas[method].T if job.all_classes else deltas[method][0]
    return (out, delta) if return_delta else out


def neuron_sample_matrix(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    *,
    method: str = "deeplift",
    target: int | Tensor | None = None,
    baseline: Tensor | np.ndarray | None = None,
    steps: int = 50,
    units: str = "element",
    output: Output | None = None,
    incomplete: str = "raise",
    batch_size: int = 500,
) -> Tensor:
    r"""Attribution of the predicted class, relative to the mean over classes, of every unit and sample.

    .. math:: e(n, x) = a(n, x, \hat y) - \frac{1}{C} \sum_c a(n, x, c), \qquad \hat y = \arg\max_c f_c(x)

    The matrix that Lu & Ester (2019) co-cluster; the centring is that of Shrikumar et al. (2017), section 3.6. All
    methods but guided backpropagation are linear in what is propagated back from the logits, so one pass with
    :math:`\mathbf 1_{\hat y} - 1/C` at the logits replaces the C passes of the definition.

    Parameters
    ----------
    model, layer, inputs, method, baseline, steps, units, output, incomplete, batch_size
        As for `attribute`, but with two classes or more: of a single output the matrix would be zero.
    target : int or torch.Tensor, optional
        Class to use in place of :math:`\hat y`: one for all samples, or an (N,) integer tensor.

    Returns
    -------
    torch.Tensor
        (units, N), on the model's device.

    Raises
    ------
    ValueError, CompletenessError
        As for `attribute`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    >>> with torch.no_grad():
    ...     for i in (0, 2):
    ...         _ = net[i].weight.copy_(torch.eye(2))
    >>> neuron_sample_matrix(net, "1", torch.tensor([[1.0, 2.0], [4.0, 1.0]]))
    tensor([[-0.5000,  2.0000],
            [ 1.0000, -0.5000]])
    """
    options: dict[str, Any] = {"target": target, "baseline": baseline, "steps": steps, "output": output}
    options |= {"units": units, "incomplete": incomplete, "batch_size": batch_size}
    return neuron_sample_matrices(model, layer, inputs, methods=[method], **options)[method]


@undisturbed
def neuron_sample_matrices(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    *,
    methods: Sequence[str] = METHODS,
    target: int | Tensor | None = None,
    baseline: Tensor | np.ndarray | None = None,
    steps: int = 50,
    units: str = "element",
    output: Output | None = None,
    incomplete: str = "raise",
    batch_size: int = 500,
) -> dict[str, Tensor]:
    """`neuron_sample_matrix` for several methods, which share what they have in common.

    Parameters
    ----------
    methods : sequence of str
        Some of `METHODS`.
    model, layer, inputs, target, baseline, steps, units, output, incomplete, batch_size
        As for `neuron_sample_matrix`.

    Returns
    -------
    dict of str to torch.Tensor
        For each method its (units, N) matrix.

    Raises
    ------
    ValueError, CompletenessError
        As for `attribute`.
    """
    if isinstance(target, str):
        raise ValueError(f"target={target!r}: the matrix has one class per sample; give None, a class or (N,) classes")
    job = Job(model, layer, inputs, methods, target, baseline, steps, batch_size, units, output, incomplete, least=2)
    shape = (job.units, len(job.inputs))
    out = {method: torch.empty(shape, dtype=job.dtype, device=job.device) for method in methods}
    for part, results, _ in job.run(centred=True):
        for method, result in results.items():
            out[method][:, part] = result[0].T
    return out
