"""The one module that turns a user's path or URI into a place; nothing else opens user paths.

Text is checked as it will be used: nothing is decoded, expanded or normalised, so there is no
second meaning to smuggle. What is refused, and why:

    ``..`` ``.`` ``//``         leave or blur the folder they are joined to
    ``．．`` ``／``              fold to dots or slashes
    ``?`` ``@`` ``:port``       are a wildcard, or of another server
    ``\\`` NUL, control         are separators or terminators elsewhere
    other schemes               are somebody else's files

``%3A``, ``#`` and ``~`` are characters like others: Spark writes ``ts=00%3A00/``, who sends a name
in an HTTP request encodes it for that request alone, and behind ``gs://BUCKET/`` no shell expands.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, NoReturn

from mlengine.core.errors import EngineError, InvalidArgument
from mlengine.core.names import check_bucket_id
from mlengine.storage import beneath
from mlengine.storage.faults import from_os_error

__all__ = [
    "Backing",
    "BucketPath",
    "check_name",
    "inside",
    "is_uri",
    "local_path",
    "open_inside",
    "parse_backing",
    "parse_uri",
]

_MAX_NAME_BYTES = 1024
_MAX_SEGMENT_BYTES = 255
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_BACKING_PATH = re.compile(r"[A-Za-z0-9_./ +=,@-]*", re.ASCII)
_BACKINGS = ("file", "memory", "s3", "gcs", "az")
_GS_REMEDY = "Write gs://BUCKET/NAME with plain characters; nothing in it is decoded or expanded."


class BucketPath(NamedTuple):
    """A place in a bucket; `name` is empty for the bucket, ends in ``/`` for a folder."""

    bucket: str
    name: str

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}"

    @property
    def is_folder(self) -> bool:
        """Whether it can only mean what lies beneath it."""
        return not self.name or self.name.endswith("/")


class Backing(NamedTuple):
    """Where a bucket's bytes lie: a known scheme and a plain path behind it."""

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"


def is_uri(text: str) -> bool:
    """Return whether `text` starts with a scheme, allowed or not.

    Example:
        >>> is_uri("gs://data/x"), is_uri("data/x"), is_uri("/tmp/a:b")
        (True, False, False)
    """
    return _SCHEME.match(text) is not None


def parse_uri(text: str, *, field: str = "", wildcards: bool = False) -> BucketPath:
    """Take ``gs://BUCKET/NAME`` apart.

    Args:
        text: The URI as the user wrote it.
        field: The request's field, for the message.
        wildcards: Also accept ``?``, for patterns; ``*`` is a lawful character anyway.

    Raises:
        InvalidArgument: It is anything else; the message shows the value and the way out.

    Example:
        >>> parse_uri("gs://census/data/adult.csv")
        BucketPath(bucket='census', name='data/adult.csv')
    """
    if not text.startswith("gs://"):
        _refuse(text, "does not start with 'gs://'", field)
    bucket, _slash, name = text.removeprefix("gs://").partition("/")
    try:
        check_bucket_id(bucket)
    except InvalidArgument as error:
        # Userinfo, ports and upper case all end here: none may be part of a bucket's name.
        raise InvalidArgument(
            f"{_shown(text)} names no bucket.", error.remedy, field=field
        ) from None
    problem = _name_problem(name.removesuffix("/") if name != "/" else name) if name else ""
    problem = problem or _uri_problem(name, wildcards=wildcards)
    if problem:
        _refuse(text, problem, field)
    return BucketPath(bucket, name)


def check_name(name: str, *, field: str = "") -> str:
    """Return `name` if it may name one object; what only a URI's text must not have is allowed.

    Raises:
        InvalidArgument: It is empty, ends in a slash, has empty, ``.`` or ``..`` segments,
            backslashes or control characters, or is too long.
    """
    problem = _name_problem(name)
    if problem:
        raise InvalidArgument(
            f"The object name {_shown(name)} {problem}.",
            "Use segments of at most 255 bytes, joined by single slashes.",
            field=field,
        )
    return name


def _name_problem(name: str) -> str:
    if "\\" in name:
        return "has a backslash"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        return "has a control character"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"has more than {_MAX_NAME_BYTES} bytes"
    for segment in name.split("/"):
        if not segment:
            return "has an empty segment"
        if segment in (".", ".."):
            return f"has a {segment!r} segment"
        if len(segment.encode()) > _MAX_SEGMENT_BYTES:
            return f"has a segment of more than {_MAX_SEGMENT_BYTES} bytes"
    return ""


def _uri_problem(name: str, *, wildcards: bool) -> str:
    if "?" in name and not wildcards:
        return "has a '?'"
    for segment in name.split("/"):
        folded = unicodedata.normalize("NFKC", segment)
        if folded != segment and (folded in (".", "..") or "/" in folded or "\\" in folded):
            return "has characters that fold to dots or slashes"
    return ""


def _refuse(text: str, problem: str, field: str) -> NoReturn:
    raise InvalidArgument(f"{_shown(text)} {problem}.", _GS_REMEDY, field=field)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 200 else text[:197] + "...")


def parse_backing(text: str, *, field: str = "bucket.backing") -> Backing:
    """Take the URL behind a bucket apart; the schemes are an allow-list.

    Chains (``simplecache::…``), credentials, ports, queries and fragments are refused: a backing
    says where bytes lie and nothing else. Credentials come from the service's own environment.

    Raises:
        InvalidArgument: The scheme is not one of file, memory, s3, gcs, az, or the path not plain.
    """
    scheme, separator, path = text.partition("://")
    remedy = f"Use one of {', '.join(s + '://…' for s in _BACKINGS)} with a plain path."
    if not separator or scheme not in _BACKINGS:
        raise InvalidArgument(f"The backing {_shown(text)} is not supported.", remedy, field=field)
    trimmed = path.removeprefix("/") if scheme == "file" else path
    trimmed = trimmed.removesuffix("/")
    plain = _BACKING_PATH.fullmatch(path) and "@" not in path.split("/")[0]
    if not trimmed or not plain or _name_problem(trimmed):
        raise InvalidArgument(f"The backing {_shown(text)} has no plain path.", remedy, field=field)
    if scheme == "file" and not path.startswith("/"):
        raise InvalidArgument(
            f"The backing {_shown(text)} names a host.",
            "Write file:///ABSOLUTE/PATH with three slashes.",
            field=field,
        )
    return Backing(scheme, path.removesuffix("/"))


def local_path(text: str, *, field: str = "") -> Path:
    """Read a path of the caller's own machine: plain, or ``file:///ABSOLUTE``.

    The caller is the machine's user, so ``..`` and links are theirs to use; only text that would
    mean something else to the next reader is refused.

    Raises:
        InvalidArgument: It is empty, has a NUL or control character, another scheme, or a host.
    """
    path = text
    if text.startswith("file:"):
        path = text.removeprefix("file://")
        if not path.startswith("/") or _ESCAPE.search(path) or "#" in path or "?" in path:
            raise InvalidArgument(
                f"{_shown(text)} is not a local file.",
                "Write a plain path, or file:///ABSOLUTE/PATH.",
                field=field,
            )
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text):
        raise InvalidArgument(
            f"{_shown(text)} is not a path of this machine.",
            "Write a plain path (./a:b for a name with a colon).",
            field=field,
        )
    if not path or any(unicodedata.category(c) == "Cc" for c in path):
        raise InvalidArgument(
            f"{_shown(text)} is empty or has a control character.", "Write a path.", field=field
        )
    return Path(path)


def inside(root: Path, name: str) -> Path:
    """Join by text alone: `name` is checked, no disk is asked, links are not looked at.

    To open what the path names, use `open_inside`: between this answer and an ``open`` a trainer
    may swap any folder for a link.
    """
    return root / check_name(name)


def open_inside(
    root: Path, name: str, mode: Literal["rb", "xb"] = "rb", *, single_link: bool = False
) -> BinaryIO:
    """Open a regular file beneath `root` without following any link beneath it.

    Args:
        root: A folder of ours; how one gets there is not checked.
        name: Checked as by `check_name`.
        mode: ``rb``, or ``xb`` to create a file that must not exist, with its folders.
        single_link: Refuse a file that has a second hard link: its bytes belong elsewhere too.

    Raises:
        InvalidArgument: `name` is not plain.
        NotFound: Nothing is there, or something that is not a regular file.
        FailedPrecondition: It is, or lies behind, a link.
        AlreadyExists: With ``xb``, something is there.
    """
    check_name(name)
    try:
        if mode == "rb":
            fd = beneath.open_file(root, name, single_link=single_link)
        else:
            fd = beneath.create_file(root, name)
        return os.fdopen(fd, "rb") if mode == "rb" else os.fdopen(fd, "wb")
    except OSError as error:
        raise _named(error, name) from error


def _named(error: OSError, name: str) -> EngineError:
    return from_os_error(error, f"'{name}'")
