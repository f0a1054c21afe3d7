from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from mlengine.core.errors import FailedPrecondition
from mlengine.environments.base import describe_base
from mlengine.environments.requirements import (
    Distribution,
    constraints,
    installed,
    missing,
    new_pins,
    older_framework,
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


MARKERS = describe_base().markers()

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
    found = missing([dist("trainer", "0", *requires)], PRESENT, markers=MARKERS)
    assert [requirement.name + str(requirement.specifier) for _, requirement in found] == left


def test_extras_that_ask_for_each_other_end() -> None:
    ring = {
        "a": dist("a", "1", "b[x]; extra == 'x'"),
        "b": dist("b", "1", "a[x]; extra == 'x'"),
    }
    assert missing([dist("trainer", "0", "a[x]")], ring, markers=MARKERS) == []


def test_the_engines_versions_hold_but_for_what_is_asked_for() -> None:
    base = {"numpy": dist("numpy", "2.1.0+mkl"), "torch": dist("torch", "2.0"), "x": dist("x", "?")}
    assert constraints(base, [Requirement("Torch<2")]) == ["numpy==2.1.0"]


def test_only_new_pins_are_installed_and_never_over_the_users_own() -> None:
    resolved = ["# by uv", "numpy==2.1.0", "pandas==1.5", "trainer==9.9", "", "torch==2.0  # x"]
    pins = new_pins(resolved, PRESENT, own=["Trainer"])
    assert [str(pin) for pin in pins] == ["pandas==1.5", "torch==2.0"]


def test_markers_are_judged_for_the_interpreter_that_the_job_gets() -> None:
    old = {**MARKERS, "python_version": "3.7", "python_full_version": "3.7.16"}
    trainer = dist("trainer", "0", "typing_extensions; python_version < '3.8'")
    assert missing([trainer], PRESENT, markers=MARKERS) == []
    (found,) = missing([trainer], PRESENT, markers=old)
    assert found[1].name == "typing_extensions"


def test_a_url_is_taken_only_where_that_is_allowed() -> None:
    line = "numpy @ https://example.com/numpy.whl"
    trainer = dist("trainer", "0", line)
    with pytest.raises(FailedPrecondition, match="allow_direct_requirements"):
        missing([trainer], PRESENT, markers=MARKERS)
    (found,) = missing([trainer], PRESENT, markers=MARKERS, direct=True)
    assert found[1].url == "https://example.com/numpy.whl"
    (pin,) = new_pins([line], PRESENT, own=[], direct=True)
    assert str(pin) == line
    with pytest.raises(FailedPrecondition, match="an option of the installer"):
        parse_requirement("--index-url https://example.com", package="trainer", direct=True)


FRAMEWORKS = {
    "an older pin": ("tensorflow==1.8.0", "2.15.1"),
    "an older series": ("tensorflow==2.11.*", "2.15.1"),
    "an upper bound": ("tensorflow<2", "2.15.1"),
    "a range below": ("tensorflow>=1.8,<=1.15", "2.15.1"),
    "one that it satisfies": ("tensorflow>=2", ""),
    "a newer pin": ("tensorflow==2.20", ""),
    "another library": ("numpy<1", ""),
    "a framework that is not there": ("torch<1", ""),
}


@pytest.mark.parametrize(("line", "stays"), FRAMEWORKS.values(), ids=FRAMEWORKS.keys())
def test_a_runtime_stands_for_older_versions_of_its_framework(line: str, stays: str) -> None:
    present = {**PRESENT, "tensorflow": dist("tensorflow", "2.15.1")}
    assert older_framework(Requirement(line), present) == stays


def _install(name: str, folder: Path, *, changed_s: int) -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    os.utime(folder, (changed_s, changed_s))


# 2033 stands for a moment ago: the folder may change once more, and its time not.
@pytest.mark.parametrize(
    ("changed_s", "reads"), [(1000, [1, 1, 2, 2]), (2_000_000_000, [1, 2, 3, 4])]
)
def test_what_is_installed_is_read_again_where_the_folder_may_have_changed(
    changed_s: int, reads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    read = importlib.metadata.distributions

    def counted(**where: object) -> object:
        asked.append(where)
        return read(**where)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib.metadata, "distributions", counted)
    counts = []
    for number, name in enumerate(("first", "second")):
        _install(name, tmp_path, changed_s=changed_s + number)
        for _ in range(2):
            assert name in installed([tmp_path])
            counts.append(len(asked))
    assert counts == reads
    assert installed([tmp_path / "nowhere"]) == {}
