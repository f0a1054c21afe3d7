"""What a user's packages require, and what of that is still missing. Pure but for reading metadata.

Requires-Dist lines ──▶ parse_requirement ──▶ missing ──▶ pins the installer must add
                        (refuses what leaves             (constrained by what the engine
                         the package index)               already has)
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    "parse_requirement",
]


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution: canonical name, version, and its raw requirement lines."""

    name: str
    version: str
    requires: tuple[str, ...] = ()


def installed(folders: Sequence[Path]) -> dict[str, Distribution]:
    """Read what is installed in these folders; the first that has a name wins, as in an import."""
    found: dict[str, Distribution] = {}
    for item in importlib.metadata.distributions(path=[str(folder) for folder in folders]):
        name = canonicalize_name(str(item.metadata["Name"] or ""))
        if name and name not in found:
            found[name] = Distribution(name, item.version, tuple(item.requires or ()))
    return found


def parse_requirement(line: str, *, package: str) -> Requirement:
    """Read one requirement of `package`, refusing those that do not come from the package index.

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
    if requirement.url:
        raise _refused(text, package, "a direct URL")
    return requirement


def _refused(text: str, package: str, what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"User-provided package {package} failed to install: its requirement '{text}' is {what}.",
        "Name a package of the index, such as 'numpy>=1.20', or pass the archive with --packages.",
    )


def missing(
    distributions: Iterable[Distribution], present: Mapping[str, Distribution]
) -> list[tuple[Distribution, Requirement]]:
    """Return what `distributions` require and `present` does not satisfy, with who asks for it.

    Extras are followed: ``pandas[gcp]`` is satisfied only when what the extra adds is there too.

    Raises:
        FailedPrecondition: A requirement is refused by `parse_requirement`.
    """
    found: list[tuple[Distribution, Requirement]] = []
    seen: set[tuple[str, str]] = set()
    waiting = [(item, item, frozenset[str]()) for item in distributions]
    while waiting:
        asker, holder, extras = waiting.pop()
        for requirement in _applicable(holder, extras, package=asker.name):
            key = (asker.name, str(requirement))
            if key in seen:
                continue
            seen.add(key)
            answer = present.get(canonicalize_name(requirement.name))
            if answer is None or not requirement.specifier.contains(
                answer.version, prereleases=True
            ):
                found.append((asker, requirement))
            elif requirement.extras:
                waiting.append((asker, answer, frozenset(requirement.extras)))
    return found


def _applicable(
    holder: Distribution, extras: frozenset[str], *, package: str
) -> Iterator[Requirement]:
    """Yield the requirements that apply here; with `extras`, only what those extras add."""
    for line in holder.requires:
        requirement = parse_requirement(line, package=package)
        marker = requirement.marker
        plainly = marker is None or marker.evaluate({"extra": ""})
        if plainly:
            if not extras:
                yield requirement
        elif marker is not None and any(marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def constraints(base: Mapping[str, Distribution], wanted: Iterable[Requirement]) -> list[str]:
    """Return the pins that keep a resolution on the engine's own versions.

    Without them, a requirement on a small library could pull in a second numpy. What is asked
    for itself is left free: it is missing because the engine's version does not do.

    Example:
        >>> constraints({"numpy": Distribution("numpy", "2.1+local")}, [])
        ['numpy==2.1']
    """
    free = {canonicalize_name(requirement.name) for requirement in wanted}
    pins = {name: _public(item.version) for name, item in base.items() if name not in free}
    return [f"{name}=={version}" for name, version in sorted(pins.items()) if version]


def new_pins(
    resolved: Iterable[str], present: Mapping[str, Distribution], *, own: Iterable[str]
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
        pin = parse_requirement(text, package=text)
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
