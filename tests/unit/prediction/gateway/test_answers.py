"""The gateway's own answers are Google's envelope, with the headers that every answer has."""

from __future__ import annotations

import json

import pytest

from mlengine.core.envelope import error_body
from mlengine.core.errors import (
    EngineError,
    FailedPrecondition,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from mlengine.prediction.gateway.answers import error_answer, json_head, status_line


def test_an_error_names_code_status_and_field() -> None:
    said = json.loads(error_body(NotFound("No 'x'.", "Make it.", field="name")))["error"]
    assert said == {
        "code": 404,
        "message": "Field: name Error: No 'x'. Make it.",
        "status": "NOT_FOUND",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "name", "description": "No 'x'. Make it."}],
        }],
    }  # fmt: skip


@pytest.mark.parametrize(("error", "line"), [
    (Unavailable("Later."), b"retry-after: 1\r\n"),
    (Unauthenticated("Who?"), b'www-authenticate: Bearer realm="mlengine"\r\n'),
    (FailedPrecondition("No."), b""),
])  # fmt: skip
def test_errors_bring_the_headers_that_tell_what_to_do(error: EngineError, line: bytes) -> None:
    assert error_answer(error)[:2] == (error.http_status, line)


def test_a_head_names_the_version_that_answered() -> None:
    head = json_head(200, "projects/p/models/m/versions/v1")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"x-mlengine-version: projects/p/models/m/versions/v1\r\n" in head
    assert b"x-mlengine-version" not in json_head(200)


@pytest.mark.parametrize("status", [200, 400, 431, 499, 503, 504, 599])
def test_every_status_has_a_line(status: int) -> None:
    assert status_line(status).startswith(b"HTTP/1.1 %d " % status)
    assert status_line(status).endswith(b"\r\n")
