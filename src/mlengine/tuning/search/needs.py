"""What a search needs installed, found out without loading it: an engine never loads numpy.

Asked when a study is made or a tuning job comes, so that nobody learns at the hundredth trial that
all of them were drawn at random.
"""

from __future__ import annotations

import importlib.util

from mlengine.core.errors import FailedPrecondition

__all__ = ["check_needs"]

_NEEDS = {
    "bayesian": (("numpy", "scipy"), "pip install 'mlengine[tune]'"),
    "optuna": (("optuna",), "pip install optuna"),
    "vizier": (("vizier", "jax"), "pip install 'google-vizier[jax]'"),
}
"""Search, or the package that it is plugged in from → modules, and what brings them."""


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
    modules, line = _NEEDS.get(search.partition(":")[0], ((), ""))
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise FailedPrecondition(
            f"The {search} search needs {' and '.join(missing)}, which {verb} not installed.",
            f"Run: {line}{instead}",
            field=field,
        )
