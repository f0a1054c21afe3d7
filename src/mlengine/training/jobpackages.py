"""The packages that a job was submitted with, fetched once for all of its attempts.

    <job>/packages/<name>    the archives, from the first attempt until the job is over

They commonly lie below the job directory, which many a trainer empties before it begins: an attempt
that fetched them anew would fail for what the one before it did.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mlengine.core.errors import NotFound
from mlengine.storage import Buckets
from mlengine.storage.paths import BucketPath, parse_uri
from mlengine.training.places import is_local, remote_trouble

__all__ = ["drop_packages", "job_packages"]

_KEPT = "packages"
_CHUNK_BYTES = 1 << 20


def job_packages(
    buckets: Buckets, uris: Sequence[str], job_dir: Path, log: Callable[[str], None]
) -> list[Path]:
    """Return a job's archives on this machine, in order; fetch them unless that was done.

    Args:
        buckets: Where they are.
        uris: Where the job says that they are.
        job_dir: The folder of all its attempts.
        log: Told of each that is fetched.

    Raises:
        NotFound: One is gone.
        NotYet: An object store does not answer.
    """
    sources = [parse_uri(uri, field="training_input.package_uris") for uri in uris]
    kept = job_dir / _KEPT
    if not kept.is_dir():
        with tempfile.TemporaryDirectory(
            prefix=f"{_KEPT}-", dir=job_dir, ignore_cleanup_errors=True
        ) as folder:
            whole = Path(folder) / _KEPT
            whole.mkdir(mode=0o700)
            for source in sources:
                log(f"Downloading the package: {source}")
                _fetch(buckets, source, whole / Path(source.name).name)
            _put(whole, kept)
    return [kept / Path(source.name).name for source in sources]


def drop_packages(job_dir: Path) -> None:
    """Remove the archives of a job that is over, and what a killed engine left of them."""
    for folder in job_dir.glob(f"{_KEPT}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _put(whole: Path, kept: Path) -> None:
    """Make all of them a job's own at once, unless another engine has: they are the same.

    One that led before may still have been at it when the one that leads now began.
    """
    try:
        whole.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


def _fetch(buckets: Buckets, source: BucketPath, path: Path) -> None:
    away = contextlib.nullcontext() if is_local(buckets, source.bucket) else remote_trouble()
    try:
        with away, buckets.open_read(source) as data, path.open("wb") as out:
            while chunk := data.read(_CHUNK_BYTES):
                out.write(chunk)
    except NotFound:
        raise NotFound(
            f"The job's package {source} is gone. It was there when the job was submitted; a "
            "trainer that empties its job directory takes the packages of others below it along.",
            "Submit again with --package-path, which uploads it, and with --staging-bucket, which "
            "keeps it out of the job directory.",
            field="training_input.package_uris",
        ) from None
