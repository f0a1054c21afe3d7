"""What an object store remembers of an object and a file cannot say: its type, its own metadata.

Records lie beside the buckets, never in them. A record is filed under the file's inode and time, so

- a file that a trainer wrote over or put there itself simply has none: it is a proper object with
  nothing special about it;
- a writer files the record of what it is about to publish first: the rename shows both at once,
  and whoever still reads the old object finds the old record.

A home that was copied has other inodes: records are then found by name and time, and filed anew.

    BUCKET/<inode>-<time>.json     of objects
    BUCKET/place                   this folder's own inode, as long as all are filed by inode
    BUCKET/folders.json            objects whose name ends in a slash: folders that somebody made
    BUCKET/locks/N                 for whoever changes an object; names share them by hash
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mlengine.storage.backends import ObjectInfo
from mlengine.storage.faults import from_os_error

__all__ = ["ObjectRecord", "Records"]

_T = TypeVar("_T")

_FOLDERS = "folders.json"
_PLACE = "place"
_LOCKS = 8
_NS = 10**9
_FILE_NAME = re.compile(r"[0-9a-f]+-([0-9a-f]+)\.json", re.ASCII)


class ObjectRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one object; empty text where nothing was said.

    `generation` is for folders only: an object's own is the time of its file.
    """

    name: str = ""
    content_type: str = ""
    content_encoding: str = ""
    content_disposition: str = ""
    content_language: str = ""
    cache_control: str = ""
    custom_time: str = ""
    metadata: dict[str, str] = {}
    metageneration: int = 1
    updated_ns: int = 0
    md5: str = ""
    crc32c: str = ""
    component_count: int = 0
    generation: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether nothing is said of the object but what its bytes say."""
        said = (
            self.content_type,
            self.content_encoding,
            self.content_disposition,
            self.content_language,
            self.cache_control,
            self.custom_time,
            self.metadata,
        )
        return not any(said)


class Records:
    """The records of one bucket; processes may share them.

    Args:
        folder: Made with the bucket, or when the first record is.
        what: Whose records they are, for messages: ``gs://census``.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what

    def prepare(self) -> None:
        """Make what is locked to change an object: on a full disk one may still be removed.

        To be called where there are no records yet, or after `sweep`.

        Raises:
            OSError: It cannot be made.
        """
        for number in range(_LOCKS + 1):
            os.close(self._lock(number))
        if not self._is_settled:
            (self._folder / _PLACE).write_text(self._place())

    def of(self, info: ObjectInfo) -> ObjectRecord:
        """Return the record of what `info` saw; an empty one where there is none."""
        found = self._read(_file_name(info), ObjectRecord) or self._of_copied(info)
        return found or ObjectRecord(name=info.name)

    def put(self, info: ObjectInfo, record: ObjectRecord) -> None:
        """File a record for an object, before it is published or after."""
        self._write(_file_name(info), msgspec.json.encode(record))

    def drop(self, info: ObjectInfo) -> None:
        """Forget the record of what `info` saw."""
        (self._folder / _file_name(info)).unlink(missing_ok=True)

    def folders(self) -> dict[str, ObjectRecord]:
        """Return the folders that somebody made, by name."""
        return self._read(_FOLDERS, dict[str, ObjectRecord]) or {}

    def set_folder(self, name: str, record: ObjectRecord | None) -> None:
        """Remember a folder, or forget it."""
        with self.locked(""):
            folders = self.folders()
            if record is not None:
                folders[name] = record
            elif folders.pop(name, None) is None:
                return
            self._write(_FOLDERS, msgspec.json.encode(folders))

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keep everybody else from changing an object; ``""`` is for the table of folders."""
        with self._held(zlib.crc32(name.encode()) % _LOCKS if name else _LOCKS):
            yield

    @contextlib.contextmanager
    def all_locked(self) -> Iterator[None]:
        """Keep everybody else from changing any object; who calls holds none of the locks yet."""
        with contextlib.ExitStack() as stack:
            # In the order in which those take them who need an object's and that of the folders.
            for number in range(_LOCKS + 1):
                stack.enter_context(self._held(number))
            yield

    @contextlib.contextmanager
    def _held(self, number: int) -> Iterator[None]:
        with self._faults():
            fd = self._lock(number)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _lock(self, number: int) -> int:
        locks = self._folder / "locks"
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(locks / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def sweep(
        self, stat: Callable[[str], ObjectInfo | None], *, older_than_s: float, now_s: float
    ) -> int:
        """Remove records of objects that have gone past us; return how many.

        Those of objects that were copied are filed anew.
        """
        removed = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name in (_FOLDERS, _PLACE) or not entry.is_file(follow_symlinks=False):
                    continue
                record = self._read(entry.name, ObjectRecord)
                info = stat(record.name) if record is not None and record.name else None
                if info is not None and self._is_filed(entry.name, info):
                    continue
                if now_s - entry.stat(follow_symlinks=False).st_mtime >= older_than_s:
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
        return removed

    def _is_filed(self, name: str, info: ObjectInfo) -> bool:
        """Return whether a record's file is that of an object, if need be by making it that."""
        filed = _file_name(info)
        if name == filed:
            return True
        if not _has_time(name, info.changed_ns) or (self._folder / filed).exists():
            return False
        (self._folder / name).replace(self._folder / filed)
        return True

    def _of_copied(self, info: ObjectInfo) -> ObjectRecord | None:
        """Return the record of an object that got another inode, and file it anew."""
        if self._is_settled:
            return None
        for name in self._by_second.get(info.changed_ns // _NS, ()):
            record = self._read(name, ObjectRecord) if _has_time(name, info.changed_ns) else None
            if record is not None and record.name == info.name:
                with contextlib.suppress(OSError):  # it is found in this way the next time, too
                    (self._folder / name).replace(self._folder / _file_name(info))
                return record
        return self._read(_file_name(info), ObjectRecord)  # somebody else may have been first

    @functools.cached_property
    def _is_settled(self) -> bool:
        """Whether no record is filed under an inode of the place from which all was copied."""
        try:
            return (self._folder / _PLACE).read_text() == self._place()
        except OSError:
            return False

    def _place(self) -> str:
        return f"{self._folder.stat().st_ino:x}"

    @functools.cached_property
    def _by_second(self) -> dict[int, list[str]]:
        """The records' files by the seconds of their times, which need not be read for that."""
        found: dict[int, list[str]] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if (time_ns := _time_ns(entry.name)) is not None:
                    found.setdefault(time_ns // _NS, []).append(entry.name)
        return found

    def _read(self, name: str, cls: type[_T]) -> _T | None:
        try:
            return msgspec.json.decode((self._folder / name).read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None  # never filed, or not by us: the object is there all the same
        except OSError as error:
            raise from_os_error(error, f"the records of {self._what}") from error

    def _write(self, name: str, content: bytes) -> None:
        temporary = self._folder / f".{secrets.token_hex(8)}"
        with self._faults():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(temporary, "xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self._folder / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(error, f"the records of {self._what}") from error


def _file_name(info: ObjectInfo) -> str:
    return f"{info.inode:x}-{info.changed_ns:x}.json"


def _time_ns(file_name: str) -> int | None:
    """Return the time of the object that a record's file is for."""
    match = _FILE_NAME.fullmatch(file_name)
    return int(match[1], 16) if match else None


def _has_time(file_name: str, changed_ns: int) -> bool:
    """Return whether a record's file is for that time, or for one that tar cut to the second."""
    time_ns = _time_ns(file_name)
    if time_ns is None or changed_ns % _NS:
        return time_ns == changed_ns
    return time_ns // _NS == changed_ns // _NS
