"""Who calls: the bearer of the engine's own token, or of a key.

The caller of a request goes with its thread, as its deadline would: the verbs of `Engine` take
none, and few things ask: the seal of page tokens, the answer to "what may I", who owns what was
made, the audit line. Whether the call is allowed was decided before, from what is passed openly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import msgspec

__all__ = ["OWNER", "Caller", "calling", "current_caller"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a request is from.

    Attributes:
        key: Full name of the key, or `OWNER`'s; what logs name.
        project: Where its role counts; empty for the owner.
        member: As policies name it: ``user:NAME`` or ``serviceAccount:ID``.
        role: ``viewer``, ``developer``, ``admin``, ``monitor`` or empty.
        models: Ids of models of its project that it may ask.
        is_owner: Whether it may do everything.
    """

    key: str
    project: str = ""
    member: str = ""
    role: str = ""
    models: frozenset[str] = frozenset()
    is_owner: bool = False


OWNER = Caller(key="the engine's own token", is_owner=True)
"""The bearer of the engine's own token, and whoever calls its verbs in its own process."""

_current: ContextVar[Caller] = ContextVar("caller", default=OWNER)


def current_caller() -> Caller:
    """Return whose call this thread or task is at."""
    return _current.get()


@contextlib.contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Do what stands below for a caller; threads that are started with this context, too."""
    before = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(before)
