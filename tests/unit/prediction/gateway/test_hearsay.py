"""What a worker says reaches callers as an answer, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import Internal
from mlengine.prediction.gateway.dialects import Asked
from mlengine.prediction.gateway.dialogue import reply_of
from mlengine.prediction.gateway.hearsay import hear, is_answer
from mlengine.runtime.callframe import join_call

INFER = Asked("openinference", "infer", b"POST")
VERSION = "projects/p/models/m/versions/v"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_what_workers_say_comes_through() -> None:
    headers = {"Inference-Header-Content-Length": "5"}
    said = join_call({"content_type": "application/octet-stream", "headers": headers}, b"12345rest")
    heard = hear(said)
    assert heard[:2] == ("application/octet-stream", 5)
    assert bytes(heard.body) == b"12345rest"
    reply = reply_of(INFER, 200, said, VERSION)
    assert reply.lines == b"inference-header-content-length: 5\r\n"
    assert hear(join_call({"content_type": "application/json", "headers": {}})).json_bytes == -1


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"content_type": None},
        {"content_type": 7, "headers": {}},
        {"content_type": "text/plain\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK"},
        {"content_type": "text/html\u2028"},
        {"content_type": "a/b", "headers": {"content-length": "0"}},
        {"content_type": "a/b", "headers": {"inference-header-content-length": "1\r\nx: y"}},
        {"content_type": "a/b", "headers": {"inference-header-content-length": 5}},
        {"content_type": "a/b", "headers": ["a"]},
    ],
)
def test_what_no_honest_worker_says_is_no_answer(words: dict[str, Any]) -> None:
    with pytest.raises(Internal, match="an answer that is none"):
        reply_of(INFER, 200, join_call(words, b"body"), VERSION)


@given(st.binary(max_size=60) | JSON.map(lambda v: join_call({"content_type": v, "headers": v})))
def test_no_bytes_of_a_worker_cut_a_head(payload: bytes) -> None:
    try:
        reply = reply_of(INFER, 200, payload, VERSION)
    except Internal:
        return
    head = reply.head + reply.lines
    assert b"\r\n\r\n" not in head
    assert head.count(b"\r\n") == len(head.splitlines())


@pytest.mark.parametrize("status", [0, 7, 100, 101, 199, 201, 204, 304, 399, 600, 65535])
def test_a_status_without_a_body_is_no_answer(status: int) -> None:
    assert not is_answer(status)
    with pytest.raises(Internal):
        reply_of(None, status, b"{}", VERSION)
