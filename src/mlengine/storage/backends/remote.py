"""A bucket in an object store: Google Cloud Storage, S3, and what speaks like them.

Bytes are first gathered on this machine and then sent, so a source that breaks off never starts an
upload. Such stores show an object when it is complete and not before, list names in order, and go
on behind any name: nothing is cached here, and a listing holds one page.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mlengine.core.errors import (
    Aborted,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from mlengine.storage.backends import Backend, ObjectInfo
from mlengine.storage.backends.remotes import RemoteObject, RemoteStore, Spool
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import Backing, check_name
from mlengine.storage.records import ObjectRecord

__all__ = ["REMOTE_SCHEMES", "RemoteBackend", "RemoteBackends", "open_remote", "remote_file"]

REMOTE_SCHEMES = ("gcs", "s3")

_RESUMES = 5
_REPLACED = 20
_SWEEP_EVERY_S = 3600.0
_UPLOAD_S = 24 * 3600.0  # one over a thin line may take long


def open_remote(backing: Backing, *, bucket: str) -> RemoteBackend:
    """Open the store behind a bucket; it is not asked for anything yet.

    Raises:
        FailedPrecondition: The package for the scheme is not installed; the remedy installs it.
    """
    place, _slash, base = backing.path.partition("/")
    base = base + "/" if base else ""

    def naming(name: str) -> str:
        return f"gs://{bucket}/{name}"

    store: RemoteStore
    try:
        if backing.scheme == "gcs":
            from mlengine.storage.backends.gcs import GcsStore  # each needs its own packages

            store = GcsStore(place, base, naming)
        else:
            from mlengine.storage.backends.s3 import S3Store

            store = S3Store(place, base, naming)
    except ImportError:
        raise FailedPrecondition(
            f"Buckets on {backing.scheme}:// need packages that are not installed.",
            f"Run: pip install 'mlengine[{backing.scheme}]'",
        ) from None
    return RemoteBackend(store, bucket=bucket)


class RemoteBackend:
    """The objects of one store; `store` is for who needs versions and preconditions."""

    def __init__(self, store: RemoteStore, *, bucket: str) -> None:
        self.store, self._bucket = store, bucket

    def list(
        self, prefix: str = "", *, after: str = "", strict: bool = False
    ) -> Iterator[ObjectInfo]:
        folder = prefix[: prefix.rfind("/") + 1]
        if folder:
            check_name(folder.removesuffix("/"))
        for page in self.store.pages(prefix, after=after):
            for found in page:
                if _is_plain(found, self._bucket, strict=strict):
                    yield self._info(found)

    def stat(self, name: str) -> ObjectInfo:
        return self._info(self.store.head(check_name(name)))

    def open_read(self, name: str, *, offset: int = 0, single_link: bool = False) -> BinaryIO:
        for _turn in range(_REPLACED):
            with contextlib.suppress(Aborted):  # replaced since we looked at it
                return remote_file(self.store, self.store.head(check_name(name)), offset=offset)
        raise Unavailable(f"{self._uri(name)} is replaced over and over.", "Read it later.")

    def write(self, name: str, chunks: Iterable[bytes]) -> ObjectInfo:
        check_name(name)
        with contextlib.closing(Spool()) as spool:
            for chunk in chunks:
                try:
                    spool.append(chunk)
                except OSError as error:
                    raise from_os_error(error, self._uri(name)) from error
            return self._info(self.store.put(name, spool, ObjectRecord()))

    def delete(self, name: str) -> None:
        self.store.head(check_name(name))
        self.store.delete(name)

    def local_path(self, name: str) -> Path | None:
        return None

    def sweep(self, *, older_than_s: float, now_s: float) -> int:
        before = datetime.datetime.fromtimestamp(max(now_s - older_than_s, 0.0), datetime.UTC)
        return self.store.abort_unfinished(before=before)

    def _info(self, found: RemoteObject) -> ObjectInfo:
        return ObjectInfo(self._bucket, found.name, found.size, found.updated)

    def _uri(self, name: str) -> str:
        return f"gs://{self._bucket}/{name}"


class RemoteBackends:
    """The stores that a process has opened, with their connections: they are kept. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, Backing], RemoteBackend] = {}
        self._swept_s: dict[RemoteBackend, float] = {}

    def open(self, backing: Backing, *, bucket: str) -> RemoteBackend:
        """Return the store behind a bucket; see `open_remote`."""
        with self._lock:
            backend = self._open.get((bucket, backing))
            if backend is None:
                backend = self._open[bucket, backing] = open_remote(backing, bucket=bucket)
            return backend

    def sweep_aside(self, backend: RemoteBackend, *, older_than_s: float, now_s: float) -> None:
        """Sweep a store once an hour, and let nobody wait for one that is away."""

        def sweep() -> None:
            with contextlib.suppress(EngineError):
                backend.sweep(older_than_s=max(older_than_s, _UPLOAD_S), now_s=now_s)

        with self._lock:
            if now_s - self._swept_s.get(backend, 0.0) < _SWEEP_EVERY_S:
                return
            self._swept_s[backend] = now_s
        threading.Thread(target=sweep, name="sweep", daemon=True).start()


def remote_file(store: RemoteStore, found: RemoteObject, *, offset: int = 0) -> BinaryIO:
    """Open exactly this object; whoever replaces it then does not disturb us.

    Raises:
        Aborted: It was replaced already.
    """
    return cast(BinaryIO, io.BufferedReader(_RemoteFile(store, found, offset), 1 << 20))


class _RemoteFile(io.RawIOBase):
    """One stream after another: a new one after a jump, and after a connection that broke."""

    def __init__(self, store: RemoteStore, found: RemoteObject, at: int) -> None:
        self._store, self._found, self._at = store, found, at
        self._stream = store.read(found, at) if at < found.size else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.size}[whence]
        if start + offset != self._at:
            self._hang_up()
            self._at = max(start + offset, 0)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left = self._found.size - self._at
        if left <= 0:
            return 0
        chunk = self._next(min(len(buffer), left))
        buffer[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)

    def _next(self, size: int) -> bytes:
        problem = "its connection broke"
        for _turn in range(_RESUMES):
            try:
                if self._stream is None:
                    self._stream = self._store.read(self._found, self._at)
                if chunk := self._stream.read(size):
                    return chunk
                problem = "it ended early"
            except Unavailable as error:
                problem = error.problem.rstrip(".")
            self._hang_up()
        raise Unavailable(f"{self._found.name} could not be read whole: {problem}.", "Try again.")

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        self._hang_up()
        super().close()


def _is_plain(found: RemoteObject, bucket: str, *, strict: bool) -> bool:
    """Return whether an object's name is one that a URI can say.

    An empty object whose name ends in a slash stands for a folder: consoles make them.
    """
    try:
        check_name(found.name)
    except InvalidArgument:
        if strict and not (found.name.endswith("/") and not found.size) and found.name:
            raise FailedPrecondition(
                f"The object {found.name!a} in gs://{bucket} has a name that no URI can say.",
                "Leave objects with plain names only.",
            ) from None
        return False
    return True


_: type[Backend] = RemoteBackend
