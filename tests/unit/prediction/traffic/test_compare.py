"""The statistics: what they say, and that looking at them all the time makes nobody a winner."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.traffic import Agreement, SampleRatio
from mlengine.prediction.traffic.compare import (
    FEWEST,
    RATIO_LEVEL,
    Sample,
    bucket,
    difference,
    quantile,
    ratio_evidence,
    ratio_p_value,
    sample_of_counts,
)
from mlengine.prediction.traffic.comparison import compare
from mlengine.store.trafficstore import ArmCounts, ArmRecord, OutcomeSums


def is_ever_won(rng: random.Random, draw: list[list[float]], share: float) -> bool:
    """Add the values one by one, look after every twentieth; tell whether zero ever lay outside."""
    sums = [[0, 0.0, 0.0], [0, 0.0, 0.0]]
    for at, values in enumerate(zip(*draw, strict=True)):
        arm = int(rng.random() < share)
        its, value = sums[arm], values[arm]
        its[0] += 1
        its[1] += value
        its[2] += value * value
        if at % 20 == 19:
            both = [Sample(int(n), y / max(n, 1), max(yy - y * y / max(n, 1), 0) / max(n - 1, 1)
                           / max(n, 1)) for n, y, yy in sums]  # fmt: skip
            found = difference([(both[0], both[1])])
            if found is not None and not found.low <= 0 <= found.high:
                return True
    return False


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_peeking_at_equals_finds_a_winner_in_few(rate: float, share: float) -> None:
    rng = random.Random(f"{rate} {share}")
    wins = 0
    for _ in range(100):
        values = [float(rng.random() < rate) for _ in range(1500)]
        wins += is_ever_won(rng, [values, values], share)
    assert wins <= 5  # of the very same 100 tests each time: the seed is fixed


def test_a_real_difference_is_found() -> None:
    rng = random.Random(7)
    values = [[float(rng.random() < rate) for _ in range(8000)] for rate in (0.10, 0.15)]
    assert is_ever_won(rng, values, 0.5)


SAMPLES = st.builds(
    Sample, st.integers(FEWEST, 10_000), st.floats(-1e6, 1e6), st.just(0.0) | st.floats(1e-9, 1e6)
)


@given(SAMPLES, SAMPLES)
def test_changing_sides_changes_the_sign_alone(one: Sample, two: Sample) -> None:
    there, back = difference([(one, two)]), difference([(two, one)])
    if there is None or back is None:
        assert there is back is None
        return
    assert there.low <= there.estimate <= there.high
    assert (there.estimate, there.low, there.high) == pytest.approx(
        (-back.estimate, -back.high, -back.low), abs=1e-6
    )


def test_more_of_the_same_is_surer_and_too_little_says_nothing() -> None:
    pairs = [(sample_of_counts(n // 10, n), sample_of_counts(n // 5, n))
             for n in (100, 1000, 10_000, 100_000)]  # fmt: skip
    widths = []
    for pair in pairs:
        found = difference([pair])
        assert found is not None
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    few = (sample_of_counts(5, FEWEST - 1), sample_of_counts(5, 1000))
    assert difference([few]) is None
    assert difference([(sample_of_counts(0, 100), sample_of_counts(0, 100))]) is None


def test_shares_that_change_with_the_world_make_no_difference() -> None:
    """Pooled, the candidate looks worse (Simpson): it had most of its part when things were bad."""
    good = (sample_of_counts(900, 1000), sample_of_counts(90, 100))
    bad = (sample_of_counts(10, 100), sample_of_counts(100, 1000))
    found = difference([good, bad])
    assert found is not None
    assert found.estimate == pytest.approx(0.0)
    assert found.low < 0 < found.high


def test_the_rare_does_not_pass_for_the_certain() -> None:
    """None of 50 shows no variance; that of both together counts."""
    found = difference([(sample_of_counts(10, 500), sample_of_counts(0, 50))])
    assert found is not None
    assert found.low < 0 < found.high


def test_shares_that_hold_raise_no_alarm_and_others_do() -> None:
    rng = random.Random(3)
    alarms = 0
    for _ in range(100):
        seen, worst = [0, 0], 0.0
        for _ in range(300):
            seen[rng.random() < 0.1] += 1
            worst = max(worst, ratio_evidence(seen, [0.9, 0.1]))
        alarms += ratio_p_value([worst]) < RATIO_LEVEL
    assert alarms <= 1
    assert ratio_p_value([ratio_evidence([4700, 5300], [0.5, 0.5])]) < RATIO_LEVEL


def test_evidence_is_what_the_formula_says() -> None:
    """One unit of either: the prior's mean is what is expected, so it says nothing."""
    assert ratio_evidence([1, 0], [0.3, 0.7]) == pytest.approx(0.0, abs=1e-9)
    assert ratio_evidence([0, 0], [0.3, 0.7]) == pytest.approx(0.0, abs=1e-9)
    two = math.log((51 / 101) / 0.5)  # the second of one kind, after one of it: (50 + 1) of 101
    assert ratio_evidence([2, 0], [0.5, 0.5]) == pytest.approx(two)


def test_pieces_of_evidence_are_averaged() -> None:
    assert ratio_p_value([]) == 1.0
    assert ratio_p_value([math.log(1000), math.log(1000)]) == pytest.approx(1e-3)
    assert ratio_p_value([math.log(1000), -math.inf]) == pytest.approx(2e-3)


@given(st.lists(st.floats(2e-6, 100.0), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_a_bucket_away_from_the_true_one(times: list[float], share: float) -> None:
    buckets: dict[int, int] = {}
    for time in times:
        buckets[bucket(time)] = buckets.get(bucket(time), 0) + 1
    true = sorted(times)[math.ceil(share * len(times)) - 1]
    assert quantile(buckets, share) == pytest.approx(true, rel=0.1)


def test_no_time_is_too_short_and_none_is_no_quantile() -> None:
    assert bucket(0.0) == bucket(-1.0) == bucket(5e-7) == 0
    assert quantile({}, 0.5) is None


# --- the report -----------------------------------------------------------------------------------


def arm(period: int, version: str, parts: int = 1, *, units: int = 0, **counts: int) -> ArmRecord:
    return ArmRecord(period=period, version_id=version, parts=parts,
                     counts=ArmCounts(units=units, **counts), units={"g": units})  # fmt: skip


def test_a_report_adds_periods_up_and_compares_within_them() -> None:
    arms = [
        arm(1, "v1", 9, requests=900, errors=9, units=900),
        arm(1, "v2", 1, requests=100, errors=1, units=100),
        arm(2, "v1", requests=500, errors=5, units=500),
        arm(2, "v2", requests=500, errors=5, units=500),
        arm(3, "v1", requests=7),  # alone: no pair
    ]
    found = compare("v1", "v2", arms, [], sticky=False)
    assert found.baseline is not None
    assert found.candidate is not None
    assert (found.baseline.requests, found.candidate.requests) == (1407, 600)
    assert found.error_rate is not None
    assert found.error_rate.verdict == "undecided"
    assert (found.outcome, found.agreement) == (None, None)
    (ratio,) = found.sample_ratios
    assert (ratio.of, ratio.expected, ratio.seen, ratio.alarm) == ("predictions", 0.3, 0.3, False)


@pytest.mark.parametrize("is_over", [False, True])
def test_one_users_many_errors_are_not_many_users(is_over: bool) -> None:
    """200 good users and one who failed 100 times; when the test is over, nothing is sticky."""
    arms = [arm(1, "v1", requests=200, errors=100, units=101), arm(1, "v2", requests=99, units=99)]
    found = compare("v1", "v2", arms, [], sticky=not is_over)
    assert found.error_rate is None
    assert found.baseline is not None
    assert found.baseline.error_rate == 0.5
    assert [ratio.of for ratio in found.sample_ratios] == ["values"]


def test_lost_outcomes_raise_the_alarm() -> None:
    arms = [arm(1, "v1", units=5000), arm(1, "v2", units=5000)]
    sums = [
        OutcomeSums(
            period=1, version_id=version, units=units, outcomes=units, mean=0.5, residual=units / 4
        )
        for version, units in (("v1", 4000), ("v2", 3000))
    ]
    found = compare("v1", "v2", arms, sums, sticky=True)
    assert [(ratio.of, ratio.alarm) for ratio in found.sample_ratios] == [
        ("values", False), ("outcomes", True),
    ]  # fmt: skip
    assert isinstance(found.sample_ratios[1], SampleRatio)
    assert found.outcome is not None
    assert found.outcome.estimate == 0.0


def test_one_users_many_outcomes_are_not_many_users() -> None:
    """1,000 users of 10 outcomes each: the interval is that of 1,000, not of 10,000."""
    both = []
    for per_user in (1, 10):
        residual = 1000 * (per_user * 0.5) ** 2
        sums = [
            OutcomeSums(
                period=1,
                version_id=version,
                units=1000,
                outcomes=1000 * per_user,
                mean=0.5,
                residual=residual,
            )
            for version in ("v1", "v2")
        ]
        found = compare("v1", "v2", [arm(1, "v1"), arm(1, "v2")], sums, sticky=True).outcome
        assert found is not None
        both.append((found.low, found.high))
    assert both[0] == pytest.approx(both[1])


def test_agreement_is_the_shadows_with_the_baseline_alone() -> None:
    counts = ArmCounts(copies=12, agreed={"v1": [6, 2, 2, 1], "v9": [0, 0, 1, 0]})
    shadow = ArmRecord(period=1, version_id="v3", parts=0, counts=counts, units={})
    found = compare("v1", "v3", [arm(1, "v1"), shadow], [], sticky=False)
    assert found.agreement == Agreement(equal=6, close=2, different=2, uncompared=1, rate=0.8)
    assert found.error_rate is None
