"""``rsync`` as `gsutil` means it: one place is made to hold what another holds.

rsync a gs://b/data       what lies in `a` itself   rsync -r …     with all beneath it
rsync -d a gs://b/data    and what `gs://b/data` has more is removed
"""

from __future__ import annotations

import filecmp
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlengine.core.errors import InvalidArgument, NotFound
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import BucketPath, check_name, local_path, parse_uri
from mlengine.storage.sources import (
    File,
    ObjectStore,
    OnSkip,
    every_object,
    find_sources,
    folder_name,
    ignore,
    is_remote,
)
from mlengine.storage.transfer import CopyStep, LocalTarget

__all__ = ["SyncPlan", "plan_sync", "same_bytes"]

_CHUNK_BYTES = 1024 * 1024
_Tree = dict[str, File]  # by the name beneath the place


class SyncPlan(NamedTuple):
    """What `rsync` does, in this order.

    `steps` compares two files only when it comes to them, so that copying starts at once;
    `doomed` is what the destination has more.
    """

    steps: Iterator[CopyStep]
    doomed: list[BucketPath | Path]


def plan_sync(
    source: str,
    destination: str,
    *,
    recursive: bool = False,
    delete: bool = False,
    store: ObjectStore,
    is_same: Callable[[File, File], bool],
    on_skip: OnSkip = ignore,
    follow_links: bool = False,
    exclude: Sequence[str] = (),
) -> SyncPlan:
    """Decide what `rsync` copies and removes; nothing is written.

    What was left out of the source is not removed from the destination either. A link at the
    destination is replaced, never followed.

    Args:
        source: A folder of this machine, or a bucket's URI.
        destination: Another, which need not be there yet; its bucket has to.
        recursive: Also what lies in folders.
        delete: Remove what only the destination has.
        store: Where the buckets are.
        is_same: Tells whether a file of the source and one of the destination are alike.
        on_skip: Hears of links and special files of the source that are left out.
        follow_links: Take the files that links in the source's folders lead to.
        exclude: Expressions of names beneath both places that are neither copied nor removed; as
            with gsutil they are matched from a name's beginning, not to its end.

    Raises:
        NotFound: Nothing is at the source. Mirroring a misspelt name would empty the other.
        InvalidArgument: An object's name cannot be a file's, or one of `exclude` is no expression.
    """
    takes = _choice(exclude, recursive=recursive)
    if is_remote(source):
        _refuse_nothing(parse_uri(source), store)
    omitted: list[str] = []

    def skip(what: str, why: str) -> None:
        name = Path(what).relative_to(local_path(source).resolve()).as_posix()
        if takes(name):
            omitted.append(name)
            on_skip(what, why)

    wanted = _tree(source, takes, store, on_skip=skip, follow_links=follow_links)
    present = _tree(destination, takes, store)
    if not wanted and not is_remote(source) and not local_path(source).is_dir():
        raise NotFound(f"'{source}' is not a folder.", "Name an existing one.")
    targets = {name: _below(destination, name) for name in wanted}
    steps = (
        CopyStep(file.place, targets[name], file.size)
        for name, file in wanted.items()
        if name not in present or not is_same(file, present[name])
    )
    extra = sorted(present.keys() - wanted.keys()) if delete else []
    kept = {n for n in extra if any(n == left or n.startswith(left + "/") for left in omitted)}
    return SyncPlan(steps, [present[name].place for name in extra if name not in kept])


def _choice(exclude: Sequence[str], *, recursive: bool) -> Callable[[str], bool]:
    """Return what tells of a name beneath a place whether `rsync` looks at it."""
    excluded = [_expression(text) for text in exclude]

    def takes(name: str) -> bool:
        return (recursive or "/" not in name) and not any(each.match(name) for each in excluded)

    return takes


def _expression(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(
            f"{text!a} is no regular expression: {error}.",
            "Write one as Python reads it, such as '.*[.]tmp$'.",
        ) from None


def _refuse_nothing(base: BucketPath, store: ObjectStore) -> None:
    folder = _prefix(base)
    if folder and not store.objects(base.bucket, prefix=folder, limit=1):
        raise NotFound(f"{base} is not a folder.", "See what is there with 'storage ls'.")


def _prefix(base: BucketPath) -> str:
    return folder_name(base) if base.name else ""


def _tree(
    text: str,
    takes: Callable[[str], bool],
    store: ObjectStore,
    *,
    on_skip: OnSkip = ignore,
    follow_links: bool = False,
) -> _Tree:
    """Return what lies beneath a place; nothing, if the place is not there."""
    found: _Tree = {}
    if is_remote(text):
        base = parse_uri(text)
        for info in every_object(store, base.bucket, _prefix(base)):
            name = info.name.removeprefix(_prefix(base))
            found[name] = File(BucketPath(info.bucket, info.name), name, info.size)
    elif local_path(text).is_dir():
        for source in find_sources(
            text, recursive=True, store=store, on_skip=on_skip, follow_links=follow_links
        ):
            found.update((file.relative, file) for file in source.files)
    return {name: file for name, file in found.items() if takes(name)}


def _below(text: str, name: str) -> BucketPath | LocalTarget:
    if not is_remote(text):
        return LocalTarget(local_path(text).absolute(), check_name(name))
    base = parse_uri(text)
    return BucketPath(base.bucket, check_name(_prefix(base) + name))


def same_bytes(one: BucketPath | Path, other: BucketPath | Path, store: ObjectStore) -> bool:
    """Return whether two files hold the same, as `store` hands them out.

    Raises:
        NotFound: One has gone meanwhile.
    """
    if isinstance(one, Path) and isinstance(other, Path):
        return filecmp.cmp(one, other, shallow=False)
    with _open(one, store) as first, _open(other, store) as second:
        pairs = itertools.zip_longest(_chunks(first), _chunks(second))
        return all(a == b for a, b in pairs)


def _open(place: BucketPath | Path, store: ObjectStore) -> BinaryIO:
    if isinstance(place, BucketPath):
        return store.open_read(place)
    try:
        return place.open("rb")
    except OSError as error:
        raise from_os_error(error, f"'{place}'", is_local=True) from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK_BYTES), b"")
