from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.engine import settings
from mlengine.engine.settings import SETTINGS_FILE, Settings, load, write


def test_the_order_is_flag_variable_file_default(tmp_path: Path) -> None:
    environ = {"MLENGINE_HOME": str(tmp_path)}
    assert load(environ).port == Settings().port
    write(tmp_path, "port", "1111")
    assert load(environ).port == 1111
    assert load({**environ, "MLENGINE_PORT": "2222"}).port == 2222
    assert load({**environ, "MLENGINE_PORT": "2222"}, port="3333").port == 3333
    assert load({**environ, "MLENGINE_PORT": "2222"}, port=None).port == 2222
    write(tmp_path, "port", None)
    assert load(environ).port == Settings().port


def test_a_switch_is_true_or_false_wherever_it_is_set(tmp_path: Path) -> None:
    environ = {"MLENGINE_HOME": str(tmp_path)}
    assert not load(environ).allow_direct_requirements
    write(tmp_path, "allow_direct_requirements", "true")
    assert load(environ).allow_direct_requirements is True
    off = {**environ, "MLENGINE_ALLOW_DIRECT_REQUIREMENTS": "False"}
    assert load(off).allow_direct_requirements is False


def test_the_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({}, home="here").home == tmp_path / "here"
    assert load({"MLENGINE_HOME": "~/x"}).home == Path.home() / "x"
    assert load({}).home == Path.home() / ".mlengine"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("prot", "1", "Did you mean 'port'"),
        ("port", "many", "whole number"),
        ("port", "-1", "negative"),
        ("grace_s", "soon", "a number"),
        ("allow_direct_requirements", "1", "true or false"),
    ],
)
def test_a_bad_setting_is_refused(tmp_path: Path, name: str, value: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        write(tmp_path, name, value)
    assert not (tmp_path / SETTINGS_FILE).exists()


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("port = ")
    with pytest.raises(FailedPrecondition, match=SETTINGS_FILE):
        load({"MLENGINE_HOME": str(tmp_path)})
    (tmp_path / SETTINGS_FILE).write_text("project = 3")
    with pytest.raises(InvalidArgument, match="a string"):
        load({"MLENGINE_HOME": str(tmp_path)})


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    write(tmp_path, "token", "secret")
    assert stat.S_IMODE((tmp_path / SETTINGS_FILE).stat().st_mode) == 0o600


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = tmp_path_factory.mktemp("home")
    write(home, "project", text)
    assert settings.read_file(home)["project"] == text


def test_derived_places() -> None:
    made = Settings(home=Path("/h"), max_running_jobs=3)
    assert made.run == Path("/h/run")
    assert made.database_url == "sqlite:////h/engine.db"
    assert made.job_slots(8.0) == 3
    assert [Settings().job_slots(cpus) for cpus in (0.5, 2.0, 8.0)] == [2, 2, 8]
    assert Settings(database="sqlite:////x.db").database_url == "sqlite:////x.db"


def test_every_setting_is_described() -> None:
    assert all(what.endswith(".") for _name, _default, what in settings.describe())
