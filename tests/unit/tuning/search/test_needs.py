"""What a search needs is found out without loading it, and named with the line that mends it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.tuning.search import open_search
from mlengine.tuning.search.needs import check_needs

Lacking = Callable[..., None]


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Lacking:
    """Let modules be found nowhere, by name; all others are."""

    def lack(*names: str) -> None:
        def find(name: str) -> ModuleSpec | None:
            return None if name in names else ModuleSpec(name, None)

        monkeypatch.setattr(importlib.util, "find_spec", find)

    return lack


@pytest.mark.parametrize(
    ("search", "names", "said"),
    [
        ("bayesian", ["numpy"], r"needs numpy, which is.*pip install 'mlengine\[tune\]'"),
        ("bayesian", ["numpy", "scipy"], r"needs numpy and scipy, which are"),
        ("optuna:TPESampler", ["optuna"], r"optuna:TPESampler search.*'mlengine\[optuna\]'"),
        ("optuna:GPSampler", ["torch"], r"needs torch, which is.*'mlengine\[optuna\]' scipy torch"),
        ("vizier:GP_UCB_PE", ["jax"], r"needs jax.*pip install 'mlengine\[vizier\]'"),
    ],
)
def test_what_is_missing_is_named(
    lacking: Lacking, search: str, names: list[str], said: str
) -> None:
    lacking(*names)
    with pytest.raises(FailedPrecondition, match=said) as caught:
        check_needs(search, instead=", or ask for less.", field="study.search")
    assert caught.value.field == "study.search"
    assert caught.value.remedy.endswith(", or ask for less.")


@pytest.mark.parametrize("search", ["random", "grid", "quasi-random"])
def test_a_search_of_the_standard_library_needs_nothing(lacking: Lacking, search: str) -> None:
    lacking("numpy", "scipy", "optuna", "vizier", "jax")
    check_needs(search)
    open_search(search)


def test_the_default_is_not_opened_without_what_it_needs(lacking: Lacking) -> None:
    lacking("scipy")
    with pytest.raises(FailedPrecondition, match="needs scipy"):
        open_search()


def test_with_everything_there_is_nothing_to_say(lacking: Lacking) -> None:
    lacking()
    for search in ("bayesian", "optuna:TPESampler", "vizier:GP_UCB_PE"):
        check_needs(search)


def test_nothing_is_loaded_to_find_out() -> None:
    source = (
        "import sys\n"
        "from mlengine.tuning.search.needs import check_needs\n"
        "check_needs('bayesian')\n"
        "assert not {'numpy', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True)
