from __future__ import annotations

import re

import pytest

from tests.unit.storage.gcs.conftest import Caller, content_of, refused

PART = """--q
Content-Type: application/http
Content-ID: <i+{number}>

{request}

"""


def batch(call: Caller, *requests: str, eol: str = "\r\n") -> tuple[str, list[str]]:
    body = "".join(PART.format(number=n, request=r) for n, r in enumerate(requests)) + "--q--\n"
    response = call(
        "POST",
        "/batch/storage/v1",
        body.replace("\n", eol).encode(),
        content_type='multipart/mixed; boundary="q"',
    )
    text = content_of(response).decode()
    assert response.status == 200, text
    mark = response.headers["Content-Type"].split("=", 1)[1]
    return text, text.split(f"--{mark}")[1:-1]


@pytest.mark.parametrize("eol", ["\r\n", "\n"])
def test_each_request_is_answered_in_its_place(call: Caller, eol: str) -> None:
    call.upload("a b", b"1")
    patch = "PATCH http://o/storage/v1/b/data/o/a%20b HTTP/1.1\nContent-Type: application/json\n\n"
    _text, answers = batch(
        call,
        patch + '{"metadata": {"k": "é"}}',
        "DELETE /storage/v1/b/data/o/none HTTP/1.1\naccept: application/json",
        "GET /storage/v1/b/data/o/a%20b?fields=metadata HTTP/1.1",
        "DELETE /storage/v1/b/data/o/a%20b HTTP/1.1",
        eol=eol,
    )
    statuses = [re.search(r"HTTP/1\.1 (\d+)", answer)[1] for answer in answers]  # type: ignore[index]
    assert statuses == ["200", "404", "200", "204"]
    assert '{"metadata":{"k":"é"}}' in answers[2]
    assert "Content-ID: <response-i+2>" in answers[2]
    assert call.names() == []


def test_an_address_that_is_none_fails_alone(call: Caller) -> None:
    list_them = "GET /storage/v1/b HTTP/1.1"
    _text, answers = batch(call, "GET //[ HTTP/1.1", list_them)
    assert "HTTP/1.1 400" in answers[0] and "HTTP/1.1 200" in answers[1]


@pytest.mark.parametrize(
    "request_line",
    [
        "POST /upload/storage/v1/b/data/o?uploadType=media&name=x HTTP/1.1",
        "POST /batch/storage/v1 HTTP/1.1",
        "GET /storage/v1/b/data/o/x?alt=media HTTP/1.1",
    ],
)
def test_uploads_downloads_and_batches_have_no_place_in_it(call: Caller, request_line: str) -> None:
    assert "HTTP/1.1 403" in batch(call, request_line)[1][0]


def test_what_is_no_batch(call: Caller) -> None:
    assert refused(call("POST", "/batch/storage/v1", b"x", content_type="text/plain"))[0] == 400
    empty = call("POST", "/batch/storage/v1", b"x", content_type="multipart/mixed; boundary=q")
    assert refused(empty)[0] == 400
