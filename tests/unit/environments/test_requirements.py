from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from mlengine.core.errors import FailedPrecondition
from mlengine.environments.requirements import (
    Distribution,
    constraints,
    missing,
    new_pins,
    parse_requirement,
)

REFUSED = {
    "an editable path": ("-e .", "an option of the installer"),
    "another index": ("--index-url https://example.com", "an option of the installer"),
    "one more index": ("--extra-index-url=https://example.com", "an option of the installer"),
    "a bare URL": ("https://example.com/a.whl", "a URL or a path"),
    "a version control URL": ("git+https://example.com/a.git", "a URL or a path"),
    "a file URL": ("file:///tmp/a.whl", "a URL or a path"),
    "a path": ("./vendored/a", "a URL or a path"),
    "a named URL": ("a @ https://example.com/a.whl", "a direct URL"),
    "nonsense": ("numpy >> 3", "not a requirement"),
}


@pytest.mark.parametrize(("line", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_leaves_the_index_is_refused_by_name(line: str, why: str) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        parse_requirement(line, package="trainer-0.0.0.tar.gz")
    assert why in str(caught.value)
    assert line in str(caught.value)


@given(st.text(max_size=40))
def test_any_line_is_a_requirement_or_refused(line: str) -> None:
    try:
        assert parse_requirement(line, package="trainer").url is None
    except FailedPrecondition as error:
        assert error.remedy


def dist(name: str, version: str, *requires: str) -> Distribution:
    return Distribution(name, version, requires)


PRESENT = {
    item.name: item
    for item in (dist("numpy", "2.1.0"), dist("pandas", "2.2", "numpy", "gcsfs; extra == 'gcp'"))
}

MISSING = {
    "what is there is not missing": (["numpy>=2"], []),
    "another version is": (["numpy<2"], ["numpy<2"]),
    "what nobody has is": (["torch"], ["torch"]),
    "names are compared as the index does": (["NumPy>=1"], []),
    "markers for other systems do not count": (["torch; python_version < '3'"], []),
    "an extra that is not asked for does not count": (["torch; extra == 'gpu'"], []),
    "an extra brings what it needs": (["pandas[gcp]"], ["gcsfs"]),
    "an extra of nothing needs nothing": (["numpy[none]"], []),
}


@pytest.mark.parametrize(("requires", "left"), MISSING.values(), ids=MISSING.keys())
def test_what_is_missing(requires: list[str], left: list[str]) -> None:
    found = missing([dist("trainer", "0", *requires)], PRESENT)
    assert [requirement.name + str(requirement.specifier) for _, requirement in found] == left


def test_extras_that_ask_for_each_other_end() -> None:
    ring = {
        "a": dist("a", "1", "b[x]; extra == 'x'"),
        "b": dist("b", "1", "a[x]; extra == 'x'"),
    }
    assert missing([dist("trainer", "0", "a[x]")], ring) == []


def test_the_engines_versions_hold_but_for_what_is_asked_for() -> None:
    base = {"numpy": dist("numpy", "2.1.0+mkl"), "torch": dist("torch", "2.0"), "x": dist("x", "?")}
    assert constraints(base, [Requirement("Torch<2")]) == ["numpy==2.1.0"]


def test_only_new_pins_are_installed_and_never_over_the_users_own() -> None:
    resolved = ["# by uv", "numpy==2.1.0", "pandas==1.5", "trainer==9.9", "", "torch==2.0  # x"]
    pins = new_pins(resolved, PRESENT, own=["Trainer"])
    assert [str(pin) for pin in pins] == ["pandas==1.5", "torch==2.0"]
