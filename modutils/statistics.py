"""Intervals, permutation p-values and tests that the chapters share; SciPy does what SciPy offers.

Numbers may be given as tensors. Nulls (m, n) of an accelerator are ranked where they are, and arrays that come out of a
tensor are tensors beside it; vectors are copied to the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from modutils import _arrays, _check

ALTERNATIVES = ("greater", "less", "two-sided")


class Interval(NamedTuple):
    """A mean or a share with the ends of its confidence interval, and the number of values behind it.

    Where there are too few values for an interval, its ends are NaN: no comparison with them is true.
    """

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def text(self, form: str = ".3g") -> str:
        """Ends and n, such as ``[0.1, 0.35], n = 5``; ``form`` is how an end is written."""
        if np.isnan(self.low):
            return f"n = {self.n}, no interval"
        return f"[{self.low:{form}}, {self.high:{form}}], n = {self.n}"


def mean_interval(values: Any, *, level: float = 0.95) -> Interval:
    """Mean of independent replicates with Student's t interval.

    Parameters
    ----------
    values : array_like
        (n,) numbers: one per training seed, or paired differences. NaN stands for one that is missing and does not
        count. A single value is a mean without an interval; without any, the mean is NaN too.
    level : float
        Coverage in (0, 1).

    Raises
    ------
    ValueError
        An infinite value, or a level outside (0, 1).

    Examples
    --------
    >>> print(mean_interval([1.0, 2.0, 3.0]))
    2.000 [-0.484, 4.484]
    >>> mean_interval([1.0, float("nan")]).text()
    'n = 1, no interval'
    """
    array = _arrays.host(values).astype(float).ravel()
    array = _finite("values", array[~np.isnan(array)], least=0)
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be between 0 and 1")
    mean = float(array.mean()) if array.size else np.nan
    if array.size < 2:
        return Interval(mean, np.nan, np.nan, array.size)
    half = float(stats.t.ppf((1 + level) / 2, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size))
    return Interval(mean, mean - half, mean + half, array.size)


def share(count: int, n: int) -> Interval:
    """``count`` of ``n`` as a share with Wilson's 95 % binomial interval; NaN for n = 0.

    Raises
    ------
    ValueError
        ``count`` is not in 0 … n.

    Examples
    --------
    >>> print(share(35, 36))
    0.972 [0.858, 0.995]
    """
    if not 0 <= count <= n:
        raise ValueError(f"count={count} must be from 0 to n={n}")
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    bounds = stats.binomtest(count, n).proportion_ci(method="wilson")
    return Interval(count / n, float(bounds.low), float(bounds.high), n)


def trend(values: Any) -> float:
    """Spearman's correlation of the values with their place: 1 where they rise throughout, −1 where they fall.

    Parameters
    ----------
    values : array_like
        (n,) numbers in order. NaN does not count; with fewer than three others the trend is NaN, and it is 0 where
        nothing changes.

    Examples
    --------
    >>> trend([1.0, 2.0, float("nan"), 5.0]), trend([3.0, 3.0, 3.0]), trend([1.0, 2.0])
    (1.0, 0.0, nan)
    """
    array = _arrays.host(values).astype(float).ravel()
    left = np.flatnonzero(np.isfinite(array))
    if len(left) < 3:
        return float("nan")
    if np.ptp(array[left]) == 0:
        return 0.0
    return float(stats.spearmanr(left, array[left]).statistic)


def rank_p_value(value: float, null: Any, alternative: str = "greater", *, ties: str = "mid") -> float:
    """Permutation p-value: the rank of ``value`` among draws from its null distribution.

    With b draws beyond ``value`` and t draws equal to it among n, the p-value is (b + 1 + t) / (n + 1) for
    ``ties="strict"``, which is never too small (Phipson & Smyth 2010), and (b + (1 + t) / 2) / (n + 1) for
    ``ties="mid"``, whose mean under the null is exactly 1/2 also where ties are frequent.

    Parameters
    ----------
    value : float
        The observed statistic.
    null : array_like
        (n,) draws of the statistic under the null hypothesis, n ≥ 1.
    alternative : {"greater", "less", "two-sided"}
        Where an effect would put ``value``; two-sided doubles the smaller p-value, at most 1.
    ties : {"mid", "strict", "ignored"}
        As in `rank_p_values`.

    Raises
    ------
    ValueError
        A value that is not finite, an empty null, an unknown alternative or rule for ties.

    Examples
    --------
    >>> rank_p_value(3.0, [0.0, 1.0, 2.0], ties="strict")
    0.25
    """
    value, draws = float(value), _finite("null", null, least=1)
    if not np.isfinite(value):
        raise ValueError(f"value={value} must be finite")
    _check.choice("alternative", alternative, ALTERNATIVES)
    if alternative == "two-sided":
        return min(1.0, 2 * min(rank_p_value(value, draws, side, ties=ties) for side in ("greater", "less")))
    return float(rank_p_values([value], [draws], alternative, ties=ties)[0])


def rank_p_values(values: Any, null: Any, alternative: str = "greater", *, ties: str = "mid") -> Any:
    """`rank_p_value` for many statistics at once, each with a null of its own, and with one more rule for ties.

    Parameters
    ----------
    values : array_like
        (m,) observed statistics; infinite ones are larger or smaller than all finite ones, and equal to each other.
    null : array_like
        (m, n) draws of each statistic under its null hypothesis, n ≥ 1.
    alternative : {"greater", "less"}
    ties : {"mid", "strict", "ignored"}
        ``ignored`` counts only draws beyond the value, (b + 1) / (n + 1). That is the rule of Hod et al. (2021), and
        it is too small where ties occur: a statistic that equals all its draws gets the smallest possible p-value.

    Returns
    -------
    numpy.ndarray or Tensor
        (m,) in (0, 1].

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN, an unknown alternative or rule for ties.

    Examples
    --------
    >>> rank_p_values([3.0, 0.0], [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]).tolist()
    [0.125, 0.5]
    >>> rank_p_values([3.0, 0.0], [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]], ties="ignored").tolist()
    [0.25, 0.25]
    """
    x, draws = _together(values, null)
    if x.ndim != 1 or draws.ndim != 2 or len(draws) != len(x) or draws.shape[1] < 1:
        shapes = f"{tuple(x.shape)} and {tuple(draws.shape)}"
        raise ValueError(f"values and null have shapes {shapes}; (m,) and (m, n ≥ 1) are needed")
    if (x != x).any() or (draws != draws).any():
        raise ValueError("values or null has NaN; leave out what is not defined")
    _check.choice("alternative", alternative, ALTERNATIVES[:2])
    _check.choice("ties", ties, ("mid", "strict", "ignored"))
    beyond = (draws > x[:, None] if alternative == "greater" else draws < x[:, None]).sum(axis=1, dtype=x.dtype)
    equal = (draws == x[:, None]).sum(axis=1, dtype=x.dtype)
    tied = {"mid": (1 + equal) / 2, "strict": 1 + equal, "ignored": 1.0}[ties]
    return _arrays.like((beyond + tied) / (draws.shape[1] + 1), values, null)


def fisher(p_values: Any, n_null: int | None = None) -> float:
    """Fisher's combination of independent p-values: −2 Σ ln p against χ² with two degrees of freedom each.

    Parameters
    ----------
    p_values : array_like
        (m,) in (0, 1].
    n_null : int, optional
        Draws behind each p-value, if they are ranks without ties, (b + 1) / (n + 1). Their mean under the null is above
        1/2, so 1 / (2(n + 1)) is taken off first, as in the code of Hod et al. (2021). Mid-p-values need no shift.

    Raises
    ------
    ValueError
        No p-value, one outside (0, 1], or one that the shift would bring to 0.

    Examples
    --------
    >>> round(fisher([0.05, 0.05], n_null=19), 4)
    0.0052
    """
    p = _p_values(p_values)
    if n_null is not None:
        if n_null < 1:
            raise ValueError(f"n_null={n_null} must be at least 1")
        p = p - 0.5 / (n_null + 1)
        if p.min() <= 0:
            raise ValueError(f"p_values has {p.min() + 0.5 / (n_null + 1):.3g}: too small for a rank among {n_null}")
    return float(stats.combine_pvalues(p, method="fisher").pvalue)


def bates(p_values: Any) -> float:
    """Combine independent p-values by their mean, against the distribution of a mean of uniforms (Bates).

    Unlike Fisher's combination it is not moved by one very small p-value: it asks whether they are small together.

    Raises
    ------
    ValueError
        No p-value, or one outside (0, 1].

    Examples
    --------
    >>> round(bates([0.1, 0.2, 0.1]), 4)
    0.0107
    """
    p = _p_values(p_values)
    return float(stats.irwinhall.cdf(p.sum(), p.size))


def benjamini_hochberg(p_values: Any, rate: float = 0.05) -> float:
    """Largest p-value that is significant at a false discovery rate (Benjamini & Hochberg 1995); 0 if none is.

    Parameters
    ----------
    p_values : array_like
        (m,) in (0, 1].
    rate : float
        Share of false discoveries that is accepted, in (0, 1).

    Raises
    ------
    ValueError
        No p-value, one outside (0, 1], or a rate outside (0, 1).

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.02, 0.9])
    0.02
    >>> benjamini_hochberg([0.5, 0.9])
    0.0
    """
    p = _p_values(p_values)
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate} must be between 0 and 1")
    return float(p[stats.false_discovery_control(p) <= rate].max(initial=0.0))


def partition_scores(values: Any, null: Any, alternative: str = "greater") -> Any:
    """Scores of whole partitions, whose ranks need no independence of the parts.

    Every column is a partition: the true one, or one whose labels were permuted. Each is ranked among all of them, part
    by part; its score is the mean of −ln p over parts. A p-value is the rank of the true partition's score among the
    others (exchangeability: Phipson & Smyth 2010). Fisher's combination, which Hod et al. (2021) use, assumes that
    parts are independent.

    Parameters
    ----------
    values : array_like
        (m,) statistics of the parts of the true partition.
    null : array_like
        (m, n): column j has those of the j-th permuted partition, part by part of the same size.
    alternative : {"greater", "less"}

    Returns
    -------
    numpy.ndarray or Tensor
        (n + 1,), the true partition first. A ValueError is raised as by `rank_p_values`, or for no part.

    Examples
    --------
    >>> scores = partition_scores([5.0, 6.0], [[1.0, 2.0, 3.0], [2.0, 1.0, 3.0]])
    >>> rank_p_value(scores[0], scores[1:])
    0.125
    """
    x, draws = _together(values, null)
    rank_p_values(x, draws, alternative)  # refuses what does not fit
    if not len(x):
        raise ValueError("values is empty: the partition has no part to test")
    if isinstance(draws, torch.Tensor):
        pool: Any = torch.cat([x[:, None], draws], 1)
        placed = _arrays.ranks(-pool if alternative == "greater" else pool)
        return -((placed - 0.5) / pool.shape[1]).log().mean(0)
    pool = np.concatenate([x[:, None], draws], axis=1)
    ranks = stats.rankdata(-pool if alternative == "greater" else pool, axis=1)  # ties get their mean rank
    return _arrays.like(np.asarray(-np.log((ranks - 0.5) / pool.shape[1]).mean(axis=0)), values, null)


def _together(values: Any, null: Any) -> list[Any]:
    """Both in float64: tensors on an accelerator if one of them is there, else numpy arrays."""
    if _arrays.on_device(values, null):
        return [_arrays.placed(values, null), _arrays.placed(null, values)]
    return [_arrays.host(one).astype(float) for one in (values, null)]


def effect_size(value: float, null: Any) -> float:
    """How many standard deviations of the null lie between ``value`` and the null's mean (a z-score).

    Raises
    ------
    ValueError
        Fewer than two draws, numbers that are not finite, or a null whose draws differ by no more than rounding.

    Examples
    --------
    >>> effect_size(3.0, [0.0, 1.0, 2.0])
    2.0
    """
    draws = _finite("null", null, least=2)
    _finite("value", value, least=1)
    spread = float(draws.std(ddof=1))
    if spread <= 4 * np.finfo(float).eps * np.abs(draws).max():
        raise ValueError(f"null has no spread: all {draws.size} draws are {draws[0]}; an effect size is undefined")
    return float((float(value) - draws.mean()) / spread)


def holm(p_values: Any) -> Any:
    """Holm's step-down adjustment of p-values for several tests (Holm 1979).

    Parameters
    ----------
    p_values : array_like
        (m,) in [0, 1].

    Returns
    -------
    numpy.ndarray or Tensor
        (m,) adjusted p-values in the given order; reject those at or below the level.

    Raises
    ------
    ValueError
        A p-value outside [0, 1].

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _finite("p_values", p_values, least=1)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"p_values lie between {p.min()} and {p.max()}; they must be in [0, 1]")
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return _arrays.like(adjusted, p_values)


def equivalence_p_value(differences: Any, margin: float) -> float:
    """Two one-sided t-tests: is the mean of paired differences within ±``margin``? (Schuirmann 1987)

    A test that finds no difference has not shown that there is none; this one can.

    Parameters
    ----------
    differences : array_like
        (n,) paired differences, n ≥ 2.
    margin : float
        Largest difference that counts as equivalent, above 0, in the unit of the differences.

    Returns
    -------
    float
        Small when the mean difference lies inside the margin: the larger of the two one-sided p-values.

    Raises
    ------
    ValueError
        Fewer than two differences, one that is not finite, or a margin that is not positive.

    Examples
    --------
    >>> equivalence_p_value([0.001, -0.002, 0.0, 0.001], margin=0.02) < 0.001
    True
    """
    array = _finite("differences", differences, least=2)
    if not margin > 0:
        raise ValueError(f"margin={margin} must be above 0")
    if array.std() == 0:  # SciPy has no p-value for differences without spread
        return 0.0 if abs(array[0]) < margin else 1.0
    above = stats.ttest_1samp(array, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(array, margin, alternative="less").pvalue
    return float(max(above, below))


def _finite(name: str, values: Any, *, least: int) -> np.ndarray:
    array = _arrays.host(values).astype(float).ravel()
    if array.size < least:
        raise ValueError(f"{name} has {array.size} numbers; at least {least} are needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has {int((~np.isfinite(array)).sum())} of {array.size} numbers that are not finite")
    return array


def _p_values(p_values: Any) -> np.ndarray:
    p = _finite("p_values", p_values, least=1)
    if p.min() <= 0 or p.max() > 1:
        raise ValueError(f"p_values lie between {p.min()} and {p.max()}; they must be above 0 and at most 1")
    return p
