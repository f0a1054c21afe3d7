"""Files that travel between the engine's machine and a node that does not see its folders.

Both sides use this module: they look at files alike (`fingerprint`, `facts`, `stamp`), cut them
into parts of bounded size (`parts_of`), and write such parts down (`Writer`). A path is always the
one on the engine's machine; a side that has it elsewhere keeps it beneath a root of its own.

Links and special files of folders that are carried to and fro are not carried, as they are no
objects of a bucket; of an environment, which is shipped whole and never written, links are.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import stat as modes
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

__all__ = [
    "PART_BYTES",
    "Part",
    "Writer",
    "batches",
    "content_digest",
    "facts",
    "files_of",
    "fingerprint",
    "is_beneath",
    "parts_of",
    "relocate_text",
    "stamp",
    "tree_of",
]

PART_BYTES = 4 << 20
"""Most bytes of one message."""

_ASIDE = ".mlengine-part"
_INSTALLED = (".dist-info", ".egg-info", ".egg-link", ".pth")
_NEVER = "__pycache__"

Part = Any  # a tuple: Ray's own processes, through which it goes, know no class of ours
"""Path, kind ("f" file, "d" folder, "l" link), bytes, mode, time in ns, first, last."""


def relocate_text(text: str, moves: Mapping[str, str]) -> str:
    """Return a text in which every path that begins like a moved one is where that one is now.

    Example:
        >>> relocate_text("--a=/e/x,/e/xy --b=/e/x/y gs://e/x", {"/e/x": "/n/1"})
        '--a=/n/1,/e/xy --b=/n/1/y gs://e/x'
    """
    if not moves:
        return text
    longest = sorted(moves, key=len, reverse=True)
    found = "|".join(map(re.escape, longest))
    pattern = r"(?<![\w.-])(?<!:/)(?:" + found + r")(?![\w.-])"
    return re.sub(pattern, lambda match: moves[match.group(0)], text)


def is_beneath(path: str, folder: str) -> bool:
    """Return whether a path is a folder's, or the folder itself."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def fingerprint(folder: str) -> str:
    """Digest what is installed in a folder of modules; empty where there is none.

    Of a site-packages the names of its distributions, with their versions, say it; of any other
    folder, such as a checkout, its files and their sizes do.
    """
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - Python 3.7 and speed
    except OSError:
        return ""
    installed = [name for name in names if name.endswith(_INSTALLED)]
    rows = installed or [f"{path} {size}" for path, size in _sizes(folder)]
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def _sizes(folder: str) -> list[tuple[str, int]]:
    return sorted(
        (os.path.relpath(path, folder), os.lstat(path).st_size)
        for path, kind in tree_of(folder)
        if kind == "f" and _NEVER not in path
    )


def content_digest(folder: str) -> str:
    """Digest all that a folder has, by names, sizes and times."""
    rows = []
    for path, kind in tree_of(folder):
        found = os.lstat(path)
        told = f"{found.st_size} {found.st_mtime_ns}"
        told = os.readlink(path) if kind == "l" else told  # noqa: PTH115 - Python 3.7
        if kind != "d" and _NEVER not in path:
            rows.append(f"{os.path.relpath(path, folder)} {found.st_mode} {told}")
    return hashlib.sha256("\n".join(sorted(rows)).encode("utf-8", "surrogateescape")).hexdigest()


def facts(path: str) -> list[Any]:
    """Return what tells whether somebody else sees the same file or folder under this path."""
    try:
        found = Path(path).stat()
        if not modes.S_ISDIR(found.st_mode):
            return ["f", found.st_size, found.st_mtime_ns]
        return ["d", found.st_mtime_ns, sorted(os.listdir(path))[:1000]]  # noqa: PTH208
    except OSError:
        return []


def stamp(path: str) -> list[int]:
    """Return what changes when a file is written; empty when there is no such regular file."""
    try:
        found = os.lstat(path)
    except OSError:
        return []
    if not modes.S_ISREG(found.st_mode):
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def tree_of(folder: str) -> Iterator[tuple[str, str]]:
    """Yield all beneath a folder, and whether it is a folder ("d"), file ("f") or link ("l")."""
    for top, folders, names in os.walk(folder):
        for name in sorted(folders + names):
            path = os.path.join(top, name)  # noqa: PTH118 - hot, tens of thousands of times
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            if modes.S_ISLNK(mode):
                yield path, "l"
            elif modes.S_ISDIR(mode):
                yield path, "d"
            elif modes.S_ISREG(mode):
                yield path, "f"


def files_of(places: Iterable[str], root: str = "") -> list[str]:
    """Return the regular files that places mean, the one that was written first at the beginning.

    A place is a file, a folder, a pattern, or the beginning of names. A file that names others,
    such as TensorFlow's ``checkpoint``, is written after them, and so it is carried after them.

    Args:
        root: What lies before every path on this side; not in what is returned.
    """
    found: dict[str, int] = {}
    for place in places:
        for path in _meant(root + place):
            told = stamp(path)
            if told and not path.endswith(_ASIDE):
                found[path[len(root) :]] = told[1]
    return sorted(found, key=lambda path: (found[path], path))


def _meant(path: str) -> Iterator[str]:
    bare = path.rstrip("/")
    if Path(bare).is_dir():
        yield from (one for one, kind in tree_of(bare) if kind == "f")
    elif os.path.lexists(bare):
        yield bare
    else:
        pattern = path if glob.has_magic(path) else glob.escape(path) + "*"
        for one in glob.glob(pattern, recursive=True):  # noqa: PTH207 - patterns are absolute
            if Path(one).is_dir():
                yield from (inner for inner, kind in tree_of(one) if kind == "f")
            else:
                yield one


def parts_of(
    path: str, name: str, kind: str = "f", *, at: int = 0, size: int | None = None
) -> Iterator[Part]:
    """Yield a file, folder or link in parts, under the name that the other side knows it by.

    Args:
        at: Where to begin.
        size: How much of it there is to be; default: as much as when it is opened. One that grows
            is carried again later.

    Raises:
        OSError: It is gone, or has become something else.
    """
    if kind == "l":
        target = os.readlink(path)  # noqa: PTH115 - Python 3.7
        yield (name, "l", os.fsencode(target), 0, 0, True, True)
        return
    if kind == "d":
        yield (name, "d", b"", modes.S_IMODE(os.lstat(path).st_mode), 0, True, True)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not modes.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a file any more")
        mode, left = modes.S_IMODE(found.st_mode), (found.st_size if size is None else size) - at
        first = not at
        file.seek(at)
        while first or left > 0:
            data = file.read(min(PART_BYTES, left)) if left > 0 else b""
            left = left - len(data) if data else 0
            yield (name, "f", data, mode, found.st_mtime_ns, first, left <= 0)
            first = False


def batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield parts in lists that fit into one message each."""
    batch: list[Part] = []
    size = 0
    for part in parts:
        if batch and (size + len(part[2]) > PART_BYTES or len(batch) >= 1000):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += len(part[2])
    if batch:
        yield batch


class Writer:
    """Writes parts down beneath a root; a file appears whole, or not at all.

    Args:
        root: Every name of a part is taken beneath it.
        aside: Where files lie until they are whole, if that is on their disk; default: beside them.
    """

    def __init__(self, root: str, aside: str = "") -> None:
        self._root, self._folder = root, aside
        self._aside = ""
        self._open: IO[bytes] | None = None

    def write(self, parts: Iterable[Part]) -> list[str]:
        """Write parts; return the names of the files that are whole now.

        Raises:
            ValueError: A name leads out of the root.
            OSError: The disk is full, or something of another kind is in the way.
        """
        whole = []
        for name, kind, data, mode, moment_ns, first, last in parts:
            path = self.path_of(name)
            if kind == "d":
                Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
                continue
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if kind == "l":
                with contextlib.suppress(FileNotFoundError):
                    Path(path).unlink()
                Path(path).symlink_to(os.fsdecode(data))
                continue
            if first:
                self._begin(path)
            assert self._open is not None
            self._open.write(data)
            if last:
                self._end(path, mode, moment_ns)
                whole.append(name)
        return whole

    def path_of(self, name: str) -> str:
        """Return where a name lies on this side."""
        if ".." in name.split("/") or "\0" in name:
            raise ValueError(f"{name!r} leads elsewhere")
        return f"{self._root}/{name.lstrip('/')}"

    def _begin(self, path: str) -> None:
        self.close()
        self._aside = path + _ASIDE
        if self._folder and _disk(self._folder) == _disk(str(Path(path).parent)):
            self._aside = f"{self._folder}/{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._open = os.fdopen(os.open(self._aside, flags, 0o600), "wb")

    def _end(self, path: str, mode: int, moment_ns: int) -> None:
        assert self._open is not None
        self._open.close()
        self._open = None
        Path(self._aside).chmod(mode | 0o600)
        os.utime(self._aside, ns=(moment_ns, moment_ns))
        Path(self._aside).replace(path)

    def close(self) -> None:
        """Close what is half-written; it is removed."""
        if self._open is not None:
            self._open.close()
            with contextlib.suppress(OSError):
                Path(self._aside).unlink()
        self._open = None


def _disk(folder: str) -> int:
    return Path(folder).stat().st_dev
