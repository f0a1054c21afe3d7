"""The store against a reference that fits on a page, over random histories."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mlengine.core.errors import AlreadyExists, EngineError, FailedPrecondition, NotFound
from mlengine.core.resources import Job, Model, Version
from mlengine.core.states import JOB_MOVES, VERSION_MOVES, JobState, VersionState
from mlengine.store import JobRecord, Store, VersionRecord, open_store
from tests.conformance.store.technologies import Technology

IDS = st.sampled_from(["a", "b", "A"])
PROJECTS = st.sampled_from(["p", "q"])
SERVES = {VersionState.READY, VersionState.UPDATING}


@dataclasses.dataclass
class JobRow:
    state: JobState = JobState.QUEUED
    attempt: int = 0
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class ModelRow:
    versions: dict[str, VersionState] = dataclasses.field(default_factory=dict)
    default: str = ""

    def add(self, version_id: str) -> None:
        if self.versions.get(self.default) in (None, VersionState.DELETING):
            self.default = version_id
        self.versions[version_id] = VersionState.CREATING

    def may_leave(self, version_id: str) -> bool:
        return self.default != version_id or len(self.versions) == 1

    def move(self, version_id: str, to: VersionState) -> None:
        self.versions[version_id] = to
        if to is VersionState.READY and self.versions[self.default] not in SERVES:
            self.default = version_id

    def remove(self, version_id: str) -> None:
        del self.versions[version_id]
        self.default = "" if self.default == version_id else self.default


class StoreAgainstReference(RuleBasedStateMachine):
    technology: Technology

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.url = self.technology.new_url(self.folder)
        self.store: Store = open_store(self.url)
        self.jobs: dict[tuple[str, str], JobRow] = {}
        self.models: dict[str, ModelRow] = {}
        self.job_records: list[JobRecord] = []
        self.version_records: list[VersionRecord] = []
        self.writes = self.uid = 0

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def refused(self, kind: type[EngineError], call: Any, *args: Any, **named: Any) -> None:
        with pytest.raises(kind):
            call(*args, **named)

    def unique(self) -> str:
        self.uid += 1
        return f"u{self.uid}"

    # jobs

    @rule(project=PROJECTS, job_id=IDS)
    def add_job(self, project: str, job_id: str) -> None:
        job, uid = Job(job_id=job_id), self.unique()
        if (project, job_id) in self.jobs:
            self.refused(AlreadyExists, self.store.add_job, project, job, uid=uid)
            return
        self.job_records.append(self.store.add_job(project, job, uid=uid))
        self.jobs[project, job_id] = JobRow()
        self.writes += 1

    @rule(data=st.data(), to=st.sampled_from(JobState), more=st.sampled_from([None, -1, 0, 1]))
    def move_job(self, data: st.DataObject, to: JobState, more: int | None) -> None:
        if not self.job_records:
            return
        record = data.draw(st.sampled_from(self.job_records), label="perhaps stale")
        row = self.jobs[record.project, record.job_id]
        attempt = None if more is None else record.attempt + more
        new = record.attempt if attempt is None else attempt
        current = (row.state, row.attempt) == (record.state, record.attempt)
        begun = record.state in (JobState.PREPARING, JobState.RUNNING)
        again = record.state is to and begun and new > record.attempt
        lawful = again or (to in JOB_MOVES[record.state] and new >= record.attempt)
        moved = self.store.move_job(record, to, attempt=attempt)
        assert (moved is not None) == (current and lawful)
        if moved is not None:
            self.job_records.append(moved)
            row.state, row.attempt = to, new
            self.writes += 1

    @rule(project=PROJECTS, job_id=IDS, value=st.sampled_from(["x", "y"]))
    def edit_job(self, project: str, job_id: str, value: str) -> None:
        def change(job: Job) -> Job:
            return msgspec.structs.replace(job, labels={"k": value})

        row = self.jobs.get((project, job_id))
        if row is None:
            self.refused(NotFound, self.store.edit_job, project, job_id, change)
            return
        self.writes += row.labels != {"k": value}
        row.labels = {"k": value}
        self.store.edit_job(project, job_id, change)

    # models and versions, all in one project

    @rule(model_id=IDS)
    def add_model(self, model_id: str) -> None:
        if model_id in self.models:
            self.refused(AlreadyExists, self.store.add_model, "p", Model(name=model_id))
            return
        self.store.add_model("p", Model(name=model_id))
        self.models[model_id] = ModelRow()
        self.writes += 1

    @rule(model_id=IDS)
    def remove_model(self, model_id: str) -> None:
        row = self.models.get(model_id)
        if row is None or row.versions:
            kind = NotFound if row is None else FailedPrecondition
            self.refused(kind, self.store.remove_model, "p", model_id)
            return
        self.store.remove_model("p", model_id)
        del self.models[model_id]
        self.writes += 1

    @rule(model_id=IDS, version_id=IDS)
    def add_version(self, model_id: str, version_id: str) -> None:
        row, version, uid = self.models.get(model_id), Version(name=version_id), self.unique()
        if row is None or version_id in row.versions:
            kind = NotFound if row is None else AlreadyExists
            self.refused(kind, self.store.add_version, "p", model_id, version, uid=uid)
            return
        self.version_records.append(self.store.add_version("p", model_id, version, uid=uid))
        row.add(version_id)
        self.writes += 1

    @rule(data=st.data(), to=st.sampled_from(VersionState))
    def move_version(self, data: st.DataObject, to: VersionState) -> None:
        if not self.version_records:
            return
        record = data.draw(st.sampled_from(self.version_records), label="perhaps stale")
        row, version_id = self.models.get(record.model_id), record.version_id
        lawful = to in VERSION_MOVES[record.state]
        leaving = lawful and to is VersionState.DELETING and self.is_there(record)
        if leaving and row and not row.may_leave(version_id):
            self.refused(FailedPrecondition, self.store.move_version, record, to)
            return
        moved = self.store.move_version(record, to)
        current = self.is_there(record) and row and row.versions[version_id] is record.state
        assert (moved is not None) == bool(lawful and current)
        if moved is not None and row:
            self.version_records.append(moved)
            row.move(version_id, to)
            self.writes += 1

    @rule(data=st.data())
    def remove_version(self, data: st.DataObject) -> None:
        if not self.version_records:
            return
        record = data.draw(st.sampled_from(self.version_records), label="perhaps stale")
        row, version_id = self.models.get(record.model_id), record.version_id
        there = self.is_there(record)
        leaving = there and row and row.versions[version_id] is VersionState.DELETING
        if leaving and row and not row.may_leave(version_id):
            self.refused(FailedPrecondition, self.store.remove_version, record)
            return
        assert self.store.remove_version(record) == bool(leaving)
        if leaving and row:
            row.remove(version_id)
            self.writes += 1

    @rule(model_id=IDS, version_id=IDS)
    def set_default(self, model_id: str, version_id: str) -> None:
        row = self.models.get(model_id)
        state = row.versions.get(version_id) if row else None
        if row is None or state is not VersionState.READY:
            kind = FailedPrecondition if state else NotFound
            self.refused(kind, self.store.set_default, "p", model_id, version_id)
            return
        self.store.set_default("p", model_id, version_id)
        self.writes += row.default != version_id
        row.default = version_id

    def is_there(self, record: VersionRecord) -> bool:
        """Whether this very version, not a later one of the same name, exists."""
        newest = [
            other.seq
            for other in self.version_records
            if (other.model_id, other.version_id) == (record.model_id, record.version_id)
        ]
        row = self.models.get(record.model_id)
        return bool(row and record.version_id in row.versions and record.seq == max(newest))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.url)

    @invariant()
    def jobs_are_those_of_the_reference(self) -> None:
        found = {
            (record.project, record.job_id): JobRow(record.state, record.attempt, record.job.labels)
            for project in ("p", "q")
            for record in self.store.jobs(project)
        }
        assert found == self.jobs

    @invariant()
    def models_are_those_of_the_reference(self) -> None:
        found = {}
        for model in self.store.models("p"):
            versions = self.store.versions("p", model.model_id)
            marked = [v.version_id for v in versions if v.version.is_default]
            assert marked == [model.default_version_id] * bool(versions)
            states = {record.version_id: record.state for record in versions}
            found[model.model_id] = ModelRow(states, model.default_version_id)
        assert found == self.models

    @invariant()
    def the_default_serves_as_soon_as_any_version_is_ready(self) -> None:
        for row in self.models.values():
            if VersionState.READY in row.versions.values():
                assert row.versions[row.default] in SERVES

    @invariant()
    def each_write_left_one_event(self) -> None:
        assert len(self.store.events(limit=10_000)) == self.writes


def test_a_random_history_leaves_what_the_reference_says(technology: Technology) -> None:
    class Machine(StoreAgainstReference):
        pass

    Machine.technology = technology
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=technology.histories,
            stateful_step_count=35,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
