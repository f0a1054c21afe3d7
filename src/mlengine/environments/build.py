"""Fills the layer of a job's packages: each as it is, then what they require and nobody has yet.

    archives ──▶ installed without dependencies, in order, each over what was there before
                 (modules that lie loose in one: `loosemodules`)
             ──▶ Requires-Dist of them all, less what base + layer satisfy, and less what the base
                 has in another version where the asked one cannot be had (`approximate`)
             ──▶ resolved under the base's own versions, new pins installed
             ──▶ byte-compiled

That is the order in which the original service ran pip: a rebuilt package of the same version wins,
and a package never fetches from an index what another one of the same job brings.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.environments.archives import Archive
from mlengine.environments.base import Base
from mlengine.environments.catalogue import LOCAL_RUNTIME
from mlengine.environments.installers import Installer
from mlengine.environments.loosemodules import import_scripts, name_modules, refuses_to_choose
from mlengine.environments.process import Outcome
from mlengine.environments.requirements import (
    Distribution,
    constraints,
    installed,
    missing,
    new_pins,
    older_framework,
)
from mlengine.environments.trainermodule import add_trainer_module
from mlengine.environments.venv import make_venv, site_packages_of
from mlengine.environments.workshop import Workshop, says_disk_full
from mlengine.storage.archives import unpack

__all__ = ["LayerBuilder", "layer_digest"]

# Sorts after all other .pth files, so that what it adds to the path comes last.
_SIBLINGS_LINK = "zz_mlengine_siblings.pth"


@dataclass(frozen=True, slots=True)
class LayerBuilder:
    """Builds one layer.

    Attributes:
        runtime: The runtime's name; on the engine's own, a job may have any framework it asks for.
        direct: Take requirements of the form ``name @ URL``.
        bare_siblings: Let modules of the packages import those beside them by their bare names.
        approximate: The base is not what the packages were written for: libraries of it stay that
            are required in a version which this Python cannot have.
    """

    workshop: Workshop
    base: Base
    installer: Installer
    runtime: str
    direct: bool = False
    bare_siblings: bool = False
    approximate: bool = False
    _warnings: list[str] = field(default_factory=list)

    def build(self, archives: Sequence[Archive]) -> dict[str, Any]:
        """Make the environment and install into it; return what to note about it.

        Raises:
            FailedPrecondition: A package or a requirement cannot be installed.
            Unavailable: The disk is full.
            Cancelled: It was cancelled.
        """
        shop = self.workshop
        make_venv(shop.path, self.base)
        for index, archive in enumerate(archives):
            shop.log(f"Installing the package: {archive.name}")
            self._install(archive, self._open(archive, shop.scratch / f"package-{index}"))
        if self.bare_siblings:
            folders = {path.parent for path in self._site_packages.rglob("__init__.py")}
            link = self._site_packages / _SIBLINGS_LINK
            link.write_text("".join(f"{folder}\n" for folder in sorted(folders)))
        self._install_requirements(archives)
        self._import_scripts()
        add_trainer_module(self._site_packages)
        shop.compile(self._site_packages)
        mine = installed([self._site_packages])
        return {
            "kind": "layer",
            "runtime": self.runtime,
            "python": self.base.version,
            "base": self.base.prefix,
            "packages": [item.name for item in archives],
            "shadowed": sorted(set(mine) & set(installed(self.base.site_dirs))),
            "warnings": self._warnings,
        }

    @property
    def _site_packages(self) -> Path:
        return site_packages_of(self.workshop.path, self.base)

    def _open(self, archive: Archive, into: Path) -> Archive:
        """Unpack a package by our own rules: installers follow links, and unpack any bomb.

        A source distribution is installed from there. A wheel is installed as it is, for its file
        name says what it is; what passed here cannot harm the installer either.
        """
        start = f"{_of_package(archive.name)}: "
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

    def _install(self, archive: Archive, opened: Archive) -> None:
        shop = self.workshop
        command = self.installer.install_archive(
            shop.python, opened, isolated=self._needs_isolation(archive)
        )
        outcome = shop.attempt(command)
        # Only a package that fails is touched: what setuptools finds in others is what they mean.
        if not archive.wheel and not outcome.ok and refuses_to_choose(outcome.tail):
            names = ", ".join(name_modules(opened.path))
            shop.log(f"The package names no modules: installing all that lie loose in it: {names}")
            outcome = shop.attempt(command)
        shop.check(outcome, subject=_of_package(archive.name))

    def _import_scripts(self) -> None:
        # After the requirements, so that no script hides a module of theirs.
        names = import_scripts(self._site_packages, self.workshop.path / "bin", self.base.site_dirs)
        if names:
            self.workshop.log(f"Scripts that can be imported as modules: {', '.join(names)}")

    def _needs_isolation(self, archive: Archive) -> bool:
        """Whether the build needs tools that the base lacks, hence a package index."""
        if archive.wheel:
            return False
        wanted = Distribution(archive.name, "0", archive.build_requires)
        base = installed(self.base.site_dirs)
        # Refuses URLs among them too. Old projects ask for 'wheel', which setuptools now has.
        base.setdefault("wheel", Distribution("wheel", "1"))
        absent = missing([wanted], base, markers=self.base.markers(), direct=self.direct)
        return bool(absent) or not archive.setuptools or "setuptools" not in base

    def _install_requirements(self, archives: Sequence[Archive]) -> None:
        mine = installed([self._site_packages])
        if not any(item.requires for item in mine.values()):
            return
        base = installed(self.base.site_dirs)
        found = missing(
            mine.values(), base | mine, markers=self.base.markers(), direct=self.direct, own=mine
        )
        absent = [
            (asker, wanted)
            for asker, wanted in found
            if not self._is_own(wanted, mine)
            and not self._stays(wanted, base, subject=_of_package(_named(archives, {asker.name})))
        ]
        if not absent:
            return
        wanted = [requirement for _, requirement in absent]
        subject = _of_package(_named(archives, {asker.name for asker, _ in absent}))
        self.workshop.log(f"Installing the requirements: {', '.join(sorted(map(_plain, wanted)))}")
        resolved = self._resolve(wanted, base, subject=subject)
        pins = new_pins(resolved, base | mine, own=[*mine, "mlengine"], direct=self.direct)
        for pin in pins:
            there = base.get(canonicalize_name(pin.name))
            if there is not None:
                self.workshop.log(
                    f"{pin} is installed for this job; the runtime's own is {there.version}."
                )
        if pins:
            command = self.installer.install_pins(self.workshop.python, [str(pin) for pin in pins])
            outcome = self.workshop.attempt(command)
            self.workshop.check(outcome, subject=subject + _culprits(outcome, wanted))

    def _is_own(self, requirement: Requirement, mine: dict[str, Distribution]) -> bool:
        """Whether the job brings the package itself, if in another version; says so.

        The index is not asked for it, which might have another of that name.
        """
        own = mine.get(canonicalize_name(requirement.name))
        if own is None:
            return False
        self._warn(
            f"The package requires {_plain(requirement)}; the job's own package is {own.version}, "
            "with which it runs."
        )
        return True

    def _warn(self, warning: str) -> None:
        self._warnings.append(warning)
        self.workshop.log(warning)

    def _stays(
        self, requirement: Requirement, base: dict[str, Distribution], *, subject: str
    ) -> bool:
        """Whether the runtime's own library serves a requirement on another version; says so."""
        if self.runtime == LOCAL_RUNTIME:
            return False
        version, reason = older_framework(requirement, base), ""
        there = base.get(canonicalize_name(requirement.name))
        if (
            not version
            and there
            and self.approximate
            and not self._can_be_had(requirement, subject=subject)
        ):
            version = there.version
            reason = f", which cannot be had for Python {self.base.short_version}"
        if version:
            self._warn(
                f"The package requires {_plain(requirement)}{reason}; it runs with {version}, "
                f"which is what the runtime '{self.runtime}' has."
            )
        return bool(version)

    def _can_be_had(self, requirement: Requirement, *, subject: str) -> bool:
        """Whether there is a wheel: what was written for another Python seldom builds on this.

        Raises whatever kept the installer from finding out: the layer is kept for good, and so
        would be a library that serves only because the index could not be reached.
        """
        if requirement.url:
            return True
        quietly = replace(self.workshop, log=lambda line: None)
        alone = replace(self, workshop=quietly)
        outcome, _report = alone._resolution([requirement], [], wheels_only=True)
        if outcome.ok:
            return True
        if says_disk_full(outcome) or not self.installer.none_there(outcome.tail):
            self.workshop.check(outcome, subject=subject + _culprits(outcome, [requirement]))
        return False

    def _resolve(
        self, wanted: Sequence[Requirement], base: dict[str, Distribution], *, subject: str
    ) -> list[str]:
        """Resolve under the base's versions if that is possible, freely if not."""
        shop = self.workshop
        outcome, report = self._resolution(wanted, constraints(base, wanted))
        if outcome.status != 0 and not (outcome.timed_out or outcome.cancelled):
            shop.log("The requirements do not fit the runtime's own libraries: resolving freely.")
            outcome, report = self._resolution(wanted, [])
        shop.check(outcome, subject=subject + _culprits(outcome, wanted))
        return self.installer.read_report(report)

    def _resolution(
        self, wanted: Sequence[Requirement], pins: Sequence[str], *, wheels_only: bool = False
    ) -> tuple[Outcome, Path]:
        """Resolve under some pins; return how that ended, and the file that has the answer."""
        shop = self.workshop
        asked, pinned = shop.scratch / "requirements.in", shop.scratch / "constraints.txt"
        report = shop.scratch / "resolution"
        asked.write_text("".join(f"{_plain(requirement)}\n" for requirement in wanted))
        pinned.write_text("".join(f"{line}\n" for line in pins))
        command = self.installer.resolve(
            shop.python,
            asked,
            constraints=pinned,
            report=report,
            wheels_of=[item.name for item in wanted] if wheels_only else [],
        )
        return shop.attempt(command), report


def layer_digest(
    base: Base, packages: Sequence[Path], *, root: Path, bare_siblings: bool, approximate: bool
) -> str:
    """Digest all that goes into a layer, before it is built: 64 hexadecimal digits."""
    # The root is part of it: a home that was copied elsewhere holds scripts whose first
    # line names the old place.
    total = hashlib.sha256(f"layer 4\n{root}\n{base.fingerprint()}\n".encode())
    total.update(b"bare siblings\n" if bare_siblings else b"")
    total.update(b"approximate 2\n" if approximate else b"")
    for path in packages:
        total.update(f"{path.name}\n{_file_digest(path)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_package(names: str) -> str:
    return f"User-provided package {names} failed to install"


def _culprits(outcome: Outcome, wanted: Sequence[Requirement]) -> str:
    """Word which of the requirements the installer complains of, as far as it names them."""
    said = " ".join(outcome.tail).lower()
    alone = len(wanted) == 1  # pip keeps to itself whose build failed
    named = [_plain(item) for item in wanted if alone or canonicalize_name(item.name) in said]
    if not named or outcome.ok or outcome.timed_out or outcome.cancelled:
        return ""
    return f": its requirement {', '.join(repr(item) for item in named)} cannot be had"


def _plain(requirement: Requirement) -> str:
    """Word a requirement without its marker, which has been judged already."""
    if requirement.url:
        return f"{requirement.name} @ {requirement.url}"
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
