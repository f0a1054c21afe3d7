"""A store with a record of every kind, and all that can be read of one."""

from __future__ import annotations

from mlengine.core.resources import Bucket, Job, Model, Version
from mlengine.core.states import JobState, VersionState
from mlengine.store import Store

__all__ = ["everything", "fill"]


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


def everything(store: Store) -> list[object]:
    """Return every record."""
    return [
        store.jobs("p"), store.queue(), store.models("p"), store.versions("p", "census"),
        store.operations("p"), store.buckets(), store.events(limit=1000),
    ]  # fmt: skip
