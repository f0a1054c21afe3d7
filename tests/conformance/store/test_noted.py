"""A change and the operation that tells of it are recorded together, or neither is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mlengine.core.errors import AlreadyExists, FailedPrecondition
from mlengine.core.resources import Model, Version
from mlengine.core.states import VersionState
from mlengine.store import ModelRecord, NewOperation, Store, VersionRecord

EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


def note(*records: ModelRecord | VersionRecord | None) -> NewOperation:
    """Tell what was written, under the one id that there is."""
    told = [msgspec.to_builtins(record) for record in records]
    return NewOperation(operation_id="one", metadata={"told": told}, subject="it")


def labelled(resource: Any) -> Any:
    return msgspec.structs.replace(resource, labels={"a": "b"})


CHANGES: dict[str, Callable[[Store], object]] = {
    "add a version": lambda s: s.add_version(
        "p", "census", Version(name="v3"), uid="v3", operation=note
    ),
    "move a version": lambda s: s.move_version(
        s.version("p", "census", "v2"), VersionState.DELETING, operation=note
    ),
    "edit a version": lambda s: s.edit_version("p", "census", "v2", labelled, operation=note),
    "edit a model": lambda s: s.edit_model("p", "census", labelled, default="v2", operation=note),
    "remove a model": lambda s: s.remove_model("p", "empty", operation=note()),
}


@pytest.fixture(autouse=True)
def models(store: Store) -> None:
    store.add_model("p", Model(name="empty"))
    store.add_model("p", Model(name="census"))
    for name in ("v1", "v2"):
        record = store.add_version("p", "census", Version(name=name), uid=name)
        store.move_version(record, VersionState.READY)


def seen(store: Store) -> object:
    records = (store.models("p"), store.versions("p", "census"), store.events(limit=1000))
    return msgspec.to_builtins(records)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_brings_its_operation(store: Store, name: str) -> None:
    before = seen(store)
    written = CHANGES[name](store)
    assert seen(store) != before
    (operation,) = store.open_operations()
    assert (operation.operation_id, operation.subject) == ("one", "it")
    if written is not None:  # it was told of the record as it is now
        assert operation.operation.metadata["told"][0] == msgspec.to_builtins(written)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_whose_operation_cannot_be_recorded_is_none(store: Store, name: str) -> None:
    store.add_operation("p", "one", {})
    before = seen(store)
    with pytest.raises(AlreadyExists, match="operation"):
        CHANGES[name](store)
    assert seen(store) == before


def test_a_change_that_is_refused_leaves_no_operation(store: Store) -> None:
    default = store.version("p", "census", "v1")
    with pytest.raises(FailedPrecondition):
        store.move_version(default, VersionState.DELETING, operation=note)
    with pytest.raises(FailedPrecondition):
        store.remove_model("p", "census", operation=note())
    with pytest.raises(AlreadyExists):
        store.add_version("p", "census", Version(name="v1"), uid="again", operation=note)
    stale = msgspec.structs.replace(default, version=Version(name="v1", state="CREATING"))
    assert store.move_version(stale, VersionState.READY, operation=note) is None
    assert store.operations("p") == []


def test_an_operation_may_be_done_with_its_change(store: Store) -> None:
    done = NewOperation(operation_id="two", metadata={"a": 1}, response=EMPTY)
    store.edit_version("p", "census", "v1", labelled, operation=lambda _record: done)
    ended = store.operation("p", "two").operation
    assert (ended.done, ended.metadata, ended.response) == (True, {"a": 1}, EMPTY)
    kinds = [event.kind for event in store.events(limit=1000)][-3:]
    assert kinds == ["version.edited", "operation.created", "operation.finished"]


def test_a_patch_of_a_model_can_name_its_default_and_is_told_of_it(store: Store) -> None:
    told: list[str] = []

    def tell(record: ModelRecord, default: VersionRecord | None) -> NewOperation:
        told.extend([record.default_version_id, default.version_id if default else ""])
        return note()

    store.edit_model("p", "census", lambda model: model, default="v2", operation=tell)
    assert told == ["v2", "v2"]
    assert store.version("p", "census", "v2").version.is_default
    store.edit_model("p", "empty", lambda model: model)
    assert [record.operation_id for record in store.operations("p")] == ["one"]
