"""The lead among the engines of one PostgreSQL database: a lock that ends with its session.

The session is one of its own, kept open and asked at each call. When it is gone the lock is free,
and this engine hears of it no later than the server does (`postgres_address`): there may be none
who leads for some seconds, but not two. The server also ends a session that has not asked for some
seconds, so a process that is stopped (SIGSTOP) loses its lead. Whoever led may finish what it
began; attempts fence that off.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

from mlengine.store.postgres_address import Address

__all__ = ["SessionLead"]

_log = logging.getLogger(__name__)
# An engine asks every second.
_SESSION = {"idle_session_timeout": "15000"}


class SessionLead:
    """The lead by a session-level advisory lock; thread-safe.

    Args:
        address: Where the database is.
        key: Number of the lock; the same for every engine of one schema, and for nothing else.
    """

    def __init__(self, address: Address, key: int) -> None:
        self._address, self._key = address, key
        self._lock = threading.Lock()
        self._session: Any = None
        self._is_mine = self._is_closed = False

    def held(self) -> bool:
        """Take or keep it. After a loss the first answer is False, and the next call tries again.

        It waits for an answer of the server no longer than a connection takes to time out.
        """
        with self._lock:
            if self._is_closed:
                return False
            try:
                return self._keep() if self._is_mine else self._take()
            except Exception as error:
                # Whatever it was: what is not known to be held is not held.
                self._drop()
                if self._is_mine:
                    _log.warning("This engine leads no more: %s", " ".join(str(error).split()))
                self._is_mine = False
                return False

    def close(self) -> None:
        """Let it go; it is not taken again."""
        with self._lock:
            self._drop()
            self._is_mine, self._is_closed = False, True

    def _keep(self) -> bool:
        self._session.execute("SELECT 1")
        return True

    def _take(self) -> bool:
        if self._session is None:
            self._session = self._address.connect(_SESSION)
            self._session.autocommit = True
        row = self._session.execute("SELECT pg_try_advisory_lock(%s)", [self._key]).fetchone()
        self._is_mine = bool(row[0])
        if self._is_mine:
            _log.info("This engine leads in the %s", self._address)
        return self._is_mine

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):
                session.close()
