"""`write_described`: the bytes, and what is said of them: by the caller, or of another object."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.shelving import open_shelf, write_described
from mlengine.storage.gcs.uploads import store_object
from mlengine.storage.paths import BucketPath
from mlengine.storage.records import ObjectRecord
from tests.fakes.bucket_table import BucketTableFake

SOURCE, TARGET = BucketPath("here", "in/x.json"), BucketPath("there", "out/y.json")


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    buckets = Buckets(BucketTableFake(), tmp_path / "buckets")
    for name in ("here", "there"):
        buckets.create(Bucket(name=name))
    buckets.create(Bucket(name="forgetful", backing=f"memory://{secrets.token_hex(8)}"))
    said = ObjectRecord(
        content_type="application/json", content_encoding="gzip", metadata={"run": "7"},
        component_count=2,
    )  # fmt: skip
    store_object(open_shelf(buckets, "here"), SOURCE.name, [b"packed"], said, Conditions())
    return buckets


def read(buckets: Buckets, path: BucketPath) -> bytes:
    with buckets.open_read(path) as file:
        return file.read()


def test_type_encoding_and_metadata_are_the_others(buckets: Buckets) -> None:
    info = write_described(buckets, TARGET, [b"as ", b"packed"], like=SOURCE)
    assert (info.uri, info.size) == ("gs://there/out/y.json", 9)
    assert read(buckets, TARGET) == b"as packed"
    record = open_shelf(buckets, "there").find(TARGET.name).record
    assert record.name == TARGET.name
    assert record.content_type == "application/json"
    assert (record.content_encoding, record.metadata) == ("gzip", {"run": "7"})
    source = open_shelf(buckets, "here").find(SOURCE.name).record
    assert record.md5 != source.md5, "that is of the bytes"
    assert (source.component_count, record.component_count) == (2, 0), "nor is it composed"


@pytest.mark.parametrize(("source", "target"), [("here", "forgetful"), ("forgetful", "there")])
def test_where_a_bucket_remembers_nothing_the_bytes_go(
    buckets: Buckets, source: str, target: str
) -> None:
    path = BucketPath(target, "y")
    buckets.write(BucketPath(source, "x"), [b"other"])
    assert write_described(buckets, path, [b"bytes"], like=BucketPath(source, "x")).size == 5
    assert read(buckets, path) == b"bytes"


def test_of_an_object_of_which_nothing_is_said_nothing_is_kept(buckets: Buckets) -> None:
    buckets.write("gs://here/plain", [b"1"])
    write_described(buckets, TARGET, [b"1"], like=BucketPath("here", "plain"))
    info = buckets.stat(TARGET)
    assert buckets.records("there").of(info) == ObjectRecord(name=TARGET.name)


@pytest.mark.parametrize("like", [BucketPath("here", "none"), BucketPath("nowhere", "x")])
def test_the_other_has_to_be_there(buckets: Buckets, like: BucketPath) -> None:
    with pytest.raises(NotFound):
        write_described(buckets, TARGET, [b""], like=like)
    assert buckets.objects("there") == []


def test_what_the_caller_says_goes_over_what_is_said_of_the_other(buckets: Buckets) -> None:
    about = {"contentType": "text/html", "metadata": {"by": "me"}}
    write_described(buckets, TARGET, [b"1"], like=SOURCE, about=about)
    write_described(buckets, BucketPath("there", "new"), [b"1"], about=about)
    shelf = open_shelf(buckets, "there")
    said, new = shelf.find(TARGET.name).record, shelf.find("new").record
    assert (said.content_type, said.content_encoding) == ("text/html", "gzip")
    assert said.metadata == {"run": "7", "by": "me"}
    assert (new.content_type, new.content_encoding) == ("text/html", "")
    other = BucketPath("forgetful", "x")
    write_described(buckets, TARGET, [b"1"], like=other, about=about)
    assert shelf.find(TARGET.name).record.metadata == {"by": "me"}


@pytest.mark.parametrize("about", [{"contenttype": "x"}, {"contentType": 5}, {"metadata": "x"}])
def test_what_no_object_has_is_refused(buckets: Buckets, about: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        write_described(buckets, TARGET, [b"1"], about=about)
    assert buckets.objects("there") == []


def test_what_would_be_forgotten_is_refused(buckets: Buckets) -> None:
    with pytest.raises(FailedPrecondition, match="contentType would be lost"):
        write_described(
            buckets, BucketPath("forgetful", "y"), [b"1"], about={"contentType": "text/html"}
        )
    assert buckets.objects("forgetful") == []
