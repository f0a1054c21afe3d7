"""A store with a record of every kind, and all that can be read of one."""

from __future__ import annotations

from mlengine.core.keys import Key
from mlengine.core.policies import Binding, Policy
from mlengine.core.resources import Bucket, Job, Model, Version
from mlengine.core.states import JobState, StudyState, TrialState, VersionState
from mlengine.core.studies import Measurement, MetricValue, Study, Trial, TrialParameter
from mlengine.store import Store
from mlengine.store.trafficstore import ArmCounts, NewOutcome, TrafficPlan

__all__ = [
    "access_of",
    "everything",
    "fill",
    "fill_access",
    "fill_studies",
    "fill_traffic",
    "traffic_of",
]


def fill(store: Store) -> None:
    """Write a record of every kind."""
    record = store.add_job("p", Job(job_id="census", labels={"a": "é"}), uid="u1", priority=7)
    for to in (JobState.PREPARING, JobState.RUNNING, JobState.SUCCEEDED):
        moved = store.move_job(record, to, attempt=2)
        assert moved is not None
        record = moved
    store.add_job("p", Job(job_id="waits"), uid="u2", priority=7)
    store.add_model("p", Model(name="census"))
    for version_id in ("v1", "v2"):
        version = store.add_version("p", "census", Version(name=version_id), uid=version_id)
        assert store.move_version(version, VersionState.READY, digest="sha256:1")
    store.set_default("p", "census", "v2")
    store.add_operation("p", "one", {"a": 1}, subject="it")
    store.finish_operation("p", "one", response={})
    store.add_bucket(Bucket(name="b-1", backing="s3://far/away"))


def fill_studies(store: Store) -> None:
    """Write a study with trials in every state, and a job that is part of another."""
    study = store.add_study("p", "local", Study(name="s"), uid="s1", owner="u1")
    gone = store.add_trial(study, Trial(), TrialState.COMPLETED)
    store.remove_trial(gone)
    parameter = TrialParameter(parameter="x", float_value=0.0)
    store.add_trial(study, Trial(parameters=[parameter]), TrialState.COMPLETED)
    store.add_trial(study, Trial(), TrialState.REQUESTED)
    given = store.hand_out(store.study("p", "local", "s"), "me", 2, fresh=[Trial()])
    assert given is not None
    loss = MetricValue(metric="loss", value=0.5)
    store.measure_trial(given[0], [Measurement(step_count=3, metrics=[loss])])
    store.move_trial(given[1], TrialState.STOPPING)
    store.add_trial(study, Trial(), TrialState.REQUESTED)
    store.move_study(study, StudyState.INACTIVE, inactive_reason="it rains")
    store.add_job("p", Job(job_id="census/2"), uid="u1-2", parent="u1")


def everything(store: Store) -> list[object]:
    """Return every record."""
    census = store.job("p", "census")
    return [
        store.children(census),
        store.jobs("p"), store.queue(), store.models("p"), store.versions("p", "census"),
        store.operations("p"), store.buckets(), store.events(limit=1000),
        [(study, store.trials(study), store.measurements(study))
         for study in store.studies("p", "local")],
    ]  # fmt: skip


def fill_traffic(store: Store) -> list[object]:
    """Write a split with counts and an outcome; return all that can be read of it."""
    plan = TrafficPlan(split={"v1": 1, "v2": 1}, segments=[(1 << 31, "v1"), (1 << 32, "v2")])
    store.edit_traffic("p", "census", lambda _before: plan)
    store.add_counts(
        [("p", "census", 1, "v1", ArmCounts(requests=2, times={3: 2}))], gateway="g", batch=1
    )
    outcome = NewOutcome(prediction_id="1-v1-u-1", period=1, version_id="v1", unit="u", value=0.5)
    store.add_outcomes("p", "census", [outcome])
    return traffic_of(store)


def traffic_of(store: Store) -> list[object]:
    """Return all that can be read of a model's traffic."""
    return [
        store.traffic("p", "census"), store.arms("p", "census"), store.outcome_sums("p", "census")
    ]  # fmt: skip


def fill_access(store: Store) -> list[object]:
    """Write keys and policies; return all that can be read of them."""
    for key_id in ("app", "old"):
        store.add_key("p", Key(name=key_id, role="viewer", models=["census"]), digest=key_id * 2)
    store.revoke_key("p", "old")
    bound = Policy(bindings=[Binding(role="roles/ml.modelUser", members=["user:a"])])
    store.edit_policy("models", "p", "census", lambda _before: bound)
    return access_of(store)


def access_of(store: Store) -> list[object]:
    """Return all that can be read of keys and policies."""
    return [store.keys("p"), store.open_keys(), store.model_policies()]
