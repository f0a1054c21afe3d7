"""Members of a tar, read block by block.

`tarfile` reads names and extended headers of any length into memory and knows links, devices and
four ways to write sparse files; here a header is 512 bytes of which few are looked at.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO, NamedTuple, cast

from mlengine.core.errors import InvalidArgument
from mlengine.storage.members import Limits, Member, refuse

__all__ = ["tar_members"]

_BLOCK = 512
_CHUNK_BYTES = 256 * 1024
_MAX_NOTE_BYTES = 64 * 1024  # an extended header; names are at most 1024 bytes anyway
_MAX_NOTES = 16  # extended headers in a row: more than one of each kind is nobody's archive
_REFUSED = {
    b"1": "is a hard link",
    b"2": "is a symbolic link",
    b"3": "is a device",
    b"4": "is a device",
    b"6": "is a pipe",
    b"K": "is a link with a long target",
    b"S": "is a sparse file",
    b"V": "is a volume label",
    b"M": "continues another archive",
    b"D": "is a directory dump",
    b"N": "has a name in an obsolete format",
}


class _Header(NamedTuple):
    name: str
    mode: int
    size: int
    kind: bytes


def tar_members(file: BinaryIO, limits: Limits, *, is_gzip: bool) -> Iterator[Member]:
    """Yield the members of a tar, plain or gzipped.

    Raises:
        InvalidArgument: It is damaged, cut off, or holds what `archives.unpack` refuses.
    """
    source = _Source(file, limits, is_gzip=is_gzip)
    notes: dict[str, str] = {}
    in_a_row = 0
    while (header := _next_header(source)) is not None:
        source.name = header.name
        if header.kind in b"xgL":
            in_a_row += 1
            if in_a_row > _MAX_NOTES or header.size > _MAX_NOTE_BYTES:
                refuse(header.name, "has an extended header that is too long")
            _note(notes, header, source.exactly(header.size))
            source.skip_padding(header.size)
            continue
        member, size = _member(header, notes, source)
        notes, in_a_row = {}, 0
        yield member
        if size > source.given:
            source.drop(size - source.given)
        source.skip_padding(size)
    while source.up_to(_CHUNK_BYTES):
        pass  # gzip compares its checksum at the end of the stream only


def _member(header: _Header, notes: dict[str, str], source: _Source) -> tuple[Member, int]:
    name, size = notes.get("path", header.name), header.size
    source.name = name
    if "size" in notes:
        if not (notes["size"].isascii() and notes["size"].isdigit()) or len(notes["size"]) > 18:
            refuse(name, "has a size that is not a number")
        size = int(notes["size"])
    if header.kind in _REFUSED:
        refuse(name, _REFUSED[header.kind])
    if header.kind not in (b"0", b"\0", b"7", b"5"):
        refuse(name, f"is of the unknown kind {header.kind!a}")
    # Before 1988 a folder was a file whose name ends in a slash.
    is_folder = header.kind == b"5" or name.endswith("/")
    if is_folder:
        if size:
            refuse(name, "is a folder with content")
        return Member(name, True, False, ()), 0
    if header.mode & 0o6000:
        refuse(name, "has a setuid or setgid bit")
    source.check(size)
    return Member(name, False, bool(header.mode & 0o100), source.content(size)), size


class _Source:
    """The unpacked stream, which counts, and never holds more than a chunk."""

    def __init__(self, file: BinaryIO, limits: Limits, *, is_gzip: bool) -> None:
        self._packed = file
        self._stream: IO[bytes] = file
        if is_gzip:
            self._stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file))
        self._limits, self._is_gzip = limits, is_gzip
        self._read = 0
        self.given = 0
        self.name = "(first header)"

    def check(self, more: int) -> None:
        """Raise if `more` bytes would be too many; said before they are unpacked."""
        if self._read + more > self._limits.max_bytes:
            self._limits.check_bytes(self._read + more, self._read + more, self.name)

    def up_to(self, count: int) -> bytes:
        try:
            data = self._stream.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidArgument(
                f"The archive is damaged near {self.name[:200]!a}: {error}.", "Pack it again."
            ) from error
        self._read += len(data)
        packed = self._packed.tell() if self._is_gzip else self._read
        self._limits.check_bytes(self._read, packed, self.name)
        return data

    def exactly(self, count: int) -> bytes:
        data = self.up_to(count)
        if len(data) != count:
            refuse(self.name, "is cut off")
        return data

    def content(self, size: int) -> Iterator[bytes]:
        self.given = 0
        while self.given < size:
            chunk = self.exactly(min(_CHUNK_BYTES, size - self.given))
            self.given += len(chunk)
            yield chunk

    def drop(self, count: int) -> None:
        while count:
            count -= len(self.exactly(min(_CHUNK_BYTES, count)))

    def skip_padding(self, size: int) -> None:
        self.drop(-size % _BLOCK)
        self.given = 0


def _next_header(source: _Source) -> _Header | None:
    block = source.up_to(_BLOCK)
    if not block or block == bytes(_BLOCK):
        return None
    if len(block) < _BLOCK or not _checksum_is_right(block):
        raise InvalidArgument(
            f"The archive is not a tar, or damaged near {source.name[:200]!a}.",
            "Pack it as .tar.gz or .zip.",
        )
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    mode, size = _number(block[100:108], name), _number(block[124:136], name)
    return _Header(name, mode, size, block[156:157])


def _checksum_is_right(block: bytes) -> bool:
    field = block[148:156].strip(b" \0")
    if not field or any(digit not in b"01234567" for digit in field):
        return False
    return int(field, 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")


def _number(field: bytes, name: str) -> int:
    if field[0] & 0x80:  # GNU: base 256, for what octal digits cannot hold; 0xff is negative
        if field[0] != 0x80:
            refuse(name, "has a negative number in its header")
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        refuse(name, "has a header with a number that is none")
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    # An undecodable name becomes one with surrogates, which no plain name may have.
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _note(notes: dict[str, str], header: _Header, data: bytes) -> None:
    """Take from an extended header what changes a member; refuse what would make it special."""
    if header.kind == b"L":
        notes["path"] = _text(data)
        return
    for key, value in _records(header, data):
        if key == "linkpath" or key.startswith("GNU.sparse."):
            refuse(header.name, f"has the extended header {key!a}")
        if key in ("path", "size"):
            if header.kind == b"g":
                refuse(header.name, f"sets {key!a} for all members")
            if "\0" in value:
                refuse(value, "has a name with a NUL")
            notes[key] = value


def _records(header: _Header, data: bytes) -> Iterator[tuple[str, str]]:
    """Take ``LENGTH KEY=VALUE\\n`` records apart; the length counts the whole record."""
    at = 0
    while at < len(data):
        digits, space, _rest = data[at : at + 8].partition(b" ")
        if not space or not digits.isdigit():
            refuse(header.name, "has a damaged extended header")
        record = data[at : at + int(digits)]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != int(digits) or not equals or not record.endswith(b"\n"):
            refuse(header.name, "has a damaged extended header")
        yield key.decode("utf-8", "replace"), value.decode("utf-8", "surrogateescape")
        at += len(record)
