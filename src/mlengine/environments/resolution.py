"""Which runtime a job means by its `runtimeVersion`, and what has to be said about it.

    "" or local        the engine's own interpreter
    a name, an alias   that runtime
    1.8, 2.1, 2.16     the nearest of the same major version that can run it, with a warning
    1.15 on 3.11       what stands in for it: that is what can be had on this Python
    anything else      refused, naming what there is

Told to be strict, it refuses whatever it would have warned of. Nothing here touches a disk: what
interpreters the machine has, `find` knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from mlengine.core.errors import FailedPrecondition, InvalidArgument, did_you_mean
from mlengine.environments.catalogue import Catalogue, Recipe
from mlengine.environments.interpreters import Interpreter

__all__ = [
    "Choice",
    "Finder",
    "Wish",
    "check_python",
    "choose",
    "is_other_python",
    "match_runtime",
    "unused_runtime_warning",
]

Finder = Callable[[SpecifierSet], Interpreter | None]

_RUNTIME_FIELD = "training_input.runtime_version"
_PYTHON_FIELD = "training_input.python_version"
_LEGACY_FIELD = "options.legacy_keras"
_NUMBERED = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.[0-9]{1,4})?")
_PYTHON = re.compile(r"[23](?:\.[0-9]{1,2}){0,2}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job asks for; empty is no wish.

    Attributes:
        strict: Rather refuse than run on anything else.
        legacy_keras: Keras 2 where the runtime has Keras 3.
        oldest_python: Nothing that is older will do, such as ``3.10``.
    """

    runtime_version: str = ""
    python_version: str = ""
    strict: bool = False
    legacy_keras: bool = False
    oldest_python: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What it gets: a runtime, the interpreter to build it over, and what to tell the user.

    Attributes:
        interpreter: None for the engine's own runtime.
        bare_siblings: Whether a module imports those beside it by their bare names, as under the
            Python 2 that it was written for.
        serves: The runtime that it does the work of: another than its own where it stands in.
        approximate: Whether it is another runtime, or another Python, than was asked for. What
            was pinned for that one may not be had for this.
    """

    recipe: Recipe
    interpreter: Interpreter | None = None
    warnings: tuple[str, ...] = ()
    bare_siblings: bool = False
    serves: str = ""
    approximate: bool = False


def match_runtime(catalogue: Catalogue, text: str) -> tuple[Recipe, str]:
    """Return the runtime that a `runtimeVersion` means, and a warning if it is not that itself.

    Raises:
        InvalidArgument: It names nothing that any runtime could stand for.
    """
    text = text.strip()
    found = catalogue.find(text or "local")
    if found is not None:
        return found, ""
    numbered = _NUMBERED.fullmatch(text)
    if numbered:
        wanted = (int(numbered[1]), int(numbered[2]))
        nearest = _nearest(catalogue, wanted)
        if nearest is not None:
            if nearest.series == wanted:
                return nearest, ""
            warning = (
                f"There is no runtime '{text}': this runs on '{nearest.name}' "
                f"({nearest.description}), the nearest that can run it."
            )
            return nearest, warning
    raise InvalidArgument(
        f"There is no runtime '{text}'.",
        f"{did_you_mean(text.lower(), catalogue.known)}"
        f"The runtimes are: {', '.join(catalogue.names)}.",
        field=_RUNTIME_FIELD,
    )


def _nearest(catalogue: Catalogue, wanted: tuple[int, int]) -> Recipe | None:
    """Return the oldest runtime that is new enough, else the newest of that major version."""
    major = max(wanted[0], 1)  # 0.12 was replaced by 1.0
    same = [r for r in catalogue if r.series is not None and r.series[0] == major]
    same.sort(key=lambda recipe: recipe.series or (0, 0))
    return next((r for r in same if r.series and r.series >= wanted), same[-1] if same else None)


def choose(catalogue: Catalogue, wish: Wish, *, find: Finder, own_version: str) -> Choice:
    """Decide what a job runs on.

    Args:
        catalogue: The runtimes.
        wish: What the job asks for.
        find: Looks for an interpreter on this machine.
        own_version: The version of the engine's own Python.

    Raises:
        InvalidArgument: There is no such runtime, or it cannot be had as it was asked for.
        FailedPrecondition: No interpreter for it is on this machine.
    """
    recipe, warning = match_runtime(catalogue, wish.runtime_version)
    if warning and wish.strict:
        raise InvalidArgument(
            f"There is no runtime '{wish.runtime_version.strip()}'.",
            f"The runtimes are: {', '.join(catalogue.names)}. Name one of them, or do without "
            f"--strict-runtime: '{recipe.name}' is the nearest.",
            field=_RUNTIME_FIELD,
        )
    warnings = [warning]
    find = _none_older(find, wish.oldest_python)
    bare_siblings = _for_python_2(recipe, wish)
    interpreter: Interpreter | None = None
    serves = recipe.name
    if recipe.is_local:
        warnings.append(_compare(recipe, wish, own_version))
    else:
        asked = recipe
        recipe, interpreter = _had_here(catalogue, asked, wish, find)
        if recipe is not asked:
            warnings.append(
                f"The runtime '{asked.name}' needs Python {asked.python}, "
                f"{_why_not(asked, recipe, wish)}: "
                f"this runs on '{recipe.name}'{_beneath(recipe)} instead. Libraries "
                f"whose pinned versions Python {_short(interpreter)} cannot have are the runtime's."
            )
        warnings.append(_compare(recipe, wish, interpreter.version))
    approximate = interpreter is not None and any(warnings)
    if wish.legacy_keras:
        recipe, warning = _legacy_keras(catalogue, recipe)
        warnings.append(warning)
    told = tuple(filter(None, warnings))
    return Choice(recipe, interpreter, told, bare_siblings, serves, approximate)


def _none_older(find: Finder, oldest: str) -> Finder:
    bound = SpecifierSet(f">={oldest}" if oldest else "")
    return lambda wanted: find(wanted & bound)


def _why_not(asked: Recipe, other: Recipe, wish: Wish) -> str:
    if wish.oldest_python:
        return f"and models are served on {wish.oldest_python} or newer"
    if _only_it_can_have(other, asked, wish.python_version):
        return f"and Python {wish.python_version.strip()} was asked for"
    return "which this machine does not have"


def _for_python_2(recipe: Recipe, wish: Wish) -> bool:
    """Say whether the original would run it by Python 2: its default with TensorFlow 1."""
    if wish.python_version:
        return wish.python_version.startswith("2")
    return recipe.series is not None and recipe.series < (2, 0)


def _had_here(
    catalogue: Catalogue, recipe: Recipe, wish: Wish, find: Finder
) -> tuple[Recipe, Interpreter]:
    """Return the runtime, or else its stand-in, and what this machine has to build it over.

    The stand-in goes first where the Python that was asked for is one that only it can have.
    """
    able = [recipe]
    if recipe.fallback is not None and not wish.strict:
        other = catalogue.get(recipe.fallback.runtime).with_overlay(recipe.fallback.overlay)
        able.insert(0 if _only_it_can_have(other, recipe, wish.python_version) else 1, other)
    for one in able:
        interpreter = _interpreter(one, wish.python_version.strip(), find)
        if interpreter is not None:
            return one, interpreter
    raise no_interpreter(recipe)


def _only_it_can_have(other: Recipe, recipe: Recipe, python_version: str) -> bool:
    wanted = python_version.strip()
    if not _PYTHON.fullmatch(wanted):
        return False
    return other.python.contains(wanted) and not recipe.python.contains(wanted)


def _interpreter(recipe: Recipe, python_version: str, find: Finder) -> Interpreter | None:
    """Find one of the version that was asked for, if it will do for the runtime, else any."""
    if _PYTHON.fullmatch(python_version):
        exactly = recipe.python & SpecifierSet(f"=={python_version}.*")
        return find(exactly) or find(recipe.python)
    return find(recipe.python)


def no_interpreter(recipe: Recipe) -> FailedPrecondition:
    """Return the error of a runtime for which this machine has no interpreter."""
    minor = max((n for n in range(40) if recipe.python.contains(f"3.{n}")), default=0)
    return FailedPrecondition(
        f"The runtime '{recipe.name}' needs Python {recipe.python}, and there is none on PATH, "
        "among pyenv's versions or uv's.",
        f"Install one, for example with 'pyenv install 3.{minor}' or 'uv python install "
        f"3.{minor}', or choose another runtime.",
        field=_RUNTIME_FIELD,
    )


def _short(interpreter: Interpreter) -> str:
    return ".".join(interpreter.version.split(".")[:2])


def _beneath(recipe: Recipe) -> str:
    return f" with the overlay '{recipe.overlay}'" if recipe.overlay else ""


def _compare(recipe: Recipe, wish: Wish, version: str) -> str:
    """Return the warning about a Python version that the job does not get; empty if it does."""
    wanted = wish.python_version.strip()
    check_python(wanted, field=_PYTHON_FIELD)
    if not is_other_python(wanted, version):
        return ""
    problem = f"Python {wanted} was asked for; the runtime '{recipe.name}' has Python {version}"
    if wish.strict:
        raise InvalidArgument(
            f"{problem}.", "Leave it out, or do without --strict-runtime.", field=_PYTHON_FIELD
        )
    return f"{problem}, on which this runs."


def check_python(wanted: str, *, field: str) -> None:
    """Raise unless a version of Python is spelled like one; none at all is no wish."""
    if wanted.strip() and not _PYTHON.fullmatch(wanted.strip()):
        raise InvalidArgument(
            f"'{wanted}' is not a version of Python.", "Write one such as 3.11.", field=field
        )


def is_other_python(wanted: str, version: str) -> bool:
    """Tell whether a Python is not the one that was asked for; what is misspelled asks for none.

    Example:
        >>> is_other_python("3.7", "3.11.7"), is_other_python("3.11", "3.11.7")
        (True, False)
    """
    asked = _PYTHON.fullmatch(wanted.strip())
    return asked is not None and not SpecifierSet(f"=={asked[0]}.*").contains(version)


def _legacy_keras(catalogue: Catalogue, recipe: Recipe) -> tuple[Recipe, str]:
    if recipe.legacy_keras is not None:
        return recipe.with_legacy_keras(), ""
    if recipe.keras == 2:
        return recipe, f"The runtime '{recipe.name}' has Keras 2 in any case: legacyKeras is moot."
    names = [r.name for r in catalogue if r.legacy_keras is not None]
    raise InvalidArgument(
        f"The runtime '{recipe.name}' cannot be had with legacyKeras.",
        f"Those that can: {', '.join(names) or 'none'}.",
        field=_LEGACY_FIELD,
    )


def unused_runtime_warning(version: str, *, own_version: str) -> str:
    """Return what to say where only the engine's own interpreter is used; empty if it was meant.

    Example:
        >>> unused_runtime_warning("local", own_version="3.11.7")
        ''
        >>> unused_runtime_warning("1.15", own_version="3.11.7")  # doctest: +ELLIPSIS
        "runtime '1.15' is not used here: this runs on the engine's own Python 3.11.7..."
    """
    if version.strip().lower() in ("", "local"):
        return ""
    return (
        f"runtime '{version}' is not used here: this runs on the engine's own Python "
        f"{own_version} and its libraries. "
        "Use runtimeVersion 'local' to ask for that without this warning."
    )
