"""Runs ``*.journey`` pages: files, commands and what they print, against a real engine.

    == file trainer/task.py          the lines up to the next ``==`` are the file
    == run                           what follows is a terminal
    $ mlengine jobs list             a command line of a shell
    JOB_ID  STATUS  CREATED          its stdout
    ! Listed 0 items.                a line of its stderr; without any, stderr is not looked at
    ? 1                              its exit code, if not 0
    # why                            a comment

In an expected line ``...`` stands for any text; alone on a line, for any lines. Each page has a
folder and an engine's home of its own; the first command that needs an engine starts it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mlengine.client import local
from mlengine.engine.settings import Settings

COMMAND_LIMIT_S = 300


class Step(NamedTuple):
    """One command, what it is to print, and the line of the page it stands on."""

    line: int
    command: str
    out: list[str]
    err: list[str]
    code: int


class Page(NamedTuple):
    """A journey taken apart."""

    files: dict[str, str]
    steps: list[Step]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    if file_path.suffix == ".journey":
        found: pytest.File = JourneyFile.from_parent(parent, path=file_path)
        return found
    return None


class JourneyFile(pytest.File):
    """One page."""

    def collect(self) -> Iterator[pytest.Item]:
        yield Journey.from_parent(self, name=self.path.stem)


class MismatchError(Exception):
    """A command did something else than the page says."""


class Journey(pytest.Item):
    """One page, run from top to bottom."""

    def runtest(self) -> None:
        page = read_page(self.path.read_text())
        with tempfile.TemporaryDirectory(prefix="journey-") as folder:
            root = Path(folder)
            work, home, programs = root / "work", root / "home", root / "bin"
            for each in (work, home, programs):
                each.mkdir()
            (home / "mlengine.toml").write_text("port = 0\n")
            write_program(programs)
            for name, text in page.files.items():
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                # Empty lines in front of the next part are the page's layout.
                (work / name).write_text(text.rstrip("\n") + "\n" if text.strip() else "")
            try:
                for step in page.steps:
                    run_step(step, work, environment(home, programs))
            finally:
                if local.find(home):
                    local.stop(Settings(home=home))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show what was printed, not where this file noticed it."""
        if isinstance(excinfo.value, MismatchError):
            return f"{self.path}:{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"journey {self.name}"


def write_program(programs: Path) -> None:
    """Write the `mlengine` that a page's commands run."""
    command = shlex.join([sys.executable, "-m", "mlengine"])
    (programs / "mlengine").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (programs / "mlengine").chmod(0o755)


def environment(home: Path, programs: Path) -> dict[str, str]:
    """Return the variables of a person who has just installed mlengine."""
    dropped = ("MLENGINE_", "CLOUDSDK_", "PYTEST_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "MLENGINE_HOME": str(home), "TZ": "UTC"}


def run_step(step: Step, work: Path, variables: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", step.command],
        cwd=work,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
    )
    wrong = []
    if done.returncode != step.code:
        wrong.append(f"the exit code is {done.returncode}, not {step.code}")
    if not matches(step.out, done.stdout):
        wrong.append("stdout is not:\n  " + "\n  ".join(step.out))
    if step.err and not matches(step.err, done.stderr):
        wrong.append("stderr is not:\n  " + "\n  ".join(step.err))
    if wrong:
        told = "\n".join(wrong)
        raise MismatchError(
            f"{step.line}: $ {step.command}\n{told}\n"
            f"--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
        )


def matches(expected: list[str], text: str) -> bool:
    """Tell whether a text is what the page says.

    Example:
        >>> matches(["a ... d", "..."], "a b c d\\nmore\\nand more\\n")
        True
    """
    pattern = "".join(
        "(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n"
        for line in expected
    )
    if text and not text.endswith("\n"):
        text += "\n"
    return re.fullmatch(pattern, text) is not None


def read_page(text: str) -> Page:
    """Take a page apart."""
    page = Page({}, [])
    name = ""
    is_running = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("== "):
            words = line.split()
            is_running = words[1] == "run"
            name = "" if is_running else words[2]
            if name:
                page.files[name] = ""
        elif name:
            page.files[name] += line + "\n"
        elif is_running and line.startswith("$ "):
            page.steps.append(Step(number, line[2:], [], [], 0))
        elif is_running and page.steps:
            add_expectation(page.steps, line)
    return page


def add_expectation(steps: list[Step], line: str) -> None:
    step = steps[-1]
    if line.startswith("! ") or line == "!":
        step.err.append(line[2:])
    elif line.startswith("? "):
        steps[-1] = step._replace(code=int(line[2:]))
    elif line and not line.startswith("# "):
        # An empty line only parts steps; the page's own layout is no output.
        step.out.append(line)
