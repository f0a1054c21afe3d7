"""Fills one environment: every package as it is, then what they require and nobody has yet.

    archives ──▶ installed without dependencies, in order, each over what was there before
             ──▶ Requires-Dist of them all, less what engine + environment satisfy
             ──▶ resolved under the engine's own versions, new pins installed
             ──▶ byte-compiled

That is the order in which the original service ran pip: a rebuilt package of the same version wins,
and a package never fetches from an index what another one of the same job brings.
"""

from __future__ import annotations

import errno
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlengine.core.errors import (
    Cancelled,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from mlengine.environments.archives import Archive
from mlengine.environments.base import Base
from mlengine.environments.installers import Command, Installer
from mlengine.environments.process import (
    Outcome,
    network_variables,
    plain_variables,
    run_command,
)
from mlengine.environments.requirements import (
    Distribution,
    constraints,
    installed,
    missing,
    new_pins,
)
from mlengine.environments.venv import make_venv, python_of, site_packages_of
from mlengine.storage.archives import unpack

__all__ = ["Builder", "disk_full", "is_disk_full"]

_SHOWN_LINES = 15
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "os error 28")


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds one environment in the folder where it will stay.

    Attributes:
        path: The environment's folder.
        scratch: HOME, TMPDIR and working directory of the installer; must exist.
        deadline_s: On the monotonic clock.
        cancelled: Polled; once true the installer is killed.
        started: Told the process group of each command, for whoever cleans up after a crash.
    """

    path: Path
    base: Base
    installer: Installer
    scratch: Path
    deadline_s: float
    log: Callable[[str], None]
    cancelled: Callable[[], bool]
    started: Callable[[int], None]

    def build(self, archives: Sequence[Archive]) -> None:
        """Make the environment and install into it.

        Raises:
            FailedPrecondition: A package or a requirement cannot be installed.
            Unavailable: The disk is full.
            Cancelled: `cancelled` said so.
        """
        make_venv(self.path, self.base)
        for index, archive in enumerate(archives):
            self.log(f"Installing the package: {archive.name}")
            opened = self._open(archive, self.scratch / f"package-{index}")
            command = self.installer.install_archive(
                self._python, opened, isolated=self._needs_isolation(archive)
            )
            self._run(command, subject=archive.name)
        self._install_requirements(archives)
        self._compile()

    def _open(self, archive: Archive, into: Path) -> Archive:
        """Unpack a package by our own rules: installers follow links, and unpack any bomb.

        A source distribution is installed from there. A wheel is installed as it is, for its file
        name says what it is; what passed here cannot harm the installer either.
        """
        start = f"User-provided package {archive.name} failed to install: "
        try:
            unpack(archive.path, into)
        except InvalidArgument as error:
            raise FailedPrecondition(f"{start}{error.problem}", error.remedy) from None
        if archive.wheel:
            shutil.rmtree(into)
            return archive
        roots = list(into.iterdir())
        if len(roots) != 1 or not roots[0].is_dir():
            raise FailedPrecondition(
                f"{start}it is no source distribution (one folder with everything in it).",
                "Build it with 'python setup.py sdist'.",
            )
        return replace(archive, path=roots[0])

    @property
    def _python(self) -> Path:
        return python_of(self.path)

    def _needs_isolation(self, archive: Archive) -> bool:
        """Whether the build needs tools that the engine lacks, hence a package index."""
        if archive.wheel or (archive.setuptools and not archive.build_requires):
            return False
        wanted = Distribution(archive.name, "0", archive.build_requires)
        base = installed(self.base.site_dirs)
        # Refuses URLs among them too. Old projects ask for 'wheel', which setuptools now has.
        base.setdefault("wheel", Distribution("wheel", "1"))
        return bool(missing([wanted], base)) or not archive.setuptools

    def _install_requirements(self, archives: Sequence[Archive]) -> None:
        mine = installed([site_packages_of(self.path, self.base)])
        if not any(item.requires for item in mine.values()):
            return
        base = installed(self.base.site_dirs)
        absent = missing(mine.values(), base | mine)
        if not absent:
            return
        wanted = [requirement for _, requirement in absent]
        askers = _named(archives, {asker.name for asker, _ in absent})
        self.log(f"Installing the requirements: {', '.join(sorted(map(_plain, wanted)))}")
        resolved = self._resolve(wanted, base, subject=askers)
        pins = new_pins(resolved, base | mine, own=[*mine, "mlengine"])
        for pin in pins:
            there = base.get(canonicalize_name(pin.name))
            if there is not None:
                self.log(f"{pin} is installed for this job; the engine's own is {there.version}.")
        if pins:
            command = self.installer.install_pins(self._python, [str(pin) for pin in pins])
            self._run(command, subject=askers)

    def _resolve(
        self, wanted: Sequence[Requirement], base: dict[str, Distribution], *, subject: str
    ) -> list[str]:
        """Resolve under the engine's versions if that is possible, freely if not."""
        asked, pinned = self.scratch / "requirements.in", self.scratch / "constraints.txt"
        report = self.scratch / "resolution"
        asked.write_text("".join(f"{_plain(requirement)}\n" for requirement in wanted))
        pinned.write_text("".join(f"{line}\n" for line in constraints(base, wanted)))
        command = self.installer.resolve(self._python, asked, constraints=pinned, report=report)
        outcome = self._attempt(command)
        if outcome.status != 0 and not (outcome.timed_out or outcome.cancelled):
            self.log("The requirements do not fit the engine's own libraries: resolving freely.")
            pinned.write_text("")
            outcome = self._attempt(command)
        self._check(outcome, subject=subject)
        return self.installer.read_report(report)

    def _compile(self) -> None:
        """Byte-compile in a process of its own: sources are untrusted, and may not even parse."""
        site_packages = str(site_packages_of(self.path, self.base))
        options = ("-I", "-S", "-m", "compileall", "-q", "-j", "0")
        outcome = self._attempt(Command((str(self._python), *options, site_packages)), quiet=True)
        if outcome.cancelled or any(text in "\n".join(outcome.tail) for text in _DISK_FULL):
            self._check(outcome, subject="archive")

    def _run(self, command: Command, *, subject: str) -> None:
        self._check(self._attempt(command), subject=subject)

    def _attempt(self, command: Command, *, quiet: bool = False) -> Outcome:
        if not quiet:
            shown = (Path(command.argv[0]).name, *command.argv[1:])
            self.log(f"Running command: {shlex.join(shown)}")
        network = network_variables() if command.network else {}
        return run_command(
            command.argv,
            env={**plain_variables(self.scratch), **network, **command.variables},
            cwd=self.scratch,
            timeout_s=max(0.0, self.deadline_s - time.monotonic()),
            log=(lambda line: None) if quiet else self.log,
            cancelled=self.cancelled,
            started=self.started,
        )

    def _check(self, outcome: Outcome, *, subject: str) -> None:
        if not outcome.ok:
            raise _failure(outcome, subject)


def _failure(outcome: Outcome, subject: str) -> EngineError:
    if outcome.cancelled:
        return Cancelled(f"The installation of {subject} was cancelled.", "Submit it again.")
    tail = "\n".join(outcome.tail[-_SHOWN_LINES:])
    if any(text in tail for text in _DISK_FULL):
        return disk_full()
    start = f"User-provided package {subject} failed to install: "
    if outcome.timed_out:
        return FailedPrecondition(
            f"{start}install timed out. Its last lines were:\n{tail}\n",
            "Look for a setup.py that waits, or for an index that does not answer.",
        )
    return FailedPrecondition(
        f"{start}the installer ended with status {outcome.status}:\n{tail}\n",
        "Mend the package, try it with 'pip install' on your own machine, and submit again.",
    )


def is_disk_full(error: OSError) -> bool:
    """Whether the cause is a full disk or an exhausted quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full() -> Unavailable:
    """Return the error that says what to do about a full disk."""
    return Unavailable(
        "No space is left on the disk that holds the environments.",
        "Free some, for example by deleting old jobs, and submit again.",
    )


def _plain(requirement: Requirement) -> str:
    """Word a requirement without its marker, which has been judged already."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _named(archives: Iterable[Archive], names: set[str]) -> str:
    """Name the archives of those distributions; all of them if their file names do not tell."""
    archives = list(archives)
    of_them = [
        archive.name
        for archive in archives
        if canonicalize_name(archive.name.split("-", 1)[0]) in names
    ]
    return ", ".join(of_them or [archive.name for archive in archives])
