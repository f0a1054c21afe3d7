"""Landlock: takes from this process, for good, all files but those that are named.

The kernel keeps the list for the thread that asks and for all that it forks or executes from then
on; nobody can take an entry back or add one. Besides files it holds back, as far as the kernel is
new enough, TCP (6.7), and signals and abstract Unix sockets of processes outside (6.12). Who is
confined cannot look into the memory of others either, or be looked into by its like.

Standard library only, Python >= 3.7, Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Held", "restrict", "version"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_ASK_VERSION = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_MAKE_DEVICES = 1 << 6 | 1 << 11
_MAKE_SOCKET = 1 << 9
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_ALL_BY_VERSION = ((1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1)
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
_TRUNCATE_SINCE, _NET_SINCE, _SCOPES_SINCE = 3, 4, 6
_BIND_AND_CONNECT = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3

_libc = ctypes.CDLL(None, use_errno=True)


class Held(NamedTuple):
    """What is held back besides files; and whether files that may be read may not be emptied."""

    tcp: bool
    signals: bool
    truncation: bool


def version() -> int:
    """Return the version of Landlock of this kernel; 0 where there is none."""
    found = _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    return max(found, 0)


def restrict(
    *, read: Iterable[str], write: Iterable[str], devices: Iterable[str], network: bool
) -> Held:
    """Confine this thread, and all that it starts, to some files and folders.

    Args:
        read: What may be read, and executed, with all below it; what is not there, or cannot be
            allowed, is skipped.
        write: What may be read, written, made and removed, with all below it.
        devices: Files that may be read, written and controlled.
        network: Leave TCP alone.

    Raises:
        OSError: There is no Landlock here, or it refuses.
    """
    known = version()
    if not known:
        raise OSError(95, "this kernel has no Landlock")
    handled = _ALL_BY_VERSION[min(known, len(_ALL_BY_VERSION)) - 1]
    tcp, signals = known >= _NET_SINCE and not network, known >= _SCOPES_SINCE
    attributes = struct.pack(
        "QQQ", handled, _BIND_AND_CONNECT * tcp, _ABSTRACT_SOCKETS_AND_SIGNALS * signals
    )
    size = 24 if known >= _SCOPES_SINCE else 16 if known >= _NET_SINCE else 8
    ruleset = _check(_call(_CREATE_RULESET, attributes, size, 0))
    try:
        _allow(ruleset, read, _READ & handled)
        _allow(ruleset, write, handled & ~(_MAKE_DEVICES | _MAKE_SOCKET | _DEVICE_CONTROL))
        _allow(ruleset, devices, handled & (_READ_FILE | _WRITE_FILE | _DEVICE_CONTROL))
        _check(_call(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return Held(tcp, signals, known >= _TRUNCATE_SINCE)


def _allow(ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        # What cannot be allowed (a socket, say) stays forbidden; the others are allowed yet.
        with contextlib.suppress(OSError, ValueError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                folder = stat.S_ISDIR(os.fstat(place).st_mode)
                rule = struct.pack("=Qi", rights if folder else rights & _OF_FILES, place)
                _check(_call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
            finally:
                os.close(place)


def _call(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *words))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
