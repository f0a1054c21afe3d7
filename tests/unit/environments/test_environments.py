from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.environments import Environment, Environments
from mlengine.environments.base import describe_base
from mlengine.environments.installers import Installer, find_installer
from mlengine.environments.installers.pip import PipInstaller
from mlengine.environments.installers.uv import UvInstaller
from tests.fakes.archives import sdist, wheel


@pytest.fixture(params=["uv", "pip"])
def environments(request: pytest.FixtureRequest, tmp_path: Path) -> Environments:
    return Environments(tmp_path / "environments", installer=request.param, timeout_s=120)


def trainer(folder: Path, *, task: str = "print('hello')", requires: Sequence[str] = ()) -> Path:
    """Make a package that needs no building, which takes a second: for what is not about that."""
    files = {"task.py": task}
    return wheel(folder, name="trainer", version="0.0.0", requires=requires, files=files)


def says(environment: Environment, code: str) -> str:
    done = subprocess.run(
        [environment.python, "-c", code], capture_output=True, text=True, cwd="/", check=True
    )
    return done.stdout.strip()


def test_a_package_is_installed_once_and_found_again(
    environments: Environments, tmp_path: Path
) -> None:
    archive = sdist(tmp_path)
    lines: list[str] = []
    first = environments.prepare([archive], log=lines.append)
    again = environments.prepare([archive])
    assert (first.hit, again.hit) == (False, True)
    assert (first.path, first.digest) == (again.path, again.digest)
    assert lines[0] == "Installing the package: trainer-0.0.0.tar.gz"
    assert lines[1].startswith("Running command: ")
    done = subprocess.run([first.python, "-m", "trainer.task"], capture_output=True, cwd="/")
    assert done.stdout == b"hello\n"


def test_the_engines_libraries_are_importable_and_never_copied(
    environments: Environments, tmp_path: Path
) -> None:
    environment = environments.prepare([trainer(tmp_path)])
    code = "import mlengine.runtime, msgspec, sys; print(msgspec.__file__, sys.prefix)"
    where, prefix = says(environment, code).split()
    assert not where.startswith(str(environment.path))
    assert prefix == str(environment.path)
    names = {path.name.lower() for path in environment.path.rglob("*")}
    assert not names & {"msgspec", "setuptools", "pip", "scratch", "installer.json"}


def test_a_subprocess_and_a_spawned_worker_see_the_package_too(
    environments: Environments, tmp_path: Path
) -> None:
    task = (
        "import subprocess, sys, multiprocessing\n"
        "def work(x): return x + 1\n"
        "if __name__ == '__main__':\n"
        "    subprocess.run([sys.executable, '-c', 'import trainer; print(1)'], check=True)\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(work, [1]))\n"
    )
    environment = environments.prepare([trainer(tmp_path, task=task)])
    done = subprocess.run(
        [environment.python, "-m", "trainer.task"], capture_output=True, text=True, cwd="/"
    )
    assert done.stdout.split() == ["1", "[2]"], done.stderr


def test_a_module_for_python_2_imports_its_siblings_by_their_bare_names(
    environments: Environments, tmp_path: Path
) -> None:
    files = {
        "task.py": "import json, model\nprint(model.NAME, hasattr(json, 'dumps'))",
        "model.py": "NAME = 'beside'",
        "json.py": "",  # not before the standard library's
    }
    archive = sdist(tmp_path, files=files)
    old = environments.prepare([archive], python_version="2.7")
    new = environments.prepare([archive], python_version="3")
    assert says(old, "import trainer.task") == "beside True"
    with pytest.raises(subprocess.CalledProcessError):
        says(new, "import trainer.task")


def test_a_console_script_of_the_package_runs(environments: Environments, tmp_path: Path) -> None:
    environment = environments.prepare(
        [wheel(tmp_path, name="census", version="1.0", script="census-train")]
    )
    variables = environment.variables({"PATH": os.environ["PATH"]})
    done = subprocess.run(
        ["/usr/bin/env", "census-train"], env=variables, capture_output=True, cwd="/"
    )
    assert done.stdout == b"census\n", done.stderr
    assert variables["VIRTUAL_ENV"] == str(environment.path)


def test_no_packages_need_no_environment(environments: Environments, tmp_path: Path) -> None:
    environment = environments.prepare([])
    assert environment.python == Path(sys.executable)
    assert environment.hit
    assert not (tmp_path / "environments").exists()


def test_the_last_of_two_packages_of_one_name_wins(
    environments: Environments, tmp_path: Path
) -> None:
    old = trainer(tmp_path / "a", task="print('old')")
    new = trainer(tmp_path / "b", task="print('new')")
    assert says(environments.prepare([old, new]), "import trainer.task") == "new"
    assert says(environments.prepare([new, old]), "import trainer.task") == "old"


def test_requirements_that_the_engine_has_are_not_installed_again(
    environments: Environments, tmp_path: Path
) -> None:
    archive = trainer(
        tmp_path, requires=["msgspec>=0.1", "packaging", "tomli; python_version < '3'"]
    )
    lines: list[str] = []
    environments.prepare([archive], log=lines.append)
    assert len([line for line in lines if line.startswith("Running command: ")]) == 1


def test_a_package_may_require_another_of_the_same_job(
    environments: Environments, tmp_path: Path
) -> None:
    needs = trainer(tmp_path, requires=["census==1.0"])
    environment = environments.prepare([needs, wheel(tmp_path, name="census", version="1.0")])
    assert says(environment, "import census; print(census.__version__)") == "1.0"


def test_a_package_of_the_same_job_in_another_version_is_told_and_stays(
    environments: Environments, tmp_path: Path, no_index: Path
) -> None:
    wheel(no_index, name="flagsy", version="2.0")
    needs = trainer(tmp_path, requires=["census[flags]>=2"])
    extra = ['flagsy; extra == "flags"']
    own = wheel(tmp_path, name="census", version="1.0", requires=extra)
    for _ in range(2):  # the index has no census at all, and is not asked for it
        found = environments.prepare([needs, own])
        (warning,) = found.warnings
        assert "requires census[flags]>=2; the job's own package is 1.0" in warning
    assert says(found, "import census, flagsy; print(census.__version__)") == "1.0"


def test_a_missing_requirement_is_fetched_with_its_own(
    environments: Environments, tmp_path: Path, no_index: Path
) -> None:
    wheel(no_index, name="flagsy", version="2.0", requires=["flagsy_core>=1"])
    wheel(no_index, name="flagsy_core", version="1.5")
    environment = environments.prepare([trainer(tmp_path, requires=["flagsy>=1"])])
    code = "import flagsy, flagsy_core; print(flagsy.__version__, flagsy_core.__version__)"
    assert says(environment, code) == "2.0 1.5"


def test_a_requirement_on_another_version_than_the_engines_wins_in_the_environment(
    environments: Environments, tmp_path: Path, no_index: Path
) -> None:
    wheel(no_index, name="packaging", version="1.0")
    lines: list[str] = []
    archive = trainer(tmp_path, requires=["packaging<2"])
    environment = environments.prepare([archive], log=lines.append)
    assert says(environment, "import packaging; print(packaging.__version__)") == "1.0"
    assert any(line.startswith("packaging==1.0 is installed for this job;") for line in lines)
    import packaging

    assert packaging.__version__ != "1.0"


def test_a_requirement_that_does_not_exist_names_itself_and_the_package(
    environments: Environments, tmp_path: Path
) -> None:
    archive = sdist(tmp_path, requires=["no-such-library-of-anyone>=1"])
    with pytest.raises(FailedPrecondition) as caught:
        environments.prepare([archive])
    start = "User-provided package trainer-0.0.0.tar.gz failed to install: "
    assert str(caught.value).startswith(start)
    assert "no-such-library-of-anyone" in str(caught.value)


def test_a_requirement_that_cannot_be_built_here_names_itself_too(
    environments: Environments, tmp_path: Path, no_index: Path
) -> None:
    known = {"PKG-INFO": "Metadata-Version: 2.2\nName: nativelib\nVersion: 0.0.0\n"}
    sdist(no_index, name="nativelib", before="raise SystemExit('no compiler')", extra=known)
    with pytest.raises(FailedPrecondition, match=r"its requirement 'nativelib==0\.0\.0' can"):
        environments.prepare([trainer(tmp_path, requires=["nativelib==0.0.0"])])


@pytest.mark.parametrize("name", ["uv", "pip"])
def test_what_is_wanted_as_a_wheel_is_not_built(tmp_path: Path, no_index: Path, name: str) -> None:
    known = {"PKG-INFO": "Metadata-Version: 2.2\nName: nativelib\nVersion: 0.0.0\n"}
    sdist(no_index, name="nativelib", extra=known)
    wheel(no_index, name="flagsy", version="2.0")
    base = describe_base()
    installer = find_installer(name, base)
    asked, pins = tmp_path / "asked", tmp_path / "pins"
    pins.write_text("")

    def resolve(text: str, wheels_of: list[str]) -> subprocess.CompletedProcess[str]:
        asked.write_text(text)
        command = installer.resolve(
            base.python, asked, constraints=pins, report=tmp_path / "report", wheels_of=wheels_of
        )
        return subprocess.run(command.argv, capture_output=True, text=True, check=False)

    assert resolve("flagsy==2.0", ["flagsy"]).returncode == 0
    refused = resolve("nativelib==0.0.0", ["nativelib"])
    assert refused.returncode != 0
    assert "setuptools" not in refused.stdout + refused.stderr, "it was about to be built"


UV, PIP = UvInstaller(Path("uv")), PipInstaller()
NO_SOLUTION = "error: No solution found when resolving dependencies"
NO_MATCH = "ERROR: No matching distribution found for numpy==1.18.5"
ANSWERS = {
    "uv: the index has no such version": (UV, [NO_SOLUTION], True),
    "uv: what it requires does not build": (
        UV,
        ["error: Failed to build `a==1`", "  cause: The build backend returned an error"],
        True,
    ),
    "uv: no network": (UV, ["error: Request failed", "  cause: dns error"], False),
    "uv: the index lets nobody in": (
        UV,
        [NO_SOLUTION, "hint: An index (https://i) returned a 403 Forbidden error."],
        False,
    ),
    "pip: the index has no such version": (PIP, [NO_MATCH], True),
    "pip: what it requires does not build": (PIP, ["error: metadata-generation-failed"], True),
    "pip: what it requires cannot say what builds it": (
        PIP,
        [
            "error: subprocess-exited-with-error",
            "  × Getting requirements to build wheel did not run successfully.",
        ],
        True,
    ),
    "pip: no network": (
        PIP,
        ["WARNING: Retrying (Retry(total=0)) after connection broken by 'X'", NO_MATCH],
        False,
    ),
}


@pytest.mark.parametrize(("installer", "tail", "none"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_index_that_fails_is_no_answer(
    installer: Installer, tail: list[str], none: bool
) -> None:
    assert installer.none_there(tail) is none


@pytest.mark.parametrize(
    "requirement", ["evil @ https://example.com/evil.whl", "evil @ file:///tmp/evil.whl"]
)
def test_a_requirement_that_leaves_the_index_is_refused_by_name(
    environments: Environments, tmp_path: Path, requirement: str
) -> None:
    archive = sdist(tmp_path, requires=[requirement])
    with pytest.raises(FailedPrecondition, match=r"requirement 'evil @ .*' is a direct URL"):
        environments.prepare([archive])


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_url_is_installed_where_that_is_allowed(tmp_path: Path, installer: str) -> None:
    made = wheel(tmp_path / "elsewhere", name="flagsy", version="2.0")
    archive = trainer(tmp_path, requires=[f"flagsy @ {made.as_uri()}"])
    root = tmp_path / "environments"
    environment = Environments(root, installer=installer, allow_direct=True).prepare([archive])
    assert says(environment, "import flagsy; print(flagsy.__version__)") == "2.0"


def test_a_build_requirement_that_leaves_the_index_is_refused_too(
    environments: Environments, tmp_path: Path
) -> None:
    text = '[build-system]\nrequires = ["setuptools", "evil @ https://example.com/e.whl"]\n'
    archive = sdist(tmp_path, extra={"pyproject.toml": text})
    with pytest.raises(FailedPrecondition, match="is a direct URL"):
        environments.prepare([archive])


def test_a_pyproject_that_asks_for_setuptools_and_wheel_builds_offline(
    environments: Environments, tmp_path: Path
) -> None:
    text = '[build-system]\nrequires = ["setuptools>=40", "wheel"]\n'
    environment = environments.prepare([sdist(tmp_path, extra={"pyproject.toml": text})])
    assert says(environment, "import trainer.task") == "hello"


def test_a_setup_py_that_raises_shows_its_last_lines(
    environments: Environments, tmp_path: Path
) -> None:
    archive = sdist(tmp_path, before="raise RuntimeError('the data file is missing')")
    with pytest.raises(FailedPrecondition) as caught:
        environments.prepare([archive])
    assert str(caught.value).startswith("User-provided package trainer-0.0.0.tar.gz failed to")
    assert "the data file is missing" in str(caught.value)
    assert list((tmp_path / "environments" / ".builds").iterdir()) == []


def test_a_long_failure_shows_its_end_and_where_the_rest_is(
    environments: Environments, tmp_path: Path
) -> None:
    loud = "import sys\nfor n in range(60): print('noise', n, 'x' * 900, file=sys.stderr)\n"
    archive = sdist(tmp_path, before=f"{loud}raise RuntimeError('the data file is missing')")
    lines: list[str] = []
    with pytest.raises(FailedPrecondition) as caught:
        environments.prepare([archive], log=lines.append, read_log="mlengine jobs stream-logs a")
    said = caught.value.problem.splitlines()
    assert len(said) <= 1 + 8 and max(map(len, said)) < 400
    assert caught.value.remedy.endswith(" All that it said: mlengine jobs stream-logs a")
    assert sum("noise" in line for line in lines) >= 60


def test_old_python_in_one_module_does_not_stop_the_others(
    environments: Environments, tmp_path: Path
) -> None:
    files = {"task.py": "print('hello')", "python2.py": "print 'hello'"}
    assert says(environments.prepare([sdist(tmp_path, files=files)]), "import trainer.task")


def test_modules_are_byte_compiled_for_the_place_where_they_are(
    environments: Environments, tmp_path: Path
) -> None:
    files = {"task.py": "print('hello')", **{f"m{n}.py": "x = 1\n" for n in range(300)}}
    lines: list[str] = []
    environment = environments.prepare([sdist(tmp_path, files=files)], log=lines.append)
    assert list(environment.path.rglob("task.cpython-*.pyc"))
    told = [line for line in lines if line.startswith("Byte-compiled ")]
    assert len(told) == 10 and told[-1].startswith("Byte-compiled 30")


def test_nobody_else_may_write_into_an_environment(
    environments: Environments, tmp_path: Path
) -> None:
    environments.prepare([sdist(tmp_path)])
    root = tmp_path / "environments"
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


def test_an_interpreter_that_vanished_means_a_new_environment(
    environments: Environments, tmp_path: Path
) -> None:
    archive = trainer(tmp_path)
    first = environments.prepare([archive])
    (first.path / "bin" / "python").unlink()
    again = environments.prepare([archive])
    assert not again.hit
    assert again.path != first.path
    assert environments.sweep() == 1
    assert not first.path.exists()
    assert says(again, "import trainer.task") == "hello"


@pytest.mark.parametrize("name", ["trainer.zip", "trainer.egg"])
def test_other_files_are_refused(environments: Environments, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a package archive"):
        environments.prepare([tmp_path / name])


def test_a_file_that_is_missing_or_cut_short_is_named(
    environments: Environments, tmp_path: Path
) -> None:
    archive = sdist(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(FailedPrecondition, match=r"trainer-0\.0\.0\.tar\.gz failed to install"):
        environments.prepare([archive])
    archive.unlink()
    with pytest.raises(FailedPrecondition, match="the file is missing"):
        environments.prepare([archive])
