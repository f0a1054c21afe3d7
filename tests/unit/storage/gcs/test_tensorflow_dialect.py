"""What TensorFlow's own file system for gs:// says, request by request."""

from __future__ import annotations

from tests.unit.storage.gcs.conftest import Caller, answered, content_of, refused

O = "/storage/v1/b/data/o"  # noqa: E741
STAT = "fields=size%2Cgeneration%2Cupdated"


def write(call: Caller, name: str, content: bytes) -> None:
    begun = call(
        "POST",
        f"/upload/storage/v1/b/data/o?uploadType=resumable&name={name}",
        x_upload_content_length=str(len(content)),
    )
    where = begun.headers["Location"].removeprefix("http://o")
    line = f"bytes 0-{len(content) - 1}/{len(content)}" if content else "bytes */0"
    answered(call("PUT", where, content, content_range=line))


def test_a_file_is_written_looked_at_and_read_in_blocks(call: Caller) -> None:
    write(call, "ckpt%2Fmodel.index", b"0123456789")
    stat = answered(call("GET", f"{O}/ckpt%2Fmodel.index?{STAT}"))
    assert sorted(stat) == ["generation", "size", "updated"]
    assert stat["size"] == "10" and stat["updated"].endswith("Z")
    assert (
        content_of(call("GET", "/data/ckpt%2Fmodel.index", range="bytes=4-67108863")) == b"456789"
    )
    assert refused(call("GET", "/data/ckpt%2Fmodel.index", range="bytes=10-20"))[0] == 416


def test_a_folder_is_what_has_something_beneath_it(call: Caller) -> None:
    query = "fields=items%2Fname%2CnextPageToken&prefix={}%2F&maxResults=1"
    assert answered(call("GET", f"{O}?{query.format('run')}")) == {}
    assert refused(call("GET", f"{O}/run?{STAT}"))[0] == 404
    write(call, "run%2Fevents", b"1")
    found = answered(call("GET", f"{O}?{query.format('run')}"))
    assert found == {"items": [{"name": "run/events"}]}
    assert refused(call("GET", f"{O}/run?{STAT}"))[0] == 404
    write(call, "made%2F", b"")
    assert answered(call("GET", f"{O}/made%2F?{STAT}"))["size"] == "0"
    assert answered(call("GET", f"{O}?{query.format('made')}"))["items"] == [{"name": "made/"}]


def test_children_of_a_folder(call: Caller) -> None:
    for name in ("d%2F", "d%2Fa", "d%2Fb%2Fc", "e"):
        write(call, name, b"" if name.endswith("%2F") else b"1")
    fields = "fields=items%2Fname%2Cprefixes%2CnextPageToken"
    found = answered(call("GET", f"{O}?{fields}&delimiter=%2F&prefix=d%2F"))
    assert found == {"items": [{"name": "d/"}, {"name": "d/a"}], "prefixes": ["d/b/"]}


def test_a_file_is_renamed_by_rewriting_and_removing(call: Caller) -> None:
    write(call, "tmp", b"x")
    assert answered(call("POST", f"{O}/tmp/rewriteTo/b/data/o/final"))["done"] is True
    assert call("DELETE", f"{O}/tmp").status == 204
    assert call.names() == ["final"]


def test_a_file_is_appended_to_by_composing_it_with_what_is_new(call: Caller) -> None:
    write(call, "log", b"old ")
    write(call, "tmp", b"new")
    generation = answered(call("GET", f"{O}/log?{STAT}"))["generation"]
    body = (
        "{'sourceObjects': [{'name': 'log','objectPrecondition':{'ifGenerationMatch':%s}},"
        "{'name': 'tmp'}]}"
    )
    assert refused(call("POST", f"{O}/log/compose", (body % "1").encode()))[0] == 412
    answered(call("POST", f"{O}/log/compose", (body % generation).encode()))
    assert content_of(call("GET", "/data/log")) == b"old new"
    for wrong in (b"{'a': [", b"{'a'}", b"{'" + b"[" * 9000, b"[1]", b"{'a': 1}" + b" " * 20_000):
        assert refused(call("POST", f"{O}/log/compose", wrong))[0] == 400
