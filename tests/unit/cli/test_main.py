"""The entry point: exit codes, errors, what is never shown, what is never imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlengine import daemon
from mlengine.cli.root import root
from mlengine.cli.tree import Group
from mlengine.core.resources import Model
from mlengine.engine import home
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

HEAVY = {"sqlalchemy", "starlette", "uvicorn", "fsspec", "numpy", "alembic", "anyio", "setuptools"}


def test_help_is_a_result_and_needs_no_engine(run: Run) -> None:
    done = run("--help")
    assert done.code == 0 and "jobs" in done.out and not done.err


def every_command(group: Group = root, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name in group.list_commands(None):  # type: ignore[arg-type]  # it is not looked at
        member = group.get_command(None, name)  # type: ignore[arg-type]
        inner = every_command(member, (*path, name)) if isinstance(member, Group) else []
        found += [(*path, name), *inner]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_explains_itself(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words, "--help")
    assert done.code == 0 and done.out.startswith(f"Usage: mlengine {' '.join(words)}")


def test_a_group_alone_shows_its_help_and_is_a_usage_error(run: Run) -> None:
    done = run("jobs")
    assert (done.code, done.out) == (2, "") and "stream-logs" in done.err


USAGE = {
    "an unknown group": (["job", "list"], ("(mlengine) Invalid choice: 'job'.\nMaybe you meant:\n"
                         "  mlengine jobs")),
    "an unknown command": (["jobs", "lst"], ("(mlengine.jobs) Invalid choice: 'lst'.\nMaybe you "
                           "meant:\n  mlengine jobs list")),
    "an unknown flag": (["jobs", "list", "--limt=3"], "(mlengine.jobs.list) unrecognized argument"),
    "one with underscores": (["jobs", "list", "--li_mt=3"], "unrecognized arguments: --li_mt"),
    "an argument too many": (["jobs", "list", "x"], "unrecognized arguments: x"),
    "an argument too few": (["jobs", "describe"], "(mlengine.jobs.describe) argument JOB: Must be"),
    "a flag too few": (["versions", "list"], "(mlengine.versions.list) argument --model: Must be"),
    "a list flag elsewhere": (["jobs", "describe", "x", "--limit=1"], "ments: --l"),
    "a rest elsewhere": (["jobs", "list", "--", "x"], "unrecognized arguments: -- x"),
    "a bad format": (["jobs", "list", "--format=jsn"], "Did you mean 'json'?"),
    "a bad transform": (["jobs", "list", "--format=value(a.dte())"], "Did you mean 'date'?"),
    "a bad zone": (["jobs", "list", "--format=value(a.date(tz=X/Y))"], "no time zone 'X/Y'"),
    "a bad sort": (["jobs", "list", "--sort-by=a("], "expected"),
    "a refused flag": (["jobs", "list", "--account=me"], "(mlengine) --account is not supported"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "text"), USAGE.values(), ids=USAGE)
def test_a_wrong_line_is_exit_code_two_and_reaches_no_engine(
    run: Run, engine: FakeEngine, words: list[str], text: str
) -> None:
    calls: list[str] = []
    engine.before = calls.append
    done = run(*words)
    assert (done.code, done.out, calls) == (2, "", [])
    assert done.err.startswith("ERROR: ") and text in done.err


def test_old_names_of_the_tree_work_and_version_is_a_flag_too(run: Run) -> None:
    shown = run("version").out
    assert shown.startswith("mlengine: ")
    assert run("ai-platform", "version").out == run("beta", "ml-engine", "version").out == shown
    assert run("--version").out == shown
    assert "also --version" in run("--help").out


def test_a_defect_is_one_line_and_a_file(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    def before(_verb: str) -> None:
        raise ZeroDivisionError("one\x1b[2J\ntwo")

    engine.before = before
    done = run("jobs", "list")
    log = tmp_path / "home" / "logs" / "cli.log"
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "ERROR: (mlengine.jobs.list) mlengine has a defect: ZeroDivisionError: one\\x1b[2J two "
        f"(see {log}, or run again with --verbosity debug)\n"
    )
    assert "Traceback" in log.read_text() and log.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in run("jobs", "list", "--verbosity=debug").err


def test_a_defect_that_cannot_be_kept_is_told_all_the_same(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(_verb: str) -> None:
        monkeypatch.setattr(home, "open_private", before)  # what keeps it has the same defect
        raise ZeroDivisionError("one")

    engine.before = before
    assert run("jobs", "list") == (1, "", (
        "ERROR: (mlengine.jobs.list) mlengine has a defect: ZeroDivisionError: one "
        "(run again with --verbosity debug to see where)\n"
    ))  # fmt: skip


def test_a_home_that_nobody_knows_is_no_defect(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLENGINE_HOME", "~nosuch/x")
    assert run("jobs", "list") == (1, "", (
        "ERROR: (mlengine.jobs.list) The home folder is '~nosuch/x', and nothing says where "
        "'~nosuch' is. Write the whole path into MLENGINE_HOME or --home.\n"
    ))  # fmt: skip


def test_what_the_system_refuses_is_no_defect(run: Run, engine: FakeEngine) -> None:
    def before(_verb: str) -> None:
        raise PermissionError(13, "Permission denied", "/x")

    engine.before = before
    error = "ERROR: (mlengine.jobs.list) Permission denied [/x]\n"
    assert run("jobs", "list") == (1, "", error)


@pytest.mark.parametrize(
    "words",
    [
        ["--home=beside", "jobs", "list"],
        ["local", "train", "--module-name=trainer.task", "--package-path=trainer"],
        ["jobs", "submit", "training", "j", "--module-name=trainer.task", "--package-path=trainer",
         "--region=local"],
    ],
    ids=lambda words: words[-1],
)  # fmt: skip
def test_a_working_directory_that_is_gone_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = run(*words)
    assert done.code == 1
    assert "The folder that this command was started in is no longer there. Enter one" in done.err


@pytest.mark.parametrize(
    ("where", "code", "error"),
    [("/dev/full", 1, "ERROR: (mlengine.version) No space left on device\n"), ("&-", 0, "")],
)
def test_output_that_goes_nowhere_is_no_defect(
    tmp_path: Path, where: str, code: int, error: str
) -> None:
    line = f'exec "$0" -m mlengine version >{where}'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable],
        env={**os.environ, "MLENGINE_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, error)


def test_an_engines_words_cannot_steer_the_terminal(run: Run) -> None:
    assert "\x1b" not in run("jobs", "describe", "\x1b[2J").err


def test_ctrl_c_is_130(run: Run, engine: FakeEngine) -> None:
    def before(_verb: str) -> None:
        raise KeyboardInterrupt

    engine.before = before
    done = run("jobs", "list")
    assert done.code == 130 and "keyboard interrupt" in done.err


def test_every_call_can_be_watched(run: Run) -> None:
    assert "engine call: list_jobs('default')\n" in run("jobs", "list", "--log-http").err


def test_the_project_comes_from_the_flag_the_variable_or_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("config", "set", "core/project", "file")
    assert "projects/file/" in run("models", "create", "m").err
    monkeypatch.setenv("MLENGINE_PROJECT", "variable")
    assert "projects/variable/" in run("models", "create", "m").err
    assert "projects/flag/" in run("models", "create", "m", "--project=flag").err


def mlengine(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlengine", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    child = mlengine("--help", MLENGINE_HOME=str(tmp_path))
    assert child.stdout and child.stderr
    child.stdout.close()
    error = child.stderr.read()
    child.stderr.close()
    assert (child.wait(), error) == (1, b"")


@pytest.mark.parametrize(
    "words", [["version"], ["jobs", "list"], ["jobs", "submit", "training", "j"]]
)
def test_a_command_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from mlengine.cli.main import main; main(sys.argv[1:]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "MLENGINE_HOME": str(tmp_path), "MLENGINE_TOKEN": "t",
                   "MLENGINE_ENDPOINT": f"unix:{tmp_path}/no.sock"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click" in loaded and not loaded & HEAVY


def test_up_takes_the_place_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "mlengine.toml").write_text("port = 0\n")
    child = mlengine("up", MLENGINE_HOME=str(tmp_path))
    assert child.stdout and child.stderr
    ready = child.stdout.readline().decode()
    assert "is ready at http://127.0.0.1:" in ready
    shown = mlengine("status", "--format=value(pid)", MLENGINE_HOME=str(tmp_path))
    assert int(shown.communicate()[0]) == child.pid
    twice = mlengine("up", MLENGINE_HOME=str(tmp_path))
    assert b"already runs on" in twice.communicate()[1] and twice.returncode == 1
    down = mlengine("down", MLENGINE_HOME=str(tmp_path))
    assert down.communicate()[1].decode() == f"Stopped the engine (process {child.pid}).\n"
    child.communicate()
    assert (down.returncode, child.returncode) == (0, 0)
    assert mlengine("down", MLENGINE_HOME=str(tmp_path)).wait() == 1


def test_up_keeps_the_project_that_it_is_given(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _path, argv: became.append(argv))
    assert run("up", "--project=shop").code == 0
    (argv,) = became
    started: list[str] = []
    monkeypatch.setattr(daemon, "run", lambda settings: started.append(settings.project) or 0)
    monkeypatch.setattr(daemon, "_log_to_stderr", lambda: None)
    monkeypatch.setattr("os.umask", lambda _mask: 0)
    assert daemon.main(argv[argv.index("mlengine.daemon") + 1 :]) == 0
    assert started == ["shop"]


def test_a_command_that_refuses_its_flags_is_named(run: Run) -> None:
    assert run("predict", "--model=m").err.startswith("ERROR: (mlengine.predict) Exactly one of ")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "mlengine", "jobs", "describe", b"\xff"], capture_output=True
    )
    assert child.returncode == 2 and b"is not UTF-8 text" in child.stderr


def test_a_terminal_that_lacks_a_letter_gets_its_code(tmp_path: Path) -> None:
    variables = {"MLENGINE_HOME": str(tmp_path), "PYTHONIOENCODING": "ascii"}
    child = mlengine("config", "get", "prøject", **variables)
    out, error = child.communicate()
    assert (child.returncode, out) == (1, b"") and b"setting 'pr\\xf8ject'" in error


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 1), ("what\ny\n", 0, 0)])
def test_a_person_is_asked_before_something_is_deleted(
    run: Run,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    left: int,
) -> None:
    engine.create_model("default", Model(name="m"))
    monkeypatch.setattr("mlengine.cli.session.is_someone_there", lambda: True)
    done = run("models", "delete", "m", stdin=answer)
    assert done.code == code and len(engine.models) == left
    assert done.err.startswith("This will delete model [m]...\n\nDo you want to continue (Y/n)?  ")


def test_help_names_the_global_flags_that_mean_something(run: Run) -> None:
    assert "--limit" in run("jobs", "list", "--help").out
    assert "--limit" not in run("jobs", "describe", "--help").out
    assert "JOB [-- ARGS...]" in run("jobs", "submit", "training", "--help").out
