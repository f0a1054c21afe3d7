"""Small files that nobody ever sees half-written.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["sync_folder", "write_whole"]


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Make or replace a file that only its owner may read, also while it is being written.

    Who reads it sees what it was or what it will be. Several may write it at once: one wins.

    Args:
        durable: A power cut after the return changes nothing any more. It costs two waits for the
            disk, of some milliseconds each.

    Raises:
        OSError: It cannot be written, as on a full disk; it is what it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder, "token"), b"secret")
        ...     Path(folder, "token").read_bytes(), os.listdir(folder)
        (b'secret', ['token'])
    """
    aside = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(str(aside), flags, 0o600), "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(str(folder), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
