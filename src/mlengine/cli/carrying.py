"""What a person sees of files on their way: which it is now, and how far it came."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from mlengine.cli.session import Session
from mlengine.core.sizes import size_text

if TYPE_CHECKING:
    from mlengine.storage.sources import File
    from mlengine.storage.transfer import CopyStep

__all__ = ["carry", "comparing", "progress_of"]


def progress_of(session: Session, what: str) -> Callable[[CopyStep, int], None] | None:
    """Return what shows how far a step is; None where nobody looks, or wants to."""
    if session.flags.quiet or not sys.stderr.isatty():
        return None
    from mlengine.cli.progress import show

    def tell(step: CopyStep, done_bytes: int) -> None:
        show(f"{what} {step.source}", done_bytes, step.size)
        if done_bytes >= step.size:
            sys.stderr.write("\n")

    return tell


@contextlib.contextmanager
def comparing(session: Session) -> Iterator[Callable[[File], None]]:
    """Give what shows which of many files is compared now, where somebody looks and wants to."""
    if session.flags.quiet or not sys.stderr.isatty():
        yield lambda file: None
        return
    from mlengine.cli.progress import clear, count

    numbers = itertools.count(1)
    yield lambda file: count(f"Comparing {file.relative}", next(numbers))
    clear()


def carry(
    session: Session, steps: Iterable[CopyStep], run: Callable[[CopyStep], int], *, again: str
) -> tuple[int, int]:
    """Run each step; return how many there were, and their bytes.

    Args:
        session: Of the command; tells who interrupts it how far it came.
        steps: What is to be done.
        run: Does one of them, and returns its bytes.
        again: What does the rest.
    """
    count = size = 0
    try:
        for step in steps:
            size += run(step)
            count += 1
    except KeyboardInterrupt:
        noun = "file was" if count == 1 else "files were"
        session.say(f"\n{count} {noun} done ({size_text(size)}); {again}.")
        raise
    return count, size
