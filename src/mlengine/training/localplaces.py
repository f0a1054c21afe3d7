"""What ``gs://`` becomes in what ``local train`` gives a trainer: the same as in a job.

a bucket of this home, or one that a folder backs     the real path, and a folder to write to
a trainer that reads ``gs://`` by itself              the URI, as it was written
any other bucket                                      the URI, as it was written
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mlengine.core.errors import EngineError, NotFound
from mlengine.core.resources import Bucket
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import is_uri, parse_backing, parse_uri
from mlengine.storage.sidecar.table import BucketSnapshot, JobBuckets
from mlengine.training.localise import localise
from mlengine.training.uris import ensure_folder, package_takes_uris_apart

__all__ = ["JobDir", "LocalPlaces", "local_places"]


class JobDir(NamedTuple):
    """A job's directory: how the trainer is told of it, and where it lies, as far as known."""

    argument: str
    place: str


class LocalPlaces:
    """The places of one run.

    Args:
        buckets: Those of this home; None: there are none.
        package: The trainer's folder.
        warn: Told why a place cannot be a path.
    """

    def __init__(
        self, buckets: Buckets | None, package: Path, *, warn: Callable[[str], None]
    ) -> None:
        self._buckets, self._package, self._warn = buckets, package, warn
        self._made: list[Path] = []

    @cached_property
    def _verbatim(self) -> bool:
        """Whether the trainer reads ``gs://`` by itself; asked of its files at the first URI."""
        return package_takes_uris_apart(self._package)

    def argument(self, text: str) -> str:
        """Return what the trainer gets for one of its arguments; new folders are made."""
        return localise(text, self._resolve)

    def job_dir(self, text: str) -> JobDir:
        """Return what the trainer gets for its job directory; nothing is made."""
        path = self._path(text) if is_uri(text) else None
        if path is None:
            return JobDir(text, text)
        slash = "/" * text.endswith("/")  # some join it to names as text
        return JobDir(text if self._verbatim else f"{path}{slash}", str(path))

    def release(self) -> None:
        """Remove the folders that were made and are empty still."""
        for folder in sorted(self._made, key=lambda one: len(one.parts), reverse=True):
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()

    def _resolve(self, uri: str) -> str | None:
        path = None if self._verbatim else self._path(uri)
        if path is None:
            return None
        self._made += ensure_folder(path)
        is_folder = uri.endswith("/") or "/" not in uri.removeprefix("gs://")
        return f"{path}/" if is_folder else str(path)

    def _path(self, uri: str) -> Path | None:
        if self._buckets is None:
            return None
        try:
            where = parse_uri(uri, wildcards=True)
            backing = self._buckets.get(where.bucket).backing
            if backing and parse_backing(backing).scheme != "file":
                return None  # its bytes are no files: the trainer may know how
            return self._buckets.local_path(where)
        except NotFound:
            return None  # a public bucket, likewise
        except EngineError as error:
            self._warn(f"{error.problem} The trainer gets this argument as it was written.")
            return None


@contextlib.contextmanager
def local_places(
    root: Path, package: Path, *, backed: Sequence[Bucket], warn: Callable[[str], None]
) -> Iterator[LocalPlaces]:
    """Give the places of a run, and remove afterwards what was made for it in vain.

    Args:
        root: The folder of the buckets of this home; it need not exist, and is not made.
        package: The trainer's folder.
        backed: The buckets that are backed elsewhere, as far as an engine tells of them.
    """
    buckets = JobBuckets(BucketSnapshot(root, backed), root) if root.is_dir() else None
    places = LocalPlaces(buckets, package, warn=warn)
    try:
        yield places
    finally:
        places.release()
