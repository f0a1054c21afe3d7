from __future__ import annotations

import fcntl
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.engine import settings
from mlengine.engine.settings import SETTINGS_FILE, Settings, load, shown, variables, write


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


def test_a_variable_of_gclouds_goes_before_the_file_and_behind_ours(tmp_path: Path) -> None:
    environ = {"MLENGINE_HOME": str(tmp_path), "CLOUDSDK_ML_ENGINE_POLLING_INTERVAL": "7"}
    write(tmp_path, "polling_interval_s", "5")
    assert load(environ).polling_interval_s == 7.0
    assert load({**environ, "MLENGINE_POLLING_INTERVAL_S": "9"}).polling_interval_s == 9.0
    with pytest.raises(InvalidArgument, match="CLOUDSDK_ML_ENGINE_POLLING_INTERVAL"):
        load({**environ, "CLOUDSDK_ML_ENGINE_POLLING_INTERVAL": "soon"})


def test_a_variable_left_from_work_with_google_is_not_where_the_token_goes(tmp_path: Path) -> None:
    google = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_ML": "https://us-central1-ml.googleapis.com/"}
    environ = {"MLENGINE_HOME": str(tmp_path), **google}
    assert load(environ).endpoint == ""
    write(tmp_path, "endpoint", "http://there:8470/")
    assert load(environ).endpoint == "http://there:8470/"
    assert variables("endpoint") == ["MLENGINE_ENDPOINT"]


@pytest.mark.parametrize(
    ("name", "text", "taken"),
    [
        ("max_predict_bytes", "2147483648", 1 << 30),
        ("log_quota_bytes", "9223372036854775808", (1 << 63) - 1),
        ("grace_s", "31536000", 86_400.0),
        ("warm_idle_s", "1e+308", 1_728_000.0),
        ("predict_timeout_s", "0.0", Settings().predict_timeout_s),
        ("max_model_bytes", "0", Settings().max_model_bytes),
    ],
)
def test_what_an_earlier_version_let_a_file_say_is_mended_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, text: str, taken: float
) -> None:
    (tmp_path / SETTINGS_FILE).write_text(f"{name} = {text}\n")
    found = getattr(load({"MLENGINE_HOME": str(tmp_path)}), name)
    assert (found, type(found)) == (taken, type(taken))
    told = f"The setting '{name}' is {text} in {SETTINGS_FILE}; "
    assert f"{told}it is taken for {taken}." in caplog.text
    (tmp_path / SETTINGS_FILE).unlink()
    with pytest.raises(InvalidArgument, match=r"at most|more than 0"):
        write(tmp_path, name, text)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("port = 70000", "at most 65535"),
        ("grace_s = inf", "finite"),
        ("grace_s = nan", "finite"),
        ("grace_s = -1", "negative"),
    ],
)
def test_what_no_version_let_a_file_say_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, text: str
) -> None:
    (tmp_path / SETTINGS_FILE).write_text(line)
    with pytest.raises(InvalidArgument, match=text):
        load({"MLENGINE_HOME": str(tmp_path)})
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "value"),
    [("idle_after_s", 31_536_000.0), ("retry_backoff_s", 1e9), ("load_timeout_s", 1e9),
     ("install_timeout_s", 1e9), ("serving_memory_bytes", 1 << 60), ("max_model_bytes", 1 << 62)],
)  # fmt: skip
def test_what_nothing_waits_for_can_be_as_much_as_anybody_likes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: float
) -> None:
    write(tmp_path, name, str(value))
    assert getattr(load({"MLENGINE_HOME": str(tmp_path)}), name) == value
    assert not caplog.records


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


def test_a_home_that_is_nobodys_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match=r"home folder is '~nosuch/x'.*MLENGINE_HOME"):
        load({"MLENGINE_HOME": "~nosuch/x"})
    with pytest.raises(InvalidArgument, match=r"'shared' is '~nosuch/x'.*whole path"):
        _ = Settings(shared="~nosuch/x").shared_folder
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as for a container's random user
    with pytest.raises(InvalidArgument, match=r"'~/.mlengine', and nothing says where '~' is"):
        load({})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("prot", "1", "Did you mean 'port'"),
        ("port", "many", "whole number"),
        ("port", "8470.9", "whole number"),
        ("port", "true", "whole number"),
        ("port", "-1", "negative"),
        ("port", "70000", "at most 65535"),
        ("grpc_port", "65536", "at most 65535"),
        ("max_predict_bytes", str((1 << 30) + 1), "at most 1073741824"),
        ("predict_timeout_s", "0", "more than 0"),
        ("load_timeout_s", "0.0", "more than 0"),
        ("install_timeout_s", "0", "more than 0"),
        ("log_quota_bytes", "0", "more than 0"),
        ("max_model_bytes", "0", "more than 0"),
        ("max_predict_bytes", "0", "more than 0"),
        ("grace_s", "1e308", "at most 86400, a day"),
        ("evaluator_grace_s", "1e308", "at most 1728000, 20 days"),
        ("predict_timeout_s", "1728001", "at most 1728000, 20 days"),
        ("max_running_jobs", "1" + "0" * 400, "at most 9223372036854775807"),
        ("serving_memory_bytes", "9223372036854775808", "at most 9223372036854775807"),
        ("grace_s", "nan", "finite"),
        ("predict_timeout_s", "inf", "finite"),
        ("grace_s", "soon", "a number"),
        ("allow_direct_requirements", "1", "true or false"),
    ],
)
def test_a_bad_setting_is_refused(tmp_path: Path, name: str, value: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        write(tmp_path, name, value)
    assert not (tmp_path / SETTINGS_FILE).exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("grace_s", 0.0), ("grace_s", 86_400.0), ("idle_after_s", 0.0), ("warm_idle_s", 1_728_000.0),
     ("predict_timeout_s", 0.5), ("max_model_bytes", (1 << 63) - 1), ("max_retries", 0)],
)  # fmt: skip
def test_a_number_at_the_end_of_its_range_is_taken(tmp_path: Path, name: str, value: float) -> None:
    write(tmp_path, name, str(value))
    assert getattr(load({"MLENGINE_HOME": str(tmp_path)}), name) == value


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("port = 8470.9", "'port' is 8470.9 .*a whole number"),
        ("port = 8470.0", "'port' is 8470.0 .*a whole number"),
        ("max_retries = 1.7", "'max_retries' is 1.7 .*a whole number"),
        ("port = true", "'port' is True .*a whole number"),
        ("grace_s = true", "'grace_s' is True .*a number"),
        ("port = inf", "whole number"),
        ("project = 3", "a string"),
        ("port = []", "whole number"),
        ("home = '/x'", "cannot lie in the home itself .*mlengine.toml.*set MLENGINE_HOME"),
    ],
)
def test_a_bad_line_of_a_file_is_refused(tmp_path: Path, line: str, text: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(line)
    with pytest.raises(InvalidArgument, match=text):
        load({"MLENGINE_HOME": str(tmp_path)})


def test_a_file_may_write_a_number_of_seconds_without_a_point(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("grace_s = 3")
    assert load({"MLENGINE_HOME": str(tmp_path)}).grace_s == 3.0


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("port = ")
    with pytest.raises(FailedPrecondition, match=SETTINGS_FILE):
        load({"MLENGINE_HOME": str(tmp_path)})


@pytest.mark.parametrize("text", ["port = " + "[" * 5000, "port = " + "9" * 5000], ids=len)
def test_a_file_that_no_parser_gets_through_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text)
    with pytest.raises(FailedPrecondition, match=f"{SETTINGS_FILE} is not TOML"):
        load({"MLENGINE_HOME": str(tmp_path)})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="Choose another home"):
        load({"MLENGINE_HOME": str(tmp_path / "file")})


@pytest.mark.parametrize("step", ["read_file", "write_whole"])
def test_nobody_else_sets_a_setting_between_reading_and_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    plain, refused = getattr(settings, step), []

    def seen(*words: Any, **named: Any) -> Any:
        with (tmp_path / "run" / "settings.lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                refused.append(step)
        return plain(*words, **named)

    monkeypatch.setattr(settings, step, seen)
    write(tmp_path, "port", "9")
    write(tmp_path, "port", None)
    assert refused == [step, step]


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match=r"file cannot be made .*Choose another home"):
        write(tmp_path / "file", "port", "9")


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
    assert Settings(home=Path("/q?x%41")).database_url == "sqlite:////q%3Fx%2541/engine.db"
    assert made.job_slots(8.0) == 3
    assert [Settings().job_slots(cpus) for cpus in (0.5, 2.0, 8.0)] == [2, 2, 8]
    assert Settings(database="sqlite:////x.db").database_url == "sqlite:////x.db"


def test_what_engines_share_lies_in_one_folder() -> None:
    alone = Settings(home=Path("/h"))
    assert alone.folder("jobs") == Path("/h/jobs")
    several = Settings(home=Path("/h"), shared="/s", database="postgresql://db/ml")
    assert [several.folder(n) for n in ("jobs", "buckets", "models")] == [
        Path("/s/jobs"), Path("/s/buckets"), Path("/s/models"),
    ]  # fmt: skip
    assert several.folder("logs") == Path("/h/logs")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "engine.db"),
        ("sqlite:////var/x.db", "x.db"),
        ("sqlite:////var/x%3F.db", "x?.db"),
        ("postgresql://me:s3cret@db:5432/ml", "db:5432/ml"),
        ("postgresql+psycopg://me:s3/cr?t@db/ml?password=s3cret", "db/ml"),
        ("postgresql:///ml?host=/run/pg&password=a@s3cret", "/ml"),
        ("nonsense s3cret", ""),
    ],
)
def test_what_people_may_read_of_the_store_holds_no_password(url: str, name: str) -> None:
    assert Settings(home=Path("/h"), database=url).store_name == name


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("token", "s3cret", "(set)"),
        ("token", "", ""),
        ("port", 8470, 8470),
        ("database", "sqlite:////x.db", "sqlite:////x.db"),
        ("database", "postgresql://me:s3cret@db/ml", "postgresql://me:***@db/ml"),
        ("database", "postgresql://me:a/s3cret@b@db/ml", "postgresql://me:***@db/ml"),
        (
            "database", "postgresql:///ml?user=me&password=s3cret&host=db",
            "postgresql:///ml?user=me&password=***&host=db",
        ),
        ("endpoint", "https://me:s3cret@far.example", "https://me:***@far.example"),
    ],
)  # fmt: skip
def test_what_is_shown_of_a_setting_holds_no_secret(name: str, value: object, text: str) -> None:
    assert shown(name, value) == text


def test_a_bad_value_is_told_without_its_secret(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("token = 4711")
    with pytest.raises(InvalidArgument, match="It must be a string") as told:
        load({"MLENGINE_HOME": str(tmp_path)})
    assert "4711" not in str(told.value)


def test_every_setting_is_described() -> None:
    assert all(what.endswith(".") for _name, _default, what in settings.describe())
