"""What a user's sources mean: objects, folders of objects, wildcards, local files and trees."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from mlengine.core.errors import InvalidArgument, NotFound
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import BucketPath, check_name, is_uri, local_path, parse_uri
from mlengine.storage.patterns import compile_pattern, has_wildcards, literal_prefix

__all__ = [
    "PAGE",
    "File",
    "ObjectStore",
    "OnSkip",
    "Source",
    "every_object",
    "find_sources",
    "folder_name",
    "ignore",
    "is_remote",
]

PAGE = 10_000

OnSkip = Callable[[str, str], None]
"""Called with what was left out and why."""


class ObjectStore(Protocol):
    """Where objects are, seen from a command: `Buckets` here, the client of a remote engine there.

    1. `objects` returns at most `limit`, sorted by name, those behind `after` only, and none only
       when there are none. It may return fewer than `limit`.
    2. `write` is whole or nothing.
    3. An unknown bucket or object is `NotFound`.
    """

    def objects(
        self, bucket: str, *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[ObjectInfo]: ...
    def open_read(self, path: BucketPath) -> BinaryIO: ...
    def write(self, path: BucketPath, chunks: Iterable[bytes]) -> ObjectInfo: ...
    def delete_object(self, path: BucketPath) -> None: ...


class File(NamedTuple):
    """One file or object to take; `relative` is its name beneath its source's own.

    It is empty for an object that is called as the tree itself: object stores have both.

    `link` leads to `place`, where a link was met: who moves the file removes the link.
    """

    place: BucketPath | Path
    relative: str
    size: int
    link: Path | None = None


class Source(NamedTuple):
    """One thing that was named: a single file, or a tree; `name` is its last segment."""

    name: str
    is_tree: bool
    files: list[File]


def ignore(_what: str, _why: str) -> None:
    """Skip silently, for callers that do not ask."""


def folder_name(path: BucketPath) -> str:
    """Return the prefix of what lies beneath `path`."""
    return path.name if path.is_folder else path.name + "/"


def is_remote(text: str) -> bool:
    """Return whether `text` is a URI of a bucket, or of something that is refused as one."""
    return is_uri(text) and not text.startswith("file:") and not Path(text).exists()


def every_object(
    store: ObjectStore, bucket: str, prefix: str, *, after: str = ""
) -> Iterator[ObjectInfo]:
    """Yield all objects with `prefix`, page by page."""
    while True:
        page = store.objects(bucket, prefix=prefix, after=after, limit=PAGE)
        if not page:
            return  # a page that is short may only mean that a server gives fewer at a time
        yield from page
        after = page[-1].name


def find_sources(
    text: str,
    *,
    recursive: bool,
    store: ObjectStore,
    on_skip: OnSkip,
    follow_links: bool = False,
) -> list[Source]:
    """Return what `text` means; with `follow_links` the files that links in folders lead to too.

    Raises:
        NotFound: Nothing.
        InvalidArgument: It is not valid, or a folder and `recursive` is false.
    """
    if not is_remote(text):
        return _find_local(text, recursive=recursive, on_skip=on_skip, follow_links=follow_links)
    path = parse_uri(text, wildcards=True)
    if has_wildcards(path.name):
        found = _match(path, recursive=recursive, store=store, on_skip=on_skip)
    else:
        found = _find_remote(path, recursive=recursive, store=store)
    if not found:
        raise NotFound(f"{text} matches no object.", "See what is there with 'storage ls'.")
    return found


def _find_remote(path: BucketPath, *, recursive: bool, store: ObjectStore) -> list[Source]:
    bucket, name = path
    folder = folder_name(path)
    named = [] if path.is_folder else store.objects(bucket, prefix=name, limit=1)
    exact = [info for info in named if info.name == name]
    if recursive:
        beneath = [_file(i, folder) for i in every_object(store, bucket, folder)]
        if beneath:
            top = folder.rstrip("/").rpartition("/")[2] or bucket
            return [Source(top, True, [_file(i, i.name) for i in exact] + beneath)]
    if exact:
        return [_single(exact[0])]
    if not recursive and store.objects(bucket, prefix=folder, limit=1):
        raise InvalidArgument(f"{path} is a folder.", "Add -r to take everything beneath it.")
    return []


def _match(
    path: BucketPath, *, recursive: bool, store: ObjectStore, on_skip: OnSkip
) -> list[Source]:
    pattern = compile_pattern(path.name.removesuffix("/"))
    singles: list[Source] = []
    trees: dict[str, list[File]] = {}
    for info in every_object(store, path.bucket, literal_prefix(path.name)):
        folders = [info.name[:at] for at, c in enumerate(info.name) if c == "/"]
        matched = next((f for f in folders if pattern.fullmatch(f)), None)
        if (
            pattern.fullmatch(info.name)
            and not path.is_folder
            and (matched is None or not recursive)
        ):
            singles.append(_single(info))
        elif matched is not None and recursive:
            trees.setdefault(matched, []).append(_file(info, matched + "/"))
        elif matched is not None and matched not in trees:
            trees[matched] = []
            on_skip(f"gs://{path.bucket}/{matched}/", "is a folder; add -r to take it")
    found = [Source(top.rpartition("/")[2], True, files) for top, files in trees.items() if files]
    return singles + found


def _single(info: ObjectInfo) -> Source:
    return Source(
        info.name.rpartition("/")[2], False, [_file(info, info.name.rpartition("/")[0] + "/")]
    )


def _file(info: ObjectInfo, folder: str) -> File:
    # The names come from a server: they become local paths, so they are checked like a user's.
    check_name(info.name)
    place = BucketPath(info.bucket, info.name)
    return File(place, info.name.removeprefix(folder), info.size)


def _find_local(text: str, *, recursive: bool, on_skip: OnSkip, follow_links: bool) -> list[Source]:
    path = local_path(text)
    paths = [path]
    if not path.exists() and glob.has_magic(str(path)):
        paths = [Path(each) for each in sorted(glob.glob(str(path)))]  # noqa: PTH207  # absolute
    found: list[Source] = []
    for each in paths:
        if each.is_file():
            # A link that the user names is the user's; those in trees need not be.
            found.append(Source(each.name, False, [_local_file(each, each.name)]))
        elif each.is_dir() and recursive:
            files = [*_walk(each.resolve(), on_skip, follow_links=follow_links)]
            # By the name that was written, also a link's; only ``.`` and ``..`` have none.
            name = each.name if each.name not in ("", "..") else each.resolve().name
            found.append(Source(name, True, files))
        elif each.is_dir() and len(paths) == 1:
            raise InvalidArgument(f"'{each}' is a folder.", "Add -r to take everything beneath it.")
        elif each.exists():
            on_skip(str(each), "is a folder; add -r" if each.is_dir() else "is no regular file")
        elif each.is_symlink():
            on_skip(str(each), "is a link that leads to no file")
    if not found:
        raise NotFound(f"'{text}' was not found.", "Name an existing file or folder.")
    return found


def _local_file(path: Path, relative: str) -> File:
    # Where a link leads is settled now: what is opened later may be no link any more.
    real = path.resolve()
    return File(real, relative, real.stat().st_size, path if path.is_symlink() else None)


def _walk(root: Path, on_skip: OnSkip, *, follow_links: bool) -> Iterator[File]:
    """Yield the regular files beneath `root`, by name; links to folders are never followed."""
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(folder)
        for link in [name for name in folders if (here / name).is_symlink()]:
            on_skip(str(here / link), "is a link")
        folders.sort()
        for name in sorted(names):
            path = here / name
            is_link = path.is_symlink()
            if is_link and not follow_links:
                on_skip(str(path), "is a link")
            elif not path.is_file():
                leads = "is a link that leads to no file"
                on_skip(str(path), leads if is_link else "is no regular file")
            else:
                yield _local_file(path, path.relative_to(root).as_posix())


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # what has gone meanwhile is no part of it
        raise from_os_error(error, f"'{error.filename}'", is_local=True) from error
