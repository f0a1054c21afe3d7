"""A store with a record of every kind, and all that can be read of one."""

from __future__ import annotations

from mlengine.core.resources import Bucket, Job, Model, Version
from mlengine.core.states import JobState, StudyState, TrialState, VersionState
from mlengine.core.studies import Measurement, MetricValue, Study, Trial, TrialParameter
from mlengine.store import Store

__all__ = ["everything", "fill", "fill_studies"]


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
