"""Two versions side by side, made of what was counted: pure, without a store or a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlengine.core.traffic import Agreement, ArmReport, Comparison, Interval, SampleRatio
from mlengine.prediction.traffic import agreement
from mlengine.prediction.traffic.compare import (
    CONFIDENCE,
    RATIO_LEVEL,
    Bounds,
    Sample,
    difference,
    quantile,
    ratio_evidence,
    ratio_p_value,
    sample_of_counts,
)
from mlengine.store.trafficstore import ArmCounts, ArmRecord, OutcomeSums

__all__ = ["compare"]

Pairs = list[tuple[ArmRecord, ArmRecord]]


def compare(
    baseline: str,
    candidate: str,
    arms: Sequence[ArmRecord],
    outcomes: Sequence[OutcomeSums],
    *,
    sticky: bool,
) -> Comparison:
    """Compare two versions by everything that an experiment has brought so far.

    Args:
        baseline: Id of the one version.
        candidate: Id of the other.
        arms: Every version in every period.
        outcomes: The same of the outcomes.
        sticky: Whether values are drawn, not predictions.
    """
    pairs = _pairs(baseline, candidate, arms)
    # A test that is over is sticky no more, but what was counted tells that values came again.
    sticky = sticky or any(_has_repeats(arm) for pair in pairs for arm in pair)
    sums = {(one.period, one.version_id): one for one in outcomes}
    paired = [
        (sums[one.period, one.version_id], sums[two.period, two.version_id])
        for one, two in pairs
        if (one.period, one.version_id) in sums and (two.period, two.version_id) in sums
    ]
    return Comparison(
        baseline=_report(baseline, arms, outcomes),
        candidate=_report(candidate, arms, outcomes),
        agreement=_agreement(baseline, candidate, arms),
        # Nobody counts whose errors they are: one caller who fails often would decide alone.
        error_rate=None
        if sticky
        else _interval((_errors(one), _errors(two)) for one, two in pairs),
        outcome=_interval((_sample(one), _sample(two)) for one, two in paired),
        sample_ratios=_ratios(pairs, sums, "values" if sticky else "predictions"),
        confidence=CONFIDENCE,
    )


def _pairs(baseline: str, candidate: str, arms: Sequence[ArmRecord]) -> Pairs:
    """Return both versions in each period in which both got a part."""
    by_arm = {(arm.period, arm.version_id): arm for arm in arms if arm.parts}
    periods = sorted({arm.period for arm in arms})
    return [
        (by_arm[period, baseline], by_arm[period, candidate])
        for period in periods
        if (period, baseline) in by_arm and (period, candidate) in by_arm
    ]


def _has_repeats(arm: ArmRecord) -> bool:
    """Whether predictions were drawn together: without values, each is a draw of its own."""
    # Not by `arm.units`: of these, the oldest gateways' are forgotten.
    return arm.counts.units < arm.counts.requests


def _report(
    version_id: str, arms: Sequence[ArmRecord], outcomes: Sequence[OutcomeSums]
) -> ArmReport:
    counts = ArmCounts()
    for arm in arms:
        if arm.version_id == version_id:
            counts.add(arm.counts)
    its = [one for one in outcomes if one.version_id == version_id]
    number = sum(one.outcomes for one in its)
    half, most = quantile(counts.times, 0.5), quantile(counts.times, 0.99)
    return ArmReport(
        version=version_id,
        requests=counts.requests,
        errors=counts.errors,
        error_rate=counts.errors / counts.requests if counts.requests else None,
        p50_ms=_millis(half),
        p99_ms=_millis(most),
        copies=counts.copies,
        copies_failed=counts.copies_failed,
        copies_dropped=counts.copies_dropped,
        outcomes=number,
        outcome_mean=sum(one.mean * one.outcomes for one in its) / number if number else None,
    )


def _agreement(baseline: str, candidate: str, arms: Sequence[ArmRecord]) -> Agreement | None:
    counts = [0, 0, 0, 0]
    for arm in arms:
        if arm.version_id == candidate and baseline in arm.counts.agreed:
            its = arm.counts.agreed[baseline]
            counts = [a + b for a, b in zip(counts, its, strict=True)]
    if not any(counts):
        return None
    same = counts[agreement.EQUAL] + counts[agreement.CLOSE]
    compared = same + counts[agreement.DIFFERENT]
    return Agreement(
        equal=counts[agreement.EQUAL],
        close=counts[agreement.CLOSE],
        different=counts[agreement.DIFFERENT],
        uncompared=counts[agreement.UNCOMPARED],
        rate=same / compared if compared else None,
    )


def _interval(periods: Iterable[tuple[Sample, Sample]]) -> Interval | None:
    """Return what is sure of the difference; None when nothing was measured of both."""
    known = [pair for pair in periods if min(pair[0].units, pair[1].units)]
    if not known:
        return None
    bounds = difference(known)
    if bounds is None:
        return Interval(verdict="undecided")
    return Interval(
        estimate=bounds.estimate, low=bounds.low, high=bounds.high, verdict=_verdict(bounds)
    )


def _verdict(bounds: Bounds) -> str:
    if bounds.low > 0:
        return "higher"
    return "lower" if bounds.high < 0 else "undecided"


def _errors(arm: ArmRecord) -> Sample:
    return sample_of_counts(arm.counts.errors, arm.counts.requests)


def _sample(sums: OutcomeSums) -> Sample:
    if sums.units < 2:
        return Sample(sums.units, sums.mean, 0.0)
    # Each unit's distance from what it would have at the mean, by the number of all values: the
    # variance of a ratio, which does not take one user's many values for many users.
    variance = sums.residual / sums.outcomes**2 * sums.units / (sums.units - 1)
    return Sample(sums.units, sums.mean, variance)


def _ratios(
    pairs: Pairs, sums: dict[tuple[int, str], OutcomeSums], drawn: str
) -> list[SampleRatio]:
    units: list[tuple[float, int, int]] = []
    outcomes: list[tuple[float, int, int]] = []
    for one, two in pairs:
        share = two.parts / (one.parts + two.parts)
        # Another gateway, or the next life of this one, counts the same users again.
        for gateway in one.units.keys() | two.units.keys():
            units.append((share, one.units.get(gateway, 0), two.units.get(gateway, 0)))
        came = [sums.get((arm.period, arm.version_id)) for arm in (one, two)]
        first, second = (its.units if its else 0 for its in came)
        outcomes.append((share, first, second))
    return [
        found
        for of, groups in ((drawn, units), ("outcomes", outcomes))
        if (found := _ratio(of, groups)) is not None
    ]


def _ratio(of: str, groups: Sequence[tuple[float, int, int]]) -> SampleRatio | None:
    groups = [group for group in groups if group[1] + group[2]]
    total = sum(one + two for _share, one, two in groups)
    if not total:
        return None
    evidence = [ratio_evidence([one, two], [1 - share, share]) for share, one, two in groups]
    p_value = ratio_p_value(evidence)
    return SampleRatio(
        of=of,
        expected=sum(share * (one + two) for share, one, two in groups) / total,
        seen=sum(two for _share, _one, two in groups) / total,
        p_value=p_value,
        alarm=p_value < RATIO_LEVEL,
    )


def _millis(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds * 1000:.3g}")
