"""TensorBoard event files, read without TensorFlow: the scalars in them, and nothing else.

A file is TFRecord frames around protocol buffers (``tensorflow.Event``). It may be in the middle
of being written, cut by a full disk, or no event file at all: reading never raises for what is in
a file, it ends at the last whole record before the trouble. What is read:

    Event      1 wall_time (double)   2 step (int64)      5 summary
    Summary    1 value, repeated
    Value      1 tag   2 simple_value (float)   8 tensor   9 metadata
    Metadata   1 plugin data, in it 1 the plugin's name
    Tensor     1 dtype   2 shape   4 raw content   5, 6, 7, 10, 11, 13, 16, 17 typed values

``simple_value`` is what TensorFlow 1, PyTorch and tensorboardX write, a tensor of the plugin
``scalars`` what TensorFlow 2 writes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlengine.runtime.records import masked_crc

__all__ = ["Budget", "EventFile", "Scalar", "find_event_files", "in_64_bits"]

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_CHECKED_BYTES = 64 * 1024
"""Larger records (graphs, images) are not summed: a checksum in Python takes 0.1 µs a byte."""
_LONGEST_RECORD = 64 * 1024 * 1024
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_FORMATS = {
    1: "f", 2: "d", 3: "i", 4: "B", 5: "h", 6: "b", 9: "q", 10: "?", 17: "H", 19: "e", 22: "I",
    23: "Q",
}  # fmt: skip
_BFLOAT16 = 14
_FLOATS, _DOUBLES, _HALVES = 5, 6, 13
_SIGNED = frozenset({7, 10})  # int, int64
_TYPED = frozenset({_FLOATS, _DOUBLES, _HALVES, 11, 16, 17}) | _SIGNED  # bool, uint32, uint64
_NOTHING = memoryview(b"")


class Scalar(NamedTuple):
    """One value of one metric; it may be NaN or infinite."""

    tag: str
    step: int
    value: float
    time_s: float


def in_64_bits(step: int) -> int:
    """Return a step as it is, if there is one like it in event files and databases.

    Raises:
        OverflowError: It takes more than 64 bits.
    """
    if not -(2**63) <= step < 2**63:
        raise OverflowError(f"The step {step} takes more than 64 bits.")
    return step


class Budget:
    """How much one look at a job's files may cost; what does not fit is left out, and that is said.

    Args:
        records: Most records to take apart: a million take some seconds.
        size_bytes: Most bytes to read.
    """

    def __init__(self, *, records: int = 1_000_000, size_bytes: int = 256 * 1024 * 1024) -> None:
        self._records, self._bytes = records, size_bytes

    @property
    def exceeded(self) -> bool:
        """Whether something was, or will be, left out."""
        return self._records <= 0 or self._bytes <= 0

    def take(self, size_bytes: int) -> bool:
        """Count one record; return False when there is no room for it."""
        if self.exceeded:
            return False
        self._records -= 1
        self._bytes -= size_bytes
        return True


class EventFile:
    """One event file, read on from where the last `read` ended.

    Args:
        path: The file; it may grow, or not be there yet.
        offset: Where a record begins.
    """

    def __init__(self, path: Path, *, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def read(self, budget: Budget | None = None) -> list[Scalar]:
        """Return the scalars of all whole records behind `offset`, and move it behind them."""
        return list(self.scalars(budget))

    def scalars(self, budget: Budget | None = None) -> Iterator[Scalar]:
        """Yield what `read` returns, one by one."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                for record in self._records(file, budget or Budget()):
                    yield from _scalars(record)
        except OSError:  # removed by its trainer, or not to be read: there is nothing to tell
            pass

    def _records(self, file: BinaryIO, budget: Budget) -> Iterator[memoryview]:
        while True:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            length, length_crc = _HEADER.unpack(header)
            if masked_crc(header[:8]) != length_crc or not budget.take(_HEADER.size + length):
                return
            record = b""
            if length <= _LONGEST_RECORD:
                record = file.read(length)
            else:
                file.seek(length, 1)
            footer = file.read(_FOOTER.size)
            if len(footer) < _FOOTER.size or (record and len(record) < length):
                return  # still being written
            checked = length <= _CHECKED_BYTES
            if checked and masked_crc(record) != _FOOTER.unpack(footer)[0]:
                return
            self.offset += _HEADER.size + length + _FOOTER.size
            yield memoryview(record)


def find_event_files(folder: Path, *, limit: int = 1000, entries: int = 100_000) -> list[Path]:
    """Return the event files at or below a folder, sorted; links are not followed.

    Args:
        folder: It need not exist.
        limit: Most files to return; the newest are kept.
        entries: Most directory entries to look at.
    """
    found: list[tuple[float, Path]] = []
    waiting = [folder]
    while waiting and entries > 0:
        try:
            with os.scandir(waiting.pop(0)) as inside:
                for entry in inside:
                    entries -= 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif "tfevents" in entry.name and entry.is_file(follow_symlinks=False):
                        found.append((entry.stat().st_mtime, Path(entry.path)))
        except OSError:  # removed a moment ago, or not ours to read
            continue
    newest = sorted(found, reverse=True)[:limit]
    return sorted(path for _time, path in newest)


# --- protocol buffers ---------------------------------------------------------------------------


class _Malformed(Exception):
    """The bytes are no message of the kind they should be."""


class _Field(NamedTuple):
    """One field of a message: `number` for a varint, `data` for everything else."""

    key: tuple[int, int]
    number: int
    data: memoryview


def _scalars(record: memoryview) -> list[Scalar]:
    """Take one event apart; one that makes no sense has no scalars."""
    time_s, step = 0.0, 0
    values: list[tuple[str, float | None]] = []
    try:
        for field in _fields(record):
            if field.key == (1, _FIXED64):
                time_s = _unpacked("d", field.data)
            elif field.key == (2, _VARINT):
                step = _signed(field.number)
            elif field.key == (5, _BYTES):
                values += [_value(f.data) for f in _fields(field.data) if f.key == (1, _BYTES)]
    except (_Malformed, UnicodeDecodeError):
        return []
    return [Scalar(tag, step, value, time_s) for tag, value in values if value is not None]


def _value(message: memoryview) -> tuple[str, float | None]:
    tag, plugin = "", ""
    value: float | None = None
    tensor: memoryview | None = None
    for field in _fields(message):
        if field.key == (1, _BYTES):
            tag = bytes(field.data).decode()
        elif field.key == (2, _FIXED32):
            value = _unpacked("f", field.data)
        elif field.key == (8, _BYTES):
            tensor = field.data
        elif field.key == (9, _BYTES):
            plugin = _plugin(field.data)
    if value is None and tensor is not None and plugin in ("scalars", ""):
        value = _single(tensor)
    return tag, value


def _plugin(metadata: memoryview) -> str:
    for outer in _fields(metadata):
        if outer.key == (1, _BYTES):
            for inner in _fields(outer.data):
                if inner.key == (1, _BYTES):
                    return bytes(inner.data).decode()
    return ""


def _single(tensor: memoryview) -> float | None:
    """Return the value of a tensor without dimensions; None for any other tensor."""
    dtype, content = 0, memoryview(b"")
    typed: list[_Field] = []
    for field in _fields(tensor):
        if field.key == (1, _VARINT):
            dtype = field.number
        elif field.key == (2, _BYTES) and len(field.data):
            return None  # it has dimensions, or an unknown rank
        elif field.key == (4, _BYTES):
            content = field.data
        elif field.key[0] in _TYPED:
            typed.append(field)
    if len(content):
        return _from_content(dtype, bytes(content))
    if typed:
        return _from_field(dtype, typed[0])
    return 0.0 if dtype in _FORMATS else None  # a zero is not written at all


def _from_content(dtype: int, content: bytes) -> float | None:
    if dtype == _BFLOAT16 and len(content) == 2:
        return _unpacked("f", b"\0\0" + content)
    form = _FORMATS.get(dtype, "")
    if not form or len(content) != struct.calcsize("<" + form):
        return None
    return _unpacked(form, content)


def _from_field(dtype: int, field: _Field) -> float | None:
    """Read the first number of a typed field; it is packed, or not, as its writer liked."""
    number, kind = field.key
    if number in (_FLOATS, _DOUBLES):
        form = "f" if number == _FLOATS else "d"
        return _unpacked(form, field.data[: struct.calcsize("<" + form)])
    bits = field.number if kind == _VARINT else _varint(field.data, 0)[0]
    if number == _HALVES:
        raw = (bits & 0xFFFF).to_bytes(2, "little")
        return _unpacked("f", b"\0\0" + raw) if dtype == _BFLOAT16 else _unpacked("e", raw)
    return float(_signed(bits) if number in _SIGNED else bits)


def _unpacked(form: str, data: bytes | memoryview) -> float:
    if len(data) != struct.calcsize("<" + form):
        raise _Malformed
    return float(struct.unpack("<" + form, data)[0])


def _fields(message: memoryview) -> Iterator[_Field]:
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield _Field((number, kind), value, _NOTHING)
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise _Malformed
        if size > end - at:
            raise _Malformed
        yield _Field((number, kind), 0, message[at : at + size])
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number & (2**64 - 1), at
    raise _Malformed


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
