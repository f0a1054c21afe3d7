"""The folder that a worker may write to, seen from outside: nothing in it is believed.

What lies there was written by a model. It may be huge, a link to somewhere, a pipe that nobody
writes to, ten thousand folders deep. So it is never written to once the worker runs, files are read
as plain ones up to a size, and a new start gets a new folder: who was confined to the old one, and
is still there, cannot reach it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path

__all__ = ["held_bytes", "make_anew", "read_plain", "remove", "trim"]

_MOST_ENTRIES = 20_000
_ENTRY_BYTES = 4096
_KEPT_BYTES = 1 << 20


def make_anew(folder: Path) -> None:
    """Replace a folder by an empty one; what the old one held is removed meanwhile.

    Raises:
        OSError: The disk is full.
    """
    with contextlib.suppress(FileNotFoundError):
        old = folder.with_name(f".old-{os.urandom(6).hex()}")
        folder.rename(old)
        threading.Thread(target=remove, args=(old,), name="worker-remains", daemon=True).start()
    folder.mkdir(mode=0o700)


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, however deep; again is harmless."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # deeper than a stack of Python's
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)


def read_plain(path: Path, most: int = 1 << 20) -> bytes | None:
    """Return what a plain file holds; None when it is missing, something else, or longer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > most:
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)


def held_bytes(folder: Path, most: int) -> int:
    """Return what the files below a folder take of the disk; any number above `most` is that."""
    total, entries, pending = 0, 0, [str(folder)]
    while pending and total <= most:
        try:
            with os.scandir(pending.pop()) as listed:
                for entry in listed:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if total > most or entries > _MOST_ENTRIES:
                        return most + 1
        except FileNotFoundError:  # it was removed meanwhile
            continue
        except OSError:  # too deep to be named, or closed on purpose
            return most + 1
        total += _ENTRY_BYTES
    return total


def trim(log: Path, most: int) -> bool:
    """Cut a log that has grown too long, which its writer goes on appending to.

    Its last part is kept beside it, as that of a worker before would be.
    """
    try:
        size = log.stat().st_size
        if size <= most:
            return False
        with open(log, "r+b") as file:
            file.seek(max(size - _KEPT_BYTES, 0))
            kept = file.read(_KEPT_BYTES)
            file.truncate(0)
        before = log.with_name(log.name + ".1")
        with os.fdopen(os.open(before, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(kept)
        with open(log, "ab") as file:
            file.write(b"[mlengine] the log was too long: what came before is in part in %s\n"
                       % os.fsencode(before.name))  # fmt: skip
    except OSError:
        return False
    return True
