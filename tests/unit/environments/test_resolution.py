"""Which runtime a job gets: by table, and by what must hold for any wish."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument
from mlengine.environments.catalogue import read_catalogue
from mlengine.environments.interpreters import Interpreter
from mlengine.environments.resolution import (
    Choice,
    Wish,
    choose,
    match_runtime,
    unused_runtime_warning,
)

CATALOGUE = read_catalogue()
HAVE = ["3.11.7", "3.10.13", "3.7.16", "3.13.0"]


def find(wanted: SpecifierSet, have: list[str] = HAVE) -> Interpreter | None:
    return next((Interpreter(Path("/py", v), v) for v in have if wanted.contains(v)), None)


def get(wish: Wish, have: list[str] = HAVE) -> Choice:
    return choose(CATALOGUE, wish, find=lambda w: find(w, have), own_version="3.11.7")


NAMES = {
    "": ("local", False), "local": ("local", False), " LOCAL ": ("local", False),
    "1.15": ("1.15", False), "1.15.5": ("1.15", False), "2.15.0": ("2.15", False),
    "0.12": ("1.15", True), "1.0": ("1.15", True), "1.8": ("1.15", True), "1.16": ("1.15", True),
    "2.0": ("2.15", True), "2.1": ("2.15", True), "2.14.1": ("2.15", True),
    "2.16": ("2.21", True), "2.21": ("2.21", False), "2.99": ("2.21", True),
    "sklearn": ("sklearn-1.x", False), "PyTorch": ("torch", False),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), NAMES.items(), ids=repr)
def test_a_runtime_version_means_the_nearest_that_can_run_it(
    text: str, expected: tuple[str, bool]
) -> None:
    recipe, warning = match_runtime(CATALOGUE, text)
    assert (recipe.name, bool(warning)) == expected
    if warning:
        assert text in warning and recipe.name in warning


@pytest.mark.parametrize("text", ["tf-nightly", "3.0", "torhc", "2", "1.15-gpu", "2.x", "../2.15"])
def test_nonsense_is_refused_and_told_what_there_is(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        get(Wish(text))
    assert text in caught.value.problem
    assert "2.21, 2.15, 1.15" in caught.value.remedy
    assert caught.value.field == "training_input.runtime_version"


def test_a_typing_error_is_told_what_was_perhaps_meant() -> None:
    with pytest.raises(InvalidArgument, match="Did you mean 'torch'"):
        get(Wish("torhc"))


PYTHONS = {
    "the one it has": (Wish("1.15", "3.7"), "3.7.16", ""),
    "one of those it may have": (Wish("2.15", "3.10"), "3.10.13", ""),
    "a whole version": (Wish("2.15", "3.10.13"), "3.10.13", ""),
    "any Python 3": (Wish("2.15", "3"), "3.11.7", ""),
    "one that it cannot have": (Wish("2.15", "3.7"), "3.11.7", "has Python 3.11.7, on which"),
    "one that is not here": (Wish("2.21", "3.12"), "3.11.7", "Python 3.12 was asked for"),
    "Python 2": (Wish("1.15", "2.7"), "3.7.16", "Python 2.7 was asked for"),
}


@pytest.mark.parametrize(("wish", "version", "warning"), PYTHONS.values(), ids=PYTHONS.keys())
def test_a_python_version_is_honoured_where_the_runtime_allows_it(
    wish: Wish, version: str, warning: str
) -> None:
    choice = get(wish)
    assert choice.interpreter is not None and choice.interpreter.version == version
    assert warning in " ".join(choice.warnings) and bool(warning) == bool(choice.warnings)


def test_the_engines_own_python_is_what_local_has() -> None:
    assert get(Wish("", "3.11")) == Choice(CATALOGUE.get("local"), serves="local")
    (warning,) = get(Wish("local", "3.7")).warnings
    assert "has Python 3.11.7" in warning


@pytest.mark.parametrize(
    ("wish", "approximate"),
    [
        (Wish("2.15"), False), (Wish("2.15", "3.10"), False), (Wish("2.15.1"), False),
        (Wish("2.1"), True), (Wish("2.15", "3.7"), True), (Wish("1.15", "2.7"), True),
        (Wish("local", "3.7"), False),  # there a job gets what it asks for, or fails
        (Wish("2.15", legacy_keras=True), False),
    ],
)  # fmt: skip
def test_an_approximate_choice_is_one_that_was_not_asked_for(wish: Wish, approximate: bool) -> None:
    assert get(wish).approximate is approximate


STRICT = {
    "another version": (Wish("1.8", strict=True), "training_input.runtime_version"),
    "another Python": (Wish("2.15", "3.7", strict=True), "training_input.python_version"),
    "another Python than ours": (Wish("", "3.7", strict=True), "training_input.python_version"),
    "no Python at all": (Wish("2.15", "snake"), "training_input.python_version"),
    "Keras 2 without TensorFlow": (Wish("torch", legacy_keras=True), "options.legacy_keras"),
    "Keras 2 on our own": (Wish("", legacy_keras=True), "options.legacy_keras"),
}


@pytest.mark.parametrize(("wish", "field"), STRICT.values(), ids=STRICT.keys())
def test_what_cannot_be_had_as_it_was_asked_for_is_refused(wish: Wish, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        get(wish)
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("version", "python", "expected"),
    [("1.8", "", True), ("1.15", "2.7", True), ("1.15", "3.5", False), ("2.1", "", False)],
)
@pytest.mark.parametrize("have", [HAVE, ["3.11.7"]])
def test_bare_siblings_are_for_who_would_get_python_2(
    version: str, python: str, expected: bool, have: list[str]
) -> None:
    assert get(Wish(version, python), have).bare_siblings is expected


def test_without_its_python_1_15_runs_on_2_15_with_the_overlay_and_says_so() -> None:
    choice = get(Wish("1.8"), ["3.11.7"])
    assert (choice.recipe.name, choice.recipe.overlay) == ("2.15", "tf1")
    assert choice.serves == "1.15" and choice.approximate
    assert "needs Python ==3.7.*" in choice.warnings[1]
    assert "'2.15' with the overlay 'tf1'" in choice.warnings[1]
    with pytest.raises(FailedPrecondition, match=r"needs Python ==3\.7\.\*"):
        get(Wish("1.15", strict=True), ["3.11.7"])


@pytest.mark.parametrize(
    ("wish", "have", "expected"),
    [
        (Wish("1.15", "3.11"), HAVE, "3.11.7"),
        (Wish("1.13", " 3.10 "), HAVE, "3.10.13"),
        (Wish("1.15", "3.11.7"), HAVE, "3.11.7"),
        (Wish("1.15", "3.11"), ["3.10.13", "3.7.16"], "3.10.13"),
        (Wish("1.15", "3.11", oldest_python="3.10"), HAVE, "3.11.7"),
        (Wish("1.15", "3.11"), ["3.7.16"], ""),  # what it is for is not here
        (Wish("1.15", "3.12"), HAVE, ""),  # which it cannot have either
        (Wish("1.15", "3"), HAVE, ""), (Wish("1.15", "3.5"), HAVE, ""), (Wish("1.15"), HAVE, ""),
    ],
)  # fmt: skip
def test_a_python_that_only_the_stand_in_can_have_means_the_stand_in(
    wish: Wish, have: list[str], expected: str
) -> None:
    choice = get(wish, have)
    assert choice.interpreter is not None
    assert (choice.serves, choice.recipe.overlay) == ("1.15", "tf1" if expected else "gs1")
    assert choice.interpreter.version == (expected or "3.7.16")
    told = " ".join(choice.warnings)
    why = (
        "models are served on 3.10" if wish.oldest_python else "was asked for: this runs on '2.15'"
    )
    assert (why in told) is bool(expected)


def test_a_strict_wish_never_gets_a_stand_in() -> None:
    with pytest.raises(InvalidArgument, match=r"'1\.15' has Python 3\.7\.16"):
        get(Wish("1.15", "3.11", strict=True))


def test_a_runtime_without_an_interpreter_says_what_to_install() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        get(Wish("2.15"), ["3.13.0"])
    assert "pyenv install 3.11" in caught.value.remedy
    with pytest.raises(FailedPrecondition):
        get(Wish("1.15"), ["3.13.0"])


def test_legacy_keras_is_added_where_there_is_keras_3_only() -> None:
    choice = get(Wish("2.21", legacy_keras=True))
    assert "tf-keras==2.21.0" in choice.recipe.lock
    assert not choice.warnings
    (warning,) = get(Wish("2.15", legacy_keras=True)).warnings
    assert "has Keras 2 in any case" in warning


wishes = st.builds(
    Wish,
    st.one_of(
        st.sampled_from(["", *CATALOGUE.known]),
        st.from_regex(r"[012]\.\d{1,2}", fullmatch=True),
        st.text(max_size=12),
    ),
    st.one_of(st.just(""), st.from_regex(r"[23]\.\d{1,2}", fullmatch=True), st.text(max_size=6)),
    st.booleans(),
    st.booleans(),
)
machines = st.lists(st.sampled_from(HAVE), unique=True)


@given(wishes, machines)
def test_any_wish_is_served_by_what_is_there_or_refused_with_a_remedy(
    wish: Wish, have: list[str]
) -> None:
    try:
        choice = get(wish, have)
    except EngineError as error:
        assert error.problem and error.remedy and error.field
        return
    if not choice.recipe.is_local:
        assert choice.interpreter is not None and choice.interpreter.version in have
        assert choice.recipe.python.contains(choice.interpreter.version)
    if wish.strict:
        assert not [w for w in choice.warnings if "legacyKeras" not in w]


@given(st.integers(0, 2), st.integers(0, 99), st.integers(0, 99))
def test_a_newer_wish_never_gets_an_older_runtime(major: int, one: int, two: int) -> None:
    low, high = sorted((one, two))
    first, _ = match_runtime(CATALOGUE, f"{major}.{low}")
    second, _ = match_runtime(CATALOGUE, f"{major}.{high}")
    assert first.series is not None and second.series is not None
    assert first.series <= second.series


@pytest.mark.parametrize("version", ["", "local", " Local "])
def test_what_runs_on_our_own_python_warns_of_any_other_wish(version: str) -> None:
    assert unused_runtime_warning(version, own_version="3.11.7") == ""
    assert "Python 3.11.7" in unused_runtime_warning("1.15", own_version="3.11.7")
