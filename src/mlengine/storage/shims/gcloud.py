"""The words of ``gcloud storage``, and of ``gcloud config get-value project``."""

from __future__ import annotations

import getopt
from collections.abc import Callable, Mapping, Sequence

from mlengine.core.errors import InvalidArgument, Unimplemented, did_you_mean
from mlengine.storage.shims.commands import Commands

__all__ = ["run"]

_KNOWN = "gcloud storage cat|cp|du|ls|mv|rm|rsync, and gcloud config get-value project"
# Flags that change nothing here, for every command; `=` takes a value.
_GLOBAL_LONG = [
    "quiet", "no-user-output-enabled", "user-output-enabled", "verbosity=", "project=", "account=",
    "billing-project=", "impersonate-service-account=", "log-http", "configuration=",
]  # fmt: skip
_COPY = ("rRnc", [
    "recursive", "no-clobber", "continue-on-error", "print-created-message", "preserve-acl",
    "no-preserve-acl", "canned-acl=", "predefined-acl=", "cache-control=", "content-type=",
    "custom-metadata=", "storage-class=", "preserve-posix", "do-not-decompress",
])  # fmt: skip
_FLAGS: dict[str, tuple[str, list[str]]] = {
    "cp": _COPY,
    "mv": _COPY,
    "rm": ("rRac", ["recursive", "all-versions", "continue-on-error"]),
    "ls": ("lLrRbae", ["long", "recursive", "buckets", "all-versions", "full", "etag",
                      "readable-sizes"]),
    "cat": ("dr:", ["display-url", "range="]),
    "du": ("sacr", ["summarize", "all-versions", "readable-sizes", "total"]),
    "rsync": ("rRcx:", [
        "recursive", "delete-unmatched-destination-objects", "checksums-only", "continue-on-error",
        "no-ignore-symlinks", "preserve-posix", "exclude=",
    ]),
}  # fmt: skip
_UNLIKE = {
    ("ls", "-b"): "describes buckets", ("ls", "--buckets"): "describes buckets",
    **{
        (command, f"--{what}"): "would be lost: this program sets no metadata of objects"
        for command in ("cp", "mv")
        for what in ("content-type", "cache-control", "custom-metadata")
    },
}  # fmt: skip
_RECURSIVE = {"-r", "-R", "--recursive"}


def run(words: list[str], commands: Callable[[], Commands], environ: Mapping[str, str]) -> int:
    """Run one command line; return the exit code.

    Raises:
        InvalidArgument: It makes no sense.
        Unimplemented: It means something that is not done here.
    """
    flags, words = _parse("gcloud", words, "q", [], permute=False)
    if words[:2] in (["config", "get-value"], ["config", "get"]) and words[2:3] in (
        ["project"], ["core/project"],
    ):  # fmt: skip
        print(environ.get("CLOUD_ML_PROJECT_ID") or environ.get("GOOGLE_CLOUD_PROJECT", ""))
        return 0
    if words[:1] == ["alpha"] or words[:1] == ["beta"]:
        words = words[1:]
    if words[:1] != ["storage"] or words[1:2] == [] or words[1] not in _FLAGS:
        hint = (
            did_you_mean(words[1], list(_FLAGS)) if words[:1] == ["storage"] and words[1:] else ""
        )
        raise Unimplemented(
            f"'gcloud {' '.join(words[:2])}' is not known in a job of mlengine.",
            f"{hint}It knows {_KNOWN}.",
        )
    command = words[1]
    short, long = _FLAGS[command]
    more, words = _parse(command, words[2:], "q" + short, long, permute=True)
    for flag in sorted(more):
        if why := _UNLIKE.get((command, flag)):
            raise Unimplemented(f"'gcloud storage {command} {flag}' {why}.", "Leave the flag away.")
    does = commands()
    does.follow_links = command != "rsync" or "--no-ignore-symlinks" in more
    does.unpack = "--do-not-decompress" not in more
    does.quiet = "--no-user-output-enabled" in {**flags, **more}
    _run(does, command, more, words)
    return 0


def _run(does: Commands, command: str, flags: dict[str, str], words: Sequence[str]) -> None:
    recursive = bool(flags.keys() & _RECURSIVE)
    if command in ("cp", "mv"):
        does.copy(
            words,
            recursive=recursive or command == "mv",
            no_clobber=bool(flags.keys() & {"-n", "--no-clobber"}),
            move=command == "mv",
        )
    elif command == "rm":
        does.remove(words, recursive=recursive)
    elif command == "ls":
        is_long = bool(flags.keys() & {"-l", "-L", "--long", "--full"})
        readable = "--readable-sizes" in flags
        does.list(words, recursive=recursive, long=is_long, readable=readable)
    elif command == "rsync":
        delete = "--delete-unmatched-destination-objects" in flags
        exclude = [text for text in _either(flags, "-x", "--exclude").split(",") if text]
        does.sync(words, recursive=recursive, delete=delete, exclude=exclude)
    elif command == "du":
        does.usage(
            words,
            summary=bool(flags.keys() & {"-s", "--summarize"}),
            readable=bool(flags.keys() & {"-r", "--readable-sizes"}),
            total=bool(flags.keys() & {"-c", "--total"}),
        )
    else:
        headings = bool(flags.keys() & {"-d", "--display-url"})
        does.cat(words, span=_either(flags, "-r", "--range"), headings=headings)


def _either(flags: dict[str, str], short: str, long: str) -> str:
    return flags.get(long) or flags.get(short, "")


def _parse(
    name: str, words: Sequence[str], short: str, long: Sequence[str], *, permute: bool
) -> tuple[dict[str, str], list[str]]:
    # gcloud writes a negation as a flag of its own, and takes `--flag VALUE` and `--flag=VALUE`.
    try:
        parse = getopt.gnu_getopt if permute else getopt.getopt
        found, rest = parse(list(words), short, [*long, *_GLOBAL_LONG])
    except getopt.GetoptError as error:
        raise InvalidArgument(f"gcloud {name}: {error.msg}.", "See what it knows.") from None
    return dict(found), rest
