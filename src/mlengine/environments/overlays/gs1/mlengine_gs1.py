"""Lets TensorFlow 1.15's own ``gs://`` file system trust the authorities that its process is told.

Later releases read the variable CURL_CA_BUNDLE. This one has the name of the file compiled in, and
no variable or option for it; so once its libraries are loaded, their copy of that name in the
memory of this process is replaced by that of the file that CURL_CA_BUNDLE names. Nothing on disk
is changed, and without the variable nothing at all.

The name that goes there has to be as short as the one that was: a descriptor's, as in
``/proc/self/fd/7``. A process that was forked from one that had TensorFlow loaded calls `trust`
again, for its variables are its own.

Python 3.7, Linux.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["trust"]

_VARIABLE = "CURL_CA_BUNDLE"
_COMPILED_IN = b"/etc/ssl/certs/ca-certificates.crt\0"
# Each has a copy of it.
_LIBRARIES = ("/libtensorflow_framework.so.1", "/_pywrap_tensorflow_internal.so")
_PAGE_BYTES = 4096
_READ, _WRITE, _EXECUTE = 1, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.memmem.restype = ctypes.c_void_p
_libc.memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_places: list[int] = []  # addresses of the name, which a fork keeps


def trust() -> bool:
    """Let the loaded libraries use the bundle that the environment names; return whether so."""
    bundle = os.environ.get(_VARIABLE, "")
    if not bundle:
        return False
    if not _places:
        _places.extend(_find())
    try:
        descriptor = os.open(bundle, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    name = f"/proc/self/fd/{descriptor}".encode("ascii")
    text = name.ljust(len(_COMPILED_IN), b"\0")
    return sum(_overwrite(place, text) for place in _places) == len(_places)


def _find() -> list[int]:
    """Return where the name lies in the read-only memory of the libraries."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, rights, *_rest, path = line.split(None, 5) if line.count("/") else ("", "", "")
            if rights[:2] != "r-" or not path.strip().endswith(_LIBRARIES):
                continue
            first, last = (int(end, 16) for end in span.split("-"))
            place = _libc.memmem(first, last - first, _COMPILED_IN, len(_COMPILED_IN))
            if place:
                found.append(place)
    return found


def _overwrite(place: int, text: bytes) -> bool:
    """Replace bytes of a read-only page; the page becomes this process's own."""
    page = place // _PAGE_BYTES * _PAGE_BYTES
    size = place + len(text) - page
    if _libc.mprotect(page, size, _READ | _WRITE | _EXECUTE) != 0:
        return False
    ctypes.memmove(place, text, len(text))
    return bool(_libc.mprotect(page, size, _READ | _EXECUTE) == 0)


class _Finder:
    """Calls `trust` as soon as TensorFlow is loaded, and is gone then."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load TensorFlow, with one step more; nothing for any other module."""
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_trust(module: ModuleType) -> Any:
                run(module)
                trust()

            spec.loader.exec_module = run_and_trust  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Finder)
