"""Buckets for ``local train``: what a job's own programs reach them by, for who is nobody's job.

    a home has buckets ──▶ the variables, commands and helper of a job (`access`), in a temporary
                           folder ──▶ the helper starts with the first connection, ends with us

Who has no bucket, or has said by STORAGE_EMULATOR_HOST where the buckets are, gets nothing.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import tempfile
import time
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
        self._running: dict[int, int] = {}  # descriptor → process id
        self._helpers.attach(self._selector, _TAG, _warn)

    def apply(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return a process's environment with the access in it."""
        return {**self._access.apply(env), **self._helpers.variables}

    def wait(self, pidfd: int, timeout_s: float | None) -> None:
        """Wait until a process has ended; meanwhile start the helper whenever somebody asks for it.

        One that dies is said so, and started again by the next who asks, as a job's is.
        """
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._selector.register(pidfd, selectors.EVENT_READ)
        try:
            while True:
                left_s = None if until_s is None else max(until_s - time.monotonic(), 0.0)
                ready = [key for key, _mask in self._selector.select(left_s)]
                for key in ready:
                    if key.fd in self._running:
                        self._collect(key.fd)
                    elif key.data is not None and not key.data.read(key.fd):
                        self._selector.unregister(key.fd)
                        self._watch()
                if not ready or any(key.fd == pidfd for key in ready):
                    return
        finally:
            self._selector.unregister(pidfd)

    def _watch(self) -> None:
        """Notice the end of what was started; what could not be may be tried again."""
        for pid in set(self._helpers.pids) - set(self._running.values()):
            descriptor = os.pidfd_open(pid)
            self._running[descriptor] = pid
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._helpers.tend()

    def _collect(self, descriptor: int) -> None:
        """Take the helper's end: its port is watched again."""
        pid = self._running.pop(descriptor)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        _code, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        _warn(f"The helper that shows the trainer its buckets ended ({code}); it is started anew.")
        self._helpers.note_exit(pid)

    def close(self) -> None:
        """End the helper."""
        self._helpers.end()
        for descriptor, pid in self._running.items():
            os.close(descriptor)
            os.waitpid(pid, 0)
            self._helpers.note_exit(pid)
        self._selector.close()


def _warn(text: str) -> None:
    print(f"WARNING: {text}", file=sys.stderr, flush=True)


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
