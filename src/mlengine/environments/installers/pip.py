"""pip: slower than uv, but there wherever Python is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mlengine.environments.archives import Archive
from mlengine.environments.base import Base
from mlengine.environments.homefolder import downloads_cache
from mlengine.environments.installers import Command, Installer, only_wheels

__all__ = ["PipInstaller", "has_pip"]

_OPTIONS = (
    "--quiet", "--no-input", "--disable-pip-version-check", "--no-warn-script-location",
    "--progress-bar", "off",
)  # fmt: skip

_NONE_THERE = (
    "No matching distribution found",
    "metadata-generation-failed",
    "Getting requirements to build wheel did not run successfully",
    "ResolutionImpossible",
)


def has_pip(base: Base) -> bool:
    """Say whether the interpreter has pip; environments see it from there."""
    return _folder_of_pip(base) is not None


def _folder_of_pip(base: Base) -> Path | None:
    places = (folder / "pip" for folder in base.site_dirs)
    return next((place for place in places if (place / "__main__.py").is_file()), None)


class PipInstaller:
    """Words pip's commands.

    pip is run by the environment's interpreter, so it sees what the engine has and leaves it
    alone: a distribution outside the environment is never uninstalled, only shadowed.
    """

    name = "pip"

    def install_archive(self, python: Path, archive: Archive, *, isolated: bool) -> Command:
        """See `Installer`."""
        reach = () if isolated else ("--no-build-isolation", "--no-index")
        options = ("--no-deps", "--force-reinstall", "--no-cache-dir", "--no-compile", *reach)
        return Command((*_pip(python), *options, str(archive.path)), network=isolated)

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
        options = ("--dry-run", "--report", str(report), "-c", str(constraints))
        return Command(
            (*_pip(python), *options, *only_wheels(wheels_of), "-r", str(requirements)),
            network=True,
            variables=_cache(),
        )

    def read_report(self, report: Path) -> list[str]:
        """See `Installer`; pip writes JSON."""
        found = json.loads(report.read_text())["install"]
        return [
            f"{item['metadata']['name']} @ {item['download_info']['url']}"
            if item.get("is_direct")
            else f"{item['metadata']['name']}=={item['metadata']['version']}"
            for item in found
        ]

    def none_there(self, tail: Sequence[str]) -> bool:
        """See `Installer`. pip takes an index that it cannot reach for an empty one.

        That it tried again tells them apart; an index that answers with an error goes unnoticed.
        """
        said = "\n".join(tail)
        unreached = "Retrying (" in said
        return not unreached and any(text in said for text in _NONE_THERE)

    def install_pins(self, python: Path, pins: Sequence[str]) -> Command:
        """See `Installer`."""
        argv = (*_pip(python), "--no-deps", "--no-compile", *pins)
        return Command(argv, network=True, variables=_cache())

    def install_lock(self, python: Path, lock: Path, base: Base, *, scratch: Path) -> Command:
        """See `Installer`. The environment sees no pip: it is lent the base's, and that alone."""
        lent = scratch / "pip-alone"
        lent.mkdir()
        found = _folder_of_pip(base)
        assert found is not None
        (lent / "pip").symlink_to(found)
        program = (
            f"import sys, runpy; sys.path.insert(0, {str(lent)!r}); "
            "runpy.run_module('pip', run_name='__main__')"
        )
        argv = (str(python), "-I", "-c", program, "install", *_OPTIONS)
        return Command(
            (*argv, "--no-deps", "--no-compile", "-r", str(lock)), network=True, variables=_cache()
        )


def _pip(python: Path) -> tuple[str, ...]:
    return (str(python), "-I", "-m", "pip", "install", *_OPTIONS)


def _cache() -> dict[str, str]:
    return downloads_cache("PIP_CACHE_DIR", "pip")


_: type[Installer] = PipInstaller
