"""Which of the engines of one database acts on jobs and versions: the one that leads.

The store decides, and is asked every time: an engine that was stopped for a while, or cut off from
its database, finds out before it does anything more. Every engine answers every verb; a follower's
create or cancel is a record, which the leader's next turn finds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from mlengine.core.errors import EngineError
from mlengine.store import Store

__all__ = ["Lead"]

_log = logging.getLogger(__name__)


class Lead:
    """The lead as one engine sees it. Thread-safe.

    Args:
        store: Of all engines; it gives the lead to one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before: bool | None = None
        self._lock = threading.Lock()

    def held(self) -> bool:
        """Return whether this engine leads now; without a database nobody does."""
        try:
            found = self._store.lead()
        except EngineError:
            found = False
        with self._lock:
            before, self._before = self._before, found
        if found and before is not True:
            _log.info("This engine leads: it runs what is queued.")
        elif not found and before is not False:
            _log.info("Another engine of this database leads, or none; this one answers calls.")
        return found

    def only(self, step: Callable[[], object]) -> Callable[[], None]:
        """Return a step that does nothing while another engine leads."""

        def led() -> None:
            if self.held():
                step()

        led.__qualname__ = getattr(step, "__qualname__", led.__qualname__)
        return led
