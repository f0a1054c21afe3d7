"""uv: resolves and installs in a fraction of pip's time; used wherever it is found."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mlengine.environments.archives import Archive
from mlengine.environments.base import Base
from mlengine.environments.homefolder import downloads_cache
from mlengine.environments.installers import Command, Installer, only_wheels

__all__ = ["UvInstaller", "find_uv"]

_NONE_THERE = ("No solution found", "The build backend returned an error")


@functools.lru_cache(maxsize=8)
def find_uv(python: Path) -> Path | None:
    """Return a uv that works: next to the interpreter, next to ours, or on PATH."""
    places = [python.parent / "uv", Path(sys.executable).parent / "uv"]
    on_path = shutil.which("uv")
    places += [Path(on_path)] if on_path else []
    return next((place for place in places if _works(place)), None)


def _works(program: Path) -> bool:
    # A version manager's shim exists on PATH even where its uv does not: only running it tells.
    try:
        command = [str(program), "--version"]
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class UvInstaller:
    """Words uv's commands. uv sees only the environment's own site-packages, not the engine's."""

    name = "uv"

    def __init__(self, program: Path) -> None:
        self._program = str(program)

    def install_archive(self, python: Path, archive: Archive, *, isolated: bool) -> Command:
        """See `Installer`. Uncached: uv's cache knows a file by its path and time only."""
        reach = () if isolated else ("--no-build-isolation", "--offline", "--no-config")
        argv = (
            *self._pip("install", python),
            *("--no-deps", "--reinstall", "--no-cache", *reach, str(archive.path)),
        )
        return Command(argv, network=isolated)

    def resolve(
        self,
        python: Path,
        requirements: Path,
        *,
        constraints: Path,
        report: Path,
        wheels_of: Sequence[str] = (),
    ) -> Command:
        """See `Installer`."""
        options = ("--no-header", "--no-annotate", "--constraints", str(constraints))
        return Command(
            (
                *self._pip("compile", python),
                *options,
                *only_wheels(wheels_of),
                "-o",
                str(report),
                str(requirements),
            ),
            network=True,
            variables=_cache(),
        )

    def read_report(self, report: Path) -> list[str]:
        """See `Installer`; uv writes a requirements file."""
        return report.read_text().splitlines()

    def none_there(self, tail: Sequence[str]) -> bool:
        """See `Installer`. Of an index that lets nobody in, uv says that it has no such library."""
        said = "\n".join(tail)
        refused = "Forbidden" in said or "Unauthorized" in said
        return not refused and any(text in said for text in _NONE_THERE)

    def install_pins(self, python: Path, pins: Sequence[str]) -> Command:
        """See `Installer`."""
        return Command(
            (*self._pip("install", python), "--no-deps", *pins), network=True, variables=_cache()
        )

    def install_lock(self, python: Path, lock: Path, base: Base, *, scratch: Path) -> Command:
        """See `Installer`."""
        argv = (*self._pip("install", python), "--no-deps", "-r", str(lock))
        return Command(argv, network=True, variables=_cache())

    def _pip(self, verb: str, python: Path) -> tuple[str, ...]:
        return (self._program, "pip", verb, "--quiet", "--color=never", "--python", str(python))


def _cache() -> dict[str, str]:
    return downloads_cache("UV_CACHE_DIR", "uv")


_: type[Installer] = UvInstaller
