"""Members of a zip or whl, all judged by the central directory before the first is unpacked."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from mlengine.core.errors import InvalidArgument
from mlengine.storage.members import Limits, Member, refuse

__all__ = ["zip_members"]

_CHUNK_BYTES = 256 * 1024
_END, _END_BYTES, _MAX_COMMENT = b"PK\x05\x06", 22, 65_535
_DIRECTORY_BYTES_PER_FILE = 512  # of the central directory: 46 and a name; four times what is usual
_LOCAL_HEADER_BYTES = 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError)


def zip_members(file: BinaryIO, limits: Limits) -> Iterator[Member]:
    """Yield the members of a zip.

    Raises:
        InvalidArgument: It is damaged, encrypted, or holds what `archives.unpack` refuses.
    """
    _check_directory_size(file, limits)
    try:
        archive = zipfile.ZipFile(file)
    except (*_DAMAGE, UnicodeDecodeError) as error:
        raise InvalidArgument(f"The zip is damaged: {error}.", "Pack it again.") from error
    with archive:
        infos = archive.infolist()
        if len(infos) > limits.max_files:
            refuse(infos[limits.max_files].filename, f"is more than {limits.max_files} files")
        _check_sizes(infos, limits, packed=file.seek(0, os.SEEK_END))
        _check_overlap(infos)
        for info in infos:
            _check_kind(info)
        for info in infos:
            is_executable = bool(info.external_attr >> 16 & 0o100)
            yield Member(info.filename, info.is_dir(), is_executable, _content(archive, info))


def _check_directory_size(file: BinaryIO, limits: Limits) -> None:
    """Refuse a directory of a million entries before `zipfile` makes an object of each."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _END_BYTES - _MAX_COMMENT))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise InvalidArgument("The zip has no directory: it is cut off.", "Pack it again.")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if size == 0xFFFFFFFF or size > _DIRECTORY_BYTES_PER_FILE * limits.max_files:
        raise InvalidArgument(
            f"The zip has a directory of {size} bytes.", f"Pack at most {limits.max_files} files."
        )


def _check_sizes(infos: list[zipfile.ZipInfo], limits: Limits, *, packed: int) -> None:
    unpacked = 0
    for info in infos:
        unpacked += info.file_size
        limits.check_bytes(unpacked, packed, info.filename)


def _check_overlap(infos: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share packed bytes: that is how 10 MB become a petabyte."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            refuse(info.filename, "overlaps another member")
        name_bytes = len(info.orig_filename.encode("utf-8", "surrogateescape"))
        smallest = name_bytes if info.flag_bits & 0x800 else len(info.orig_filename)
        end = info.header_offset + _LOCAL_HEADER_BYTES + smallest + info.compress_size


def _check_kind(info: zipfile.ZipInfo) -> None:
    if not info.filename:  # `ZipInfo.is_dir` would end with an IndexError
        refuse("", "has no name")
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        refuse(info.filename, "is a link or a device")
    if (kind == stat.S_IFDIR) != info.is_dir() and kind:
        refuse(info.filename, "says both that it is a file and a folder")
    if mode & 0o6000 and not info.is_dir():
        refuse(info.filename, "has a setuid or setgid bit")
    if info.flag_bits & 0x1:
        refuse(info.filename, "is encrypted")
    if info.compress_type not in _METHODS:
        refuse(info.filename, "is packed with a method other than deflate")
    if "\0" in info.orig_filename:
        refuse(info.orig_filename, "has a name with a NUL")
    if info.is_dir() and info.file_size:
        refuse(info.filename, "is a folder with content")


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Unpack one member; `zipfile` stops at the declared size and compares the checksum."""
    try:
        with archive.open(info) as stream:
            left = info.file_size
            while chunk := stream.read(min(_CHUNK_BYTES, left + 1)):
                left -= len(chunk)
                yield chunk
    except _DAMAGE as error:
        refuse(info.filename, f"is damaged ({error})")
    if left:
        refuse(info.filename, "is shorter than its directory entry says")
