"""Objects by the API: their bytes, what is said of them, generations, conditions, conflicts."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from tests.unit.storage.gcs.conftest import Caller, answered, content_of, refused

O = "/storage/v1/b/data/o"  # noqa: E741


@pytest.fixture
def folder(buckets: Buckets) -> Path:
    return buckets.local_path("gs://data/")


def test_what_was_uploaded_is_described_and_read(call: Caller, folder: Path) -> None:
    made = call.upload("a/b.txt", b"hello")
    assert (folder / "a/b.txt").read_bytes() == b"hello"
    found = answered(call("GET", f"{O}/a%2Fb.txt"))
    assert found == made
    assert (made["size"], made["crc32c"], made["md5Hash"]) == (
        "5", "mnG7TA==", "XUFAKrxLKna5cZ2REBfFkg==",
    )  # fmt: skip
    assert int(made["generation"]) == (folder / "a/b.txt").stat().st_mtime_ns // 1000
    response = call("GET", f"{O}/a%2Fb.txt?alt=media")
    assert response.headers["X-Goog-Hash"] == "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg=="
    assert response.headers["X-Goog-Generation"] == made["generation"]
    assert content_of(response) == b"hello"


@pytest.mark.parametrize(
    "path", ["/data/a%2Fb", "/data/a/b", "/download/storage/v1/b/data/o/a%2Fb"]
)
def test_bytes_are_to_be_had_at_every_door(call: Caller, path: str) -> None:
    call.upload("a/b", b"x")
    assert content_of(call("GET", path)) == b"x"


def test_multipart_brings_type_and_metadata(call: Caller) -> None:
    body = b'--q\n\n{"name": "m", "metadata": {"k": "v"}}\n--q\nContent-Type: text/x\n\nb\n--q--'
    target = "/upload/storage/v1/b/data/o?uploadType=multipart"
    made = answered(call("POST", target, body, content_type="multipart/related; boundary=q"))
    assert (made["contentType"], made["metadata"], made["size"]) == ("text/x", {"k": "v"}, "1")
    response = call("GET", f"{O}/m?alt=media")
    assert response.headers["Content-Type"] == "text/x"
    assert response.headers["X-Goog-Meta-k"] == "v"
    assert content_of(response) == b"b"


@pytest.mark.parametrize(
    ("line", "status", "found", "content_range"),
    [
        ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-100", 206, b"56789", "bytes 5-9/10"),
        ("bytes=0-9", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=3-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
    ],
)
def test_ranges(
    call: Caller, line: str, status: int, found: bytes, content_range: str | None
) -> None:
    call.upload("d", b"0123456789")
    response = call("GET", f"{O}/d?alt=media", range=line)
    assert (response.status, content_of(response)) == (status, found)
    assert response.headers.get("Content-Range") == content_range


@pytest.mark.parametrize("line", ["bytes=10-", "bytes=10-11", "bytes=-0"])
def test_a_range_behind_the_end(call: Caller, line: str) -> None:
    call.upload("d", b"0123456789")
    response = call("GET", f"{O}/d?alt=media", range=line)
    error = answered(response, 416)["error"]
    assert error["errors"][0]["reason"] == "requestedRangeNotSatisfiable"
    # By these words gcsfs knows the end of an object from a failure.
    assert error["message"].startswith("Request range not satisfiable")


def test_what_a_trainer_writes_itself_is_an_object(call: Caller, folder: Path) -> None:
    made = call.upload("x", b"by the API", "contentEncoding=identity")
    call("PATCH", f"{O}/x", {"contentType": "text/x", "metadata": {"k": "v"}})
    (folder / "x").write_bytes(b"by hand")
    found = answered(call("GET", f"{O}/x"))
    assert int(found["generation"]) != int(made["generation"])
    assert (found["size"], found["contentType"]) == ("7", "application/octet-stream")
    assert "md5Hash" not in found and "metadata" not in found
    assert found["metageneration"] == "1"


@pytest.mark.parametrize("time_s", [0, -5])
def test_a_file_from_the_beginning_of_time_is_there_all_the_same(
    call: Caller, folder: Path, time_s: int
) -> None:
    (folder / "old").write_bytes(b"precious")
    os.utime(folder / "old", (time_s, time_s))
    found = answered(call("GET", f"{O}/old"))
    assert found["generation"] == "1"
    again = call(
        "POST", "/upload/storage/v1/b/data/o?uploadType=media&name=old&ifGenerationMatch=0"
    )
    assert refused(again) == (412, "conditionNotMet")
    assert (folder / "old").read_bytes() == b"precious"
    assert content_of(call("GET", f"{O}/old?alt=media&ifGenerationMatch=1")) == b"precious"
    assert int(call.upload("old", b"new", "ifGenerationMatch=1")["generation"]) > 1


def test_a_patch_merges_and_an_update_replaces(call: Caller) -> None:
    made = call.upload("x", b"1")
    first = answered(
        call("PATCH", f"{O}/x", {"metadata": {"a": "1", "b": "2"}, "cacheControl": "no-store"})
    )
    assert (first["metageneration"], first["generation"]) == ("2", made["generation"])
    second = answered(call("PATCH", f"{O}/x", {"metadata": {"a": None, "c": "3"}}))
    assert second["metadata"] == {"b": "2", "c": "3"}
    assert second["cacheControl"] == "no-store"
    third = answered(call("PUT", f"{O}/x", {"metadata": {"z": "1"}}))
    assert (third["metadata"], third["metageneration"]) == ({"z": "1"}, "4")
    assert "cacheControl" not in third
    assert third["md5Hash"] == made["md5Hash"]


@pytest.mark.parametrize(
    "body",
    [{"kmsKeyName": "k"}, {"storageClass": "COLDLINE"}, {"acl": [{}]}, {"temporaryHold": True}],
)
def test_what_these_buckets_have_not_is_refused_by_name(call: Caller, body: object) -> None:
    call.upload("x", b"1")
    response = call("PATCH", f"{O}/x", body)
    assert next(iter(body)) in content_of(response).decode()  # type: ignore[call-overload]
    assert refused(response) == (400, "notImplemented")


@pytest.mark.parametrize(
    "body", [{"metadata": {"k": 1}}, {"metadata": []}, {"contentType": "a\r\nb: c"}]
)
def test_what_is_no_metadata_is_refused(call: Caller, body: object) -> None:
    call.upload("x", b"1")
    assert refused(call("PATCH", f"{O}/x", body)) == (400, "invalid")


def test_conditions_on_generations(call: Caller) -> None:
    first = call.upload("x", b"1", "ifGenerationMatch=0")["generation"]
    target = "/upload/storage/v1/b/data/o?uploadType=media&name=x"
    assert refused(call("POST", f"{target}&ifGenerationMatch=0", b"2")) == (412, "conditionNotMet")
    second = call.upload("x", b"2", f"ifGenerationMatch={first}")["generation"]
    assert int(second) > int(first)
    assert refused(call("POST", f"{target}&ifGenerationMatch={first}", b"3"))[0] == 412
    assert refused(call("GET", f"{O}/x?ifGenerationMatch={first}"))[0] == 412
    assert call("GET", f"{O}/x?alt=media&ifGenerationNotMatch={second}").status == 304
    assert refused(call("GET", f"{O}/x?generation={first}")) == (404, "notFound")
    assert refused(call("PATCH", f"{O}/x?ifMetagenerationMatch=2", {}))[0] == 412
    assert refused(call("DELETE", f"{O}/x?ifGenerationMatch={first}"))[0] == 412
    assert refused(call("DELETE", f"{O}/x?generation={first}"))[0] == 404
    assert call("DELETE", f"{O}/x?ifGenerationMatch={second}").status == 204
    assert refused(call("GET", f"{O}/x"))[0] == 404
    assert refused(call("DELETE", f"{O}/x"))[0] == 404


def test_conditions_on_etags(call: Caller) -> None:
    etag = call.upload("x", b"1")["etag"]
    assert call("GET", f"{O}/x", if_none_match=f'"{etag}"').status == 304
    assert call("GET", f"{O}/x", if_match=etag).status == 200
    assert refused(call("GET", f"{O}/x", if_match='"other"'))[0] == 412


def test_generations_only_grow_however_quickly_one_writes(call: Caller) -> None:
    found = [int(call.upload("x", b"%d" % each)["generation"]) for each in range(50)]
    assert found == sorted(set(found))


@pytest.mark.parametrize("verb", ["ifGenerationMatch=0", ""])
def test_of_many_writers_at_once_the_condition_lets_one_through(call: Caller, verb: str) -> None:
    start, statuses = threading.Barrier(8), []

    def write(number: int) -> None:
        target = f"/upload/storage/v1/b/data/o?uploadType=media&name=x&{verb}"
        start.wait()
        statuses.append(call("POST", target, b"%d" % number).status)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == ([200] + [412] * 7 if verb else [200] * 8)
    assert len(content_of(call("GET", f"{O}/x?alt=media"))) == 1


def test_a_source_that_breaks_off_leaves_the_old_object(call: Caller, buckets: Buckets) -> None:
    made = call.upload("x", b"old")

    def broken() -> object:
        yield b"new"
        raise RuntimeError

    target = "/upload/storage/v1/b/data/o?uploadType=media&name=x"
    assert refused(call("POST", target, chunks=broken()))[0] == 500  # type: ignore[arg-type]
    assert answered(call("GET", f"{O}/x")) == made
    assert [*(buckets.local_path("gs://data/").parent / ".staging").iterdir()] == []


@pytest.mark.parametrize(
    "headers",
    [{"x_goog_hash": "crc32c=AAAAAA=="}, {"x_goog_hash": "md5=x"}, {"content_md5": "x"}],
)
def test_bytes_that_are_not_those_that_were_meant_are_not_kept(
    call: Caller, headers: dict[str, str]
) -> None:
    target = "/upload/storage/v1/b/data/o?uploadType=media&name=x"
    assert refused(call("POST", target, b"hello", **headers)) == (400, "invalid")
    assert call.names() == []


def test_objects_and_folders_do_not_take_each_others_names(call: Caller) -> None:
    call.upload("a/b", b"1")
    target = "/upload/storage/v1/b/data/o?uploadType=media&name="
    assert refused(call("POST", f"{target}a", b"2"))[0] == 400
    assert refused(call("POST", f"{target}a/b/c", b"2"))[0] == 400
    for name in ("a//b", "../x", "a/../b", "/a", "a\\b", "a/%00"):
        assert refused(call("POST", f"{target}{name}", b"2"))[0] == 400
    assert refused(call("GET", f"{O}/a%2F%2Fb"))[0] == 404
    assert call.names() == ["a/b"]


def test_a_made_folder_is_an_object_without_bytes(call: Caller, folder: Path) -> None:
    made = call.upload("run/", b"")
    assert (folder / "run").is_dir()
    assert (made["name"], made["size"]) == ("run/", "0")
    assert answered(call("GET", f"{O}/run%2F")) == made
    assert content_of(call("GET", f"{O}/run%2F?alt=media")) == b""
    call.upload("run/x", b"1")
    assert call.names() == ["run/", "run/x"]
    assert call("DELETE", f"{O}/run%2F").status == 204
    assert call.names() == ["run/x"]
    assert refused(call("GET", f"{O}/run%2F"))[0] == 404
    bytes_for_a_folder = "/upload/storage/v1/b/data/o?uploadType=media&name=run/"
    assert refused(call("POST", bytes_for_a_folder, b"1"))[0] == 400


def test_a_folder_that_came_by_itself_is_no_object(call: Caller, folder: Path) -> None:
    call.upload("a/b", b"1")
    (folder / "empty").mkdir()
    assert call.names() == ["a/b"]
    assert refused(call("GET", f"{O}/empty%2F"))[0] == 404
    call.upload("gone/", b"")
    (folder / "gone").rmdir()
    assert call.names() == ["a/b"]


def test_links_and_unfinished_files_are_not_shown(call: Caller, folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    assert call.names() == []
    assert refused(call("GET", f"{O}/link?alt=media"))[0] == 400
    call.upload("link", b"mine")
    assert (folder / "link").read_bytes() == b"mine"
    assert not (folder / "link").is_symlink()


def test_copies_keep_what_is_said_unless_something_else_is(call: Caller) -> None:
    call.upload("x", b"12345")
    call("PATCH", f"{O}/x", {"contentType": "text/x", "metadata": {"k": "v"}})
    copied = answered(call("POST", f"{O}/x/copyTo/b/data/o/y%2Fz"))
    assert (copied["name"], copied["metadata"], copied["metageneration"]) == (
        "y/z",
        {"k": "v"},
        "1",
    )
    done = answered(call("POST", f"{O}/x/rewriteTo/b/data/o/w", {"contentType": "text/w"}))
    assert (done["done"], done["totalBytesRewritten"], done["objectSize"]) == (True, "5", "5")
    assert done["resource"]["contentType"] == "text/w"
    assert "metadata" not in done["resource"]
    named = answered(call("POST", f"{O}/x/rewriteTo/b/data/o/v", {"name": "v"}))["resource"]
    assert named["contentType"] == "text/x"
    assert refused(call("POST", f"{O}/x/rewriteTo/b/data/o/u?ifSourceGenerationMatch=1"))[0] == 412
    assert refused(call("POST", f"{O}/x/rewriteTo/b/data/o/v?ifGenerationMatch=0"))[0] == 412
    assert refused(call("POST", f"{O}/none/rewriteTo/b/data/o/v"))[0] == 404
    assert refused(call("POST", f"{O}/x/rewriteTo/b/none/o/v"))[0] == 404


def test_an_object_is_moved(call: Caller) -> None:
    call.upload("x", b"1")
    answered(call("POST", f"{O}/x/moveTo/o/d%2Fy"))
    assert call.names() == ["d/y"]
    assert refused(call("POST", f"{O}/d%2Fy/moveTo/o/d%2Fy"))[0] == 400
    assert call.names() == ["d/y"]


def test_objects_are_composed_also_onto_one_of_them(call: Caller) -> None:
    generation = call.upload("a", b"1")["generation"]
    call.upload("b", b"2")
    parts = [{"name": "a"}, {"name": "b"}]
    whole = answered(call("POST", f"{O}/a/compose", {"sourceObjects": parts}))
    assert whole["componentCount"] == 2
    assert content_of(call("GET", f"{O}/a?alt=media")) == b"12"
    old = [{"name": "a", "objectPreconditions": {"ifGenerationMatch": generation}}]
    assert refused(call("POST", f"{O}/c/compose", {"sourceObjects": old}))[0] == 412
    old = [{"name": "a", "generation": generation}]
    assert refused(call("POST", f"{O}/c/compose", {"sourceObjects": old}))[0] == 404
    for wrong in ({}, {"sourceObjects": []}, {"sourceObjects": [{"name": "a"}] * 33}):
        assert refused(call("POST", f"{O}/c/compose", wrong))[0] == 400


def test_a_packed_object_is_unpacked_for_who_cannot(call: Caller) -> None:
    packed = gzip.compress(b"text" * 100_000)
    call.upload("x", packed, "contentEncoding=gzip")
    as_it_is = call("GET", f"{O}/x?alt=media", accept_encoding="gzip, deflate")
    assert as_it_is.headers["Content-Encoding"] == "gzip"
    assert content_of(as_it_is) == packed
    unpacked = call("GET", f"{O}/x?alt=media")
    assert "Content-Encoding" not in unpacked.headers
    assert content_of(unpacked) == b"text" * 100_000


@pytest.mark.parametrize(
    ("packed", "found"),
    [
        (gzip.compress(b"one\n") + gzip.compress(b"two\n"), b"one\ntwo\n"),
        (gzip.compress(b"a" * 2_000_000) + gzip.compress(b"b"), b"a" * 2_000_000 + b"b"),
        (gzip.compress(b"padded") + bytes(512), b"padded"),
        (b"", b""),
    ],
    ids=["two", "long", "padded", "nothing"],  # what is packed says when: no name for a test
)
def test_all_members_of_a_packed_object_are_unpacked(
    call: Caller, packed: bytes, found: bytes
) -> None:
    call.upload("x", packed, "contentEncoding=gzip")
    assert content_of(call("GET", f"{O}/x?alt=media")) == found


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(os.urandom(1000))[:500], gzip.compress(b"a" * 9)[:-1], b"plain",
     gzip.compress(b"one") + b"plain"],
    ids=["cut", "cut in its last byte", "not packed", "something behind it"],
)  # fmt: skip
def test_what_cannot_be_unpacked_whole_breaks_off(call: Caller, packed: bytes) -> None:
    call.upload("x", packed, "contentEncoding=gzip")
    with pytest.raises(OSError, match="cannot be unpacked"):
        content_of(call("GET", f"{O}/x?alt=media"))
    assert content_of(call("GET", f"{O}/x?alt=media", accept_encoding="gzip")) == packed


def test_a_reader_keeps_the_object_that_it_opened(call: Caller) -> None:
    call.upload("x", b"old")
    response = call("GET", f"{O}/x?alt=media")
    call.upload("x", b"new!")
    assert content_of(response) == b"old"


def test_records_go_with_their_objects(call: Caller, folder: Path, buckets: Buckets) -> None:
    records = folder.parent / ".records/data"
    call.upload("x", b"1")
    call.upload("x", b"2")
    assert len([*records.glob("*-*.json")]) == 1
    (folder / "x").unlink()
    call.upload("kept", b"1")
    for record in records.glob("*-*.json"):
        os.utime(record, (1, 1))
    assert buckets.sweep(older_than_s=60) == 1
    assert len([*records.glob("*-*.json")]) == 1
    assert "md5Hash" in answered(call("GET", f"{O}/kept"))
    buckets.delete("data", force=True)
    assert not records.exists()


def test_plain_writers_keep_an_objects_lock_and_its_generations(
    call: Caller, folder: Path, buckets: Buckets
) -> None:
    generation = int(call.upload("x", b"0")["generation"])
    for number in range(20):
        buckets.write("gs://data/x", [b"%d" % number])
        found = answered(call("GET", f"{O}/x"))
        assert int(found["generation"]) > generation
        assert "md5Hash" not in found
        generation = int(found["generation"])
    records = folder.parent / ".records/data"
    assert [*records.glob("*-*.json")] == []
    call.upload("x", b"said")
    for change in (
        lambda: buckets.write("gs://data/x", [b"1"]), lambda: buckets.delete_object("gs://data/x"),
    ):  # fmt: skip
        writer = threading.Thread(target=change)
        with buckets.records("data").locked("x"):
            before = (folder / "x").read_bytes()
            writer.start()
            writer.join(0.1)
            assert writer.is_alive()
            assert (folder / "x").read_bytes() == before
        writer.join(20)
    assert not (folder / "x").exists()
    assert [*records.glob("*-*.json")] == []


def test_buckets(call: Caller) -> None:
    made = answered(call("POST", "/storage/v1/b?project=p", {"name": "other", "location": "US"}))
    assert answered(call("GET", "/storage/v1/b/other")) == made
    assert refused(call("POST", "/storage/v1/b", {"name": "other"})) == (409, "conflict")
    assert refused(call("POST", "/storage/v1/b", {"name": "UPPER"})) == (400, "invalid")
    versions = {"name": "more", "versioning": {"enabled": True}}
    assert refused(call("POST", "/storage/v1/b", versions)) == (400, "notImplemented")
    listed = answered(call("GET", "/storage/v1/b?maxResults=1"))
    assert [b["name"] for b in listed["items"]] == ["data"]
    rest = answered(call("GET", f"/storage/v1/b?pageToken={listed['nextPageToken']}"))
    assert [b["name"] for b in rest["items"]] == ["other"]
    call.upload("x", b"1")
    assert refused(call("DELETE", "/storage/v1/b/data")) == (409, "conflict")
    answered(call("POST", "/upload/storage/v1/b/other/o?uploadType=media&name=run/", b""))
    assert refused(call("DELETE", "/storage/v1/b/other")) == (409, "conflict")
    assert call("DELETE", "/storage/v1/b/other/o/run%2F").status == 204
    assert call("DELETE", "/storage/v1/b/other").status == 204
    assert refused(call("GET", "/storage/v1/b/other")) == (404, "notFound")
    assert answered(call("PATCH", "/storage/v1/b/data", {"labels": {}}))["name"] == "data"
    assert refused(call("PATCH", "/storage/v1/b/data", {"labels": {"a": "b"}}))[0] == 400
    target = "/storage/v1/b/data/iam/testPermissions?permissions=storage.objects.get&permissions=x"
    assert answered(call("GET", target))["permissions"] == ["storage.objects.get"]


@pytest.mark.parametrize("bucket", ["batch", "download", "resumable", "storage", "upload"])
def test_a_bucket_may_be_called_like_a_word_of_the_api(
    call: Caller, buckets: Buckets, bucket: str
) -> None:
    nothing = answered(call("GET", f"/{bucket}/x.csv"), 404)["error"]["message"]
    assert "is nothing that these buckets answer" in nothing
    buckets.create(Bucket(name=bucket))
    buckets.write(f"gs://{bucket}/a/x.csv", [b"1"])
    for path in (f"/{bucket}/a/x.csv", f"/{bucket}/a%2Fx.csv"):
        assert content_of(call("GET", path)) == b"1"
        assert call("HEAD", path).status == 200
    assert call("GET", f"/{bucket}/none").status == 404


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/storage/v2/b", 404),
        ("GET", "/storage/v1/b/data/acl", 400),
        ("GET", "/storage/v1/b/data/o/x/acl", 400),
        ("GET", "/storage/v1/b/data/iam", 400),
        ("PUT", "/data/x", 400),
        ("GET", "/storage/v1/b/data/o/%ff", 400),
        ("GET", "/storage/v1/b/data/o?prefix=%ff", 400),
        ("GET", "/storage/v1/b/UPPER", 400),
        ("GET", "/storage/v1/b/none/o", 404),
        ("POST", "/upload/storage/v1/b/data/o?uploadType=magic&name=x", 400),
        ("POST", "/upload/storage/v1/b/data/o?uploadType=media", 400),
        ("POST", "/upload/storage/v1/b/data/o?uploadType=media&name=x&kmsKeyName=k", 400),
        ("PUT", "/upload/storage/v1/b/data/o?upload_id=none", 404),
    ],
)
def test_what_is_not_answered(call: Caller, method: str, target: str, status: int) -> None:
    assert refused(call(method, target))[0] == status
