"""Seam: answer one request in another server's words. One dialect is one sibling file.

The gateway finds model and version by the URL and hands everything else here untouched: what a body
means is known where the model is. A dialect never sees the connection, and its answer is whole.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mlengine.runtime.answers import Answer, scrub, unforeseen
from mlengine.runtime.callframe import join_call, split_call
from mlengine.runtime.failurelog import FailureLog
from mlengine.runtime.frameworks import Model
from mlengine.runtime.prediction_error import PredictionError

__all__ = ["Call", "CallError", "Reply", "answer", "answer_frame", "error_reply", "json_reply"]

_JSON = "application/json"


class Call(NamedTuple):
    """One request.

    Attributes:
        dialect: Name of the sibling that reads it.
        operation: What is asked: ``predict``, ``metadata``, …
        model: The model's id.
        version: The version's id.
        content_type: Of the body, in lower case, without parameters.
        json_bytes: How much of the body is JSON, where the rest is binary; -1: nothing was said.
        body: The body as it came.
    """

    dialect: str
    operation: str
    model: str = ""
    version: str = ""
    content_type: str = ""
    json_bytes: int = -1
    body: bytes | memoryview = b""


class Reply(NamedTuple):
    """An HTTP status, the body, its type, and further header fields."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: dict[str, str] = {}


class CallError(ValueError):
    """The request is not what its dialect says; nothing was asked of the model."""


def answer_frame(
    model: Model, payload: bytes | None, *, max_body_bytes: int, max_answer_bytes: int,
    failures: FailureLog | None = None,
) -> Answer:  # fmt: skip
    """Answer the payload of a `CALL` frame with the payload of its answer.

    Args:
        model: The loaded version.
        payload: None where it was too long to be taken.
        max_body_bytes: The longest that is taken, for the message.
        max_answer_bytes: Longest body of an answer.
        failures: Tells the version's log why; None: this is the first.
    """
    try:
        if payload is None:
            raise CallError(f"Request payload size exceeds the limit: {max_body_bytes} bytes.")
        words, body = split_call(payload)
        call = Call(**words, body=body)
    except (CallError, ValueError, TypeError) as error:
        reply = error_reply(400, str(error))
    else:
        reply = answer(model, call, max_answer_bytes=max_answer_bytes, failures=failures)
    words = {"content_type": reply.content_type, "headers": reply.headers}
    return Answer(reply.status, join_call(words, reply.body))


def answer(
    model: Model, call: Call, *, max_answer_bytes: int, failures: FailureLog | None = None
) -> Reply:
    """Answer a call; whatever the model does, or we do, short of `MemoryError`, is an answer.

    Args:
        model: The loaded version.
        call: The request.
        max_answer_bytes: Longest body of an answer.
        failures: Tells the version's log why; None: this is the first.
    """
    failures = failures or FailureLog()
    try:
        reply = _ask(model, call, max_answer_bytes, failures)
    except CallError as error:
        return error_reply(400, str(error))
    except PredictionError as error:
        failures.note(error)
        return error_reply(400, scrub(str(error)))
    except MemoryError:
        raise
    except Exception as error:
        return error_reply(500, unforeseen(error))
    if len(reply.body) > max_answer_bytes:
        return error_reply(
            400,
            f"the answer has {len(reply.body)} bytes, the limit is {max_answer_bytes}. "
            "Send fewer instances.",
        )
    return reply


def error_reply(status: int, message: str) -> Reply:
    """Write an error; TF Serving and the Open Inference Protocol have the same form."""
    message = message.encode("utf-8", "backslashreplace").decode()
    return json_reply({"error": message}, status=status)


def json_reply(value: Any, *, status: int = 200) -> Reply:
    """Write an answer that strict JSON can carry."""
    return Reply(status, json.dumps(value, allow_nan=False, separators=(",", ":")).encode())


def _ask(model: Model, call: Call, max_answer_bytes: int, failures: FailureLog) -> Reply:
    if call.dialect == "ml_v1":
        from mlengine.runtime.dialects import ml_v1

        return ml_v1.answer(model, call, max_answer_bytes=max_answer_bytes, failures=failures)
    if call.dialect == "tfserving":
        from mlengine.runtime.dialects import tfserving

        return tfserving.answer(model, call)
    if call.dialect == "openinference":
        from mlengine.runtime.dialects import openinference

        return openinference.answer(model, call)
    raise CallError(f"The dialect {call.dialect!r} is not known.")
