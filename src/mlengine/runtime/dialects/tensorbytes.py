"""The protocol's datatypes, and a tensor as its bytes: little-endian, row by row."""

from __future__ import annotations

import struct

import numpy as np

from mlengine.runtime.dialects import CallError

__all__ = ["DTYPES", "datatype_of", "from_bytes", "to_bytes"]

DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object",
}  # fmt: skip
"""Datatype → numpy's name; a string is an object of `bytes`."""

_NAMES = {name: datatype for datatype, name in DTYPES.items()} | {
    "string": "BYTES", "bfloat16": "FP32",
}  # fmt: skip
_LENGTH = struct.Struct("<I")


def datatype_of(array: np.ndarray | str) -> str:
    """Return the datatype of an array, or of a type by its name."""
    name = array if isinstance(array, str) else array.dtype.name
    return _NAMES.get(name, name.upper())


def from_bytes(data: memoryview, datatype: str, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Return a tensor that lies in the bytes, without copying numbers.

    Raises:
        CallError: The bytes are more or fewer than the shape takes.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if datatype == "BYTES":
        return _strings(data, count, what).reshape(shape)
    is_bool = datatype == "BOOL"
    dtype = np.dtype("uint8" if is_bool else DTYPES[datatype]).newbyteorder("<")
    if len(data) != count * dtype.itemsize:
        raise CallError(
            f"{what} has {len(data)} bytes, its shape {list(shape)} takes {count * dtype.itemsize}"
        )
    array = np.frombuffer(data, dtype=dtype)
    if is_bool:
        if array.size and array.max() > 1:
            raise CallError(f"{what} has a byte that is neither 0 nor 1, its datatype is BOOL")
        array = array.astype(bool)
    return array.reshape(shape)


def to_bytes(array: np.ndarray) -> bytes:
    """Return a tensor's bytes."""
    if array.dtype != object:
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    return b"".join(_LENGTH.pack(len(item)) + item for item in array.ravel().tolist())


def _strings(data: memoryview, count: int, what: str) -> np.ndarray:
    found: list[bytes] = []
    at = 0
    while at < len(data) and len(found) < count:
        end = at + _LENGTH.size
        if end <= len(data):
            start, end = end, end + _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            raise CallError(f"string {len(found)} of {what} is cut off")
        found.append(bytes(data[start:end]))
        at = end
    if at != len(data) or len(found) != count:
        raise CallError(f"{what} has {len(found)} strings in {len(data)} bytes, expected {count}")
    array = np.empty(count, dtype=object)
    array[:] = found
    return array
