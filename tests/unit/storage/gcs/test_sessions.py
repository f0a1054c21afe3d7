"""Resumable uploads, cut anywhere."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.gcs import Response
from mlengine.storage.gcs.crc32c import crc32c_text
from mlengine.storage.gcs.messages import BrokenBody
from tests.unit.storage.gcs.conftest import Caller, answered, content_of, refused

CONTENT = random.Random(1).randbytes(5000)


def begin(call: Caller, query: str = "name=x", body: object = b"", **headers: str) -> str:
    response = call(
        "POST", f"/upload/storage/v1/b/data/o?uploadType=resumable&{query}", body, **headers
    )
    assert response.status == 200, content_of(response)
    return response.headers["Location"].removeprefix("http://o")


def so_far(response: Response) -> int:
    assert response.status == 308
    line = response.headers.get("Range", "bytes=0--1")
    assert line.startswith("bytes=0-")
    return int(line.removeprefix("bytes=0-")) + 1


def cut_after(data: bytes, sent: int, piece: int) -> Iterator[bytes]:
    for at in range(0, sent, piece):
        yield data[at : min(at + piece, sent)]
    if sent < len(data):
        raise BrokenBody


@pytest.mark.parametrize("seed", range(40))
def test_cut_at_any_offset_and_resumed_it_is_equal(call: Caller, seed: int) -> None:
    chance = random.Random(seed)
    where = begin(call)
    at, total = 0, len(CONTENT)
    while at < total:
        end = chance.randint(at + 1, total)
        sent = chance.choice([0, end - at, chance.randint(0, end - at)])
        first = chance.choice([at, chance.randint(0, at)])
        told = total if end == total or chance.random() < 0.5 else "*"
        body = cut_after(CONTENT[first:end], at - first + sent, chance.randint(1, 999))
        try:
            response = call(
                "PUT", where, chunks=body, content_range=f"bytes {first}-{end - 1}/{told}"
            )
        except BrokenBody:
            response = call("PUT", where, content_range=f"bytes */{total}")
        at += sent
        if response.status == 200:
            assert at == total
            break
        assert call.names() == []
        assert so_far(response) == at
    again = call("PUT", where, content_range=f"bytes */{total}")
    assert answered(again)["size"] == str(total)
    assert content_of(call("GET", "/data/x")) == CONTENT


def test_a_request_without_range_brings_everything(call: Caller) -> None:
    where = begin(call, body={"contentType": "text/x"}, x_upload_content_length="5")
    assert answered(call("PUT", where, b"hello"))["contentType"] == "text/x"


def test_nothing_is_an_object_too(call: Caller) -> None:
    assert answered(call("PUT", begin(call), content_range="bytes */0"))["size"] == "0"
    assert answered(call("PUT", begin(call, "name=run/"), b""))["name"] == "run/"


def test_a_gap_is_not_taken_and_the_caller_hears_how_far_it_is(call: Caller) -> None:
    where = begin(call)
    assert so_far(call("PUT", where, CONTENT[:10], content_range="bytes 0-9/*")) == 10
    assert so_far(call("PUT", where, CONTENT[20:30], content_range="bytes 20-29/*")) == 10


@pytest.mark.parametrize(
    "line",
    ["bytes 10-5/20", "bytes 10-20/20", "bytes 0-9", "lines 0-9/10", "bytes 10-19/30", "bytes */5"],
)
def test_a_range_that_cannot_be_is_refused_and_changes_nothing(call: Caller, line: str) -> None:
    where = begin(call)
    call("PUT", where, CONTENT[:10], content_range="bytes 0-9/20")
    assert refused(call("PUT", where, CONTENT[10:20], content_range=line))[0] == 400
    assert so_far(call("PUT", where, content_range="bytes */20")) == 10


def test_more_bytes_than_announced_are_refused(call: Caller) -> None:
    where = begin(call)
    assert refused(call("PUT", where, b"0123456789", content_range="bytes 0-4/*"))[0] == 400


def test_the_checksum_of_the_whole_decides(call: Caller) -> None:
    last = {"content_range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
    good = crc32c_text([CONTENT])
    where = begin(call)
    wrong = call("PUT", where, CONTENT, x_goog_hash="crc32c=AAAAAA==", **last)
    assert refused(wrong)[0] == 400
    assert call.names() == []
    assert refused(call("PUT", where, content_range="bytes */*"))[0] == 404
    made = call("PUT", begin(call), CONTENT, x_goog_hash=f"crc32c={good}", **last)
    assert answered(made)["crc32c"] == good


def test_conditions_hold_at_the_beginning_and_at_the_end(call: Caller) -> None:
    where = begin(call, "name=x&ifGenerationMatch=0")
    call.upload("x", b"first")
    assert refused(call("PUT", where, b"second")) == (412, "conditionNotMet")
    target = "/upload/storage/v1/b/data/o?uploadType=resumable&name=x&ifGenerationMatch=0"
    assert refused(call("POST", target))[0] == 412
    assert content_of(call("GET", "/data/x")) == b"first"


@pytest.mark.parametrize("can_cut", [True, False])
def test_what_a_full_disk_took_of_a_chunk_is_not_in_the_object(
    call: Caller, monkeypatch: pytest.MonkeyPatch, can_cut: bool
) -> None:
    where = begin(call)
    call("PUT", where, CONTENT[:1000], content_range="bytes 0-999/*")
    with monkeypatch.context() as patched:
        fill_up(patched, can_cut=can_cut)
        full = call("PUT", where, CONTENT[1000:4000], content_range="bytes 1000-3999/*")
    assert refused(full)[0] == 503
    assert so_far(call("PUT", where, content_range="bytes */*")) == 1000
    # It goes on with less than what was written in part.
    assert so_far(call("PUT", where, CONTENT[1000:1100], content_range="bytes 1000-1099/*")) == 1100
    made = answered(call("PUT", where, CONTENT[1100:1200], content_range="bytes 1100-1199/1200"))
    assert (made["size"], made["crc32c"]) == ("1200", crc32c_text([CONTENT[:1200]]))
    assert content_of(call("GET", "/data/x")) == CONTENT[:1200]


def fill_up(patched: pytest.MonkeyPatch, *, can_cut: bool) -> None:
    """Let the disk have room for half of the next chunk."""
    pwrite, left = os.pwrite, [1500]

    def short(fd: int, data: bytes, at: int) -> int:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data[: left.pop()], at)

    def failing(_fd: int, _size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    patched.setattr(os, "pwrite", short)
    if not can_cut:
        patched.setattr(os, "ftruncate", failing)


def test_cancelled_and_closed_uploads_leave_nothing(call: Caller, buckets: Buckets) -> None:
    unfinished = Path(buckets.local_path("gs://data/")).parent / ".staging"
    where, other = begin(call), begin(call)
    call("PUT", where, CONTENT[:10], content_range="bytes 0-9/*")
    assert call("DELETE", where).status == 499
    assert refused(call("PUT", where, content_range="bytes */*"))[0] == 404
    assert len([*unfinished.iterdir()]) == 1
    call.api.close()
    assert [*unfinished.iterdir()] == []
    assert refused(call("PUT", other, b"x"))[0] == 404


def test_an_upload_to_a_bucket_that_was_deleted_meanwhile_is_gone(
    call: Caller, buckets: Buckets
) -> None:
    where = begin(call)
    call("PUT", where, CONTENT[:10], content_range="bytes 0-9/*")
    buckets.delete("data")
    rest = f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}"
    for _again in range(2):
        assert refused(call("PUT", where, CONTENT[10:], content_range=rest))[0] == 404
    buckets.create(Bucket(name="data"))
    assert call.names() == []


def test_a_name_that_cannot_be_is_refused_at_once(call: Caller) -> None:
    call.upload("a", b"1")
    target = "/upload/storage/v1/b/data/o?uploadType=resumable&name=a/b"
    assert refused(call("POST", target))[0] == 400
