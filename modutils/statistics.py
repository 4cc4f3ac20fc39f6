"""Intervals, permutation p-values and tests that the chapters share; SciPy does what SciPy offers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

ALTERNATIVES = ("greater", "less", "two-sided")


class Interval(NamedTuple):
    """A mean with the ends of its confidence interval, and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean of independent replicates with Student's t interval.

    Parameters
    ----------
    values : array_like
        (n,) finite numbers, n ≥ 2: one per training seed, or paired differences.
    level : float
        Coverage in (0, 1).

    Raises
    ------
    ValueError
        Fewer than two values, a value that is not finite, or a level outside (0, 1).

    Examples
    --------
    >>> print(mean_interval([1.0, 2.0, 3.0]))
    2.000 [-0.484, 4.484]
    """
    array = _finite("values", values, least=2)
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be between 0 and 1")
    half = float(stats.t.ppf((1 + level) / 2, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size))
    mean = float(array.mean())
    return Interval(mean, mean - half, mean + half, array.size)


def rank_p_value(value: float, null: ArrayLike, alternative: str = "greater", *, ties: str = "mid") -> float:
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
    ties : {"mid", "strict"}

    Raises
    ------
    ValueError
        A value that is not finite, an empty null, an unknown alternative or rule for ties.

    Examples
    --------
    >>> rank_p_value(3.0, [0.0, 1.0, 2.0], ties="strict")
    0.25
    """
    draws = _finite("null", null, least=1)
    if not np.isfinite(value):
        raise ValueError(f"value={value} must be finite")
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative={alternative!r} is unknown; choose one of {', '.join(ALTERNATIVES)}")
    if ties not in ("mid", "strict"):
        raise ValueError(f"ties={ties!r} is unknown; choose 'mid' or 'strict'")
    if alternative == "two-sided":
        return min(1.0, 2 * min(rank_p_value(value, draws, side, ties=ties) for side in ("greater", "less")))
    beyond = int((draws > value).sum() if alternative == "greater" else (draws < value).sum())
    equal = int((draws == value).sum())
    tied = 1 + equal if ties == "strict" else (1 + equal) / 2
    return float((beyond + tied) / (draws.size + 1))


def effect_size(value: float, null: ArrayLike) -> float:
    """How many standard deviations of the null lie between ``value`` and the null's mean (a z-score).

    Raises
    ------
    ValueError
        Fewer than two draws, a value that is not finite, or a null without spread.

    Examples
    --------
    >>> effect_size(3.0, [0.0, 1.0, 2.0])
    2.0
    """
    draws = _finite("null", null, least=2)
    spread = float(draws.std(ddof=1))
    if spread == 0:
        raise ValueError(f"null has no spread: all {draws.size} draws are {draws[0]}; an effect size is undefined")
    return float((value - draws.mean()) / spread)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down adjustment of p-values for several tests (Holm 1979).

    Parameters
    ----------
    p_values : array_like
        (m,) in [0, 1].

    Returns
    -------
    numpy.ndarray
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
    return adjusted


def equivalence_p_value(differences: ArrayLike, margin: float) -> float:
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


def _finite(name: str, values: ArrayLike, *, least: int) -> np.ndarray:
    array = np.asarray(values, dtype=float).ravel()
    if array.size < least:
        raise ValueError(f"{name} has {array.size} numbers; at least {least} are needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has {int((~np.isfinite(array)).sum())} of {array.size} numbers that are not finite")
    return array
