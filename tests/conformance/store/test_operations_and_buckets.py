from __future__ import annotations

import pytest

from mlengine.core.errors import AlreadyExists, FailedPrecondition, NotFound
from mlengine.core.resources import Bucket
from mlengine.store import Store

METADATA = {"operationType": "CREATE_VERSION", "modelName": "projects/p/models/census"}
EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


def test_an_operation_is_open_until_it_is_finished_once(store: Store) -> None:
    record = store.add_operation("p", "one", METADATA, subject="projects/p/models/census")
    assert (record.operation.name, record.operation.done) == ("one", False)
    assert record.subject == "projects/p/models/census"
    assert store.open_operations() == [record]
    ended = store.finish_operation("p", "one", response=EMPTY)
    assert ended is not None
    assert (ended.operation.done, ended.operation.response) == (True, EMPTY)
    assert ended.operation.metadata == METADATA
    assert store.open_operations() == []
    assert store.finish_operation("p", "one", error={"code": 1}) is None
    assert store.operation("p", "one") == ended


def test_an_operation_may_end_in_error_with_new_metadata(store: Store) -> None:
    store.add_operation("p", "one", METADATA)
    ended = store.finish_operation("p", "one", metadata={"endTime": "now"}, error={"code": 1})
    assert ended is not None
    assert ended.operation.metadata == {"endTime": "now"}
    assert (ended.operation.error, ended.operation.response) == ({"code": 1}, None)


def test_metadata_is_replaced_only_before_the_end(store: Store) -> None:
    store.add_operation("p", "one", METADATA)
    edited = store.edit_operation("p", "one", {"isCancellationRequested": True})
    assert edited.operation.metadata == {"isCancellationRequested": True}
    assert store.edit_operation("p", "one", {"isCancellationRequested": True}) == edited
    store.finish_operation("p", "one")
    with pytest.raises(FailedPrecondition, match="is done"):
        store.edit_operation("p", "one", {})


def test_operations_are_listed_newest_first_and_open_ones_oldest_first(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.add_operation("p", name, {})
    store.add_operation("q", "d", {})
    newest = store.operations("p", limit=2)
    assert [record.operation_id for record in newest] == ["c", "b"]
    rest = store.operations("p", before_seq=newest[-1].seq)
    assert [record.operation_id for record in rest] == ["a"]
    store.finish_operation("p", "b")
    assert [record.operation_id for record in store.open_operations()] == ["a", "c", "d"]


def test_operation_ids_are_unique_per_project(store: Store) -> None:
    store.add_operation("p", "one", {})
    store.add_operation("q", "one", {})
    with pytest.raises(AlreadyExists):
        store.add_operation("p", "one", {})
    with pytest.raises(NotFound, match="Did you mean 'one'"):
        store.operation("p", "on")


def test_a_bucket_is_there_until_it_is_removed_and_may_come_back(store: Store) -> None:
    bucket = Bucket(name="b-1", backing="s3://far/away", create_time="2018-03-02T06:50:06Z")
    assert store.add_bucket(bucket) == bucket
    store.add_bucket(Bucket(name="a-1"))
    assert store.bucket("b-1") == bucket
    assert [found.name for found in store.buckets()] == ["a-1", "b-1"]
    with pytest.raises(AlreadyExists):
        store.add_bucket(bucket)
    store.remove_bucket("b-1")
    with pytest.raises(NotFound, match="buckets create gs://b-1"):
        store.bucket("b-1")
    with pytest.raises(NotFound):
        store.remove_bucket("b-1")
    assert store.add_bucket(bucket) == bucket


def test_every_write_of_operations_and_buckets_appends_one_event(store: Store) -> None:
    store.add_operation("p", "one", {}, subject="x")
    store.edit_operation("p", "one", {"a": 1})
    store.finish_operation("p", "one", error={"code": 1})
    store.add_bucket(Bucket(name="b-1"))
    store.remove_bucket("b-1")
    events = store.events()
    assert [(event.kind, event.project, event.resource) for event in events] == [
        ("operation.created", "p", "projects/p/operations/one"),
        ("operation.edited", "p", "projects/p/operations/one"),
        ("operation.finished", "p", "projects/p/operations/one"),
        ("bucket.created", "", "buckets/b-1"),
        ("bucket.removed", "", "buckets/b-1"),
    ]
    assert events[2].detail == {"failed": True}
    assert [event.seq for event in events] == sorted(event.seq for event in events)
