"""What runtimes there are: each is a file in `runtimes/`, read once.

    name, aliases, description   how it is asked for, and what for
    python                       the interpreters that it runs on
    requires, lock               what it is made of, and every distribution that this comes to
    installer                    ``auto``, or the one that its distributions can be had by
    keras, legacy_keras          which Keras it has, and what adds Keras 2
    overlay                      a folder of `overlays/` whose modules go before all others
    fallback                     what stands in for it on another Python

Pins name versions and never places: where distributions come from is the installer's own
configuration. `scripts/lock_runtimes.py` writes the locks.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from mlengine.core.errors import NotFound

__all__ = [
    "LOCAL_RUNTIME",
    "OVERLAYS_FOLDER",
    "RUNTIMES_FOLDER",
    "Catalogue",
    "Fallback",
    "Recipe",
    "read_catalogue",
]

LOCAL_RUNTIME = "local"
RUNTIMES_FOLDER = Path(__file__).parent / "runtimes"
OVERLAYS_FOLDER = Path(__file__).parent / "overlays"


@dataclass(frozen=True, slots=True)
class Fallback:
    """What stands in for a runtime whose interpreter is missing, or not the one asked for."""

    runtime: str
    overlay: str = ""


@dataclass(frozen=True, slots=True)
class LegacyKeras:
    """What gives a runtime of Keras 3 the Keras 2 that older trainers want."""

    lock: tuple[str, ...]
    variables: Mapping[str, str]
    overlay: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A runtime as its file describes it.

    Attributes:
        keras: The major version of the Keras that it has; 0 for none.
        remedy: What to do when its distributions cannot be had, beyond the usual.
        variables: Added to the environment of whatever runs on it.
    """

    name: str
    description: str
    python: SpecifierSet
    aliases: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    lock: tuple[str, ...] = ()
    installer: str = "auto"
    keras: int = 0
    remedy: str = ""
    overlay: str = ""
    fallback: Fallback | None = None
    legacy_keras: LegacyKeras | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether it is the engine's own interpreter, for which nothing is built."""
        return self.name == LOCAL_RUNTIME

    @property
    def series(self) -> tuple[int, int] | None:
        """``(2, 15)`` of a runtime that is named after a version, as Google's are."""
        found = re.fullmatch(r"(\d+)\.(\d+)", self.name)
        return (int(found[1]), int(found[2])) if found else None

    def with_overlay(self, overlay: str) -> Recipe:
        """Return it with another overlay."""
        return replace(self, overlay=overlay)

    def with_legacy_keras(self) -> Recipe:
        """Return it with Keras 2 in it and chosen; it must know how."""
        assert self.legacy_keras is not None
        return replace(
            self,
            lock=(*self.lock, *self.legacy_keras.lock),
            variables={**self.variables, **self.legacy_keras.variables},
            overlay=self.legacy_keras.overlay,
            keras=2,
        )


class Catalogue:
    """The runtimes, by name and alias, in the order in which they are listed.

    Raises:
        ValueError: Two of them claim one name, or one names another that is not there.
    """

    def __init__(self, recipes: list[Recipe]) -> None:
        self._recipes = sorted(recipes, key=_place)
        self._by_name: dict[str, Recipe] = {}
        for recipe in self._recipes:
            for name in (recipe.name, *recipe.aliases):
                if name.lower() in self._by_name:
                    raise ValueError(f"two runtimes are called {name}")
                self._by_name[name.lower()] = recipe
        for recipe in self._recipes:
            if recipe.fallback and recipe.fallback.runtime not in self._by_name:
                raise ValueError(f"{recipe.name} falls back to what is not there")

    def __iter__(self) -> Iterator[Recipe]:
        return iter(self._recipes)

    @property
    def names(self) -> list[str]:
        """The names, without the aliases."""
        return [recipe.name for recipe in self._recipes]

    @property
    def known(self) -> list[str]:
        """Every name that finds one, aliases too."""
        return list(self._by_name)

    def find(self, name: str) -> Recipe | None:
        """Return the runtime of that name or alias; upper and lower case are one."""
        return self._by_name.get(name.strip().lower())

    def get(self, name: str) -> Recipe:
        """Return the runtime of that name or alias.

        Raises:
            NotFound: There is none.
        """
        found = self.find(name)
        if found is None:
            raise NotFound.among(
                "runtime", name, self.known, "See 'mlengine runtimes list'.", field="name"
            )
        return found


def _place(recipe: Recipe) -> tuple[bool, bool, tuple[int, int], str]:
    """Sort the engine's own first, then the numbered, newest first, then the rest by name."""
    major, minor = recipe.series or (0, 0)
    return (not recipe.is_local, recipe.series is None, (-major, -minor), recipe.name)


@functools.lru_cache(maxsize=4)
def read_catalogue(folder: Path = RUNTIMES_FOLDER) -> Catalogue:
    """Read every runtime of a folder.

    Raises:
        ValueError: A file is not one of a runtime.
    """
    return Catalogue([_read(path) for path in sorted(folder.glob("*.toml"))])


def _read(path: Path) -> Recipe:
    facts: dict[str, Any] = tomllib.loads(path.read_text())
    if facts.get("name") != path.stem:
        raise ValueError(f"{path.name}: its name is not that of its file")
    for key in ("aliases", "requires", "lock"):
        facts[key] = tuple(facts.get(key, ()))
    facts["python"] = SpecifierSet(facts["python"])
    if "fallback" in facts:
        facts["fallback"] = Fallback(**facts["fallback"])
    if "legacy_keras" in facts:
        legacy = facts["legacy_keras"]
        facts["legacy_keras"] = LegacyKeras(**{**legacy, "lock": tuple(legacy["lock"])})
    try:
        return Recipe(**facts)
    except TypeError as error:
        raise ValueError(f"{path.name}: {error}") from None
