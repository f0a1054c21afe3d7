"""The socket that a worker listens on: given by who started it, or made."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

__all__ = ["listen"]


def listen(path: Path) -> socket.socket:
    """Listen on the socket that is standard input, as an engine gives it; without one, make it."""
    listener = _given(path) or _made(path)
    listener.listen(512)
    listener.setblocking(False)
    return listener


def _given(path: Path) -> socket.socket | None:
    """Take the socket that was bound for a worker which may open none itself."""
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return None
    given = socket.socket(fileno=os.dup(0))
    if given.family != socket.AF_UNIX or given.getsockname() != str(path):
        given.close()
        return None
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return given


def _made(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # the socket must never exist with wider rights, not for a moment
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener
