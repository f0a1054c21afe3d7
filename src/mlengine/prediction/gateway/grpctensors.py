"""A gRPC inference ⇄ the same inference as REST's JSON with binary tensors behind it.

The worker knows one form of the protocol. What gRPC calls raw contents are those binary tensors to
the byte; typed contents are packed into them, and a request that came typed is answered typed.
"""

from __future__ import annotations

import array
import struct
import sys
from typing import Any

import msgspec

from mlengine.core.errors import Internal, InvalidArgument
from mlengine.prediction.gateway.grpcmessages import message

__all__ = ["is_typed", "read_answer", "rest_body"]

_LENGTH = struct.Struct("<I")
# Datatype → the field of its typed contents, and the type code of its bytes.
_CONTENTS = {
    "BOOL": ("bool_contents", "B"), "INT8": ("int_contents", "b"), "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"), "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"), "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"), "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"), "FP64": ("fp64_contents", "d"), "BYTES": ("bytes_contents", ""),
}  # fmt: skip


def is_typed(request: Any) -> bool:
    """Tell whether a `ModelInferRequest` holds its tensors in typed contents."""
    return not request.raw_input_contents


def rest_body(request: Any) -> tuple[int, bytes]:
    """Return a `ModelInferRequest` as a REST body, and how much of it is JSON.

    Raises:
        InvalidArgument: Raw and typed contents are mixed, or a value does not fit its datatype.
    """
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise InvalidArgument(
            f"There are {len(request.inputs)} inputs and {len(raws)} raw_input_contents.",
            "Send one for each input, in their order, or none.",
        )
    inputs = []
    pieces: list[bytes] = []
    for index, tensor in enumerate(request.inputs):
        if raws and tensor.HasField("contents"):
            raise InvalidArgument(
                f"Input '{tensor.name[:128]}' has contents, and raw_input_contents are there too.",
                "Send one of them.",
            )
        piece = raws[index] if raws else _packed(tensor)
        pieces.append(piece)
        inputs.append({
            "name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape),
            "parameters": {**_parameters(tensor.parameters), "binary_data_size": len(piece)},
        })  # fmt: skip
    asked: dict[str, Any] = {
        "inputs": inputs,
        "parameters": {**_parameters(request.parameters), "binary_data_output": True},
    }
    if request.id:
        asked["id"] = request.id
    if request.outputs:
        asked["outputs"] = [
            {"name": output.name,
             "parameters": {**_parameters(output.parameters), "binary_data": True}}
            for output in request.outputs
        ]  # fmt: skip
    text = msgspec.json.encode(asked)
    return len(text), b"".join((text, *pieces))


def read_answer(body: bytes, json_bytes: int, *, typed: bool) -> Any:
    """Return a REST answer as a `ModelInferResponse`."""
    told = msgspec.json.decode(body[:json_bytes])
    response = message("ModelInferResponse")(
        model_name=told["model_name"], model_version=told["model_version"], id=told.get("id", "")
    )
    at = json_bytes
    for output in told["outputs"]:
        end = at + output["parameters"]["binary_data_size"]
        tensor = response.outputs.add(
            name=output["name"], datatype=output["datatype"], shape=output["shape"]
        )
        if typed:
            _unpack(tensor, body[at:end])
        else:
            response.raw_output_contents.append(body[at:end])
        at = end
    return response


def _parameters(found: Any) -> dict[str, Any]:
    values = {}
    for name, parameter in found.items():
        choice = parameter.WhichOneof("parameter_choice")
        values[name] = getattr(parameter, choice) if choice else None
    return values


def _packed(tensor: Any) -> bytes:
    place = _CONTENTS.get(tensor.datatype)
    if place is None:
        raise InvalidArgument(
            f"Input '{tensor.name[:128]}' has the datatype '{tensor.datatype[:32]}', for which "
            "there are no typed contents.", "Send it in raw_input_contents.",
        )  # fmt: skip
    field, code = place
    values = getattr(tensor.contents, field)
    strays = [f.name for f, _value in tensor.contents.ListFields() if f.name != field]
    if strays:
        raise InvalidArgument(
            f"Input '{tensor.name[:128]}' is {tensor.datatype}, but has {strays[0]}.",
            f"Send {field}.",
        )
    if not code:
        return b"".join(_LENGTH.pack(len(value)) + value for value in values)
    try:
        packed = array.array(code, values)
    except OverflowError:
        raise InvalidArgument(
            f"Input '{tensor.name[:128]}' has a number that {tensor.datatype} cannot hold."
        ) from None
    return _little(packed).tobytes()


def _unpack(tensor: Any, data: bytes) -> None:
    place = _CONTENTS.get(tensor.datatype)
    if place is None:
        raise InvalidArgument(
            f"Output '{tensor.name}' is {tensor.datatype}, for which there are no typed contents.",
            "Send the inputs in raw_input_contents: the outputs come in the same form.",
        )
    field, code = place
    values = getattr(tensor.contents, field)
    if code:
        packed = array.array(code)
        packed.frombytes(data)
        values.extend(map(bool, _little(packed)) if tensor.datatype == "BOOL" else _little(packed))
        return
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            raise Internal("The worker's answer is cut off.")
        values.append(data[start:at])


def _little(packed: array.array[Any]) -> array.array[Any]:
    if sys.byteorder == "big":
        packed.byteswap()
    return packed
