"""What the commands of ``gsutil`` and ``gcloud storage`` do, over `transfer` and `Buckets`."""

from __future__ import annotations

import filecmp
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mlengine.core.clock import rfc3339
from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.faults import from_os_error
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import BucketPath, local_path, parse_uri
from mlengine.storage.shims.contents import UnpackedObjects, copy_object, remove_folders
from mlengine.storage.sources import every_object, find_sources, folder_name, ignore, is_remote
from mlengine.storage.transfer import (
    CopyStep,
    LocalTarget,
    ObjectStore,
    disk_usage,
    list_places,
    plan_copy,
    plan_remove,
    run_copy,
    run_remove,
)

__all__ = ["Commands"]

_CHUNK_BYTES = 1024 * 1024
_Names = list[
    str
]  # `Commands.list` hides the builtin from the annotations of the methods behind it


class Commands:
    """The commands; what they find goes to standard output, what they do to standard error.

    Args:
        buckets: Those of the job.
    """

    def __init__(self, buckets: Buckets) -> None:
        self._buckets, self._unpacked = buckets, UnpackedObjects(buckets)
        self._missed = 0
        self.quiet = False
        self.follow_links = True
        self.unpack = True

    def say(self, text: str) -> None:
        """Tell what happens, unless told to be quiet."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def copy(
        self, words: Sequence[str], *, recursive: bool, no_clobber: bool = False, move: bool = False
    ) -> None:
        """Copy, or move, all words but the last to the last; ``-`` is a standard stream."""
        *sources, destination = _at_least(2, words, "a source and a destination")
        if "-" in words:
            self._stream(sources, destination, move=move)
            return
        steps = plan_copy(
            sources,
            destination,
            recursive=recursive,
            store=self._buckets,
            on_skip=self._skipped,
            follow_links=self.follow_links,
        )
        if move:  # links before what they lead to
            steps.sort(key=lambda step: step.link is None)
        for step in steps:
            if no_clobber and self._exists(step.destination):
                self.say(f"Skipping existing item: {_shown(step.destination)}")
                continue
            self.say(f"{'Moving' if move else 'Copying'} {_shown(step.link or step.source)}...")
            self._carry(step)
            if move:
                self._remove(step.link or step.source)
        for uri in sources if move and recursive else ():
            if is_remote(uri):
                remove_folders(parse_uri(uri, wildcards=True), self._buckets)
        self._refuse_missed()

    def _carry(self, step: CopyStep) -> None:
        if isinstance(step.source, BucketPath) and isinstance(step.destination, BucketPath):
            copy_object(step.source, step.destination, self._buckets)
        else:
            run_copy([step], self._unpacked if self.unpack else self._buckets)

    def _stream(self, sources: Sequence[str], destination: str, *, move: bool) -> None:
        if len(sources) > 1 and destination != "-":
            raise InvalidArgument("Several sources cannot go with '-'.", "Copy them one by one.")
        if move:
            raise InvalidArgument("'-' cannot be moved.", "Copy it.")
        if destination == "-":
            self.cat(sources)
            return
        target = parse_uri(destination)
        if target.is_folder:
            raise InvalidArgument(f"{target} names no object.", "Write gs://BUCKET/NAME.")
        self.say("Copying from <STDIN>...")
        self._buckets.write(target, _chunks(sys.stdin.buffer))

    def _skipped(self, what: str, why: str) -> None:
        print(f"Omitting {what}: it {why}.", file=sys.stderr)
        place = Path(what)
        # The real programs, too, leave out folders that a wildcard or a link leads to, and are
        # content; so they are with links that they were told to leave.
        is_expected = place.is_dir() or (place.is_symlink() and not self.follow_links)
        self._missed += not (is_remote(what) or is_expected)

    def _refuse_missed(self) -> None:
        """Fail at the end of a command that left out what was asked for."""
        if self._missed:
            noun = "file was" if self._missed == 1 else "files were"
            raise FailedPrecondition(
                f"{self._missed} {noun} not copied.", "See above which, and why."
            )

    def _exists(self, place: BucketPath | LocalTarget) -> bool:
        if isinstance(place, LocalTarget):
            return (place.root / place.name).exists()
        try:
            self._buckets.stat(place)
        except NotFound:
            return False
        return True

    def _remove(self, place: BucketPath | Path) -> None:
        if isinstance(place, BucketPath):
            self._buckets.delete_object(place)
        else:
            place.unlink()

    def remove(self, words: Sequence[str], *, recursive: bool, force: bool = False) -> None:
        """Remove the objects that the words mean; with `force` nothing there is no error."""
        for uri in _at_least(1, words, "a gs:// URI"):
            path = parse_uri(uri, wildcards=True)
            try:
                doomed = plan_remove(
                    [uri], recursive=recursive, store=self._buckets, on_skip=self._skipped
                )
            except NotFound:
                # Nothing but folders may be there, such as `tf.io.gfile.makedirs` makes.
                if not (recursive and remove_folders(path, self._buckets)) and not force:
                    raise
                continue
            run_remove(doomed, self._buckets, lambda path: self.say(f"Removing {path}..."))
            if recursive:
                remove_folders(path, self._buckets)
            if recursive and not path.name:
                self.say(f"{uri} is empty now; the bucket itself is not a job's to remove.")

    def cat(self, words: Sequence[str]) -> None:
        """Print the bytes of the objects that the words mean."""
        for uri in _at_least(1, words, "a gs:// URI"):
            parse_uri(uri, wildcards=True)
            for source in find_sources(uri, recursive=False, store=self._buckets, on_skip=ignore):
                for file in source.files:
                    assert isinstance(file.place, BucketPath)
                    with self._unpacked.open_read(file.place) as data:
                        for chunk in _chunks(data):
                            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()

    def list(self, words: Sequence[str], *, recursive: bool = False, long: bool = False) -> None:
        """List buckets, or what lies at each word."""
        if not words:
            for bucket in self._buckets.list():
                print(f"gs://{bucket.name}/")
        objects = size = 0
        for uri in words:
            places = list_places(uri, recursive=recursive, store=self._buckets)
            for line, info in _lines(places, headings=recursive and "**" not in uri):
                if info is None or not long:
                    print(f"{'':33}{line}" if long and line else line)
                    continue
                objects, size = objects + 1, size + info.size
                print(f"{info.size:>10}  {rfc3339(info.updated)}  {line}")
        if long:
            print(f"TOTAL: {objects} objects, {size} bytes")

    def stat(self, words: Sequence[str]) -> None:
        """Show an object's facts; whoever only wants to know whether it is there looks at the exit.

        Raises:
            NotFound: It is not.
        """
        for uri in _at_least(1, words, "a gs:// URI"):
            found = self._buckets.glob(uri)
            if not found:
                raise NotFound(f"No URLs matched: {uri}")
            for info in found:
                if not self.quiet:
                    print(f"{info.uri}:\n    Update time:            {rfc3339(info.updated)}")
                    print(f"    Content-Length:         {info.size}")

    def usage(self, words: Sequence[str], *, summary: bool = False) -> None:
        """Show how many bytes lie at each word."""
        for uri in _at_least(1, words, "a gs:// URI"):
            usages = disk_usage(uri, store=self._buckets)
            for row in usages[-1:] if summary else usages[:-1]:
                print(f"{row.size:<12} {row.path}")

    def sync(self, words: Sequence[str], *, recursive: bool, delete: bool) -> None:
        """Make the second place hold what the first holds; `delete` also removes what it has more.

        What has the same bytes already is left alone, and so is what was omitted.

        Raises:
            NotFound: Nothing is at the source. Mirroring a misspelt name would empty the other.
        """
        source, destination = _exactly_two(words)
        if is_remote(source):
            self._refuse_nothing(parse_uri(source))
        omitted: list[str] = []
        wanted = self._tree(source, recursive, omitted)
        present = self._tree(destination, recursive)
        if not wanted and not is_remote(source) and not local_path(source).is_dir():
            raise NotFound(f"'{source}' is not a folder.", "Name an existing one.")
        for name, place in wanted.items():
            if name in present and self._same(place, present[name]):
                continue
            self.say(f"Copying {_shown(place)}...")
            self._carry(CopyStep(place, _below(destination, name), 0))
        for name in sorted(present.keys() - wanted.keys()) if delete else ():
            if not any(name == left or name.startswith(left + "/") for left in omitted):
                self.say(f"Removing {_shown(present[name])}...")
                self._remove(present[name])
        self._refuse_missed()

    def _refuse_nothing(self, base: BucketPath) -> None:
        folder = folder_name(base) if base.name else ""
        if folder and not self._buckets.objects(base.bucket, prefix=folder, limit=1):
            raise NotFound(f"{base} is not a folder.", "See what is there with 'ls'.")

    def _tree(
        self, text: str, recursive: bool, omitted: _Names | None = None
    ) -> dict[str, BucketPath | Path]:
        """Return what lies beneath a place by its name there.

        Args:
            text: The place.
            recursive: Also of its folders.
            omitted: Of a source: takes the names that are left out. Of a destination such are
                nobody's concern, and a link there is replaced and not followed.
        """
        found: dict[str, BucketPath | Path] = {}

        def skip(what: str, why: str) -> None:
            name = Path(what).relative_to(local_path(text).resolve()).as_posix()
            if omitted is not None and (recursive or "/" not in name):
                omitted.append(name)
                self._skipped(what, why)

        if is_remote(text):
            base = parse_uri(text)
            folder = folder_name(base) if base.name else ""
            for info in every_object(self._buckets, base.bucket, folder):
                found[info.name.removeprefix(folder)] = BucketPath(info.bucket, info.name)
        elif local_path(text).is_dir():
            follow_links = self.follow_links and omitted is not None
            for source in find_sources(
                text,
                recursive=True,
                store=self._buckets,
                on_skip=skip,
                follow_links=follow_links,
            ):
                found.update((file.relative, file.place) for file in source.files)
        return {name: place for name, place in found.items() if recursive or "/" not in name}

    def _same(self, one: BucketPath | Path, other: BucketPath | Path) -> bool:
        if isinstance(one, Path) and isinstance(other, Path):
            return filecmp.cmp(one, other, shallow=False)
        # Among buckets the bytes count as they are stored, against a file as they were before.
        is_stored = isinstance(one, BucketPath) and isinstance(other, BucketPath)
        store: ObjectStore = self._buckets if is_stored else self._unpacked
        with _open(one, store) as first, _open(other, store) as second:
            pairs = itertools.zip_longest(_chunks(first), _chunks(second))
            return all(a == b for a, b in pairs)


def _open(place: BucketPath | Path, store: ObjectStore) -> BinaryIO:
    if isinstance(place, BucketPath):
        return store.open_read(place)
    try:
        return place.open("rb")
    except OSError as error:
        raise from_os_error(error, f"'{place}'") from error


def _below(text: str, name: str) -> BucketPath | LocalTarget:
    if not is_remote(text):
        return LocalTarget(local_path(text).absolute(), name)
    base = parse_uri(text)
    return BucketPath(base.bucket, (folder_name(base) if base.name else "") + name)


def _lines(
    places: Iterator[ObjectInfo | BucketPath], *, headings: bool
) -> Iterator[tuple[str, ObjectInfo | None]]:
    """Yield each line of a listing, with the object that it shows."""
    folder = ""
    for place in places:
        if isinstance(place, BucketPath):
            yield str(place), None
            continue
        here = place.uri.rpartition("/")[0] + "/"
        if headings and here != folder:
            if folder:
                yield "", None
            yield f"{here}:", None
            folder = here
        yield place.uri, place


def _shown(place: BucketPath | Path | LocalTarget) -> str:
    return str(place) if isinstance(place, BucketPath) else f"file://{os.fspath(str(place))}"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK_BYTES), b"")


def _at_least(count: int, words: Sequence[str], what: str) -> Sequence[str]:
    if len(words) < count:
        raise InvalidArgument(f"The command needs {what}.", "See its help.")
    return words


def _exactly_two(words: Sequence[str]) -> tuple[str, str]:
    if len(words) != 2:
        raise InvalidArgument(f"rsync takes two places, not {len(words)}.", "Write rsync FROM TO.")
    return words[0], words[1]
