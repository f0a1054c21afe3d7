"""How far something is, on stderr, when a person is looking."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from mlengine.cli.output.escape import printable

__all__ = ["meter", "show"]

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
    sys.stderr.write(f"\r{printable(label, newline=' ')[:60]}  {min(percent, 100):3d} %")
    sys.stderr.flush()
