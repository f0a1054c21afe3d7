"""Buckets for ``local train``: what a job's own programs reach them by, for who is nobody's job.

    a home has buckets ──▶ the variables, commands and helper of a job (`access`), in a temporary
                           folder ──▶ the helper starts with the first connection, ends with us

Who has no bucket, or has said by STORAGE_EMULATOR_HOST where the buckets are, gets nothing.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mlengine.core.resources import Bucket
from mlengine.runtime import envelope
from mlengine.runtime.sidecar import Sidecars
from mlengine.storage.sidecar.keys import pack_keys
from mlengine.training.access import Access, BucketAccess

__all__ = ["LocalAccess", "local_access"]

_EMULATOR = "STORAGE_EMULATOR_HOST"
_TAG = "local-train"


class LocalAccess:
    """The access of one run, and the helper behind it.

    Args:
        access: What the trainer's programs are told.
        folder: Where the helper's complaints go.
        environ: The environment that the helper's keys are in, if it needs any.
    """

    def __init__(self, access: Access, folder: Path, environ: Mapping[str, str]) -> None:
        self._access = access
        specs = [msgspec.to_builtins(sidecar) for sidecar in access.sidecars]
        takes_keys = any(sidecar.takes_keys for sidecar in access.sidecars)
        keys = envelope.seal(pack_keys(environ)) if takes_keys else None
        self._helpers = Sidecars(specs, folder, keys)
        self._selector = selectors.DefaultSelector()
        self._helpers.attach(self._selector, _TAG, lambda _text: None)

    def apply(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return a process's environment with the access in it."""
        return {**self._access.apply(env), **self._helpers.variables}

    def wait(self, pidfd: int, timeout_s: float | None) -> None:
        """Wait until a process has ended; meanwhile start the helper if somebody asks for it."""
        self._selector.register(pidfd, selectors.EVENT_READ)
        try:
            while True:
                ready = [key for key, _mask in self._selector.select(timeout_s)]
                for key in ready:
                    if key.data is not None and not key.data.read(key.fd):
                        self._selector.unregister(key.fd)
                if not ready or any(key.fd == pidfd for key in ready):
                    return
        finally:
            self._selector.unregister(pidfd)

    def close(self) -> None:
        """End the helper."""
        pids = self._helpers.pids
        self._helpers.end()
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
                self._helpers.note_exit(pid)
        self._selector.close()


class _Listing:
    """The buckets that are known to be backed elsewhere; `BucketAccess` asks for nothing else."""

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self._buckets = list(buckets)

    def list(self) -> list[Bucket]:
        return self._buckets


@contextlib.contextmanager
def local_access(
    root: Path, *, backed: Sequence[Bucket], project: str, environ: Mapping[str, str]
) -> Iterator[LocalAccess | None]:
    """Give a trainer on this machine a way to the buckets of a home; None where there are none.

    Args:
        root: The folder of those that are folders; it need not exist.
        backed: The buckets that are backed elsewhere, as far as an engine tells of them.
        project: What programs are told when they ask in which project they run.
    """
    there = root.is_dir() and any(path.is_dir() for path in root.iterdir())
    if _EMULATOR in environ or not (there or backed):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="mlengine-train-") as name:
        folder = Path(name)
        made = BucketAccess(_Listing(backed), root, folder, environ)
        access = LocalAccess(made.prepare(folder, project=project), folder, environ)
        try:
            yield access
        finally:
            access.close()
