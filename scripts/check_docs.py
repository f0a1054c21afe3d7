"""Checks the documentation against the code and itself.

Generated pages are what the code says now; links lead somewhere; every `mlengine` command in a page
or in an error message exists; source files are short enough to be read.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from write_docs import DOCS, PAGES

from mlengine.cli.argv import read_line
from mlengine.cli.root import root

ROOT = DOCS.parent
_MAX_LINES = 600
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_REMEDY = re.compile(r"'(mlengine [a-z][^'{}\n]*(?:\{[^}\n]*\}[^'{}\n]*)*)'")
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Print what is wrong; return 1 if anything is."""
    problems = [
        *_stale_pages(),
        *_dead_links(),
        *_unknown_commands(),
        *_unknown_remedies(),
        *_long_files(),
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"docs: {len(problems)} problem(s) in {len(_pages())} pages")
    return 1 if problems else 0


def _pages() -> list[Path]:
    named = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "samples").rglob("*.md")]
    return sorted(named)


def _stale_pages() -> Iterator[str]:
    for name, page in PAGES.items():
        path = DOCS / name
        if not path.exists() or path.read_text() != page():
            yield f"docs/{name} is not what the code says: run scripts/write_docs.py"


def _dead_links() -> Iterator[str]:
    for page in _pages():
        for target in _LINK.findall(page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                yield f"{page.relative_to(ROOT)}: the link {target} leads nowhere"


def _unknown_commands() -> Iterator[str]:
    for page in _pages():
        for block in _BLOCK.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.strip().removeprefix("$ ")
                if words.startswith("mlengine "):
                    yield from _check_command(page, words)


def _unknown_remedies() -> Iterator[str]:
    """Check what messages tell people to type: 'mlengine ...' in quotes."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for line in _REMEDY.findall(path.read_text()):
            yield from _check_command(path, re.sub(r"\{[^}]*\}", "X", line))


def _check_command(page: Path, line: str) -> Iterator[str]:
    where = page.relative_to(ROOT)
    try:
        typed = read_line(shlex.split(line, comments=True)[1:])
    except ValueError as error:
        yield f"{where}: cannot be typed ({error}): {line}"
        return
    command, words = _command_at(typed.words)
    if command is None or (isinstance(command, click.Group) and words):
        yield f"{where}: no such command: {line}"
        return
    known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    for flag in (w.partition("=")[0] for w in words if w.startswith("--")):
        if flag not in {*known, "--help"}:
            yield f"{where}: {command.name} has no flag {flag}: {line}"


def _command_at(words: Sequence[str]) -> tuple[click.Command | None, list[str]]:
    """Follow the words of a line to a command; return it and what is left of the line."""
    command: click.Command | None = root
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = command.get_command(click.Context(command), rest.pop(0))
    return command, rest


def _long_files() -> Iterator[str]:
    for path in (ROOT / "src").rglob("*.py"):
        lines = len(path.read_text().splitlines())
        if lines > _MAX_LINES:
            yield f"{path.relative_to(ROOT)} has {lines} lines; {_MAX_LINES} is the most"


if __name__ == "__main__":
    sys.exit(main())
