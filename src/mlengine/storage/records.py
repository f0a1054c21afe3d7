"""What an object store remembers of an object and a file cannot say: its type, its own metadata.

Records lie beside the buckets, never in them. A record is filed under the file's inode and time, so

- a file that a trainer wrote over or put there itself simply has none: it is a proper object with
  nothing special about it;
- a writer files the record of what it is about to publish first: the rename shows both at once,
  and whoever still reads the old object finds the old record.

    BUCKET/<inode>-<time>.json     of objects
    BUCKET/folders.json            objects whose name ends in a slash: folders that somebody made
    BUCKET/locks/N                 for whoever changes an object; names share them by hash
"""

from __future__ import annotations

import contextlib
import fcntl
import os
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
_LOCKS = 8


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

        Raises:
            OSError: It cannot be made.
        """
        for number in range(_LOCKS + 1):
            os.close(self._lock(number))

    def of(self, info: ObjectInfo) -> ObjectRecord:
        """Return the record of what `info` saw; an empty one where there is none."""
        return self._read(_file_name(info), ObjectRecord) or ObjectRecord(name=info.name)

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
        """Remove records of objects that have gone past us; return how many."""
        removed = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name == _FOLDERS or not entry.is_file(follow_symlinks=False):
                    continue
                if now_s - entry.stat(follow_symlinks=False).st_mtime < older_than_s:
                    continue
                record = self._read(entry.name, ObjectRecord)
                info = stat(record.name) if record is not None and record.name else None
                if info is None or _file_name(info) != entry.name:
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
        return removed

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
