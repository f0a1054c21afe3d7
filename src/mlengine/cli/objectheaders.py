"""``mlengine storage -h HEADER:VALUE``, as with gsutil: what is said of objects that are written.

It may be given several times:

    -h Content-Type:text/html -h x-goog-meta-run:7
        └▶ {"contentType": "text/html", "metadata": {"run": "7"}}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

__all__ = ["read_headers", "with_help"]

_FIELDS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-custom-time": "customTime",
}
_OWN = "x-goog-meta-"
_WITH_VALUE = ("-h", "-o")


def read_headers(texts: Iterable[str]) -> dict[str, Any]:
    """Return what headers say of an object, in the words of Cloud Storage's JSON.

    Raises:
        ValueError: One is no header, or of no object: ignored, it would be lost.

    Example:
        >>> read_headers(["Content-Type: text/html", "x-goog-meta-Run:7"])
        {'contentType': 'text/html', 'metadata': {'run': '7'}}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon:
            raise ValueError(f"{text!r} is no HEADER:VALUE. Write it as Content-Type:text/html.")
        if name in _FIELDS:
            found[_FIELDS[name]] = value
        elif name.startswith(_OWN) and name != _OWN:
            found.setdefault("metadata", {})[name.removeprefix(_OWN)] = value
        else:
            raise ValueError(
                f"the header {name!r} is not kept of objects. Leave it out; these are kept: "
                f"{', '.join(_FIELDS)}, {_OWN}..."
            )
    return found


def with_help(words: Sequence[str], commands: Collection[str]) -> list[str]:
    """Let a ``-h`` in front of the command that nothing for it follows ask for help, as elsewhere.

    What is neither a flag nor one of the `commands` is left to `read_headers`, which says what is
    wrong with it: help would look as if all were well.

    Example:
        >>> with_help(["-m", "-h"], ["cp"]), with_help(["-h", "Content-Type:x", "cp", "-h"], ["cp"])
        (['--help'], ['-h', 'Content-Type:x', 'cp', '-h'])
    """
    at = 0
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "-h" and _ends(words[at + 1 : at + 2], commands):
            return ["--help"]
        at += 2 if words[at] in _WITH_VALUE else 1
    return [*words]


def _ends(following: Sequence[str], commands: Collection[str]) -> bool:
    return not following or following[0].startswith("-") or following[0] in commands
