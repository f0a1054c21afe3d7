"""The service's own dialect, for bodies that are no JSON: an image, or any bytes, is one instance.

`{"instances": […]}` never comes this way: the worker answers it without a detour.

    the model's one input      what a body stands for
    strings                    its bytes, as ``{"b64": …}`` would
    [rows, h, w, channels]     the image's pixels, 0 … 255, as they are: nothing is scaled or cut
    [rows, channels, h, w]     the same, turned
    a custom routine           ``{"b64": …}``
"""

from __future__ import annotations

import base64
import io
from typing import Any

from mlengine.runtime.answers import failure, predictions_answer
from mlengine.runtime.dialects import Call, Reply
from mlengine.runtime.failurelog import FailureLog
from mlengine.runtime.frameworks import Model, ask, library
from mlengine.runtime.frameworks.signatures import TensorModel, signature_of
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.prediction_error import PredictionError, input_error

__all__ = ["answer"]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FORMATS = {"image/jpeg": ("JPEG",), "image/png": ("PNG",)}
_MAX_PIXELS = 32_000_000
_PNG_DEPTH_AT = 24  # where a PNG says how many bits a channel has: its first chunk, by the format


def answer(model: Model, call: Call, *, max_answer_bytes: int, failures: FailureLog) -> Reply:
    """Answer one raw body as ``{"predictions": [row]}``."""
    try:
        predictions = ask(model, [_instance(model, call)], {})
        made = predictions_answer(predictions, max_bytes=max_answer_bytes)
    except PredictionError as error:
        failures.note(error)
        made = failure(error)
    return Reply(made.status, made.body, "application/json; charset=UTF-8")


def _instance(model: Model, call: Call) -> Any:
    if getattr(model, "raw_as_b64", False):
        return {"b64": base64.b64encode(call.body).decode("ascii")}
    if isinstance(model, TensorModel):
        inputs = signature_of(model).inputs
        if len(inputs) == 1:
            (spec,) = inputs
            if spec.dtype == "string":
                return bytes(call.body)
            if (layout := _layout(spec)) is not None:
                return _pixels(call, spec, *layout)
    raise input_error(
        f"a body of the type {call.content_type} stands for one instance of a model with one "
        'input of strings or of images; this model takes {"instances": […]} as application/json'
    )


def _layout(spec: TensorSpec) -> tuple[int, bool] | None:
    """Return an image input's channels, and whether they come before height and width."""
    if spec.shape is None or len(spec.shape) != 4:
        return None
    first, last = spec.shape[1], spec.shape[3]
    if last in _MODES:
        return int(last or 0), False
    if first in _MODES:
        return int(first or 0), True
    return None


def _pixels(call: Call, spec: TensorSpec, channels: int, channels_first: bool) -> Any:
    with library("image"):
        from PIL import Image, UnidentifiedImageError
    import numpy as np

    assert spec.shape is not None
    height, width = spec.shape[2:] if channels_first else spec.shape[1:3]
    try:
        formats = _FORMATS.get(call.content_type, ("JPEG", "PNG"))
        with Image.open(io.BytesIO(call.body), formats=formats) as image:
            if (height or image.height, width or image.width) != (image.height, image.width):
                raise input_error(
                    f"the image is {image.width} × {image.height} pixels, the model takes "
                    f"{width or 'any'} × {height or 'any'}; scale it before it is sent"
                )
            if image.width * image.height > _MAX_PIXELS:
                raise input_error(
                    f"the image is {image.width} × {image.height} pixels, "
                    f"at most {_MAX_PIXELS} are read"
                )
            if image.format == "PNG" and (bits := call.body[_PNG_DEPTH_AT]) > 8:
                # Pillow would cut them: grey to white from 255 on, colours to their upper half.
                raise input_error(
                    f"the image has {bits} bits a channel, pixels of 0 to 255 are read; "
                    "convert it to 8 bits a channel before it is sent"
                )
            array = np.asarray(image.convert(_MODES[channels]))
    except (PredictionError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise input_error(f"the body is no image of the type {call.content_type}") from None
    except Exception as error:  # a damaged image: Pillow raises what its decoders do
        raise input_error(f"the image cannot be read: {error}") from None
    if channels == 1:
        array = array[:, :, np.newaxis]
    return array.transpose(2, 0, 1) if channels_first else array
