"""What two versions' counts say, however often one looks: pure statistics.

A test that is looked at every day until it "wins" wins by chance sooner or later, if it was made
for one look. What stands here holds at all times together:

* `difference`: asymptotic confidence sequence of a difference of means. The estimate over its
  variance is, in the limit, a Brownian motion in information time, and a normal mixture bounds
  that for ever: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, "Time-uniform
  central limit theory and asymptotic confidence sequences", 2021; for two samples of whatever
  sizes R. Johari, L. Pekelis, D. J. Walsh, "Always valid inference", 2015 (the mixture SPRT).
* `ratio_evidence`: Bayes factor of shares against those that were to be, a martingale while they
  hold: M. Lindon, A. Malek, "Anytime-valid inference for multinomial count data", 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = [
    "CONFIDENCE",
    "FEWEST",
    "RATIO_LEVEL",
    "Bounds",
    "Sample",
    "bucket",
    "difference",
    "quantile",
    "ratio_evidence",
    "ratio_p_value",
    "sample_of_counts",
]

CONFIDENCE = 0.95
"""How sure intervals are, at all times together."""

RATIO_LEVEL = 0.01
"""Below this p-value the shares are not those that were to be."""

FEWEST = 50
"""Units that each version must have before a period is compared: the limit is not near before."""

_TIGHTEST_AT = 2000
"""Units of both versions together at which the interval is as narrow as it can be made."""

_PRIOR = 100.0
"""Units that the ratio's prior is worth; it stands where the shares are to be."""

_PER_OCTAVE = 8


class Sample(NamedTuple):
    """One version's values in one period.

    Attributes:
        units: How many there are that are independent: users, or predictions.
        mean: Mean of the values.
        variance: Of that mean, not of the values.
    """

    units: int
    mean: float
    variance: float


class Bounds(NamedTuple):
    """A difference of means, and where it lies with `CONFIDENCE` at all times."""

    estimate: float
    low: float
    high: float


def sample_of_counts(count: int, total: int) -> Sample:
    """Return the sample in which `count` of `total` values are 1 and the others 0.

    Example:
        >>> sample_of_counts(50, 100)
        Sample(units=100, mean=0.5, variance=0.0025252525252525255)
    """
    if total < 2:
        return Sample(total, float(count), 0.0)
    mean = count / total
    return Sample(total, mean, mean * (1 - mean) / (total - 1))


def difference(periods: Iterable[tuple[Sample, Sample]]) -> Bounds | None:
    """Return candidate less baseline over all periods; None while there is too little.

    Each period is compared within itself and weighs what it tells: shares that changed while the
    world changed, too, would otherwise make a difference where there is none.

    Args:
        periods: Baseline and candidate of each. One in which either has fewer than `FEWEST` units,
            or in which all values are alike, tells nothing yet.
    """
    units, information, weighted = 0, 0.0, 0.0
    for baseline, candidate in periods:
        if min(baseline.units, candidate.units) < FEWEST:
            continue
        variance = _variance(baseline, candidate)
        if not variance > 0:
            continue
        units += baseline.units + candidate.units
        information += 1 / variance
        weighted += (candidate.mean - baseline.mean) / variance
    if not units:
        return None
    estimate = weighted / information
    radius = math.sqrt(_boundary(units, 1 - CONFIDENCE) / information)
    return Bounds(estimate, estimate - radius, estimate + radius)


def _variance(baseline: Sample, candidate: Sample) -> float:
    """Return the variance of the difference.

    A few values of something rare are often all alike and show no variance at all; so no version is
    taken to vary less than both do together.
    """
    both = (baseline, candidate)
    spreads = [sample.units * sample.variance for sample in both]
    weighed = [sample.units * spread for sample, spread in zip(both, spreads, strict=True)]
    pooled = sum(weighed) / sum(sample.units for sample in both)
    return sum(max(s, pooled) / sample.units for s, sample in zip(spreads, both, strict=True))


def _boundary(units: int, level: float) -> float:
    """Return the square of how many standard errors the estimate may be off after so many units."""
    needed = -2 * math.log(level)
    scale = (needed + math.log(needed + 1)) / _TIGHTEST_AT
    spread = units * scale
    return (1 + 1 / spread) * (math.log1p(spread) + needed)


def ratio_evidence(seen: Sequence[int], shares: Sequence[float]) -> float:
    """Return the logarithm of the evidence against the shares.

    Args:
        seen: Units of each version.
        shares: What each was to get of them; they add up to 1, and none is 0.
    """
    total = sum(seen)
    evidence = math.lgamma(_PRIOR) - math.lgamma(_PRIOR + total)
    for count, share in zip(seen, shares, strict=True):
        prior = _PRIOR * share
        evidence += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return evidence


def ratio_p_value(evidence: Sequence[float]) -> float:
    """Return the p-value of several pieces of evidence, whatever they have to do with each other.

    Their mean is evidence too, also when the same users stand behind all of them.
    """
    if not evidence:
        return 1.0
    most = max(evidence)
    mean = most + math.log(sum(math.exp(e - most) for e in evidence) / len(evidence))
    return math.exp(min(0.0, -mean))


def bucket(seconds: float) -> int:
    """Return which of the latencies' buckets a time falls into; each is 9 % wide.

    Example:
        >>> bucket(0.001), bucket(0.002)
        (79, 87)
    """
    micros = seconds * 1e6
    return int(math.log2(micros) * _PER_OCTAVE) if micros > 1 else 0


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return the seconds that a share of the times did not exceed; None without any."""
    left = share * sum(buckets.values())
    for index in sorted(buckets):
        left -= buckets[index]
        if left <= 0:
            return float(2 ** ((index + 0.5) / _PER_OCTAVE) * 1e-6)
    return None
