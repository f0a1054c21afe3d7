"""The command line before click sees it: old root names, and flags that may stand anywhere.

    mlengine --format json beta ai-platform jobs list --limit 3
        └▶ words ["jobs", "list"], flags {format: json, limit: 3}

Pure. gcloud takes its global flags in front of, between and behind the words of a command, and
passes on what stands behind ``--``; click does neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ArgvError", "GlobalFlags", "Line", "dashed", "read_line"]

_ROOTS = ("ai-platform", "ml-engine", "ml")
_TRACKS = ("alpha", "beta")

_WITH_VALUE = {
    "--filter": "filter",
    "--flatten": "flatten",
    "--format": "format",
    "--home": "home",
    "--limit": "limit",
    "--page-size": "page_size",
    "--project": "project",
    "--sort-by": "sort_by",
    "--verbosity": "verbosity",
}
_SWITCHES = {"--log-http": "log_http", "--quiet": "quiet", "-q": "quiet", "--uri": "uri"}
# Accepting one of these silently would act as somebody else, or elsewhere, than was asked.
_REFUSED = {
    "--access-token-file": "Set MLENGINE_TOKEN.",
    "--account": "An engine knows tokens, not accounts: set MLENGINE_TOKEN.",
    "--billing-project": "An engine has no billing; leave it out.",
    "--configuration": "Choose another home with --home, or set MLENGINE_HOME.",
    "--flags-file": "Write the flags out, or use --config where a command has it.",
    "--impersonate-service-account": "An engine knows tokens, not accounts: set MLENGINE_TOKEN.",
}
LEVELS = ("debug", "info", "warning", "error", "critical", "none")


class ArgvError(ValueError):
    """The line cannot be read; the message is for the person who typed it."""


class GlobalFlags(NamedTuple):
    """What the global flags said; an empty string was not given."""

    filter: str = ""
    flatten: str = ""
    format: str = ""
    home: str = ""
    limit: str = ""
    log_http: bool = False
    page_size: str = ""
    project: str = ""
    quiet: bool = False
    sort_by: str = ""
    uri: bool = False
    verbosity: str = ""


class Line(NamedTuple):
    """A command line taken apart; `rest` is what stands behind ``--``, None without one."""

    words: tuple[str, ...]
    flags: GlobalFlags
    rest: tuple[str, ...] | None = None


def read_line(argv: Sequence[str]) -> Line:
    """Take a command line apart.

    Raises:
        ArgvError: A global flag without its value, a refused one, or a wrong number or level.

    Example:
        >>> read_line(["ml-engine", "jobs", "list", "--limit=2"]).words
        ('jobs', 'list')
    """
    given = list(argv)
    for word in given:
        if not _is_text(word):
            raise ArgvError(f"the argument {word!r} is not UTF-8 text")
    rest: tuple[str, ...] | None = None
    if "--" in given:
        at = given.index("--")
        given, rest = given[:at], tuple(given[at + 1 :])
    words, found = _take_flags(given)
    flags = GlobalFlags(**found)  # type: ignore[arg-type]  # switches are bool, the others str
    _check(flags)
    return Line(tuple(_without_roots(words)), flags, rest)


def dashed(name: str) -> str:
    """Return a flag's name as it is spelled here: gcloud took ``--runtime_version``, too."""
    return name.replace("_", "-")


def _is_text(word: str) -> bool:
    """Tell whether a word can be sent; bytes that are no UTF-8 arrive as lone surrogates."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _take_flags(given: list[str]) -> tuple[list[str], dict[str, str | bool]]:
    words: list[str] = []
    found: dict[str, str | bool] = {}
    tokens = iter(given)
    for token in tokens:
        typed, equals, value = token.partition("=")
        name = dashed(typed) if typed.startswith("--") else typed
        if name in _REFUSED:
            raise ArgvError(f"{name} is not supported: {_REFUSED[name]}")
        if name in _WITH_VALUE:
            text = value if equals else next(tokens, None)
            # An empty filter lets everything pass, as scripts with a variable in it expect.
            if text is None or (not text and name != "--filter"):
                raise ArgvError(f"argument {name}: expected one argument")
            found[_WITH_VALUE[name]] = text
        elif name in _SWITCHES and not equals:
            found[_SWITCHES[name]] = True
        else:
            words.append(token)
    return words, found


def _without_roots(words: list[str]) -> list[str]:
    """Drop what stood between `gcloud` and the command: a track, a root, or both."""
    start = 0
    while start < len(words) and words[start] in (*_ROOTS, *_TRACKS):
        start += 1
    return words[start:]


def _check(flags: GlobalFlags) -> None:
    for name, text in (("--limit", flags.limit), ("--page-size", flags.page_size)):
        if text and not (text.isascii() and text.isdecimal() and 1 <= int(text[:10]) < 10**9):
            raise ArgvError(f"argument {name}: {text!r} is not a whole number of at least 1")
    if flags.verbosity and flags.verbosity.lower() not in LEVELS:
        raise ArgvError(
            f"argument --verbosity: Invalid choice: {flags.verbosity!r} "
            f"(choose from {', '.join(LEVELS)})"
        )
