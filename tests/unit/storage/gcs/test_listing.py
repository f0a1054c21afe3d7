"""Lists against a model that filters all names, and what a list may cost."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.gcs import GcsApi
from mlengine.storage.records import Records
from tests.fakes.bucket_table import BucketTableFake
from tests.unit.storage.gcs.conftest import Caller, answered, refused

NAMES = ["B", "a-b", "a.txt", "a/", "a/b", "a/c/", "a/c/d", "a/c/e/f", "a0", "dé/x", "z/y/x"]


def filled(folder: Path) -> Caller:
    buckets = Buckets(BucketTableFake(), folder)
    buckets.create(Bucket(name="data"))
    call = Caller(GcsApi(buckets))
    for name in NAMES:
        call.upload(quote(name), b"")
    return call


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Caller:
    return filled(tmp_path_factory.mktemp("listing"))


def model(prefix: str, delimiter: str, start: str, end: str, both: bool) -> list[str]:
    """Return items and prefixes as one sorted list, prefixes marked."""
    rows: dict[str, None] = {}
    for name in sorted(NAMES):
        if not name.startswith(prefix) or name < start or (end and name >= end):
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        group = name[: at + len(delimiter)] if at >= 0 else ""
        if group:
            rows[f"prefix {group}"] = None
        if not group or (both and group == name):
            rows[f"item {name}"] = None
    return [*rows]


def pages(call: Caller, **query: str) -> list[str]:
    rows, token = [], ""
    while True:
        page = answered(call("GET", f"/storage/v1/b/data/o?{urlencode(query)}&pageToken={token}"))
        found = [f"item {item['name']}" for item in page.get("items", [])]
        found += [f"prefix {name}" for name in page.get("prefixes", [])]
        assert len(found) <= int(query["maxResults"])
        rows += found
        token = page.get("nextPageToken", "")
        if not token:
            return rows


@settings(deadline=None)
@given(
    prefix=st.sampled_from(["", "a", "a/", "a/c", "a/c/", "z/y", "none/", "a//", "dé"]),
    delimiter=st.sampled_from(["", "/", "c", "/c"]),
    start=st.sampled_from(["", "B", "a.", "a/c", "a/c/d", "a/c/d0", "z"]),
    end=st.sampled_from(["", "a/c", "a0", "zz"]),
    both=st.booleans(),
    size=st.integers(1, 12),
)
def test_pages_put_together_are_what_the_model_lists(
    bucket: Caller, prefix: str, delimiter: str, start: str, end: str, both: bool, size: int
) -> None:
    found = pages(
        bucket,
        prefix=prefix,
        delimiter=delimiter,
        startOffset=start,
        endOffset=end,
        includeTrailingDelimiter=str(both).lower(),
        maxResults=str(size),
    )
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(model(prefix, delimiter, start, end, both))


@pytest.mark.parametrize(
    ("glob", "names"),
    [("a/*", ["a/", "a/b"]), ("**/d", ["a/c/d"]), ("?", ["B"]), ("a*", ["a-b", "a.txt", "a0"])],
)
def test_globs(bucket: Caller, glob: str, names: list[str]) -> None:
    assert bucket.names(f"matchGlob={glob}") == names


def test_a_token_of_another_list_is_refused(bucket: Caller) -> None:
    token = answered(bucket("GET", "/storage/v1/b/data/o?maxResults=1"))["nextPageToken"]
    other = bucket("GET", f"/storage/v1/b/data/o?prefix=a&pageToken={token}")
    assert refused(other) == (400, "invalid")


@pytest.mark.parametrize("query", ["maxResults=0", "maxResults=x", "matchGlob={a,b}"])
def test_what_cannot_be_listed_is_refused(bucket: Caller, query: str) -> None:
    assert refused(bucket("GET", f"/storage/v1/b/data/o?{query}"))[0] == 400


def test_a_type_that_a_listing_does_not_know_is_left_out(call: Caller, buckets: Buckets) -> None:
    buckets.write("gs://data/plain", [b"1"])
    call("POST", "/upload/storage/v1/b/data/o?uploadType=media&name=x", b"1", content_type="text/x")
    items = answered(call("GET", "/storage/v1/b/data/o"))["items"]
    assert [item.get("contentType") for item in items] == [None, "text/x"]


def test_the_fields_that_the_caller_wants(bucket: Caller) -> None:
    wanted = "fields=items%2Fname%2Cprefixes%2CnextPageToken"
    page = answered(bucket("GET", f"/storage/v1/b/data/o?{wanted}&delimiter=%2F&maxResults=3"))
    assert page.pop("nextPageToken")
    assert page == {"items": [{"name": n} for n in ("B", "a-b", "a.txt")]}


def test_ten_thousand_objects_take_the_memory_of_a_page_and_folders_are_not_walked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        call = filled(Path(folder))
        for group in range(100):
            where = Path(folder, "data/many", f"{group:03}")
            where.mkdir(parents=True)
            for each in range(100):
                (where / f"{each:03}").touch()
        assert len(pages(call, prefix="many/", maxResults="1000")) == 10_000
        tracemalloc.start()
        page = answered(call("GET", "/storage/v1/b/data/o?prefix=many/&maxResults=500"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(page["items"]) == 500
        assert peak < 4 << 20
        read = []
        monkeypatch.setattr(Records, "of", lambda _self, info: read.append(info))
        entered = []
        really = FolderBackend._beneath
        monkeypatch.setattr(
            FolderBackend,
            "_beneath",
            lambda self, name: entered.append(name) or really(self, name),  # type: ignore[func-returns-value]
        )
        rows = pages(call, prefix="many/", delimiter="/", maxResults="1000")
        assert rows == [f"prefix many/{group:03}/" for group in range(100)]
        assert read == []
        assert len(entered) < 300
