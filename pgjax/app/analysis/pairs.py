"""Two samples, or many pairs of them: who is better, and how sure that is.

References:
  Mann and Whitney, 1947; Newcombe, Confidence intervals for an effect size measure
  based on the Mann-Whitney statistic, part 2, Statistics in Medicine 25, 2006, method
  5; Zou and Donner, Construction of confidence limits about effect measures, Statistics
  in Medicine 27, 2008; Holm, A simple sequentially rejective multiple test procedure,
  1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from pgjax.app.analysis.bootstrap import (
    CONFIDENCE,
    FEWEST,
    Interval,
    percentiles,
    stratified,
    unknown,
    without_spread,
)
from pgjax.app.analysis.intervals import finite, known

_Z = float(special.ndtri(0.5 + CONFIDENCE / 2))
_EDGE = 1e-12


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Interval:
    r"""P(X > Y) + P(X = Y) / 2 for an agent of each sample, with Newcombe's interval.

    The estimate is Mann and Whitney's U over n m: 0.5 when neither is better. The ends
    are the two probabilities p, one on each side of it, with

        |estimate - p| = z \sqrt{p (1 - p) (1 + N* ((1-p)/(2-p) + p/(1+p))) / (n m)}

    where N* = (n + m) / 2 - 1: a score interval, whose width does not vanish where
    every agent of one sample is better. (A bootstrap's does, whatever the number.)

    Args:
      x: (n,) samples; infinities are samples like others.
      y: (m,) samples.
    """
    x, y = known(x), known(y)
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)  # (n, m)
    estimate, more = float(wins.mean()), (len(x) + len(y)) / 2 - 1

    def excess(p: float) -> float:
        spread = 1 + more * ((1 - p) / (2 - p) + p / (1 + p))
        return (estimate - p) ** 2 - _Z**2 * p * (1 - p) * spread / wins.size

    # At 0 and 1 both sides are 0: the other root is within.
    inner = min(max(estimate, _EDGE), 1 - _EDGE)
    low = optimize.brentq(excess, 0.0, inner) if estimate > 0 else 0.0
    high = optimize.brentq(excess, inner, 1.0) if estimate < 1 else 1.0
    return Interval(estimate, float(low), float(high))


def average(pairs: Sequence[Interval]) -> Interval:
    """The mean of independent estimates, with an interval from theirs (Zou and Donner).

    Args:
      pairs: K of them, such as one for each environment.
    """
    centre, low, high = np.array(pairs).T
    below, above = (np.sqrt(((x - centre) ** 2).sum()) for x in (low, high))
    middle = centre.mean()
    return Interval(
        float(middle),
        float(middle - below / len(pairs)),
        float(middle + above / len(pairs)),
    )


def difference_of_means(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean of X less that of Y, with its percentile bootstrap interval.

    Its ends are differences that are possible, where a score has bounds. It is infinite
    where n or m is less than 6 (see `bootstrap.FEWEST`), and NaN where no agent differs
    from the others of its sample, which says nothing of how much agents differ.

    Args:
      x: (n,) finite samples.
      y: (m,) finite samples.
      seed: of the bootstrap.
    """
    x, y = finite(x), finite(y)
    centre = float(x.mean() - y.mean())
    if min(len(x), len(y)) < FEWEST:
        return unknown(centre)
    if not (np.ptp(x) or np.ptp(y)):
        return without_spread(centre)
    drawn = stratified(
        lambda both: both[0].mean(1) - both[1].mean(1), [x, y], seed=seed
    )
    return Interval(centre, *percentiles(drawn))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values: all comparisons at once err with 5% at most.

    With p sorted, the i-th of m is max over j <= i of (m - j + 1) p_j, at most 1.

    Args:
      p: (m,) p-values; NaN for those that there are not, which stay so.

    Returns:
      (m,)

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    each = np.asarray(p, float)
    adjusted = np.full(each.shape, np.nan)
    there = np.flatnonzero(~np.isnan(each))
    order = there[np.argsort(each[there], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * each[order]), 1.0)
    return adjusted
