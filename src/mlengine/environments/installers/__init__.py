"""Seam: the tool that fetches and installs packages.

An installer only words commands; `environments.build` runs them, so that time limits, the
allow-listed environment and the killing of process groups are in one place for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mlengine.core.errors import FailedPrecondition
from mlengine.environments.archives import Archive
from mlengine.environments.base import Base

__all__ = ["Command", "Installer", "find_installer", "only_wheels"]


@dataclass(frozen=True, slots=True)
class Command:
    """One run of the installer.

    Attributes:
        argv: The command line.
        network: It may ask the package index, so it is told where that is.
        variables: What it needs in its environment besides.
    """

    argv: tuple[str, ...]
    network: bool = False
    variables: dict[str, str] = field(default_factory=dict)


class Installer(Protocol):
    """Contract; each point has a test for every installer.

    1. `install_archive` installs exactly that file, without its dependencies, also over an
       equal version that is there already. Unless `isolated`, it needs no network and builds
       with the setuptools that the target interpreter sees.
    2. `resolve` changes nothing but writes, to `report`, what would have to be installed for
       all of `requirements`; `read_report` returns it as ``name==version`` lines. What only
       the engine has may be among them or not. Nothing in `wheels_of` is built from source.
    3. `install_pins` installs exactly those pins, without dependencies.
    4. `install_lock` installs exactly what a requirements file pins, without dependencies, into
       an environment that sees nothing of the machine's.
    5. Every command ends by itself without asking a question, and with a status other than 0
       when it failed.
    6. `none_there` tells from the last lines of a failed `resolve` that what was asked for does
       not exist for this Python, or does not build; a network or an index that fails is no answer.
    """

    name: str

    def install_archive(self, python: Path, archive: Archive, *, isolated: bool) -> Command: ...
    def resolve(
        self,
        python: Path,
        requirements: Path,
        *,
        constraints: Path,
        report: Path,
        wheels_of: Sequence[str] = (),
    ) -> Command: ...
    def read_report(self, report: Path) -> list[str]: ...
    def none_there(self, tail: Sequence[str]) -> bool: ...
    def install_pins(self, python: Path, pins: Sequence[str]) -> Command: ...
    def install_lock(self, python: Path, lock: Path, base: Base, *, scratch: Path) -> Command: ...


def only_wheels(names: Sequence[str]) -> tuple[str, ...]:
    """Return the options, the same for all installers, that keep these from being built."""
    return tuple(f"--only-binary={name}" for name in names)


def find_installer(prefer: str, base: Base) -> Installer:
    """Return the installer to use: ``uv``, ``pip``, or ``auto`` for uv where there is one.

    Raises:
        FailedPrecondition: There is none, or not the one that was asked for.
    """
    from mlengine.environments.installers import pip, uv

    if prefer not in ("auto", "uv", "pip"):
        raise FailedPrecondition(f"'{prefer}' is not an installer.", "Use auto, uv or pip.")
    program = uv.find_uv(base.python) if prefer != "pip" else None
    if program is not None:
        return uv.UvInstaller(program)
    if prefer != "uv" and pip.has_pip(base):
        return pip.PipInstaller()
    raise FailedPrecondition(
        f"No {'installer' if prefer == 'auto' else prefer} was found to install packages with.",
        f"Run: {base.python} -m ensurepip, or: pip install 'mlengine[uv]'",
    )
