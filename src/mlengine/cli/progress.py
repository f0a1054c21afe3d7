"""How far something is, on stderr, when a person is looking."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from mlengine.cli.output.escape import printable

__all__ = ["clear", "count", "meter", "show"]

_WORTH_SHOWING_BYTES = 8 << 20


def meter(chunks: Iterator[bytes], *, label: str, total_bytes: int) -> Iterator[bytes]:
    """Pass chunks on; on a terminal show how much of a large file has gone by."""
    visible = sys.stderr.isatty() and total_bytes >= _WORTH_SHOWING_BYTES
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if visible:
            show(label, done, total_bytes)
    if visible:
        sys.stderr.write("\n")


def show(label: str, done_bytes: int, total_bytes: int) -> None:
    """Draw one line over the last one."""
    percent = 100 * done_bytes // max(total_bytes, 1)
    sys.stderr.write(f"\r{printable(label, newline=' ')[:60]}  {min(percent, 100):3d} %\033[K")
    sys.stderr.flush()


def count(label: str, number: int) -> None:
    """Draw which of many small things it is now, over the last one."""
    sys.stderr.write(f"\r{number:7d}  {printable(label, newline=' ')[:60]}\033[K")
    sys.stderr.flush()


def clear() -> None:
    """Take away what was drawn last."""
    sys.stderr.write("\r\033[K")
    sys.stderr.flush()
