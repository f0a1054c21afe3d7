"""The words of ``gsutil``."""

from __future__ import annotations

import getopt
from collections.abc import Callable, Mapping, Sequence

from mlengine.core.errors import InvalidArgument, Unimplemented, did_you_mean
from mlengine.storage.shims.commands import Commands

__all__ = ["run"]

_KNOWN = "cat, cp, du, ls, mv, rm, rsync, stat, version"
# Flags that change nothing here: parallelism, progress, access lists, checksums, most headers.
_GLOBAL = "mqDdo:h:i:u:"
_COPY = "rRnpPeUvcDa:j:J:L:t:s:"
_FLAGS = {
    "cp": _COPY, "mv": _COPY, "rm": "rRfa", "ls": "lLrRbdhap:", "cat": "hr:", "stat": "",
    "du": "sach", "rsync": "rRdcCeinpPuUJa:j:x:", "version": "l",
}  # fmt: skip
_UNLIKE = {
    ("cp", "-z"): "would store compressed bytes", ("cp", "-I"): "reads names from standard input",
    ("cp", "-L"): "would keep a list of what was copied",
    ("mv", "-L"): "would keep a list of what was moved",
    ("ls", "-b"): "describes buckets",
    ("rsync", "-n"): "only shows what it would do", ("rsync", "-i"): "leaves what is there already",
    ("rsync", "-u"): "leaves what is newer",
}  # fmt: skip
_KEPT_HEADERS = ("content-", "cache-control", "x-goog-meta-")


def run(words: list[str], commands: Callable[[], Commands], environ: Mapping[str, str]) -> int:
    """Run one command line; return the exit code.

    Raises:
        InvalidArgument: It makes no sense.
        Unimplemented: It means something that is not done here.
    """
    options, words = _parse("gsutil", words, _GLOBAL, permute=False)
    quiet = any(flag == "-q" for flag, _value in options)
    for flag, value in options:
        if flag == "-h" and value.strip().lower().startswith(_KEPT_HEADERS):
            raise Unimplemented(
                f"'gsutil -h {value}' would be lost: this program sets no headers of objects.",
                "Leave the header away.",
            )
    command, *words = words or ["help"]
    if command not in _FLAGS:
        raise Unimplemented(
            f"'gsutil {command}' is not known in a job of mlengine.",
            f"{did_you_mean(command, list(_FLAGS))}It knows {_KNOWN}.",
        )
    found, words = _parse(command, words, _FLAGS[command], permute=True)
    flags = dict(found)
    for flag in sorted(flags):
        if (command, flag) in _UNLIKE:
            why = _UNLIKE[command, flag]
            raise Unimplemented(f"'gsutil {command} {flag}' {why}.", "Leave the flag away.")
    if command == "version":
        print("gsutil version: 5.0 (mlengine)")
        return 0
    does = commands()
    does.quiet = quiet
    does.follow_links = "-e" not in flags
    _run(does, command, flags, words)
    return 0


def _run(does: Commands, command: str, flags: dict[str, str], words: Sequence[str]) -> None:
    recursive = bool(flags.keys() & {"-r", "-R"})
    if command in ("cp", "mv"):
        is_move = command == "mv"
        does.copy(words, recursive=recursive or is_move, no_clobber="-n" in flags, move=is_move)
    elif command == "rm":
        does.remove(words, recursive=recursive, force="-f" in flags)
    elif command == "ls":
        does.list(
            words,
            recursive=recursive,
            long=bool(flags.keys() & {"-l", "-L"}),
            readable="-h" in flags,
            itself="-d" in flags,
        )
    elif command == "rsync":
        exclude = [flags["-x"]] if "-x" in flags else []
        does.sync(words, recursive=recursive, delete="-d" in flags, exclude=exclude)
    elif command == "du":
        does.usage(words, summary="-s" in flags, readable="-h" in flags, total="-c" in flags)
    elif command == "cat":
        does.cat(words, span=flags.get("-r", ""), headings="-h" in flags)
    else:
        does.stat(words)


def _parse(
    name: str, words: Sequence[str], flags: str, *, permute: bool
) -> tuple[list[tuple[str, str]], list[str]]:
    # What is refused with a reason is parsed first, so that the reason can be given.
    extra = "".join(
        flag[1] for (command, flag) in _UNLIKE if command == name and flag[1] not in flags
    )
    try:
        parse = getopt.gnu_getopt if permute else getopt.getopt
        found, rest = parse(list(words), flags + extra)
    except getopt.GetoptError as error:
        raise InvalidArgument(f"gsutil {name}: {error.msg}.", "See what it knows.") from None
    return found, rest
