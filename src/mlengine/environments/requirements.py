"""What a user's packages require, and what of that is still missing. Pure but for reading metadata.

Requires-Dist lines ──▶ parse_requirement ──▶ missing ──▶ pins the installer must add
                        (refuses what leaves             (constrained by what the base
                         the package index)               already has)
"""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlengine.core.errors import FailedPrecondition

__all__ = [
    "Distribution",
    "constraints",
    "installed",
    "missing",
    "new_pins",
    "older_framework",
    "parse_requirement",
]

_STANDS_FOR = {
    "tensorflow-cpu": ("tensorflow", "tensorflow-gpu"),
    "tensorflow": ("tensorflow-cpu", "tensorflow-gpu"),
    "xgboost-cpu": ("xgboost",),
    "xgboost": ("xgboost-cpu",),
    "scikit-learn": ("sklearn",),
}
"""Distribution → names under which trainers require the same modules."""

_FRAMEWORKS = frozenset(
    {"tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-estimator", "keras", "torch"}
)

_SETTLES_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution: canonical name, version, and its raw requirement lines."""

    name: str
    version: str
    requires: tuple[str, ...] = ()


def installed(folders: Sequence[Path]) -> dict[str, Distribution]:
    """Read what is installed in these folders; the first that has a name wins, as in an import.

    What brings the modules of a distribution of another name is found under that name too.
    """
    found: dict[str, Distribution] = {}
    for folder in folders:
        for item in _in_folder(folder):
            found.setdefault(item.name, item)
    for name, others in _STANDS_FOR.items():
        if name in found:
            for other in others:
                found.setdefault(other, Distribution(other, found[name].version))
    return found


def _in_folder(folder: Path) -> Sequence[Distribution]:
    """Return what is installed in a folder, from memory where the folder is as it was.

    To read it all takes a fifth of a second, twice for each package that is built over it. Whoever
    installs or removes something changes the folder; one that changed a moment ago may change
    again and look the same.
    """
    try:
        changed_ns = folder.stat().st_mtime_ns
    except OSError:
        return ()
    if time.time_ns() - changed_ns < _SETTLES_NS:
        return _read(str(folder))
    return _read_once(str(folder), changed_ns)


@functools.lru_cache(maxsize=16)
def _read_once(folder: str, changed_ns: int) -> Sequence[Distribution]:
    return _read(folder)


def _read(folder: str) -> Sequence[Distribution]:
    found: list[Distribution] = []
    for item in importlib.metadata.distributions(path=[folder]):
        name: str = canonicalize_name(str(item.metadata["Name"] or ""))
        if name:
            found.append(Distribution(name, item.version, tuple(item.requires or ())))
    return found


def parse_requirement(line: str, *, package: str, direct: bool = False) -> Requirement:
    """Read one requirement of `package`, refusing those that do not come from the package index.

    Args:
        line: A requirement as in ``install_requires``.
        package: Who requires it, for the error.
        direct: Take ``name @ URL`` too.

    Raises:
        FailedPrecondition: The line is an installer's option (``-e``, ``--index-url``), a URL or
            a path, or not a requirement at all. It is named, with what to write instead.

    Example:
        >>> str(parse_requirement("numpy>=1.20", package="trainer"))
        'numpy>=1.20'
    """
    text = line.strip()
    if text.startswith("-"):
        raise _refused(text, package, "an option of the installer, not a requirement")
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        if ":" in text or "/" in text:
            raise _refused(text, package, "a URL or a path") from None
        reason = str(error).splitlines()[0]
        raise _refused(text, package, f"not a requirement ({reason})") from None
    if requirement.url and not direct:
        raise _refused(text, package, "a direct URL")
    return requirement


def _refused(text: str, package: str, what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"User-provided package {package} failed to install: its requirement '{text}' is {what}.",
        "Name a package of the index, such as 'numpy>=1.20', or pass the archive with --packages; "
        "the setting allow_direct_requirements allows 'name @ URL'.",
    )


def missing(
    distributions: Iterable[Distribution],
    present: Mapping[str, Distribution],
    *,
    markers: Mapping[str, str],
    direct: bool = False,
    own: Collection[str] = (),
) -> list[tuple[Distribution, Requirement]]:
    """Return what `distributions` require and `present` does not satisfy, with who asks for it.

    Extras are followed: ``pandas[gcp]`` is satisfied only when what the extra adds is there too.

    Args:
        distributions: Whose requirements are looked at.
        present: What there is.
        markers: The interpreter and machine that environment markers are judged by.
        direct: Take requirements of the form ``name @ URL``, which nothing present satisfies.
        own: Names of the user's own packages: their extras are followed also where they are
            another version than is required, since no other will come.

    Raises:
        FailedPrecondition: A requirement is refused by `parse_requirement`.
    """
    found: list[tuple[Distribution, Requirement]] = []
    seen: set[tuple[str, str]] = set()
    waiting = [(item, item, frozenset[str]()) for item in distributions]
    while waiting:
        asker, holder, extras = waiting.pop()
        for line in holder.requires:
            requirement = parse_requirement(line, package=asker.name, direct=direct)
            key = (asker.name, str(requirement))
            if key in seen or not _applies(requirement, extras, markers):
                continue
            seen.add(key)
            name = canonicalize_name(requirement.name)
            answer = present.get(name)
            lacks = answer is None or requirement.url or not _satisfies(answer, requirement)
            if lacks:
                found.append((asker, requirement))
            if answer is not None and requirement.extras and (name in own or not lacks):
                waiting.append((asker, answer, frozenset(requirement.extras)))
    return found


def _satisfies(answer: Distribution, requirement: Requirement) -> bool:
    return requirement.specifier.contains(answer.version, prereleases=True)


def _applies(requirement: Requirement, extras: frozenset[str], markers: Mapping[str, str]) -> bool:
    """Say whether a requirement applies here; with `extras`, whether one of them adds it."""
    marker = requirement.marker
    if marker is None or marker.evaluate({**markers, "extra": ""}):
        return not extras
    return any(marker.evaluate({**markers, "extra": extra}) for extra in extras)


def older_framework(requirement: Requirement, present: Mapping[str, Distribution]) -> str:
    """Return the version of the framework that stays although an older one is required.

    A runtime stands for all the older ones of its framework, so a trainer that pins
    ``tensorflow==1.8`` gets the runtime's, with a warning. Empty when this is no such case.

    Example:
        >>> older_framework(
        ...     Requirement("tensorflow==1.8.0"),
        ...     {"tensorflow": Distribution("tensorflow", "1.15.5")},
        ... )
        '1.15.5'
    """
    name = canonicalize_name(requirement.name)
    there = present.get(name)
    if name not in _FRAMEWORKS or there is None or requirement.url:
        return ""
    bounds = [
        specifier.version.removesuffix(".*")
        for specifier in requirement.specifier
        if specifier.operator in ("==", "===", "~=", "<", "<=")
    ]
    has = Version(there.version)
    try:
        older = any(Version(bound) <= has for bound in bounds)
    except InvalidVersion:
        return ""
    return there.version if older and not _satisfies(there, requirement) else ""


def constraints(base: Mapping[str, Distribution], wanted: Iterable[Requirement]) -> list[str]:
    """Return the pins that keep a resolution on the base's own versions.

    Without them, a requirement on a small library could pull in a second numpy. What is asked
    for itself is left free: it is missing because the base's version does not do.

    Example:
        >>> constraints({"numpy": Distribution("numpy", "2.1+local")}, [])
        ['numpy==2.1']
    """
    free = {canonicalize_name(requirement.name) for requirement in wanted}
    pins = {name: _public(item.version) for name, item in base.items() if name not in free}
    return [f"{name}=={version}" for name, version in sorted(pins.items()) if version]


def new_pins(
    resolved: Iterable[str],
    present: Mapping[str, Distribution],
    *,
    own: Iterable[str],
    direct: bool = False,
) -> list[Requirement]:
    """Return those pins of a resolution that must be installed.

    Left out: what is there in that very version, and whatever bears the name of one of the
    user's own packages (`own`), which an index must never replace.
    """
    mine = {canonicalize_name(name) for name in own}
    pins = []
    for line in resolved:
        text = line.split("#", 1)[0].strip()
        if not text or text.startswith("-"):
            continue
        pin = parse_requirement(text, package=text, direct=direct)
        name = canonicalize_name(pin.name)
        there = present.get(name)
        same = there is not None and str(pin.specifier) == f"=={_public(there.version)}"
        if name not in mine and not same:
            pins.append(pin)
    return pins


def _public(version: str) -> str:
    """Drop a local suffix such as ``+cpu``, which no index knows; empty when unreadable."""
    try:
        return Version(version).public
    except InvalidVersion:
        return ""
