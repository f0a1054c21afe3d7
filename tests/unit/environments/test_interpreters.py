"""Where Python interpreters are looked for, and when they are asked again."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from mlengine.core.errors import FailedPrecondition
from mlengine.environments.base import describe_base
from mlengine.environments.interpreters import find_interpreter


def fake(path: Path, version: str) -> Path:
    """Write an interpreter that knows nothing but its version."""
    facts = {
        "executable": str(path), "version": version, "build": version, "prefix": "/p",
        "base_prefix": "/p", "site_dirs": [], "implementation": "CPython",
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho noise\necho '{json.dumps(facts)}'\n")
    path.chmod(0o755)
    return path


PLACES = {
    "on PATH, by its version": ("PATH", "bin", "bin/python3.9"),
    "on PATH, by any name": ("PATH", "bin", "bin/python"),
    "among pyenv's": ("PYENV_ROOT", ".", "versions/3.9.4/bin/python3"),
    "among uv's": ("UV_PYTHON_INSTALL_DIR", ".", "cpython-3.9.4-linux-x86_64-gnu/bin/python3"),
    "at pyenv's usual place": ("HOME", ".", ".pyenv/versions/3.9.4/bin/python3"),
    "at uv's usual place": ("HOME", ".", ".local/share/uv/python/cpython-3.9.4-x/bin/python3"),
}


@pytest.mark.parametrize(("variable", "folder", "place"), PLACES.values(), ids=PLACES.keys())
def test_an_interpreter_is_found(tmp_path: Path, variable: str, folder: str, place: str) -> None:
    path = fake(tmp_path / place, "3.9.4")
    environ = {"PATH": "", "HOME": "/nowhere", variable: str(tmp_path / folder)}
    found = find_interpreter(SpecifierSet("==3.9.*"), environ=environ)
    assert found is not None and (found.path, found.version) == (path, "3.9.4")
    assert find_interpreter(SpecifierSet("==3.8.*"), environ=environ) is None


def test_our_own_comes_first_if_it_will_do(tmp_path: Path) -> None:
    fake(tmp_path / "python3.13", "3.13.9")
    found = find_interpreter(SpecifierSet(">=3.11"), environ={"PATH": str(tmp_path)})
    assert found is not None and found.path == describe_base().executable


def test_the_newest_of_pyenvs_comes_first(tmp_path: Path) -> None:
    for version in ("3.9.4", "3.9.18", "3.10.1"):
        fake(tmp_path / "versions" / version / "bin" / "python3", version)
    environ = {"PATH": "", "PYENV_ROOT": str(tmp_path)}
    found = find_interpreter(SpecifierSet("<3.10,>=3.9"), environ=environ)
    assert found is not None and found.version == "3.9.18"


def test_what_does_not_start_is_passed_over(tmp_path: Path) -> None:
    shim = tmp_path / "shims" / "python3.9"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    (tmp_path / "shims" / "python3").write_text("no program at all")
    path = fake(tmp_path / "bin" / "python3.9", "3.9.4")
    environ = {"PATH": f"{shim.parent}{os.pathsep}{path.parent}"}
    found = find_interpreter(SpecifierSet("==3.9.*"), environ=environ)
    assert found is not None and found.path == path


def test_an_interpreter_is_asked_once_until_it_changes(tmp_path: Path) -> None:
    path = fake(tmp_path / "python", "3.9.4")
    asked = describe_base(str(path))
    assert describe_base(str(path)) is asked
    fake(path, "3.9.18")
    assert describe_base(str(path)).version == "3.9.18"
    path.unlink()
    with pytest.raises(FailedPrecondition, match="does not start"):
        describe_base(str(path))


def test_one_that_was_slow_once_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fake(tmp_path / "python", "3.9.4")
    facts = path.read_text().removeprefix("#!/bin/sh\n")
    path.write_text(f"#!/bin/sh\n[ -e {tmp_path}/idle ] || exec tail -f /dev/null\n{facts}")
    with monkeypatch.context() as patched, pytest.raises(FailedPrecondition, match="timed out"):
        patched.setattr("mlengine.environments.base._PROBE_LIMIT_S", 0.1)
        describe_base(str(path))
    (tmp_path / "idle").touch()
    assert describe_base(str(path)).version == "3.9.4"


def test_our_own_is_described_below_its_virtual_environment() -> None:
    base = describe_base()
    assert base.python == Path(sys.executable)
    assert base.executable.parent == Path(base.base_prefix) / "bin"
    assert base.markers()["python_full_version"] == base.version
