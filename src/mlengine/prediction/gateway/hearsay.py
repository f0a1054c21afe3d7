"""What a gateway takes of what a worker says, which runs what somebody else wrote.

The body of an answer is the version's own affair. Nothing else of it may reach into a caller's
connection, where the next answer may be another caller's: statuses are those of answers that have
a body, and the words beside a body are a media type and one known header.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

import msgspec

from mlengine.core.errors import Internal
from mlengine.runtime.callframe import MAX_WORDS_BYTES, split_call

__all__ = ["MAX_ANSWER_BYTES", "Heard", "WorkerCounts", "hear", "is_answer", "no_answer"]

MAX_ANSWER_BYTES = (64 << 20) + MAX_WORDS_BYTES
"""Of a frame; workers refuse to say more than 64 MiB."""

_JSON_LENGTH = "inference-header-content-length"
_MEDIA_TYPE = re.compile(r"[\x20-\x7e]{1,200}")
_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)


class Heard(NamedTuple):
    """A worker's answer to a call.

    Attributes:
        content_type: Of the body.
        json_bytes: How much of the body is JSON, where the rest is binary; -1 where all is one.
        body: Not copied.
    """

    content_type: str
    json_bytes: int
    body: memoryview


class WorkerCounts(msgspec.Struct, frozen=True):
    """What a worker says of its calls: requests in all, waiting ones, calls by size."""

    requests: int
    waiting: int
    calls: Annotated[list[int], msgspec.Meta(min_length=1, max_length=64)]


def is_answer(status: int) -> bool:
    """Tell whether a status may stand before a body on a connection that is kept.

    Example:
        >>> is_answer(200), is_answer(400), is_answer(204), is_answer(101), is_answer(7)
        (True, True, False, False, False)
    """
    return status == 200 or 400 <= status < 600


def no_answer() -> Internal:
    """Build what a caller is told whose worker did not speak as workers do."""
    return Internal("The version's worker gave an answer that is none.")


def hear(payload: bytes) -> Heard:
    """Read the payload of a worker's answer to a call.

    Raises:
        Internal: It is none, or says what no honest worker says.
    """
    try:
        words, body = split_call(payload)
        kind, headers = words["content_type"], words.get("headers", {})
        lengths = {name.lower(): value for name, value in headers.items()}
        json_bytes = lengths.pop(_JSON_LENGTH, "-1")
        if lengths or not _MEDIA_TYPE.fullmatch(kind):
            raise ValueError
        if json_bytes != "-1" and not _DIGITS.fullmatch(json_bytes):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise no_answer() from None
    return Heard(kind, int(json_bytes), body)
