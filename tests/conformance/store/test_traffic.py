"""Traffic, counts and outcomes, on every technology."""

from __future__ import annotations

import pytest

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.core.resources import Model, Version
from mlengine.core.states import VersionState
from mlengine.store import Store
from mlengine.store.trafficstore import (
    AddedOutcomes,
    ArmCounts,
    NewOutcome,
    TrafficPlan,
    TrafficRecord,
)

P, M = "p", "census"
HALVES = TrafficPlan(split={"v1": 1, "v2": 1}, segments=[(1 << 31, "v1"), (1 << 32, "v2")])


@pytest.fixture(autouse=True)
def census(store: Store) -> None:
    store.add_model(P, Model(name=M))
    for version_id in ("v1", "v2", "v3"):
        make_ready(store, version_id)
    store.add_version(P, M, Version(name="young"), uid="young")


def make_ready(store: Store, version_id: str) -> None:
    version = store.add_version(P, M, Version(name=version_id), uid=version_id)
    assert store.move_version(version, VersionState.READY)


def set_plan(store: Store, plan: TrafficPlan) -> TrafficRecord:
    return store.edit_traffic(P, M, lambda _before: plan)


def delete(store: Store, version_id: str) -> None:
    moved = store.move_version(store.version(P, M, version_id), VersionState.DELETING)
    assert moved is not None
    assert store.remove_version(moved)


def outcome(number: int, *, arm: str = "v1", period: int = 1, unit: str = "", value: float = 1.0
            ) -> NewOutcome:  # fmt: skip
    return NewOutcome(
        prediction_id=f"id{number}", period=period, version_id=arm, unit=unit or f"u{number}",
        value=value,
    )  # fmt: skip


def test_traffic_that_was_never_set_is_idle(store: Store) -> None:
    record = store.traffic(P, M)
    assert (record.plan.idle, record.period, record.default_version_id) == (True, 0, "v1")
    assert store.traffics() == []
    with pytest.raises(NotFound):
        store.traffic(P, "nobody")


def test_a_plan_reads_back_and_each_change_begins_a_period(store: Store) -> None:
    first = set_plan(store, HALVES)
    assert first == store.traffic(P, M)
    assert store.traffics() == [first]
    assert (first.plan, first.period, first.began) == (HALVES, 1, 1)
    assert set_plan(store, HALVES) == first
    second = set_plan(store, TrafficPlan(shadow=["v3"]))
    assert (second.period, second.began) == (2, 1)
    assert second.etag != first.etag
    assert [(arm.period, arm.version_id, arm.parts) for arm in store.arms(P, M)] == [
        (1, "v1", 1), (1, "v2", 1),
    ]  # fmt: skip


def test_a_version_that_does_not_serve_gets_nothing(store: Store) -> None:
    with pytest.raises(FailedPrecondition, match="'young' is CREATING"):
        set_plan(store, TrafficPlan(split={"v1": 1, "young": 1}))
    with pytest.raises(NotFound, match="version 'v9' was not found"):
        set_plan(store, TrafficPlan(shadow=["v9"]))
    assert store.traffic(P, M).period == 0


def test_a_version_that_gets_predictions_or_copies_cannot_go(store: Store) -> None:
    set_plan(store, TrafficPlan(split={"v1": 1, "v2": 0}, shadow=["v3"]))
    for version_id, gets in (("v2", "a part"), ("v3", "copies")):
        with pytest.raises(FailedPrecondition, match=f"gets {gets} .*set-traffic census"):
            store.move_version(store.version(P, M, version_id), VersionState.DELETING)
    set_plan(store, TrafficPlan())
    delete(store, "v2")


def test_a_new_default_ends_the_split_and_is_nobodys_shadow(store: Store) -> None:
    set_plan(store, TrafficPlan(split={"v1": 9, "v2": 1}, sticky_by="header:x", shadow=["v3"]))
    store.set_default(P, M, "v2")
    plan = store.traffic(P, M).plan
    assert (plan.split, plan.sticky_by, plan.shadow) == ({}, "", ["v3"])
    store.set_default(P, M, "v3")
    assert store.traffic(P, M).plan.idle
    period = store.traffic(P, M).period
    store.set_default(P, M, "v1")
    assert store.traffic(P, M).period == period


def test_the_default_that_is_made_so_again_ends_the_split_too(store: Store) -> None:
    set_plan(store, HALVES)
    store.set_default(P, M, "v1")
    assert store.traffic(P, M).plan.idle


def test_counts_add_up_and_no_batch_counts_twice(store: Store) -> None:
    set_plan(store, HALVES)
    counted = ArmCounts(requests=3, errors=1, units=2, times={7: 2}, agreed={"v1": [1, 0, 0, 0]})
    row = (P, M, 1, "v2", counted)
    store.add_counts([row], gateway="a", batch=1)
    store.add_counts([row], gateway="a", batch=1)
    store.add_counts([row, (P, M, 1, "v3", counted)], gateway="b", batch=1)
    store.add_counts([row], gateway="a", batch=2)
    arms = {arm.version_id: arm for arm in store.arms(P, M)}
    assert arms["v2"].counts == ArmCounts(
        requests=9, errors=3, units=6, times={7: 6}, agreed={"v1": [3, 0, 0, 0]}
    )
    assert arms["v2"].units == {"a": 4, "b": 2}
    assert (arms["v3"].parts, arms["v3"].counts.requests) == (0, 3)
    assert arms["v1"].counts == ArmCounts()


def test_counts_of_what_is_gone_are_dropped(store: Store) -> None:
    set_plan(store, HALVES)
    set_plan(store, TrafficPlan())
    set_plan(store, TrafficPlan(shadow=["v3"]))
    counted = ArmCounts(requests=1)
    gone = [(P, M, 1, "v1", counted), (P, M, 3, "v9", counted), (P, "nobody", 1, "v1", counted)]
    store.add_counts(gone, gateway="a", batch=1)
    assert store.arms(P, M) == []


def test_each_prediction_counts_once(store: Store) -> None:
    set_plan(store, HALVES)
    assert store.add_outcomes(P, M, [outcome(1), outcome(2), outcome(1)]) == AddedOutcomes(2, 1, 0)
    again = [outcome(2, value=7.0), outcome(3, arm="v3"), outcome(4, period=9)]
    assert store.add_outcomes(P, M, again) == AddedOutcomes(0, 1, 2)
    (sums,) = store.outcome_sums(P, M)
    assert (sums.version_id, sums.units, sums.outcomes, sums.mean, sums.residual) == (
        "v1", 2, 2, 1.0, 0.0,
    )  # fmt: skip


def test_outcomes_of_one_unit_are_summed_before_they_are_squared(store: Store) -> None:
    set_plan(store, HALVES)
    values = [("a", 1.0), ("a", 2.0), ("b", 6.0), ("c", 3.0)]
    new = [outcome(i, unit=unit, value=value) for i, (unit, value) in enumerate(values)]
    store.add_outcomes(P, M, [*new, outcome(9, arm="v2", value=5.0)])
    first, second = store.outcome_sums(P, M)
    assert (first.units, first.outcomes, first.mean) == (3, 4, 3.0)
    assert first.residual == pytest.approx((3 - 2 * 3) ** 2 + (6 - 3) ** 2 + 0)
    assert (second.version_id, second.mean) == ("v2", 5.0)


def test_a_new_experiment_forgets_the_last_and_a_cleared_one_is_kept(store: Store) -> None:
    set_plan(store, HALVES)
    store.add_outcomes(P, M, [outcome(1)])
    set_plan(store, TrafficPlan())
    assert len(store.arms(P, M)) == 2
    assert store.add_outcomes(P, M, [outcome(2)]).added == 1
    assert set_plan(store, HALVES).began == 3
    assert [arm.period for arm in store.arms(P, M)] == [3, 3]
    assert store.outcome_sums(P, M) == []
    assert store.add_outcomes(P, M, [outcome(3)]).outdated == 1


def test_what_was_counted_of_a_version_goes_with_it_and_all_with_the_model(store: Store) -> None:
    set_plan(store, HALVES)
    store.add_outcomes(P, M, [outcome(1), outcome(2, arm="v2")])
    set_plan(store, TrafficPlan())
    delete(store, "v2")
    assert [arm.version_id for arm in store.arms(P, M)] == ["v1"]
    assert [sums.version_id for sums in store.outcome_sums(P, M)] == ["v1"]
    store.move_version(store.version(P, M, "young"), VersionState.READY)
    for version_id in ("v3", "young", "v1"):
        delete(store, version_id)
    store.remove_model(P, M)
    store.add_model(P, Model(name=M))
    assert store.traffic(P, M).period == 0
