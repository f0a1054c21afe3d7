"""What one row of a table, and one line of an access log, holds."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence

import msgspec

__all__ = ["Kept", "Row", "RowLines", "Stamp", "Visit", "by_day", "text_of"]

Kept = tuple[str, str, bytes, bytes | None]
"""A row that is not encoded yet: its id, time and question, and the answer if it was no error."""

_NAME_BYTES = 16  # of an id from its last hyphen on: day and gateway, which ids of one day share


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


def text_of(body: bytes) -> str:
    """Return a body as text; one that is no UTF-8 as ml.v1 writes bytes in JSON.

    Example:
        >>> text_of(b"\\xff")
        '{"b64": "/w=="}'
    """
    try:
        return body.decode()
    except UnicodeDecodeError:
        return f'{{"b64": "{base64.b64encode(body).decode()}"}}'


class RowLines:
    """Encodes the rows of one version, as lines of JSON.

    Args:
        model_id: The model's.
        version_id: The version's.
    """

    def __init__(self, model_id: str, version_id: str) -> None:
        self._model_id, self._version_id = model_id, version_id
        self._encoder = msgspec.json.Encoder()

    def encode(self, rows: Sequence[Kept]) -> bytes:
        """Return a line for each row."""
        model, version = self._model_id, self._version_id
        try:
            made = [
                Row(name, model, version, moment, body.decode(),
                    None if answer is None else answer.decode())
                for name, moment, body, answer in rows
            ]  # fmt: skip
        except UnicodeDecodeError:  # hardly anybody sends what is no text
            made = [
                Row(name, model, version, moment, text_of(body),
                    None if answer is None else text_of(answer))
                for name, moment, body, answer in rows
            ]  # fmt: skip
        return self._encoder.encode_lines(made)


def by_day(rows: Sequence[Kept]) -> dict[int, Sequence[Kept]]:
    """Part rows by the days on which they were named: days since 1970."""
    first = rows[0][0]
    at = first.rindex("-")
    if "\n".join([row[0] for row in rows]).count(first[at : at + _NAME_BYTES]) == len(rows):
        return {int(first[at + 1 : at + 6], 16): rows}
    found: dict[int, list[Kept]] = {}
    for row in rows:
        at = row[0].rindex("-") + 1
        found.setdefault(int(row[0][at : at + 5], 16), []).append(row)
    return dict(found)
