"""A bucket behind an fsspec URL: Azure, memory. S3 and Google's have modules of their own.

Bytes are first gathered on this machine and then sent in one call, so a source that breaks off
never starts an upload. Object stores show an upload when it is complete and not before.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from mlengine.core.errors import EngineError, FailedPrecondition, NotFound, Unavailable
from mlengine.storage.backends import Backend, ObjectInfo
from mlengine.storage.faults import from_os_error
from mlengine.storage.listing import walk
from mlengine.storage.paths import Backing, check_name

__all__ = ["FsspecBackend"]

_PACKAGES = {"az": "adlfs"}
_IN_ONE_CALL_BYTES = 64 * 1024**2
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


class FsspecBackend:
    """The objects beneath an fsspec URL.

    Raises:
        FailedPrecondition: The package for the scheme is not installed; the remedy installs it.
    """

    def __init__(self, backing: Backing, *, bucket: str) -> None:
        self._bucket, self._scheme = bucket, backing.scheme
        try:
            # Listings of another process's writes must be seen, so nothing is cached.
            self._fs: Any
            self._fs, base = fsspec.core.url_to_fs(str(backing), use_listings_cache=False)
        except ImportError as error:
            package = _PACKAGES.get(backing.scheme, backing.scheme)
            raise FailedPrecondition(
                f"Buckets on {backing.scheme}:// need the package '{package}'.",
                f"Run: pip install {package}",
            ) from error
        self._base = str(base).rstrip("/")

    def list(
        self, prefix: str = "", *, after: str = "", strict: bool = False
    ) -> Iterator[ObjectInfo]:
        def enter(name: str) -> _Listed | None:
            with self._faults(name):
                try:
                    rows = self._fs.ls(self._where(name), detail=True)
                except (FileNotFoundError, NotADirectoryError):
                    return None
                return _Listed(self._bucket, name, rows, where=self._where(name), strict=strict)

        return walk(enter, prefix=prefix, after=after)

    def stat(self, name: str) -> ObjectInfo:
        check_name(name)
        with self._faults(name):
            row = self._fs.info(self._where(name))
        if row["type"] != "file" or row.get("islink"):
            raise NotFound(f"gs://{self._bucket}/{name} was not found.", "It is not an object.")
        return _info(self._bucket, name, row)

    def open_read(self, name: str, *, offset: int = 0, single_link: bool = False) -> BinaryIO:
        self.stat(name)
        with self._faults(name):
            if self._scheme == "memory":
                # fsspec hands out its live buffer there; a reader must keep what it opened.
                file: Any = io.BytesIO(self._fs.cat_file(self._where(name)))
            else:
                file = self._fs.open(self._where(name), "rb")
            file.seek(offset)
            return cast(BinaryIO, file)

    def write(self, name: str, chunks: Iterable[bytes]) -> ObjectInfo:
        check_name(name)
        with tempfile.NamedTemporaryFile(prefix="mlengine-upload-") as spool:
            source = iter(chunks)
            # Pulled outside of `_faults`: an error of the source is the source's own.
            while (chunk := next(source, None)) is not None:
                with self._faults(name):
                    spool.write(chunk)
            with self._faults(name):
                spool.flush()
                self._send(Path(spool.name), name)
        return self.stat(name)

    def _send(self, spool: Path, name: str) -> None:
        where = self._where(name)
        if self._scheme in ("file", "memory"):
            self._fs.makedirs(where.rpartition("/")[0], exist_ok=True)
        size = spool.stat().st_size
        if self._scheme == "memory" or size <= _IN_ONE_CALL_BYTES:
            self._fs.pipe_file(where, spool.read_bytes())
        else:
            self._fs.put_file(str(spool), where)

    def delete(self, name: str) -> None:
        self.stat(name)
        with self._faults(name):
            self._fs.rm_file(self._where(name))

    def local_path(self, name: str) -> Path | None:
        return None

    def sweep(self, *, older_than_s: float, now_s: float) -> int:
        return 0  # the spool is an unnamed promise to this process only; it dies with it

    def _where(self, name: str) -> str:
        if not name:
            return self._base
        return f"{self._base}/{check_name(name.removesuffix('/'))}"

    @contextlib.contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        uri = f"gs://{self._bucket}/{name}"
        try:
            yield
        except EngineError:
            raise
        except OSError as error:
            raise from_os_error(error, uri) from error
        except Exception as error:  # each service has its own tree (botocore, aiohttp, azure)
            raise Unavailable(
                f"{uri} cannot be reached: {type(error).__name__}.",
                f"Check the credentials and network for {self._scheme}://.",
            ) from error


class _Listed:
    def __init__(
        self,
        bucket: str,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        where: str,
        strict: bool,
    ) -> None:
        self._bucket, self._name = bucket, name
        self._rows: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            full = str(row["name"]).rstrip("/")
            if full.strip("/") != where.strip("/"):  # some services list the folder in itself
                self._add(full.rpartition("/")[2], row, strict=strict)

    def _add(self, leaf: str, row: Mapping[str, Any], *, strict: bool) -> None:
        odd = row.get("islink") or row["type"] not in ("file", "directory")
        try:
            check_name(self._name + leaf)
        except EngineError:
            odd = True
        if not odd:
            self._rows[leaf + "/" * (row["type"] == "directory")] = row
        elif strict:
            raise FailedPrecondition(
                f"{leaf!a} in gs://{self._bucket}/{self._name} is not a plain object.",
                "Leave regular files with plain names only.",
            )

    def keys(self) -> list[str]:
        return [*self._rows]

    def info(self, key: str) -> ObjectInfo | None:
        return _info(self._bucket, self._name + key, self._rows[key])

    def close(self) -> None:
        self._rows.clear()


def _info(bucket: str, name: str, row: Mapping[str, Any]) -> ObjectInfo:
    moment = row.get("mtime") or row.get("LastModified") or row.get("last_modified")
    moment = moment or row.get("updated") or row.get("created") or _EPOCH
    if isinstance(moment, (int, float)):
        moment = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    elif isinstance(moment, str):
        moment = datetime.datetime.fromisoformat(moment)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return ObjectInfo(bucket, name, int(row["size"] or 0), moment)


_: type[Backend] = FsspecBackend
