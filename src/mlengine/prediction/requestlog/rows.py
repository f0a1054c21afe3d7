"""What one row of a table, and one line of an access log, holds."""

from __future__ import annotations

import base64
import time

import msgspec

__all__ = ["Row", "Stamp", "Visit", "text_of"]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One prediction: the six columns that Google's request log has, and its id.

    Attributes:
        model: The model's id, as `model_version` is the version's.
        raw_data: The body of the request.
        raw_prediction: The body of the answer; None where the answer was no prediction.
        groundtruth: What a label said, joined when the row is read.
    """

    prediction_id: str
    model: str
    model_version: str
    time: str
    raw_data: str
    raw_prediction: str | None = None
    groundtruth: str | None = None


class Visit(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line of an access log; `key` is empty for the engine's own token."""

    time: str
    version: str
    status: int
    latency_ms: float
    request_bytes: int
    answer_bytes: int
    key: str = ""
    prediction_id: str = ""


class Stamp:
    """Writes times of day, quickly where many are of one millisecond.

    Example:
        >>> Stamp().text(0.25)
        '1970-01-01T00:00:00.250Z'
    """

    def __init__(self) -> None:
        self._millis = -1
        self._second = -1
        self._head = ""
        self._text = ""

    def text(self, wall_s: float) -> str:
        """Return seconds since 1970 in RFC 3339, UTC, to the millisecond."""
        millis = int(wall_s * 1000)
        if millis != self._millis:
            self._millis = millis
            second = millis // 1000
            if second != self._second:
                self._second = second
                self._head = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._text = f"{self._head}.{millis % 1000:03d}Z"
        return self._text


def text_of(body: bytes | memoryview) -> str:
    """Return a body as text; one that is no UTF-8 as ml.v1 writes bytes in JSON.

    Example:
        >>> text_of(b"\\xff")
        '{"b64": "/w=="}'
    """
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError:
        return f'{{"b64": "{base64.b64encode(body).decode()}"}}'
