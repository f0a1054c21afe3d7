"""Byte-compiles all modules below a folder, on every CPU, and prints how far it is.

Run as a script, with ``-I -S``, by the interpreter that will import them: sources are untrusted,
and may not even parse in that Python, which is no reason to stop. Standard output gets a line for
each tenth that is done, and one for each thing that went wrong but the sources, such as a full
disk.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import concurrent.futures
import os
import py_compile
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["main"]

_TOLD_FROM = 200  # fewer files are compiled before anybody wonders
_AT_ONCE = 16


def main(folder: str) -> int:
    """Compile what is below `folder`; return the exit code."""
    paths = sorted(_sources(folder))
    problems = set()
    for done, problem in enumerate(_compiled(paths), 1):
        if problem and problem not in problems:
            problems.add(problem)
            print(problem, flush=True)
        tenth = done * 10 // len(paths)
        if len(paths) >= _TOLD_FROM and tenth != (done - 1) * 10 // len(paths):
            print(f"Byte-compiled {done:,} of {len(paths):,} modules.", flush=True)
    return 1 if problems else 0


def _sources(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (os.path.join(place, name) for name in names if name.endswith(".py"))  # noqa: PTH118


def _compiled(paths: list[str]) -> Iterable[str]:
    """Yield what went wrong with each; without semaphores this process does all of it."""
    try:
        pool = concurrent.futures.ProcessPoolExecutor()
    except (ImportError, NotImplementedError, OSError):
        yield from map(_compile, paths)
        return
    with pool:
        yield from pool.map(_compile, paths, chunksize=_AT_ONCE)


def _compile(path: str) -> str:
    try:
        py_compile.compile(path, doraise=True)
    except py_compile.PyCompileError:  # for another Python, or no Python at all
        return ""
    except Exception as error:  # whatever it is, the other files do not suffer
        return f"Byte-compiling: {getattr(error, 'strerror', None) or error}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
