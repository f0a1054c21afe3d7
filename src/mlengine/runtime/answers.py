"""What goes back: predictions in JSON's types, or an error in Google's envelope."""

from __future__ import annotations

import base64
import http
import re
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlengine.runtime.failurelog import write_traceback
from mlengine.runtime.prediction_error import PredictionError, output_error
from mlengine.runtime.strictjson import StrictJsonError, dumps

__all__ = [
    "Answer", "error_answer", "failure", "plain", "predictions_answer", "rows_of", "scrub",
    "unforeseen",
]  # fmt: skip

_MAX_MESSAGE_CHARS = 2000
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_PATH = re.compile(r"(?<![\w.:/])/(?:[\w.@+-]+/)+([\w.@+-]+)")
_STATUS_NAMES = {
    400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL",
    501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


class Answer(NamedTuple):
    """An HTTP status and its JSON body."""

    status: int
    body: bytes


def predictions_answer(predictions: list[Any], *, max_bytes: int) -> Answer:
    """Write a successful answer.

    Raises:
        PredictionError: Class 3: a prediction has no JSON form (NaN, a custom object), or the
            answer is too long.
    """
    try:
        body = dumps({"predictions": predictions})
    except StrictJsonError as error:
        raise output_error(f"{_first_unwritable(predictions)}{error}") from None
    if len(body) > max_bytes:
        raise output_error(
            f"the answer has {len(body)} bytes, the limit is {max_bytes}. Send fewer instances."
        )
    return Answer(200, body)


def failure(error: PredictionError) -> Answer:
    """Write the answer for a model that could not predict."""
    return error_answer(400, f"Prediction failed: {scrub(str(error))}")


def unforeseen(error: Exception) -> str:
    """Write what nobody thought of into the version's log; return what its caller is told.

    One request must never end the service of the others, whatever it makes us stumble over.
    """
    write_traceback(error)
    what = traceback.format_exception_only(error)[-1].strip()  # also where `str` of it fails
    return scrub(
        f"The request could not be answered, by a mistake of mlengine's: {what}. "
        "The version's log says where."
    )


def error_answer(code: int, message: str) -> Answer:
    """Write an error in the envelope of Google's APIs."""
    status = _STATUS_NAMES.get(code) or http.HTTPStatus(code).name
    message = message.encode("utf-8", "backslashreplace").decode()
    return Answer(code, dumps({"error": {"code": code, "message": message, "status": status}}))


def scrub(message: str) -> str:
    """Take out of a message what strangers need not know: memory addresses, directories.

    Example:
        >>> scrub("<Model at 0x7f12ab34cd56> in /home/ann/models/model.py")
        '<Model at 0x…> in …/model.py'
    """
    if len(message) > _MAX_MESSAGE_CHARS:
        message = message[:_MAX_MESSAGE_CHARS] + "…"
    return _PATH.sub(r"…/\1", _ADDRESS.sub("0x…", message))


def rows_of(output: Any, *, count: int) -> list[Any]:
    """Turn what a model returned into one JSON-able value per instance.

    Args:
        output: A numpy array or a list.
        count: Number of instances that were asked about.

    Raises:
        PredictionError: Class 3: another type, another length, or a value that is not finite.
    """
    import numpy as np

    if isinstance(output, np.ndarray):
        if output.ndim == 0:
            output = output.reshape(1)
        _same_length(len(output), count)
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            finite = np.isfinite(output.reshape(count, -1)).all(axis=1)
            raise output_error(
                f"the prediction for instance {int(np.argmin(finite))} is NaN or infinite, "
                "which JSON cannot carry"
            )
        rows: list[Any] = output.tolist()
        return rows if output.dtype.kind in "fiub" else [plain(row) for row in rows]
    if isinstance(output, list):
        _same_length(len(output), count)
        return [plain(row) for row in output]
    raise output_error(
        "Bad output type returned."
        "The predict function should return either a numpy ndarray or a list."
    )


def _same_length(got: int, count: int) -> None:
    if got != count:
        raise output_error(f"the model returned {got} predictions for {count} instances")


def plain(value: Any) -> Any:
    """Turn numpy's types into Python's and bytes into ``{"b64": …}``, at any depth."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value


def _first_unwritable(predictions: Sequence[Any]) -> str:
    for index, prediction in enumerate(predictions):
        try:
            dumps(prediction)
        except StrictJsonError:
            return f"the prediction for instance {index}: "
    return ""
