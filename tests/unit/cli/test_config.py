"""`mlengine config`: the file of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.engine.home import Home
from tests.unit.cli.conftest import Run


def test_a_setting_is_written_read_and_unset(run: Run, tmp_path: Path) -> None:
    assert run("config", "set", "project", "demo") == (0, "", "Updated setting [project].\n")
    assert (tmp_path / "home" / "mlengine.toml").read_text() == 'project = "demo"\n'
    assert run("config", "get", "project") == (0, "demo\n", "")
    assert run("config", "unset", "project") == (0, "", "Unset setting [project].\n")
    assert run("config", "get", "project").out == "default\n"


def test_who_has_an_engine_running_is_told_to_start_it_again(run: Run, tmp_path: Path) -> None:
    word = "the engine that runs keeps what it started with: run 'mlengine down'"
    home = Home(tmp_path / "home")
    assert word in run("config", "set", "max_retries", "3").err
    assert word in run("config", "unset", "max_retries").err
    assert word not in run("config", "set", "staging_bucket", "gs://b").err  # no engine reads it
    home.close()
    assert word not in run("config", "set", "max_retries", "3").err


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("core/project", "project", "demo"), ("compute/region", "region", "us-east1"),
     ("ai_platform/region", "region", "us-east1"), ("staging-bucket", "staging_bucket", "gs://b"),
     ("ml_engine/polling_interval", "polling_interval_s", "7.0")],
)  # fmt: skip
def test_gclouds_names_are_understood(run: Run, name: str, setting: str, value: str) -> None:
    assert run("config", "set", name, value).err == f"Updated setting [{setting}].\n"
    assert run("config", "get", setting).out == f"{value}\n"


def test_a_list_shows_what_differs_and_no_token(run: Run, tmp_path: Path) -> None:
    run("config", "set", "token", "secret")
    shown = run("config", "list").out
    assert f"home = {tmp_path / 'home'}\n" in shown and "token = (set)\n" in shown
    assert "secret" not in shown and "port" not in shown
    assert "port = 8470\n" in run("config", "list", "--all").out


@pytest.mark.parametrize(
    "words", [["list", "project", "--format", "value(core.project)"],
              ["list", "--format=value(core.project)"], ["get-value", "project"],
              ["get-value", "core/project"], ["list", "--all", "--format=value(project)"]],
    ids=" ".join,
)  # fmt: skip
def test_the_first_line_of_many_a_tutorial_prints_the_project(run: Run, words: list[str]) -> None:
    assert run("config", *words) == (0, "default\n", "")
    run("config", "set", "project", "demo")
    assert run("config", *words) == (0, "demo\n", "")


def test_a_list_may_be_of_one_setting(run: Run) -> None:
    assert run("config", "list", "core/project") == (0, "project = default\n", "")
    assert "Did you mean 'project'?" in run("config", "list", "prject").err


def test_gclouds_variables_are_read_below_our_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("config", "set", "project", "file")
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "gclouds")
    monkeypatch.setenv("CLOUDSDK_COMPUTE_REGION", "us-east1")
    monkeypatch.setenv("CLOUDSDK_AI_PLATFORM_REGION", "us-west1")
    assert run("config", "get", "project").out == "gclouds\n"
    assert run("config", "get", "region").out == "us-east1\n"
    assert "CLOUDSDK_CORE_PROJECT is set" in run("config", "set", "project", "demo").err
    monkeypatch.setenv("MLENGINE_PROJECT", "ours")
    assert run("config", "get", "project").out == "ours\n"


def test_what_is_no_setting_says_which_was_meant(run: Run) -> None:
    for words in (["set", "prject", "x"], ["get", "prject"], ["unset", "prject"]):
        done = run("config", *words)
        assert done.code == 1 and "Did you mean 'project'?" in done.err
    assert "It must be a whole number." in run("config", "set", "port", "x").err
    assert "Set MLENGINE_HOME." in run("config", "set", "home", "/x").err


def test_a_home_in_its_own_file_can_be_removed(run: Run, tmp_path: Path) -> None:
    run("config", "set", "project", "demo")
    file = tmp_path / "home" / "mlengine.toml"
    file.write_text(f"{file.read_text()}home = '/x'\n")
    assert "'mlengine config unset home'" in run("config", "list").err
    assert run("config", "unset", "home") == (0, "", "Unset setting [home].\n")
    assert "project = demo\n" in run("config", "list").out


def test_a_variable_that_goes_before_the_file_is_mentioned(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLENGINE_PROJECT", "other")
    assert "MLENGINE_PROJECT is set" in run("config", "set", "project", "demo").err


def test_the_token_that_is_set_is_printed_and_no_other_engine_s(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run("auth", "print-access-token").code == 1
    home_token = tmp_path / "home" / "run" / "token"
    home_token.parent.mkdir(parents=True)
    home_token.write_text("ours")
    done = run("auth", "print-access-token")
    assert done.code == 1 and "no token for http://engine.test" in done.err and not done.out
    monkeypatch.setenv("MLENGINE_TOKEN", "mine")
    assert run("auth", "print-access-token") == (0, "mine\n", "")
