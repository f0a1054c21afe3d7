"""``multipart/related`` as it arrives: a JSON part, then bytes that are never held as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlengine.core.errors import InvalidArgument

__all__ = ["MultipartReader"]

_MAX_HEAD_BYTES = 64 << 10
_MAX_JSON_BYTES = 1 << 20


class MultipartReader:
    """Reads the two parts in order.

    Lines end as the first one does: gcsfs ends them with a bare line feed, everybody else properly,
    and an object that ends in a carriage return must keep it.

    Args:
        chunks: The body, in pieces of any size.
        boundary: Without the leading dashes.
    """

    def __init__(self, chunks: Iterable[bytes], boundary: bytes) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        opening = b"--" + boundary
        line = self._until(b"\n", _MAX_HEAD_BYTES)
        while not line.startswith(opening):  # a preamble says nothing
            line = self._until(b"\n", _MAX_HEAD_BYTES)
        self._eol = b"\r\n" if line.endswith(b"\r") else b"\n"
        self._delimiter = self._eol + opening

    def small_part(self) -> bytes:
        """Return the part that comes next; it is small."""
        self._head()
        content = self._until(self._delimiter, _MAX_JSON_BYTES)
        self._until(self._eol, _MAX_HEAD_BYTES)
        return content

    def last_part(self) -> tuple[str, Iterator[bytes]]:
        """Return the content type and the bytes of the part that comes next."""
        headers = self._head()
        return headers.get("content-type", ""), self._body()

    def _head(self) -> dict[str, str]:
        headers = {}
        while line := self._until(self._eol, _MAX_HEAD_BYTES):
            name, _colon, value = line.decode("utf-8", "replace").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _body(self) -> Iterator[bytes]:
        keep = len(self._delimiter) - 1
        while True:
            end = self._buffer.find(self._delimiter)
            if end >= 0:
                yield self._buffer[:end]
                break
            if len(self._buffer) > keep:
                yield self._buffer[:-keep]
                self._buffer = self._buffer[-keep:]
            self._more()
        for _rest in self._chunks:  # what follows the last boundary says nothing
            pass

    def _until(self, mark: bytes, limit: int) -> bytes:
        start = 0
        while (end := self._buffer.find(mark, start)) < 0:
            if len(self._buffer) > limit:
                raise InvalidArgument("A part of the multipart body is too long.")
            start = max(0, len(self._buffer) - len(mark))
            self._more()
        found, self._buffer = self._buffer[:end], self._buffer[end + len(mark) :]
        return found

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise InvalidArgument(
                "The multipart body ends before its last boundary.", "Send it again."
            )
        self._buffer += chunk
