"""A sealed envelope: words that pass through processes which never open it, to one that may.

The words lie in a Unix socket whose other end is closed: in no file, environment or argument, and
in the memory of no process that only carries the descriptor. Unlike a pipe or a file without a
name it cannot be opened by its path in ``/proc/PID/fd``; whoever is to have it inherits it. Being
looked into leaves the words where they are, for the next one.

Standard library only, Python >= 3.7, Linux.
"""

from __future__ import annotations

import os
import socket

__all__ = ["MAX_BYTES", "look", "seal"]

MAX_BYTES = 64 * 1024
"""Far below what any system's socket holds."""


def seal(words: bytes) -> socket.socket:
    """Put words into an envelope; it is gone once every copy of the descriptor is closed.

    Raises:
        ValueError: They are too many.
    """
    if len(words) > MAX_BYTES:
        raise ValueError(f"an envelope holds {MAX_BYTES} bytes, not {len(words)}")
    inside, envelope = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with inside:
        inside.send(words)
    return envelope


def look(descriptor: int) -> bytes:
    """Return the words, and leave them there.

    Example:
        >>> with seal(b"words") as envelope:
        ...     look(envelope.fileno()), look(envelope.fileno())
        (b'words', b'words')
    """
    with socket.socket(fileno=os.dup(descriptor)) as envelope:
        return envelope.recv(MAX_BYTES, socket.MSG_PEEK)
