"""The Open Inference Protocol (KServe v2): tensors by name, in JSON or, behind the JSON, in binary.

``Inference-Header-Content-Length`` says where the JSON of a body ends; the tensors whose parameter
``binary_data_size`` is set follow in their order, little-endian, row by row, each string after its
length (u32). Outputs come in JSON unless the request asks for ``binary_data``. A parameter that
nobody honours is refused: a request never means less than it says.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.dialects import Call, CallError, Reply, json_reply
from mlengine.runtime.dialects.tensorbytes import DTYPES, datatype_of, from_bytes, to_bytes
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.signatures import run, signature_of, signatures_of
from mlengine.runtime.frameworks.tensors import MAX_DIMENSIONS, TensorSpec
from mlengine.runtime.instances import is_number, kind_of
from mlengine.runtime.prediction_error import input_error, output_error
from mlengine.runtime.strictjson import StrictJsonError, dumps, loads

__all__ = ["HEADER", "answer"]

HEADER = "Inference-Header-Content-Length"

_KEYS = {"id", "parameters", "inputs", "outputs"}
_INPUT_KEYS = {"name", "shape", "datatype", "parameters", "data"}
_CONTENT_TYPES = {"np", "pd", "str", "base64"}
_MAX_ELEMENTS = 1 << 31
_MAX_OF_NOTHING = 4096


class _Output(NamedTuple):
    name: str
    binary: bool
    base64: bool = False


def answer(model: Model, call: Call) -> Reply:
    """Answer one request: ``metadata`` or ``infer``.

    Raises:
        CallError: The body is none of the protocol.
        PredictionError: As `ask`.
    """
    if call.operation == "metadata":
        return _metadata(model, call)
    asked, binary = _split(call)
    own = _parameters(asked, {"binary_data_output", "signature_name", "content_type"}, "request")
    content = _known_content(own)
    name = own.get("signature_name", "")
    if not isinstance(name, str):
        raise CallError(f"the parameter signature_name is {kind_of(name)}, expected a string")
    arrays = _inputs(asked.get("inputs"), binary, content)
    wanted = _wanted(asked.get("outputs"), binary=_flag(own, "binary_data_output"))
    outputs = run(model, arrays, name)
    head: dict[str, Any] = {"model_name": call.model, "model_version": call.version}
    if "id" in asked:
        head["id"] = asked["id"]
    return _write(head, outputs, wanted, binary=_flag(own, "binary_data_output"))


def _split(call: Call) -> tuple[dict[str, Any], memoryview]:
    body = memoryview(call.body)
    length = len(body) if call.json_bytes < 0 else call.json_bytes
    if length > len(body):
        raise CallError(f"{HEADER} is {length}, but the body has {len(body)} bytes")
    try:
        asked = loads(bytes(body[:length]))
    except StrictJsonError as error:
        raise CallError(f"the request is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise CallError(f"the request is {kind_of(asked)}, expected an object")
    if unknown := sorted(set(asked) - _KEYS):
        raise CallError(f"the request has the unknown key {unknown[0]!r}")
    if not isinstance(asked.get("id", ""), str):
        raise CallError(f"the id is {kind_of(asked['id'])}, expected a string")
    return asked, body[length:]


def _parameters(owner: dict[str, Any], known: set[str], what: str) -> dict[str, Any]:
    found = owner.get("parameters", {})
    if not isinstance(found, dict):
        raise CallError(f"the parameters of the {what} are {kind_of(found)}, expected an object")
    if unknown := sorted(set(found) - known):
        raise CallError(
            f"the parameter {unknown[0]!r} of the {what} is not supported here; "
            f"these are: {', '.join(sorted(known))}"
        )
    return found


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise CallError(f"the parameter {name} is {kind_of(value)}, expected true or false")
    return value


def _known_content(parameters: dict[str, Any]) -> str:
    kind = parameters.get("content_type", "")
    if not isinstance(kind, str) or (kind and kind not in _CONTENT_TYPES):
        raise CallError(
            f"the content_type {kind!r} is not supported here; these are: "
            f"{', '.join(sorted(_CONTENT_TYPES))}"
        )
    return kind


def _inputs(inputs: Any, binary: memoryview, content: str) -> dict[str, np.ndarray]:
    """Read the inputs; `content` is the content type of those that name none themselves."""
    if not isinstance(inputs, list) or not inputs:
        raise CallError(f'"inputs" is {kind_of(inputs)}, expected a list of tensors')
    arrays: dict[str, np.ndarray] = {}
    at = 0
    for index, item in enumerate(inputs):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise CallError(f"input {index} is no object with a name")
        name = item["name"]
        what = f"input {name!r}"
        if name in arrays:
            raise CallError(f"{what} is given twice")
        if unknown := sorted(set(item) - _INPUT_KEYS):
            raise CallError(f"{what} has the unknown key {unknown[0]!r}")
        own = _parameters(item, {"binary_data_size", "content_type"}, what)
        is_base64 = (_known_content(own) or content) == "base64"
        shape, datatype = _shape(item.get("shape"), what), item.get("datatype")
        if not isinstance(datatype, str) or datatype not in DTYPES:
            raise CallError(f"{what} has the datatype {datatype!r}; there are {', '.join(DTYPES)}")
        if "binary_data_size" in own:
            size = own["binary_data_size"]
            if "data" in item:
                raise CallError(f'{what} has both "data" and binary_data_size')
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise CallError(f"binary_data_size of {what} is {size!r}, expected a number")
            if at + size > len(binary):
                raise CallError(f"{what} announces {size} bytes, {len(binary) - at} are left")
            arrays[name] = from_bytes(binary[at : at + size], datatype, shape, what)
            at += size
        else:
            arrays[name] = _from_json(item.get("data"), datatype, shape, what)
        if is_base64 and datatype == "BYTES":
            arrays[name] = _decoded(arrays[name], what)
    if at != len(binary):
        raise CallError(f"{len(binary) - at} bytes behind the JSON belong to no input")
    return arrays


def _shape(shape: Any, what: str) -> tuple[int, ...]:
    good = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS
    count = 1
    for size in shape if good else ():
        good = good and isinstance(size, int) and not isinstance(size, bool) and size >= 0
        # Without the zeros: a tensor of nothing, too, has sizes that numpy must be able to hold.
        count = count * (size or 1) if good else 0
    if not good or count > _MAX_ELEMENTS:
        raise CallError(f"{what} has the shape {shape!r}, expected a list of sizes")
    lists = math.prod(shape[: shape.index(0)]) if 0 in shape else 0
    if lists > _MAX_OF_NOTHING:  # no byte is sent for them, and each has to be made
        raise CallError(
            f"{what} has the shape {shape!r}, {lists} lists of nothing: at most "
            f"{_MAX_OF_NOTHING} are read"
        )
    return tuple(shape)


def _from_json(data: Any, datatype: str, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Read ``data``, flat or nested as its shape."""
    if not isinstance(data, list):
        raise CallError(f'"data" of {what} is {kind_of(data)}, expected a list')
    flat = _flat(data, shape, what)
    count = int(np.prod(shape, dtype=np.int64))
    if len(flat) != count:
        raise CallError(f"{what} has {len(flat)} values, its shape {list(shape)} holds {count}")
    fits = _LEAVES[datatype[0] if datatype[0] in "UIF" else datatype]
    for item in flat:
        if not fits(item):
            raise CallError(f"{what} has {kind_of(item)} where {datatype} is")
    if datatype == "BYTES":
        texts = np.empty(count, dtype=object)
        texts[:] = [item.encode("utf-8", "surrogatepass") for item in flat]
        return texts.reshape(shape)
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, dtype=_WIDEST.get(datatype[0]))
            cast = array.astype(DTYPES[datatype])
    except OverflowError:
        raise input_error(f"{what} has a number that {datatype} cannot hold") from None
    if count and not (np.isfinite(cast).all() if datatype[0] == "F" else np.all(cast == array)):
        raise input_error(f"{what} has a number that {datatype} cannot hold")
    return cast.reshape(shape)


# Of themselves, numpy reads integers on both sides of 2**63 as floats, which round them.
_WIDEST = {"F": np.float64, "I": np.int64, "U": np.uint64}
_LEAVES: dict[str, Callable[[Any], bool]] = {
    "BOOL": lambda item: isinstance(item, bool),
    "BYTES": lambda item: isinstance(item, str),
    "U": lambda item: isinstance(item, int) and not isinstance(item, bool),
    "I": lambda item: isinstance(item, int) and not isinstance(item, bool),
    "F": is_number,
}


def _flat(data: list[Any], shape: tuple[int, ...], what: str) -> list[Any]:
    """Return the values row by row; lists in lists must be as long as the shape says.

    As many values in other rows would be a tensor that nobody sent.
    """
    flat, lengths = data, [len(data)]
    while flat and isinstance(flat[0], list):
        size = len(flat[0])
        if not all(isinstance(part, list) and len(part) == size for part in flat):
            raise CallError(f'"data" of {what} is a ragged list, its shape is {list(shape)}')
        lengths.append(size)
        flat = [item for part in flat for item in part]
    # Below a list of nothing, no lengths are left to be compared.
    expected = list(shape) if flat else list(shape[: len(lengths)])
    if len(lengths) > 1 and lengths != expected:
        raise CallError(
            f'"data" of {what} is nested as {lengths}, its shape is {list(shape)}; '
            "nest it as its shape, or send its values row by row in one list"
        )
    return flat


def _decoded(texts: np.ndarray, what: str) -> np.ndarray:
    found = np.empty(texts.size, dtype=object)
    try:
        found[:] = [base64.b64decode(item, validate=True) for item in texts.ravel().tolist()]
    except (binascii.Error, ValueError) as error:
        raise CallError(f"{what} is not base64: {error}") from None
    return found.reshape(texts.shape)


def _encoded(texts: np.ndarray) -> np.ndarray:
    made = np.empty(texts.size, dtype=object)
    made[:] = [base64.b64encode(item) for item in texts.ravel().tolist()]
    return made.reshape(texts.shape)


def _wanted(outputs: Any, *, binary: bool) -> list[_Output] | None:
    """Return which outputs are asked for, and how; None: all of them."""
    if outputs is None:
        return None
    if not isinstance(outputs, list):
        raise CallError(f'"outputs" is {kind_of(outputs)}, expected a list')
    wanted: list[_Output] = []
    for index, item in enumerate(outputs):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise CallError(f"output {index} is no object with a name")
        what = f"output {item['name']!r}"
        if unknown := sorted(set(item) - {"name", "parameters"}):
            raise CallError(f"{what} has the unknown key {unknown[0]!r}")
        own = _parameters(item, {"binary_data", "content_type"}, what)
        as_base64 = _known_content(own) == "base64"
        as_binary = _flag(own, "binary_data") if "binary_data" in own else binary
        wanted.append(_Output(item["name"], as_binary, as_base64))
    if len({output.name for output in wanted}) != len(wanted):
        raise CallError("an output is asked for twice")
    return wanted or None


def _write(
    head: dict[str, Any],
    outputs: dict[str, np.ndarray],
    wanted: list[_Output] | None,
    *,
    binary: bool,
) -> Reply:
    if wanted is None:
        wanted = [_Output(name, binary) for name in outputs]
    described: list[dict[str, Any]] = []
    pieces: list[bytes] = []
    for name, as_binary, as_base64 in wanted:
        if name not in outputs:
            raise CallError(f"the model has no output {name!r}; it has {', '.join(outputs)}")
        array = outputs[name]
        item: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array),
            "shape": list(array.shape),
        }
        if as_base64 and array.dtype == object:
            array = _encoded(array)
            item["parameters"] = {"content_type": "base64"}
        if as_binary:
            pieces.append(to_bytes(array))
            item["parameters"] = item.get("parameters", {}) | {"binary_data_size": len(pieces[-1])}
        else:
            item["data"] = _data(array, name)
        described.append(item)
    try:
        text = dumps({**head, "outputs": described})
    except StrictJsonError as error:
        raise output_error(str(error)) from None
    if not pieces:
        return Reply(200, text)
    headers = {HEADER: str(len(text))}
    return Reply(200, b"".join((text, *pieces)), "application/octet-stream", headers)


def _data(array: np.ndarray, name: str) -> list[Any]:
    flat: list[Any] = array.ravel().tolist()
    if array.dtype == object:
        try:
            return [item.decode() for item in flat]
        except UnicodeDecodeError:
            raise output_error(
                f"the output {name!r} holds bytes that are not UTF-8; ask for it in binary"
            ) from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise output_error(
            f"the output {name!r} is NaN or infinite, which JSON cannot carry; ask for it in binary"
        )
    return flat


def _metadata(model: Model, call: Call) -> Reply:
    signature = signature_of(model)
    described: dict[str, Any] = {
        "name": call.model,
        "versions": [call.version],
        "platform": str(model.describe()["framework"]).lower(),
        "inputs": [_described(spec) for spec in signature.inputs],
        "outputs": [_described(spec) for spec in signature.outputs],
    }
    names = sorted(name for name in signatures_of(model) if name)
    if len(names) > 1:
        described["parameters"] = {"signature_names": ", ".join(names)}
    return json_reply(described)


def _described(spec: TensorSpec) -> dict[str, Any]:
    shape = [-1] if spec.shape is None else [-1 if n is None else n for n in spec.shape]
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": shape}
