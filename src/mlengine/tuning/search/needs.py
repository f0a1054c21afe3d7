"""What a search needs installed, found out without loading it: an engine never loads numpy.

Asked when a study is made or a tuning job comes, so that nobody learns at the hundredth trial that
all of them were drawn at random.
"""

from __future__ import annotations

import importlib.util

from mlengine.core.errors import FailedPrecondition

__all__ = ["PLUGGED", "SINGLE_METRIC", "check_needs"]

_OPTUNA = "pip install 'mlengine[optuna]'"
_VIZIER = (("vizier", "jax"), "pip install 'mlengine[vizier]'")
_PLUGGED = {
    "optuna:GPSampler": (("optuna", "scipy", "torch"), f"{_OPTUNA} scipy torch"),
    "optuna:RandomSampler": (("optuna",), _OPTUNA),
    "optuna:TPESampler": (("optuna",), _OPTUNA),
    "vizier:EAGLE_STRATEGY": _VIZIER,
    "vizier:GP_UCB_PE": _VIZIER,
    "vizier:QUASI_RANDOM_SEARCH": _VIZIER,
}
_NEEDS = {"bayesian": (("numpy", "scipy"), "pip install 'mlengine[tune]'"), **_PLUGGED}
"""Search → modules, and what brings them."""

PLUGGED = tuple(_PLUGGED)
"""Searches of other packages. Of Optuna's samplers those that learn from trials alone: what others
keep beside them (a population, a covariance) is gone at the next question, and they would sample
at random."""

SINGLE_METRIC = frozenset({"vizier:EAGLE_STRATEGY"})
"""Those of them that know of one metric only."""


def check_needs(search: str, *, instead: str = "", field: str = "") -> None:
    """Raise unless all that a search needs is installed here.

    Args:
        search: Its name, as `open_search` knows it.
        instead: What the user may do rather than install something.
        field: Of the request, which asks for it.

    Raises:
        FailedPrecondition: It names what is missing and the line that installs it.

    Example:
        >>> check_needs("random")
    """
    modules, line = _NEEDS.get(search, ((), ""))
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise FailedPrecondition(
            f"The {search} search needs {' and '.join(missing)}, which {verb} not installed.",
            f"Run: {line}{instead}",
            field=field,
        )
