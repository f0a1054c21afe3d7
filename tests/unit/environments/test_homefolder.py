"""What installers get of the operator's home, and that they work where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from mlengine.environments import Environments
from mlengine.environments.homefolder import configuration_files, downloads_cache
from mlengine.environments.interpreters import find_interpreter
from tests.fakes.archives import wheel

VARIABLES = ("PIP_CONFIG_FILE", "UV_CONFIG_FILE", "PIP_CACHE_DIR", "UV_CACHE_DIR")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is all that there is: no variable says more."""
    for name in (*VARIABLES, "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def closed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that nobody can look into, not even root: its name is too long."""
    path = home / ("x" * 300)
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.fixture
def homeless(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No home: HOME is unset, and nobody knows the user."""

    def unknown(_uid: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)


PLACES = {
    "pip's": ("PIP_CONFIG_FILE", ".config/pip/pip.conf"),
    "pip's, at its old place": ("PIP_CONFIG_FILE", ".pip/pip.conf"),
    "uv's": ("UV_CONFIG_FILE", ".config/uv/uv.toml"),
}


@pytest.mark.parametrize(("variable", "place"), PLACES.values(), ids=PLACES.keys())
def test_a_configuration_file_is_named(home: Path, variable: str, place: str) -> None:
    path = home / place
    path.parent.mkdir(parents=True)
    path.touch()
    assert configuration_files(pytest.fail) == {variable: str(path)}


def test_no_file_is_no_warning(home: Path) -> None:
    assert configuration_files(pytest.fail) == {}


def test_a_file_that_cannot_be_looked_at_is_none_and_told(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    assert configuration_files(told.append) == {}
    (text,) = told
    assert f"{closed}/.config/pip/pip.conf (File name too long), {closed}/.config/uv/" in text
    assert "Set PIP_CONFIG_FILE and UV_CONFIG_FILE for the engine, to a file" in text
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_CONFIG_FILE", os.devnull)
    assert configuration_files(pytest.fail) == {}


@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_is_nothing_of_it() -> None:
    assert configuration_files(pytest.fail) == {}
    assert downloads_cache("UV_CACHE_DIR", "uv") == {}
    assert find_interpreter(SpecifierSet("==3.7.0"), environ={"PATH": ""}) is None


def test_the_cache_of_downloads_is_the_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert downloads_cache("UV_CACHE_DIR", "uv") == {"UV_CACHE_DIR": f"{home}/.cache/uv"}
    monkeypatch.setenv("XDG_CACHE_HOME", f"{home}/caches")
    assert downloads_cache("PIP_CACHE_DIR", "pip") == {"PIP_CACHE_DIR": f"{home}/caches/pip"}
    monkeypatch.setenv("PIP_CACHE_DIR", "/elsewhere")
    assert downloads_cache("PIP_CACHE_DIR", "pip") == {"PIP_CACHE_DIR": "/elsewhere"}


def test_a_cache_that_cannot_be_written_to_is_not_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".cache").touch()
    assert downloads_cache("UV_CACHE_DIR", "uv") == {}


def test_a_closed_folder_of_path_has_no_interpreters(closed: Path) -> None:
    assert find_interpreter(SpecifierSet("==3.7.0"), environ={"PATH": str(closed)}) is None


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_packages_are_installed_where_the_home_is_closed(
    tmp_path: Path, no_index: Path, installer: str
) -> None:
    wheel(no_index, name="flagsy", version="2.0")
    archive = wheel(tmp_path, name="trainer", version="0.0.0", requires=["flagsy==2.0"])
    told: list[str] = []
    environments = Environments(tmp_path / "environments", installer=installer)
    environments.prepare([archive], log=told.append)
    assert sum("installed without" in line for line in told) == 1
