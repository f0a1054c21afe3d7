"""Objects of a tree of folders in the order of their whole names, one folder at a time.

An object store sorts whole names, so ``a-b`` comes before ``a/b`` and that before ``a0``. Sorting
each folder with a slash behind its subfolders gives that order without holding the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from mlengine.storage.backends import ObjectInfo

__all__ = ["Folder", "walk"]


class Folder(Protocol):
    """One open folder of a medium.

    1. `keys` are the names in it, each subfolder's with a slash behind it, in any order.
    2. `info` is None when the object has gone since.
    """

    def keys(self) -> list[str]: ...
    def info(self, key: str) -> ObjectInfo | None: ...
    def close(self) -> None: ...


def walk(
    open_folder: Callable[[str], Folder | None],
    *,
    prefix: str,
    after: str,
    is_shallow: bool = False,
) -> Iterator[ObjectInfo]:
    """Yield every object whose name starts with `prefix` and sorts behind `after`.

    Args:
        open_folder: Opens ``""`` or ``"a/b/"``; None when it is not there (any more).
        prefix: Any text, also one that ends in the middle of a segment.
        after: Exclusive; whole folders before it are not even opened.
        is_shallow: Yield only the first object of each folder that the prefix's own folder has:
            enough to know that the folder is there.
    """
    start = prefix[: prefix.rfind("/") + 1]
    # (open folder, its name, keys still to come in reverse order)
    stack: list[tuple[Folder, str, list[str]]] = []

    def enter(name: str) -> None:
        folder = open_folder(name)
        if folder is not None:
            keys = [k for k in folder.keys() if _is_wanted(name + k, prefix, after)]  # noqa: SIM118
            keys.sort(reverse=True)
            stack.append((folder, name, keys))

    try:
        enter(start)
        while stack:
            folder, name, keys = stack[-1]
            if not keys:
                stack.pop()
                folder.close()
                continue
            key = keys.pop()
            if key.endswith("/"):
                enter(name + key)
            elif (info := folder.info(key)) is not None:
                yield info
                while is_shallow and len(stack) > 1:
                    stack.pop()[0].close()
    finally:
        for folder, _name, _keys in stack:
            folder.close()


def _is_wanted(full: str, prefix: str, after: str) -> bool:
    if not full.startswith(prefix):
        return False
    return full > after or (full.endswith("/") and after.startswith(full))
