"""Removes environments that nobody needs: those used longest ago first.

A layer is of no use without the runtime under it, so a runtime goes only when its layers have
gone, and stays while one of them is in use.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.environments.shelf import Entry, Shelf

__all__ = ["GRACE_S", "delete_all", "evict_oldest"]

GRACE_S = 600.0
"""How long, in seconds, an environment is safe after it was asked for: it may not be named by any
job's files yet."""


def evict_oldest(
    shelf: Shelf, keep_bytes: int, *, in_use: Collection[Path], grace_s: float = GRACE_S
) -> int:
    """Remove what was used longest ago until the rest fits; return the bytes freed.

    Args:
        shelf: Where they are.
        keep_bytes: What may stay.
        in_use: Folders that must stay, with what is below them.
        grace_s: What was asked for within so many seconds stays too.
    """
    entries = shelf.entries()
    kept = _needed(entries, in_use)
    young_s = time.time() - grace_s
    excess = sum(entry.size_bytes for entry in entries) - keep_bytes
    freed = 0
    for entry in sorted(entries, key=lambda entry: _age(entry, entries)):
        if freed >= excess:
            break
        over = [other for other in entries if other.facts.get("base") == str(entry.path)]
        if entry.path in kept or entry.used_s > young_s or over:
            continue
        if shelf.evict(entry):
            entries.remove(entry)
            freed += entry.size_bytes
    return freed


def delete_all(shelf: Shelf, runtime: str, *, in_use: Collection[Path]) -> None:
    """Remove every environment of a runtime, whether its own or a layer.

    What stands in for a runtime is that runtime's, not the one's that it is made of.

    Raises:
        NotFound: There is none.
        FailedPrecondition: One is in use, or is being built on.
    """
    entries = shelf.entries()
    own = {str(entry.path) for entry in entries if _serves(entry) == runtime}
    mine = [entry for entry in entries if {str(entry.path), entry.facts.get("base")} & own]
    if not mine:
        raise NotFound(
            f"The runtime '{runtime}' is not built.", "See 'mlengine runtimes list'.", field="name"
        )
    busy = FailedPrecondition(
        f"The runtime '{runtime}' is in use by a job.", "Wait for the job, or cancel it."
    )
    needed = _needed(mine, in_use)
    if any(entry.path in needed or shelf.is_kept(entry) for entry in mine):
        raise busy
    for entry in sorted(mine, key=lambda entry: _age(entry, mine)):
        if not shelf.evict(entry):
            raise busy


def _serves(entry: Entry) -> object:
    # Notes of before this was noted tell only what it is made of.
    return entry.facts.get("serves", entry.facts.get("runtime"))


def _age(entry: Entry, entries: Iterable[Entry]) -> tuple[float, bool]:
    """Sort by last use: a runtime is used whenever one of its layers is, and comes after them."""
    over = [other.used_s for other in entries if other.facts.get("base") == str(entry.path)]
    return (max([entry.used_s, *over]), entry.facts.get("kind") == "runtime")


def _needed(entries: Iterable[Entry], in_use: Collection[Path]) -> set[Path]:
    """Return the folders in use, and the runtimes under them."""
    found = set(in_use)
    for entry in entries:
        if entry.path in found and "base" in entry.facts:
            found.add(Path(str(entry.facts["base"])))
    return found
