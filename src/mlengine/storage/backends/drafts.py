"""An object of a folder that is still being written, for writers that hold it over many calls."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.storage import staging
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.faults import from_os_error

__all__ = ["ObjectDraft", "object_info", "write_faults"]


class ObjectDraft:
    """An object that is being written: see `staging.Draft`."""

    def __init__(self, draft: staging.Draft, bucket: str, name: str) -> None:
        self._draft, self._bucket, self.name = draft, bucket, name

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._draft.size

    def append(self, chunk: bytes) -> None:
        """Write on at the end; when it raises, nothing of the chunk is there."""
        with self._faults():
            self._draft.append(chunk)

    def chunks(self, size: int) -> Iterator[bytes]:
        """Read what has been written so far."""
        at = 0
        while at < self.size:
            with self._faults():
                chunk = os.pread(self._draft.fd, min(size, self.size - at), at)
            if not chunk:
                return
            yield chunk
            at += len(chunk)

    def settle(self) -> None:
        """Make the bytes durable."""
        with self._faults():
            self._draft.settle()

    def dated(self, changed_ns: int) -> ObjectInfo:
        """Give the file its time and return the object as it will be when it is published."""
        with self._faults():
            os.utime(self._draft.fd, ns=(changed_ns, changed_ns))
            return object_info(self._bucket, self.name, os.fstat(self._draft.fd))

    def publish(self) -> ObjectInfo:
        """Let the object appear, or replace the one that is there."""
        with self._faults():
            return object_info(self._bucket, self.name, self._draft.publish())

    def close(self) -> None:
        """End it; what was not published goes."""
        with self._faults():
            self._draft.close()

    def _faults(self) -> contextlib.AbstractContextManager[None]:
        return write_faults(f"gs://{self._bucket}/{self.name}")


@contextlib.contextmanager
def write_faults(uri: str) -> Iterator[None]:
    """Raise what a failed system call means to the writer of `uri`."""
    try:
        yield
    except NotADirectoryError as error:
        raise FailedPrecondition(
            f"A folder of {uri} is an object.",
            "Choose another name, or remove that object first.",
        ) from error
    except FileNotFoundError as error:
        raise NotFound(
            f"{uri} cannot be written: the folder of its bucket is gone.",
            "If the bucket was deleted meanwhile, make it anew, then write again.",
        ) from error
    except OSError as error:
        raise from_os_error(error, uri) from error


def object_info(bucket: str, name: str, status: os.stat_result) -> ObjectInfo:
    """Return what a file's status says of the object."""
    updated = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC)
    return ObjectInfo(
        bucket, name, status.st_size, updated, inode=status.st_ino, changed_ns=status.st_mtime_ns
    )
