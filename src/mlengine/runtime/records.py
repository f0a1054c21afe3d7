"""TFRecord files, read without TensorFlow.

    u64 length | u32 masked CRC-32C of the length | payload | u32 masked CRC-32C of the payload

All little-endian. The mask (rotate and add) is the format's own: a CRC over data that holds CRCs
is weak. Source: tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol, cast

__all__ = ["RecordError", "crc32c", "masked_crc", "read_records"]

MAX_RECORD_BYTES = 1 << 30

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected


class RecordError(ValueError):
    """The file is damaged or cut short; says at which record and byte."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _table() -> tuple[int, ...]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of bytes.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """Return the CRC as the format stores it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: Path, *, compressed: bool = False) -> Iterator[bytes]:
    """Yield the payload of each record; holds one at a time.

    Raises:
        RecordError: While iterating: a checksum is wrong, or the file ends within a record.
    """
    with contextlib.ExitStack() as stack:
        file: _Readable = stack.enter_context(path.open("rb"))
        if compressed:
            file = stack.enter_context(gzip.GzipFile(fileobj=cast("IO[bytes]", file)))
        index = offset = 0
        while True:
            try:
                record = _read_one(file)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise RecordError(f"record {index} at byte {offset}: {error}") from None
            if record is None:
                return
            yield record
            index += 1
            offset += _HEADER.size + len(record) + _FOOTER.size


def _read_one(file: _Readable) -> bytes | None:
    header = file.read(_HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size:
        raise EOFError("the file ends within the record's length")
    length, length_crc = _HEADER.unpack(header)
    if masked_crc(header[:8]) != length_crc:
        raise EOFError("the checksum of the record's length is wrong; is this a TFRecord file?")
    if length > MAX_RECORD_BYTES:
        raise EOFError(f"the record has {length} bytes, the limit is {MAX_RECORD_BYTES}")
    record = file.read(length)
    footer = file.read(_FOOTER.size)
    if len(record) < length or len(footer) < _FOOTER.size:
        raise EOFError("the file ends within the record")
    if masked_crc(record) != _FOOTER.unpack(footer)[0]:
        raise EOFError("the checksum of the record is wrong")
    return record
