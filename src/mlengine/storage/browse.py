"""``rm``, ``ls``, ``stat`` and ``du`` over any `ObjectStore`, as ``gcloud storage`` means them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from mlengine.core.clock import rfc3339
from mlengine.core.errors import InvalidArgument, NotFound
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.paths import BucketPath, parse_uri
from mlengine.storage.patterns import compile_pattern, has_wildcards, literal_prefix
from mlengine.storage.sources import (
    PAGE,
    ObjectStore,
    OnSkip,
    every_object,
    find_sources,
    folder_name,
    ignore,
)

__all__ = [
    "Removal",
    "Usage",
    "disk_usage",
    "find_objects",
    "list_places",
    "plan_removal",
    "plan_remove",
    "run_remove",
    "stat_lines",
]

BucketNames = Callable[[], Iterable[str]]
_SCHEME = "gs://"
_LAST = "\U0010ffff"  # sorts behind every character a name can go on with


class Usage(NamedTuple):
    """What lies at or beneath `path`."""

    path: BucketPath
    objects: int
    size: int


class Removal(NamedTuple):
    """What `rm` removes: objects, and then the buckets that were named whole."""

    objects: list[BucketPath]
    buckets: list[str]


def plan_removal(
    uris: Sequence[str],
    *,
    recursive: bool = False,
    force: bool = False,
    store: ObjectStore,
    on_skip: OnSkip = ignore,
) -> Removal:
    """Decide what `rm` removes where buckets may go too; local paths are refused.

    With `recursive` a bucket named whole, ``gs://b``, goes with its objects, also an empty one;
    named by wildcards, ``gs://b/**``, it stays. With `force` what matches nothing is no error.

    Raises:
        NotFound: A URI means nothing.
        InvalidArgument: A folder without `recursive`, or a bucket.
    """
    doomed: dict[BucketPath, None] = {}
    buckets: dict[str, None] = {}
    for uri in uris:
        path = parse_uri(uri, wildcards=True)
        try:
            if recursive and not path.name:
                found = [BucketPath(i.bucket, i.name) for i in every_object(store, path.bucket, "")]
                buckets[path.bucket] = None
            else:
                found = plan_remove([uri], recursive=recursive, store=store, on_skip=on_skip)
        except NotFound:
            if not force:
                raise
            continue
        doomed.update(dict.fromkeys(found))
    return Removal([*doomed], [*buckets])


def plan_remove(
    uris: Sequence[str], *, recursive: bool = False, store: ObjectStore, on_skip: OnSkip = ignore
) -> list[BucketPath]:
    """Decide what `rm` removes: each object once, in order; local paths are refused."""
    doomed: dict[BucketPath, None] = {}
    for uri in uris:
        parse_uri(uri, wildcards=True)
        for source in find_sources(uri, recursive=recursive, store=store, on_skip=on_skip):
            doomed.update((f.place, None) for f in source.files if isinstance(f.place, BucketPath))
    return [*doomed]


def run_remove(
    paths: Sequence[BucketPath],
    store: ObjectStore,
    on_progress: Callable[[BucketPath], None] | None = None,
) -> int:
    """Remove objects and return how many were there; one that has gone meanwhile is no error."""
    removed = 0
    for path in paths:
        try:
            store.delete_object(path)
            removed += 1
        except NotFound:
            continue
        if on_progress is not None:
            on_progress(path)
    return removed


def list_places(
    uri: str,
    *,
    recursive: bool = False,
    itself: bool = False,
    store: ObjectStore,
    buckets: BucketNames = tuple,
) -> Iterator[ObjectInfo | BucketPath]:
    """Yield what `ls` shows: objects, and buckets and folders as paths that end in a slash.

    Args:
        uri: Also with wildcards, in the bucket's name too; ``gs://`` alone means all buckets.
        recursive: Everything beneath it, and no folders.
        itself: The bucket or folder itself, not what is in it.
        store: Where the buckets are.
        buckets: Names all buckets, if it is asked.

    Raises:
        NotFound: Nothing is there; an existing empty bucket is not nothing.
    """
    if uri == _SCHEME:
        return (BucketPath(name, "") for name in buckets())
    paths = _paths(uri, buckets)
    places = itertools.chain.from_iterable(
        _places(path, recursive=recursive, itself=itself, store=store) for path in paths
    )
    first = next(places, None)
    if first is not None:
        return itertools.chain([first], places)
    if paths[0].name:
        raise NotFound(f"{uri} matches no object.", "List what is there with a shorter name.")
    return iter(())


def _paths(uri: str, buckets: BucketNames) -> list[BucketPath]:
    """Return the place that a URI means in each bucket that it means."""
    bucket, slash, name = uri.removeprefix(_SCHEME).partition("/")
    if not (uri.startswith(_SCHEME) and has_wildcards(bucket)):
        return [parse_uri(uri, wildcards=True)]
    pattern = compile_pattern(bucket)
    names = [each for each in buckets() if pattern.fullmatch(each)]
    if not names:
        raise NotFound(f"{uri} matches no bucket.", "See which there are with 'storage ls'.")
    return [parse_uri(f"{_SCHEME}{each}{slash}{name}", wildcards=True) for each in names]


def _places(
    path: BucketPath, *, recursive: bool, itself: bool, store: ObjectStore
) -> Iterator[ObjectInfo | BucketPath]:
    if has_wildcards(path.name):
        return _matching(path, recursive=recursive and not itself, store=store)
    if itself:
        return _itself(path, store)
    return _beneath(path, recursive=recursive, store=store)


def _itself(path: BucketPath, store: ObjectStore) -> Iterator[ObjectInfo | BucketPath]:
    # Asked even of a whole bucket: an unknown one has to be found out.
    first = store.objects(path.bucket, prefix=path.name, limit=1)
    if not path.name:
        yield path
    elif first and first[0].name == path.name:
        yield first[0]
    elif store.objects(path.bucket, prefix=folder_name(path), limit=1):
        yield BucketPath(path.bucket, folder_name(path))


def find_objects(uri: str, *, store: ObjectStore) -> list[ObjectInfo]:
    """Return what `stat` tells of: the object of that name, or those that wildcards mean.

    Raises:
        NotFound: There is none; a folder is none.
        InvalidArgument: It names a bucket.
    """
    path = parse_uri(uri, wildcards=True)
    if not path.name:
        raise InvalidArgument(f"{path} names no object.", "Write gs://BUCKET/NAME.")
    places = _places(path, recursive=False, itself=True, store=store)
    found = [place for place in places if isinstance(place, ObjectInfo)]
    if not found:
        raise NotFound(f"{uri} matches no object.", "See what is there with 'storage ls'.")
    return found


def stat_lines(info: ObjectInfo) -> list[str]:
    """Write what `stat` tells of an object."""
    return [
        f"{info.uri}:",
        f"    Update time:            {rfc3339(info.updated)}",
        f"    Content-Length:         {info.size}",
    ]


def _beneath(
    path: BucketPath, *, recursive: bool, store: ObjectStore
) -> Iterator[ObjectInfo | BucketPath]:
    if not path.is_folder:
        first = store.objects(path.bucket, prefix=path.name, limit=1)
        if first and first[0].name == path.name:
            yield first[0]
            return
    if recursive:
        yield from every_object(store, path.bucket, folder_name(path))
    else:
        yield from _children(path.bucket, folder_name(path), store)


def _children(bucket: str, folder: str, store: ObjectStore) -> Iterator[ObjectInfo | BucketPath]:
    """Yield the objects right in a folder and its subfolders, jumping over what these hold."""
    after = shown = ""
    while page := store.objects(bucket, prefix=folder, after=after, limit=PAGE):
        for info in page:
            child, slash, _rest = info.name.removeprefix(folder).partition("/")
            if not slash:
                yield info
            elif shown != f"{folder}{child}/":
                shown = f"{folder}{child}/"
                yield BucketPath(bucket, shown)
        after = page[-1].name
        if shown and after.startswith(shown):
            after = shown + _LAST


def _matching(
    path: BucketPath, *, recursive: bool, store: ObjectStore
) -> Iterator[ObjectInfo | BucketPath]:
    pattern = compile_pattern(path.name.removesuffix("/"))
    shown = ""
    for info in every_object(store, path.bucket, literal_prefix(path.name)):
        folders = [info.name[:at] for at, c in enumerate(info.name) if c == "/"]
        folder = next((f for f in folders if pattern.fullmatch(f)), "")
        if (folder and recursive) or (pattern.fullmatch(info.name) and not path.is_folder):
            yield info
        elif folder and folder != shown:
            shown = folder
            yield BucketPath(path.bucket, folder + "/")


def disk_usage(uri: str, *, store: ObjectStore) -> list[Usage]:
    """Return what `du` shows: each object and folder right there, and the total last."""
    path = parse_uri(uri, wildcards=True)
    rows = []
    for place in list_places(uri, store=store):
        if isinstance(place, BucketPath):
            sizes = [info.size for info in every_object(store, place.bucket, place.name)]
            rows.append(Usage(place, len(sizes), sum(sizes)))
        else:
            rows.append(Usage(BucketPath(place.bucket, place.name), 1, place.size))
    total = Usage(path, sum(row.objects for row in rows), sum(row.size for row in rows))
    return [*rows, total]
