"""Which versions are to be told of that their workers keep dying, and which no longer.

A version in a loop stays READY: its workers are tried again, after longer and longer pauses, and
one poisonous request must not take a version away from everybody. Its ``errorMessage`` says what
happens, until a worker of it has lived for a minute. Viewers read it, and what a worker printed may
be what its callers sent: it says where that is to be seen, by those who may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from mlengine.store import VersionRecord

__all__ = ["Marks"]

_BEGINS = "Its worker dies again and again: "


class _Pool(Protocol):
    def loops(self) -> dict[str, str]: ...
    def healthy(self) -> set[str]: ...


class Marks:
    """What this engine has said of versions; each is said once, for engines may share them."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def due(
        self, records: Iterable[VersionRecord], pool: _Pool
    ) -> Iterator[tuple[VersionRecord, str]]:
        """Yield the versions whose message is to change, each with the new one."""
        ends: dict[str, str] = {}
        for worker, end in pool.loops().items():
            ends.setdefault(worker.partition("-")[0], end)
        healthy = {worker.partition("-")[0] for worker in pool.healthy()}
        for record in records:
            message = _message(record, ends[record.uid]) if record.uid in ends else ""
            if not message and record.uid not in healthy:
                continue  # it sleeps, or is too young: what was said of it holds
            said = self._said.get(record.uid)
            shown = record.version.error_message
            if message != said and message != shown and (message or shown.startswith(_BEGINS)):
                yield record, message
            self._said[record.uid] = message  # once it is stored: who fails to is told again


def _message(record: VersionRecord, end: str) -> str:
    logs = f"mlengine versions logs {record.version_id} --model {record.model_id}"
    return f"{_BEGINS}{end} See what it printed with '{logs}'."
