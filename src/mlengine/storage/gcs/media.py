"""An object's bytes: whole or a range, with the headers that say which object they are of."""

from __future__ import annotations

import datetime
import email.utils
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from mlengine.storage.gcs.conditions import Conditions, whole_number
from mlengine.storage.gcs.messages import RangeNotSatisfiable, Request, Response, empty
from mlengine.storage.gcs.resources import DEFAULT_TYPE
from mlengine.storage.gcs.shelves import Shelf, Stored

__all__ = ["download"]

_CHUNK_BYTES = 512 << 10
_TOKEN = re.compile(r"[\w-]+", re.ASCII)
_PRINTABLE = " !#$%&'()*+,/:;=?@[]<>{}|^\"`\\"
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII)


def download(shelf: Shelf, name: str, request: Request) -> Response:
    """Answer an object's bytes.

    A ``Range`` of several parts, or one that cannot be read, is answered with the whole object, as
    HTTP has it.
    """
    generation = whole_number(request.query, "generation")
    file, stored = shelf.open(name, generation=generation)
    try:
        return _answer(file, stored, request)
    except BaseException:
        if file is not None:
            file.close()
        raise


def _answer(file: BinaryIO | None, stored: Stored, request: Request) -> Response:
    conditions = Conditions.of(request.query, request.headers)
    if not conditions.fails(stored.facts) and conditions.is_unchanged(stored.facts):
        if file is not None:
            file.close()
        return empty(304, {"ETag": f'"{stored.facts.etag}"'})
    conditions.check(stored.facts)
    headers = _headers(stored)
    if _must_unpack(stored, request):
        del headers["Content-Encoding"]
        return Response(200, headers, _Bytes(file, 0, stored.size, is_unpacked=True), None)
    span = _range(request.headers.get("range", ""), stored.size)
    if span is None:
        return Response(200, headers, _Bytes(file, 0, stored.size), stored.size)
    first, end = span
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{stored.size}"
    return Response(206, headers, _Bytes(file, first, end - first), end - first)


def _headers(stored: Stored) -> dict[str, str]:
    record = stored.record
    moment = datetime.datetime.fromtimestamp(stored.generation / 1e6, datetime.UTC)
    hashes = [
        f"{kind}={value}"
        for kind, value in (("crc32c", record.crc32c), ("md5", record.md5))
        if value
    ]
    headers = {
        "Content-Type": record.content_type or DEFAULT_TYPE,
        "Accept-Ranges": "bytes",
        "ETag": f'"{stored.facts.etag}"',
        "Last-Modified": email.utils.format_datetime(moment, usegmt=True),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(record.metageneration),
        "X-Goog-Storage-Class": "STANDARD",
        "X-Goog-Stored-Content-Encoding": record.content_encoding or "identity",
        "X-Goog-Stored-Content-Length": str(stored.size),
        "X-Goog-Hash": ",".join(hashes),
        "Cache-Control": record.cache_control or "no-cache, max-age=0",
        "Content-Encoding": record.content_encoding,
        "Content-Disposition": record.content_disposition,
        "Content-Language": record.content_language,
    }
    for key, value in record.metadata.items():
        if _TOKEN.fullmatch(key):
            headers[f"X-Goog-Meta-{key}"] = quote(value, safe=_PRINTABLE)
    return {name: value for name, value in headers.items() if value and value.isascii()}


def _range(line: str, size: int) -> tuple[int, int] | None:
    """Return first byte and end of what the caller wants of `size` bytes; None for all."""
    match = _RANGE.fullmatch(line.strip())
    if match is None:
        return None
    first_text, last_text, tail_text = match.groups()
    if tail_text is not None:
        first, end = max(0, size - int(tail_text)), size
    else:
        first = int(first_text)
        end = min(int(last_text) + 1, size) if last_text else size
        if last_text and int(last_text) < first:
            return None
    if first >= end:
        raise RangeNotSatisfiable(  # gcsfs knows it by its first words
            f"Request range not satisfiable: the object has {size} bytes."
        )
    return first, end


def _must_unpack(stored: Stored, request: Request) -> bool:
    """Whether the object was stored packed for a caller that cannot unpack it."""
    if stored.record.content_encoding != "gzip" or "range" in request.headers:
        return False
    return "gzip" not in request.headers.get("accept-encoding", "")


class _Bytes:
    """A part of an open file. Closing it closes the file, also when nobody read."""

    def __init__(
        self, file: BinaryIO | None, first: int, length: int, *, is_unpacked: bool = False
    ) -> None:
        self._file, self._first, self._length = file, first, length
        self._is_unpacked = is_unpacked

    def __iter__(self) -> Iterator[bytes]:
        return _unpacked(self._chunks()) if self._is_unpacked else self._chunks()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _chunks(self) -> Iterator[bytes]:
        if self._file is None:
            return
        self._file.seek(self._first)
        left = self._length
        while left > 0:
            chunk = self._file.read(min(_CHUNK_BYTES, left))
            if not chunk:
                raise OSError("The file was cut while it was read.")
            left -= len(chunk)
            yield chunk


def _unpacked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack all members; of what is cut or no gzip the caller must not get a part for all."""
    unpacker = zlib.decompressobj(wbits=31)
    is_begun = False
    try:
        for chunk in chunks:
            while chunk:
                if unpacker.eof:
                    chunk = chunk.lstrip(b"\0")  # as gzip itself passes over padding
                    if not chunk:
                        break
                    unpacker = zlib.decompressobj(wbits=31)
                is_begun = True
                yield unpacker.decompress(chunk, _CHUNK_BYTES)
                chunk = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise OSError(f"The object cannot be unpacked: {error}.") from error
    if is_begun and not unpacker.eof:
        raise OSError("The object cannot be unpacked: it ends in the middle.")
