"""The contract of `mlengine.storage.gcs.shelves.Shelf`, obligation by obligation, on each."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import NotFound, Unimplemented
from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.backends.remote import open_remote
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.foldershelf import FolderShelf
from mlengine.storage.gcs.messages import ConditionNotMet
from mlengine.storage.gcs.remoteshelf import RemoteShelf
from mlengine.storage.gcs.shelves import Shelf, Stored
from mlengine.storage.paths import Backing
from mlengine.storage.records import ObjectRecord
from tests.fakes.bucket_table import BucketTableFake

KINDS = ["folder", "gcs", "s3"]
UNCHANGING = {"s3"}  # no call changes what is said of an object
BY_SECONDS = {"s3"}  # generations grow from second to second; within one they only differ
ABSENT = Conditions(generation=0)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shelf(kind: str, tmp_path: Path) -> Shelf:
    if kind != "folder":
        place = f"conformance/{secrets.token_hex(8)}"
        return RemoteShelf(open_remote(Backing(kind, place), bucket="data"), "data")
    buckets = Buckets(BucketTableFake(), tmp_path / "home/buckets")
    buckets.create(Bucket(name="data"))
    return FolderShelf(buckets, "data")


def put(shelf: Shelf, name: str, content: bytes = b"x", conditions: Conditions | None = None,
        **said: Any) -> Stored:  # fmt: skip
    draft = shelf.draft(name)
    try:
        draft.append(content)
        return shelf.commit(draft, ObjectRecord(**said), conditions or Conditions())
    finally:
        draft.close()


def body(shelf: Shelf, name: str) -> bytes:
    file, _stored = shelf.open(name)
    assert file is not None
    with file:
        return file.read()


def names(
    shelf: Shelf, prefix: str = "", *, after: str = "", is_shallow: bool = False
) -> list[str]:
    return [name for name, _later in shelf.each(prefix, after=after, is_shallow=is_shallow)]


def kept(record: ObjectRecord) -> ObjectRecord:
    return record


# --- 1: what is not there -----------------------------------------------------------------------

LOOKS: list[Callable[..., object]] = [
    lambda shelf, name, **asked: shelf.find(name, **asked),
    lambda shelf, name, **asked: shelf.open(name, **asked),
    lambda shelf, name, **asked: shelf.update(name, kept, **asked),
    lambda shelf, name, **asked: shelf.delete(name, **asked),
]


@pytest.mark.parametrize("look", LOOKS, ids=["find", "open", "update", "delete"])
def test_of_nothing_there_is_nothing(shelf: Shelf, look: Callable[..., object]) -> None:
    put(shelf, "a/b")
    for name in ("none", "a/none", "none/", "a", "a//b", "../x"):
        with pytest.raises(NotFound, match=f"No such object: data/{name}"):
            look(shelf, name)


@pytest.mark.parametrize("look", LOOKS, ids=["find", "open", "update", "delete"])
def test_of_another_generation_there_is_nothing(shelf: Shelf, look: Callable[..., object]) -> None:
    old = put(shelf, "x", b"1").generation
    new = put(shelf, "x", b"22").generation
    with pytest.raises(NotFound):
        look(shelf, "x", generation=old)
    assert shelf.find("x", generation=new).size == 2
    assert body(shelf, "x") == b"22"


@pytest.mark.parametrize("name", ["ts=00%3A00/part-0.jsonl", "in put#1.jsonl", "a%2Fb"])
def test_a_name_is_taken_as_it_is_and_never_decoded(shelf: Shelf, name: str) -> None:
    put(shelf, name, b"as it is")
    assert (shelf.find(name).name, body(shelf, name), names(shelf)) == (name, b"as it is", [name])
    shelf.delete(name)
    assert names(shelf) == []


def test_a_folder_has_no_file(shelf: Shelf) -> None:
    made = shelf.make_folder("made/", ObjectRecord(), ABSENT)
    file, found = shelf.open("made/")
    assert file is None
    assert (found.name, found.size, found.generation) == ("made/", 0, made.generation)


# --- 2: commits ---------------------------------------------------------------------------------


def test_a_draft_is_nothing_until_it_is_committed_and_then_whole(shelf: Shelf) -> None:
    draft = shelf.draft("a/x.txt")
    draft.append(b"one")
    draft.append(b"two")
    assert (draft.name, draft.size, b"".join(draft.chunks(4))) == ("a/x.txt", 6, b"onetwo")
    assert names(shelf) == []
    made = shelf.commit(draft, ObjectRecord(content_type="text/plain", metadata={"k": "v"}))
    draft.close()
    found = shelf.find("a/x.txt")
    assert (made.bucket, made.name, made.size) == ("data", "a/x.txt", 6)
    assert (found.size, found.facts) == (6, made.facts)
    assert (found.record.content_type, found.record.metadata) == ("text/plain", {"k": "v"})
    assert body(shelf, "a/x.txt") == b"onetwo"


def test_a_draft_that_is_closed_leaves_nothing(shelf: Shelf) -> None:
    draft = shelf.draft("x")
    draft.append(b"x")
    draft.close()
    assert names(shelf) == []


def test_conditions_are_about_what_is_there_at_the_commit(shelf: Shelf) -> None:
    draft = shelf.draft("x")
    draft.append(b"late")
    shelf.check("x", ABSENT)  # they hold when the draft begins, and no more when it ends
    first = put(shelf, "x", b"first")
    with pytest.raises(ConditionNotMet):
        shelf.commit(draft, ObjectRecord(), ABSENT)
    with pytest.raises(ConditionNotMet):
        shelf.check("x", ABSENT)
    assert body(shelf, "x") == b"first"
    shelf.commit(draft, ObjectRecord(), Conditions(generation=first.generation))
    draft.close()
    assert body(shelf, "x") == b"late"


def test_of_several_that_make_an_object_one_does(shelf: Shelf) -> None:
    made: list[bytes] = []

    def make(content: bytes) -> None:
        with contextlib.suppress(ConditionNotMet):
            put(shelf, "lock", content, ABSENT)
            made.append(content)

    threads = [threading.Thread(target=make, args=(b"%d" % n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [body(shelf, "lock")] == made


def test_a_folder_is_made_and_removed_where_the_conditions_hold(shelf: Shelf) -> None:
    made = shelf.make_folder("made/", ObjectRecord(), ABSENT)
    with pytest.raises(ConditionNotMet):
        shelf.make_folder("made/", ObjectRecord(), ABSENT)
    with pytest.raises(ConditionNotMet):
        shelf.delete("made/", Conditions(not_generation=made.generation))
    shelf.delete("made/", Conditions(generation=made.generation))
    assert names(shelf) == []


def test_what_conditions_do_not_allow_is_not_deleted(shelf: Shelf) -> None:
    made = put(shelf, "x")
    with pytest.raises(ConditionNotMet):
        shelf.delete("x", Conditions(not_generation=made.generation))
    shelf.delete("x", Conditions(generation=made.generation), generation=made.generation)
    with pytest.raises(NotFound):
        shelf.find("x")


# --- 3: lists -----------------------------------------------------------------------------------


def test_names_come_in_order_and_tell_more_when_asked(shelf: Shelf) -> None:
    for name in ("b", "a/2", "a-", "a/1", "é"):
        put(shelf, name, name.encode())
    shelf.make_folder("a/3/", ObjectRecord())
    found = list(shelf.each("", after="", is_shallow=False))
    assert [name for name, _later in found] == ["a-", "a/1", "a/2", "a/3/", "b", "é"]
    assert [later().size for _name, later in found] == [2, 3, 3, 0, 1, 2]
    for name, later in found:  # lists of S3 tell neither types nor metadata
        told = shelf.find(name)
        assert later() == told._replace(record=later().record)
    assert names(shelf, "a/") == ["a/1", "a/2", "a/3/"]
    assert names(shelf, "a", after="a/1") == ["a/2", "a/3/"]
    assert names(shelf, "none") == names(shelf, "../") == []


def test_a_shallow_list_names_every_segment_at_least_once(shelf: Shelf) -> None:
    for name in ("a/1", "a/2", "b/c/1", "b/c/2", "c"):
        put(shelf, name)
    found = names(shelf, is_shallow=True)
    assert found == sorted(found)
    assert {name.partition("/")[0] for name in found} == {"a", "b", "c"}
    assert "c" in found


# --- 4: generations -----------------------------------------------------------------------------


def test_every_change_of_the_bytes_is_another_generation(shelf: Shelf, kind: str) -> None:
    made = [put(shelf, "x", b"%d" % n).generation for n in range(4)]
    assert len(set(made)) == 4
    assert 0 not in made
    assert made == sorted(made) or kind in BY_SECONDS


def test_what_is_said_of_an_object_is_changed_alone_or_refused_by_name(
    shelf: Shelf, kind: str
) -> None:
    made = put(shelf, "x", b"bytes", content_type="text/plain")

    def change(record: ObjectRecord) -> ObjectRecord:
        return ObjectRecord(content_type="text/html", metadata={"a": "b"})

    if kind in UNCHANGING:
        with pytest.raises(Unimplemented, match="S3 has no such call"):
            shelf.update("x", change)
        return
    with pytest.raises(ConditionNotMet):
        shelf.update("x", change, Conditions(metageneration=made.record.metageneration + 1))
    shelf.update("x", change, Conditions(metageneration=made.record.metageneration))
    found = shelf.find("x")
    assert (found.record.content_type, found.record.metadata) == ("text/html", {"a": "b"})
    assert found.generation == made.generation
    if kind != "gcs":  # fake-gcs-server counts none
        assert found.record.metageneration == made.record.metageneration + 1
    assert body(shelf, "x") == b"bytes"
