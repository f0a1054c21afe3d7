"""A file in pieces, as buckets and folders take what is written to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["chunks_of"]

_CHUNK_BYTES = 1 << 20


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of an open file, 1 MiB at most at a time.

    Example:
        >>> import io
        >>> list(chunks_of(io.BytesIO(b"left")))
        [b'left']
    """
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
