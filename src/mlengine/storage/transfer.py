"""``cp`` and ``mv`` as `gsutil` and ``gcloud storage`` mean them; `browse` has ``rm`` and ``ls``.

Planning is apart from doing: a plan names every file and where it goes, so a mistake in the last
source is found before the first byte moves. A destination is a folder if it ends in a slash, is a
bucket, exists as a folder, or several things go to it; a source then keeps its own name there.

    cp a.csv gs://b/data      → gs://b/data           cp -r tree gs://b/new   → gs://b/new/…
    cp a.csv gs://b/data/     → gs://b/data/a.csv     cp -r tree gs://b       → gs://b/tree/…
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.storage import staging
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import BucketPath, check_name, inside, local_path, parse_uri
from mlengine.storage.patterns import has_wildcards
from mlengine.storage.sources import (
    ObjectStore,
    OnSkip,
    Source,
    find_sources,
    folder_name,
    ignore,
    is_remote,
)

__all__ = [
    "CopyStep", "LocalTarget", "WriteLike", "is_there", "leave_existing", "open_place", "plan_copy",
    "plan_move", "remove_place", "run_copy", "run_move",
]  # fmt: skip

_CHUNK_BYTES = 1024 * 1024

WriteLike = Callable[[BucketPath, Iterable[bytes], BucketPath], object]
"""Writes an object, and says of it what is said of another."""


class LocalTarget(NamedTuple):
    """A file to write: `name` beneath `root`, and nowhere else whatever links are there.

    `is_named` is said of the one path that the user wrote out: a pipe or a device there is theirs
    to write to, also behind a link.
    """

    root: Path
    name: str
    is_named: bool = False

    def __str__(self) -> str:
        return str(self.root / self.name)


class CopyStep(NamedTuple):
    """Copy one file; `size` is bytes, as planned; `link` is what led to the source, if one did."""

    source: BucketPath | Path
    destination: BucketPath | LocalTarget
    size: int
    link: Path | None = None


def plan_copy(
    sources: Sequence[str],
    destination: str,
    *,
    recursive: bool = False,
    store: ObjectStore,
    on_skip: OnSkip = ignore,
    follow_links: bool = False,
) -> list[CopyStep]:
    """Decide what `cp` copies where; nothing is written.

    Args:
        sources: Local paths and URIs, also with wildcards.
        destination: One local path or URI.
        recursive: Take folders with all that is beneath them.
        store: Where the buckets are.
        on_skip: Hears of links, special files and folders that are left out.
        follow_links: Take the files that links in folders lead to, wherever these are.

    Raises:
        NotFound: A source means nothing, or a bucket does not exist.
        InvalidArgument: A folder without `recursive`, several files onto one, a file onto itself.
    """
    found: list[Source] = []
    for text in sources:
        found += find_sources(
            text, recursive=recursive, store=store, on_skip=on_skip, follow_links=follow_links
        )
    if not found:
        raise InvalidArgument("There is nothing to copy.", "Name at least one source.")
    is_many = len(found) > 1 or any(has_wildcards(text) for text in sources)
    target = _target(destination, is_many=is_many, store=store)
    steps = [
        CopyStep(file.place, target.place(source, file.relative), file.size, file.link)
        for source in found
        for file in source.files
    ]
    _check_distinct(steps)
    return steps


def plan_move(
    sources: Sequence[str],
    destination: str,
    *,
    store: ObjectStore,
    on_skip: OnSkip = ignore,
    follow_links: bool = False,
) -> list[CopyStep]:
    """Decide what `mv` moves where: as `cp` with folders, links before what they lead to.

    Raises:
        NotFound, InvalidArgument: As `plan_copy`.
        InvalidArgument: A file would be overwritten before its own turn to be moved comes, or
            the destination is a pipe or a device.
    """
    steps = plan_copy(
        sources,
        destination,
        recursive=True,
        store=store,
        on_skip=on_skip,
        follow_links=follow_links,
    )
    leaving = {str(step.source) for step in steps}
    for step in steps:
        if isinstance(step.destination, LocalTarget) and _is_stream(step.destination):
            raise InvalidArgument(
                f"Nothing can be moved to '{step.destination}', which is no regular file.",
                "Copy it there.",
            )
        if str(step.destination) in leaving:
            raise InvalidArgument(
                f"{step.source} would be moved onto {step.destination}, which is to move too.",
                "Move them one by one, or to a folder outside.",
            )
    return sorted(steps, key=lambda step: step.link is None)


def leave_existing(
    steps: Sequence[CopyStep], store: ObjectStore, on_existing: Callable[[CopyStep], None]
) -> list[CopyStep]:
    """Return the steps of ``cp -n``: those whose destination is not there; hear of the others."""
    kept = []
    for step in steps:
        if is_there(step.destination, store):
            on_existing(step)
        else:
            kept.append(step)
    return kept


def is_there(place: BucketPath | LocalTarget, store: ObjectStore) -> bool:
    """Return whether an object or a file would be replaced."""
    if isinstance(place, LocalTarget):
        return (place.root / place.name).exists()
    first = store.objects(place.bucket, prefix=place.name, limit=1)
    return bool(first) and first[0].name == place.name


class _Target(NamedTuple):
    base: BucketPath | Path
    is_folder: bool

    def place(self, source: Source, relative: str) -> BucketPath | LocalTarget:
        parts = [source.name] if self.is_folder or not source.is_tree else []
        parts += [relative] if source.is_tree and relative else []
        below = "/".join(parts) if self.is_folder or source.is_tree else ""
        if isinstance(self.base, BucketPath):
            bucket, name = self.base
            folder = name if self.base.is_folder else name + "/"
            return BucketPath(bucket, check_name(folder + below if below else name))
        if below:
            return LocalTarget(self.base, check_name(below))
        return LocalTarget(self.base.parent, check_name(self.base.name), is_named=True)


def _target(text: str, *, is_many: bool, store: ObjectStore) -> _Target:
    if not is_remote(text):
        path = local_path(text)
        is_folder = path.is_dir() or text.endswith("/")
        if is_many and not is_folder:
            raise InvalidArgument(
                f"'{text}' is not a folder.", "Several sources need one: end it with a slash."
            )
        return _Target(path if is_folder else path.absolute(), is_folder)
    base = parse_uri(text)
    if has_wildcards(base.name):
        raise InvalidArgument(
            f"The destination {base} has wildcards.", "Write out where the copy goes."
        )
    # Asked even when the answer is known: an unknown bucket has to be found out now.
    exists = store.objects(base.bucket, prefix=folder_name(base), limit=1)
    return _Target(base, base.is_folder or is_many or bool(exists))


def _check_distinct(steps: Sequence[CopyStep]) -> None:
    taken: dict[str, CopyStep] = {}
    for step in steps:
        key = str(step.destination)
        if key in taken:
            raise InvalidArgument(
                f"{taken[key].source} and {step.source} would both become {key}.",
                "Copy them one by one, or to different folders.",
            )
        taken[key] = step
        source = step.source
        if str(source) == key or (isinstance(source, Path) and source == Path(key).resolve()):
            raise InvalidArgument(f"{key} would be copied onto itself.", "Choose another place.")
    for key, step in taken.items():
        folder = key if isinstance(step.destination, LocalTarget) else ""
        while folder := folder.rpartition("/")[0]:
            if folder in taken:  # an object store may have both
                raise InvalidArgument(
                    f"{taken[folder].source} would become {folder}, a folder for {step.source}.",
                    "Copy them one by one, or to different folders.",
                )


def run_copy(
    steps: Sequence[CopyStep],
    store: ObjectStore,
    on_progress: Callable[[CopyStep, int], None] | None = None,
    write_like: WriteLike | None = None,
) -> int:
    """Carry a plan out and return the bytes copied.

    Each file appears whole or not at all, but for what goes to a pipe or a device; on an error
    those before it stay. `on_progress` gets the step and its bytes so far, once at its start and
    after each chunk. `write_like` takes what is said of an object along from bucket to bucket;
    without it only bytes are copied.
    """
    total = 0
    for step in steps:
        with open_place(step.source, store) as file:
            counted = _Counted(file, step, on_progress)
            _write(step, counted, store, write_like)
            total += counted.done
    return total


def run_move(
    steps: Sequence[CopyStep],
    store: ObjectStore,
    on_progress: Callable[[CopyStep, int], None] | None = None,
    write_like: WriteLike | None = None,
) -> int:
    """Carry out what `plan_move` decided and return the bytes moved.

    Each file leaves its old place when it is whole at the new one; on an error those behind it
    have not moved. `on_progress` and `write_like` are as in `run_copy`.
    """
    total = 0
    for step in steps:
        total += run_copy([step], store, on_progress, write_like)
        remove_place(step.link or step.source, store)
    return total


def remove_place(place: BucketPath | Path, store: ObjectStore) -> None:
    """Remove an object, or a file or link of this machine.

    Raises:
        NotFound: It is not there.
    """
    if isinstance(place, BucketPath):
        store.delete_object(place)
        return
    try:
        place.unlink()
    except OSError as error:
        raise from_os_error(error, f"'{place}'", is_local=True) from error


class _Counted:
    def __init__(
        self, file: BinaryIO, step: CopyStep, on_progress: Callable[[CopyStep, int], None] | None
    ) -> None:
        self._file, self._step, self._on_progress = file, step, on_progress
        self.done = 0

    def __iter__(self) -> Iterator[bytes]:
        self._tell()
        while chunk := self._file.read(_CHUNK_BYTES):
            yield chunk
            self.done += len(chunk)
            self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._step, self.done)


def open_place(source: BucketPath | Path, store: ObjectStore) -> BinaryIO:
    """Open an object, or a file of this machine that is no link.

    Raises:
        NotFound: It is not there.
        FailedPrecondition: It is a link.
    """
    if isinstance(source, BucketPath):
        return store.open_read(source)
    try:
        # Planned as a regular file; a link that has come since is not what was asked for.
        return os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise from_os_error(error, f"'{source}'", is_local=True) from error


def _write(
    step: CopyStep, chunks: _Counted, store: ObjectStore, write_like: WriteLike | None
) -> None:
    if isinstance(step.destination, BucketPath):
        if write_like is not None and isinstance(step.source, BucketPath):
            write_like(step.destination, chunks, step.source)
        else:
            store.write(step.destination, chunks)
        return
    root, name, _is_named = step.destination
    try:
        root.mkdir(parents=True, exist_ok=True)
        if _is_stream(step.destination):
            _pour(step.destination, chunks)
            return
        staging.write_whole(root, name, chunks, staging=name.rpartition("/")[0], is_private=False)
    except OSError as error:
        raise from_os_error(error, f"'{inside(root, name)}'", is_local=True) from error


def _is_stream(target: LocalTarget) -> bool:
    """Tell whether something is there that no file may take the place of.

    That is a pipe, a device or a socket; and behind a link that the user named also the open file
    of a process, which ``/dev/stdout`` and ``/dev/fd/1`` lead to when a shell wrote ``> FILE``.
    """
    path = inside(target.root, target.name)
    try:
        mode = path.stat(follow_symlinks=target.is_named).st_mode
        if stat.S_ISREG(mode):
            return _leads_through_proc(path)
    except OSError:  # nothing is there; what else is wrong shows when it is written
        return False
    return not (stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _leads_through_proc(path: Path) -> bool:
    while path.is_symlink():  # it has an end: a file was found there
        if path.parent.resolve().is_relative_to("/proc"):  # /dev/fd is a link to there, too
            return True
        path = path.parent / path.readlink()
    return False


def _pour(target: LocalTarget, chunks: Iterable[bytes]) -> None:
    path = inside(target.root, target.name)
    if not target.is_named:
        raise FailedPrecondition(
            f"'{path}' is no regular file, and is not replaced by one.",
            "Remove it, or copy to it alone by its own name.",
        )
    # At its end: an open file may hold what others wrote before.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "wb") as file:
        for chunk in chunks:
            file.write(chunk)
