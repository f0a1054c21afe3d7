"""TFRecord files, written without TensorFlow."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable
from pathlib import Path

from mlengine.runtime.records import masked_crc

__all__ = ["framed", "write_records"]


def framed(record: bytes) -> bytes:
    """Return a record as the format has it: between its length and its checksum."""
    length = struct.pack("<Q", len(record))
    checks = (struct.pack("<I", masked_crc(part)) for part in (length, record))
    return length + next(checks) + record + next(checks)


def write_records(path: Path, records: Iterable[bytes], *, compressed: bool = False) -> None:
    """Write a record file."""
    data = b"".join(framed(record) for record in records)
    path.write_bytes(gzip.compress(data) if compressed else data)
