"""Whether a model's file can be what its name says, as far as its size and its first bytes tell.

An environment takes minutes to be built; a file that no library can read is refused before. What is
found here is beyond doubt: whatever might be a model is left to its library, which knows best.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

from mlengine.runtime.artifact import Artifact, Kind

__all__ = ["damage_of"]

_HDF5 = b"\x89HDF\r\n\x1a\n"  # some of Keras 2's .keras files
# How the compressions begin that joblib undoes: zlib, gzip, bz2, xz, lzma, lz4, its own of old.
_PACKED = (b"\x78", b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"\x5d\x00", b"\x04\x22\x4d\x18", b"ZF")
_PLAIN = b"()]}cCFGIJKLMNPSTUVX"  # opcodes that a pickle of protocol 0 or 1 may begin with
_PROTOCOL, _FRAME = 0x80, 0x95  # what one of protocol 2 begins with, and of 4 goes on with
_FRAME_HEAD_BYTES = 11
_FIXED_BYTES = {1: 8, 5: 4}  # of protobuf's wire types
_VARINT, _LENGTH = 0, 2
_MAX_VARINT_BYTES = 10


def damage_of(directory: Path, artifact: Artifact, framework: str = "") -> str:
    """Say what is wrong with a model's file; empty where it may be sound.

    Args:
        directory: The model directory on this machine.
        artifact: What its names say that it is.
        framework: The one that its version names, if any.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _size = Path(folder, "model.keras").write_bytes(b"<html>")
        ...     damage_of(Path(folder), Artifact(Kind.KERAS, "model.keras"))
        'model.keras is no zip file, or not whole.'
    """
    path = directory / artifact.file
    if not path.is_file():
        return ""
    size = path.stat().st_size
    if not size:
        return f"{artifact.file} is empty."
    wrong = ""
    with path.open("rb") as file:
        if artifact.kind is Kind.KERAS:
            wrong = _of_keras(file)
        elif artifact.kind is Kind.PICKLE and framework != "XGBOOST":  # old ones named boosters so
            wrong = _of_pickle(file, size)
        elif artifact.kind is Kind.ONNX or path.suffix == ".pb":
            wrong = "" if _is_message(file, size) else "is no protocol buffer, or not whole"
        elif path.suffix in (".json", ".ubj"):
            wrong = "" if file.read(64).lstrip().startswith(b"{") else "is no JSON or UBJSON object"
    return wrong and f"{artifact.file} {wrong}."


def _of_keras(file: BinaryIO) -> str:
    if file.read(len(_HDF5)) == _HDF5 or zipfile.is_zipfile(file):
        return ""
    return "is no zip file, or not whole"


def _of_pickle(file: BinaryIO, size: int) -> str:
    head = file.read(_FRAME_HEAD_BYTES)
    if head.startswith(_PACKED) or head[0] in _PLAIN:
        return ""
    if head[0] != _PROTOCOL:
        return "is no pickle"
    if len(head) == _FRAME_HEAD_BYTES and head[2] == _FRAME:
        whole = _FRAME_HEAD_BYTES + int.from_bytes(head[3:], "little")
        if whole > size:
            return f"is not whole: it has {size} bytes of at least {whole}"
    return ""


def _is_message(file: BinaryIO, size: int) -> bool:
    """Go from field to field of a protocol buffer: the last has to end where the file does."""
    while file.tell() < size:
        tag = _varint(file)
        if tag is None or not tag >> 3:
            return False
        wire = tag & 7
        if wire == _VARINT:
            length = 0 if _varint(file) is not None else None
        else:
            length = _varint(file) if wire == _LENGTH else _FIXED_BYTES.get(wire)
        if length is None or file.tell() + length > size:
            return False
        file.seek(length, 1)
    return True


def _varint(file: BinaryIO) -> int | None:
    """Read a number; None where there is none."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    return None
