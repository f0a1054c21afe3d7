"""``cat``, and ``cp`` from and to ``-``: the bytes of objects through standard streams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from mlengine.core.errors import InvalidArgument
from mlengine.storage.chunks import chunks_of
from mlengine.storage.paths import parse_uri
from mlengine.storage.sources import ObjectStore, OnSkip, find_sources, ignore
from mlengine.storage.transfer import is_there, open_place

__all__ = ["WHOLE", "Carried", "Span", "check_streams", "parse_span", "read_in", "write_out"]

_SPAN = re.compile(r"([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


class Carried(NamedTuple):
    """How many files went by, and how many bytes."""

    files: int
    size: int


class Span(NamedTuple):
    """A part of a file: bytes `start` up to `end`, which is exclusive, or the `last` ones alone."""

    start: int = 0
    end: int | None = None
    last: int | None = None

    def cut(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the part; what lies behind it is not asked for."""
        if self.last is not None:
            kept = bytearray()
            for chunk in chunks:
                kept += chunk
                del kept[: max(len(kept) - self.last, 0)]
            yield bytes(kept)
            return
        at = 0
        for chunk in chunks:
            end = len(chunk) if self.end is None else self.end - at
            yield chunk[max(self.start - at, 0) : end]
            at += len(chunk)
            if self.end is not None and at >= self.end:
                return


WHOLE = Span()


def parse_span(text: str) -> Span:
    """Read gsutil's ``START-END``, where the end is inclusive, ``START-`` or ``-COUNT``.

    Raises:
        InvalidArgument: It is none of these, or ends before it starts.

    Example:
        >>> parse_span("2-4"), parse_span("-5")
        (Span(start=2, end=5, last=None), Span(start=0, end=None, last=5))
    """
    found = _SPAN.fullmatch(text)
    start, end = found.groups() if found else ("", "")
    if not (start or end) or (start and end and int(end) < int(start)):
        raise InvalidArgument(
            f"The range {text!a} names no bytes.", "Write START-END, START- or -COUNT."
        )
    if not start:
        return Span(last=int(end))
    return Span(int(start), int(end) + 1 if end else None)


def check_streams(
    sources: Sequence[str], destination: str, *, recursive: bool = False, move: bool = False
) -> None:
    """Refuse what ``-`` among the words of `cp` or `mv` cannot mean.

    Raises:
        InvalidArgument: It is moved, a tree, one of several sources, or both ends.
    """
    if move:
        raise InvalidArgument("'-' cannot be moved.", "Copy it.")
    if recursive:
        raise InvalidArgument("'-' is one stream and takes no folders.", "Leave -r out.")
    if "-" in sources and (len(sources) > 1 or destination == "-"):
        raise InvalidArgument(
            "'-' goes neither with other sources nor to itself.",
            "Copy it alone, to gs://BUCKET/NAME.",
        )


def read_in(
    destination: str, data: BinaryIO, store: ObjectStore, *, no_clobber: bool = False
) -> Carried:
    """Make an object of all that a stream holds; with `no_clobber` none where one is already.

    Raises:
        InvalidArgument: The destination names no object.
    """
    target = parse_uri(destination)
    if target.is_folder:
        raise InvalidArgument(f"{target} names no object.", "Write gs://BUCKET/NAME.")
    if no_clobber and is_there(target, store):
        return Carried(0, 0)
    return Carried(1, store.write(target, chunks_of(data)).size)


def write_out(
    sources: Sequence[str],
    out: BinaryIO,
    store: ObjectStore,
    *,
    span: Span = WHOLE,
    has_headings: bool = False,
    on_skip: OnSkip = ignore,
) -> Carried:
    """Write the bytes of all sources, one after the other.

    Args:
        sources: Local files and URIs, also with wildcards.
        out: Where to.
        store: Where the buckets are.
        span: Which part of each file.
        has_headings: Put a line with its name before each file.
        on_skip: Hears of folders that are left out.

    Raises:
        NotFound: A source means nothing; those before it are written.
    """
    files = size = 0
    for text in sources:
        for source in find_sources(text, recursive=False, store=store, on_skip=on_skip):
            for file in source.files:
                if has_headings:
                    out.write(f"==> {file.place} <==\n".encode())
                with open_place(file.place, store) as data:
                    for piece in span.cut(chunks_of(data)):
                        size += out.write(piece)
                files += 1
    out.flush()
    return Carried(files, size)
