"""What the commands of ``gsutil`` and ``gcloud storage`` do, over `transfer` and `Buckets`."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mlengine.core.clock import rfc3339
from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.sizes import size_text
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.browse import (
    disk_usage,
    find_objects,
    list_places,
    plan_remove,
    run_remove,
    stat_lines,
)
from mlengine.storage.mirror import plan_sync, same_bytes
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import BucketPath, parse_uri
from mlengine.storage.shims.contents import UnpackedObjects, copy_object, remove_folders
from mlengine.storage.sources import File, ObjectStore, is_remote
from mlengine.storage.streams import WHOLE, check_streams, parse_span, read_in, write_out
from mlengine.storage.transfer import (
    CopyStep,
    LocalTarget,
    leave_existing,
    plan_copy,
    plan_move,
    remove_place,
    run_copy,
)

__all__ = ["Commands"]


class Commands:
    """The commands; what they find goes to standard output, what they do to standard error.

    Args:
        buckets: Those of the job.
        as_uri: Turns a path in a bucket's folder into the URI that it stands for. Commands that
            know nothing but objects ask it; those that copy take the path for what it is.
    """

    def __init__(self, buckets: Buckets, as_uri: Callable[[str], str] = str) -> None:
        self._buckets, self._unpacked = buckets, UnpackedObjects(buckets)
        self._as_uri = as_uri
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
            check_streams(sources, destination, recursive=recursive and not move, move=move)
            self._stream(sources, destination, no_clobber=no_clobber)
            return
        plan = plan_move if move else functools.partial(plan_copy, recursive=recursive)
        steps = plan(
            sources,
            destination,
            store=self._buckets,
            on_skip=self._skipped,
            follow_links=self.follow_links,
        )
        if no_clobber:
            steps = leave_existing(steps, self._buckets, self._left)
        for step in steps:
            self.say(f"{'Moving' if move else 'Copying'} {_shown(step.link or step.source)}...")
            self._carry(step)
            if move:
                remove_place(step.link or step.source, self._buckets)
        for uri in sources if move and recursive else ():
            if is_remote(uri):
                remove_folders(parse_uri(uri, wildcards=True), self._buckets)
        self._refuse_missed()

    def _carry(self, step: CopyStep) -> None:
        if isinstance(step.source, BucketPath) and isinstance(step.destination, BucketPath):
            copy_object(step.source, step.destination, self._buckets)
        else:
            run_copy([step], self._unpacked if self.unpack else self._buckets)

    def _stream(self, sources: Sequence[str], destination: str, *, no_clobber: bool) -> None:
        if destination == "-":
            store = self._unpacked if self.unpack else self._buckets
            write_out(sources, sys.stdout.buffer, store, on_skip=self._skipped)
            self._refuse_missed()
            return
        self.say("Copying from <STDIN>...")
        stored = read_in(destination, sys.stdin.buffer, self._buckets, no_clobber=no_clobber)
        if not stored.files:
            self.say(f"Skipping existing item: {destination}")

    def _left(self, step: CopyStep) -> None:
        self.say(f"Skipping existing item: {_shown(step.destination)}")

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

    def remove(self, words: Sequence[str], *, recursive: bool, force: bool = False) -> None:
        """Remove the objects that the words mean; with `force` nothing there is no error."""
        for uri in self._uris(words):
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

    def cat(self, words: Sequence[str], *, span: str = "", headings: bool = False) -> None:
        """Print the bytes of the objects that the words mean, or part of each."""
        uris = self._uris(words)
        for uri in uris:
            parse_uri(uri, wildcards=True)
        part = parse_span(span) if span else WHOLE
        write_out(uris, sys.stdout.buffer, self._unpacked, span=part, has_headings=headings)

    def list(
        self,
        words: Sequence[str],
        *,
        recursive: bool = False,
        long: bool = False,
        readable: bool = False,
        itself: bool = False,
    ) -> None:
        """List buckets, or what lies at each word."""
        size_of = size_text if readable else str
        objects = size = 0
        for uri in self._uris(words or ["gs://"]):
            places = list_places(
                uri,
                recursive=recursive,
                itself=itself,
                store=self._buckets,
                buckets=lambda: [bucket.name for bucket in self._buckets.list()],
            )
            for line, info in _lines(places, headings=recursive and not itself and "**" not in uri):
                if info is None or not long:
                    print(f"{'':33}{line}" if long and line else line)
                    continue
                objects, size = objects + 1, size + info.size
                print(f"{size_of(info.size):>10}  {rfc3339(info.updated)}  {line}")
        if long:
            shown = f" ({size_text(size)})" if readable else ""
            print(f"TOTAL: {objects} objects, {size} bytes{shown}")

    def stat(self, words: Sequence[str]) -> None:
        """Show an object's facts; whoever only wants to know whether it is there looks at the exit.

        Raises:
            NotFound: It is not.
        """
        for uri in self._uris(words):
            for info in find_objects(uri, store=self._buckets):
                if not self.quiet:
                    print(*stat_lines(info), sep="\n")

    def usage(
        self,
        words: Sequence[str],
        *,
        summary: bool = False,
        readable: bool = False,
        total: bool = False,
    ) -> None:
        """Show how many bytes lie at each word."""
        size_of = size_text if readable else str
        size = 0
        for uri in self._uris(words):
            usages = disk_usage(uri, store=self._buckets)
            for row in usages[-1:] if summary else usages[:-1]:
                print(f"{size_of(row.size):<12} {row.path}")
            size += usages[-1].size
        if total:
            print(f"{size_of(size):<12} total")

    def sync(
        self, words: Sequence[str], *, recursive: bool, delete: bool, exclude: Sequence[str] = ()
    ) -> None:
        """Make the second place hold what the first holds; `delete` also removes what it has more.

        What has the same bytes already is left alone, and so are what was omitted and names that
        an expression of `exclude` matches.

        Raises:
            NotFound: Nothing is at the source. Mirroring a misspelt name would empty the other.
        """
        source, destination = _exactly_two(words)
        plan = plan_sync(
            source,
            destination,
            recursive=recursive,
            delete=delete,
            store=self._buckets,
            is_same=self._is_same,
            on_skip=self._skipped,
            follow_links=self.follow_links,
            exclude=exclude,
        )
        for step in plan.steps:
            self.say(f"Copying {_shown(step.source)}...")
            self._carry(step)
        for place in plan.doomed:
            self.say(f"Removing {_shown(place)}...")
            remove_place(place, self._buckets)
        self._refuse_missed()

    def _uris(self, words: Sequence[str]) -> Sequence[str]:
        return [self._as_uri(word) for word in _at_least(1, words, "a gs:// URI")]

    def _is_same(self, one: File, other: File) -> bool:
        # Among buckets the bytes count as they are stored, against a file as they were before.
        is_stored = isinstance(one.place, BucketPath) and isinstance(other.place, BucketPath)
        store: ObjectStore = self._buckets if is_stored else self._unpacked
        return same_bytes(one.place, other.place, store)


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


def _at_least(count: int, words: Sequence[str], what: str) -> Sequence[str]:
    if len(words) < count:
        raise InvalidArgument(f"The command needs {what}.", "See its help.")
    return words


def _exactly_two(words: Sequence[str]) -> tuple[str, str]:
    if len(words) != 2:
        raise InvalidArgument(f"rsync takes two places, not {len(words)}.", "Write rsync FROM TO.")
    return words[0], words[1]
