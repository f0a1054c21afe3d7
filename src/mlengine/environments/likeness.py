"""Whether the engine's own libraries are what a runtime would bring, so that it need not be built.

Only versions are compared; what they must be for a model of some kind is for others to say.
"""

from __future__ import annotations

import functools

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from mlengine.environments.base import Base, describe_base
from mlengine.environments.catalogue import Catalogue
from mlengine.environments.requirements import installed
from mlengine.environments.resolution import match_runtime

__all__ = ["own_version", "runtime_pin"]

_ALSO = {"tensorflow": ("tensorflow-cpu",), "xgboost": ("xgboost-cpu",)}


def own_version(python: str, library: str) -> str:
    """Return the version of a library that an interpreter has; empty when it has none."""
    base = describe_base(python)
    return _versions(base, base.fingerprint()).get(library, "")


def runtime_pin(catalogue: Catalogue, runtime_version: str, library: str) -> SpecifierSet | None:
    """Return which versions of a library a runtime may have; None when it has none of it.

    Raises:
        InvalidArgument: There is no such runtime.

    Example:
        >>> from mlengine.environments.catalogue import read_catalogue
        >>> str(runtime_pin(read_catalogue(), "2.15", "tensorflow"))
        '==2.15.1'
    """
    recipe, _warning = match_runtime(catalogue, runtime_version)
    names = (library, *_ALSO.get(library, ()))
    for requirement in map(Requirement, recipe.requires):
        if canonicalize_name(requirement.name) in names:
            return requirement.specifier
    return None


@functools.lru_cache(maxsize=8)
def _versions(base: Base, _fingerprint: str) -> dict[str, str]:
    return {name: item.version for name, item in installed(base.site_dirs).items()}
