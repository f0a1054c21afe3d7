"""Packages whose modules lie loose beside the setup.py: as the tutorial of 2019 packed routines."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.environments import Environment, Environments
from mlengine.training.packaging import build_project
from tests.fakes.archives import sdist, wheel

SCRIPTS = "scripts=['predictor.py', 'preprocess.py']"
MODULES = {
    "predictor.py": "import preprocess\nclass MyPredictor: doubled = preprocess.double(2)\n",
    "preprocess.py": "def double(n): return 2 * n\n",
}
DOUBLED = "import predictor; print(predictor.MyPredictor.doubled)"


@pytest.fixture(params=["uv", "pip"])
def environments(request: pytest.FixtureRequest, tmp_path: Path) -> Environments:
    return Environments(tmp_path / "environments", installer=request.param, timeout_s=120)


def packed(folder: Path, arguments: str, files: Mapping[str, str] = MODULES) -> Path:
    """Pack a source distribution; `arguments` are those of `setup` behind name and version."""
    info = "Metadata-Version: 1.0\nName: my_custom_code\nVersion: 0.1\n"
    path = folder / "my_custom_code-0.1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {"PKG-INFO": info, "setup.py": _setup_py(arguments), **files}.items():
            entry = tarfile.TarInfo(f"my_custom_code-0.1/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def _setup_py(arguments: str) -> str:
    return (
        "from setuptools import find_packages, setup\n"
        f"setup(name='my_custom_code', version='0.1', {arguments})\n"
    )


def says(environment: Environment, code: str) -> str:
    done = subprocess.run([environment.python, "-c", code], capture_output=True, cwd="/")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def site_packages(environment: Environment) -> Path:
    return next((environment.path / "lib").glob("python*/site-packages"))


@pytest.mark.parametrize(
    "arguments",
    [SCRIPTS, f"packages=find_packages(), {SCRIPTS}", f"py_modules=[], {SCRIPTS}", ""],
    ids=["the tutorial's", "find_packages", "no modules", "nothing at all"],
)
def test_loose_modules_are_imported(
    environments: Environments, tmp_path: Path, arguments: str
) -> None:
    assert says(environments.prepare([packed(tmp_path, arguments)]), DOUBLED) == "4"


@pytest.mark.parametrize("arguments", [SCRIPTS, ""], ids=["the tutorial's", "nothing at all"])
def test_so_are_those_of_a_folder_that_is_packed_here(
    environments: Environments, tmp_path: Path, arguments: str
) -> None:
    folder, out = tmp_path / "my_code", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for name, text in {"setup.py": _setup_py(arguments), **MODULES}.items():
        (folder / name).write_text(text)
    (archive,) = build_project(folder, out)
    assert archive.name == "my_custom_code-0.1.tar.gz"
    assert sorted(path.name for path in folder.iterdir()) == [*sorted(MODULES), "setup.py"]
    assert says(environments.prepare([archive]), DOUBLED) == "4"


def test_a_setup_cfg_keeps_what_it_says(environments: Environments, tmp_path: Path) -> None:
    config = "# ours\n[options]\ninstall_requires =\n  packaging\n[egg_info]\ntag_build = dev3\n"
    archive = packed(tmp_path, SCRIPTS, {**MODULES, "setup.cfg": config})
    environment = environments.prepare([archive])
    assert says(environment, DOUBLED) == "4"
    (info,) = site_packages(environment).glob("my_custom_code-0.1.dev3.dist-info")
    assert "Requires-Dist: packaging" in (info / "METADATA").read_text()


def test_the_scripts_of_a_package_are_told_of_and_its_own_modules_stay(
    environments: Environments, tmp_path: Path
) -> None:
    files = {"trainer/__init__.py": "", "fetch-data.py": "print(1)", **MODULES}
    scripts = "scripts=['fetch-data.py', 'predictor.py']"
    lines: list[str] = []
    archive = packed(tmp_path, f"packages=['trainer'], {scripts}", files)
    environment = environments.prepare([archive], log=lines.append)
    assert "Scripts that can be imported as modules: predictor" in lines
    assert {path.name for path in site_packages(environment).glob("*.py")} == {"predictor.py"}


def test_a_package_that_names_its_modules_is_installed_as_it_is(
    environments: Environments, tmp_path: Path
) -> None:
    extra = {"loose.py": "", "helper.py": ""}
    lines: list[str] = []
    environment = environments.prepare([sdist(tmp_path, extra=extra)], log=lines.append)
    assert len([line for line in lines if line.startswith("Running command: ")]) == 1
    assert says(environment, "import trainer.task") == "hello"
    assert not list(site_packages(environment).glob("*.py"))


def test_a_script_replaces_and_hides_no_module(environments: Environments, tmp_path: Path) -> None:
    files = {
        "bin/packaging.py": "raise SystemExit('the script')",
        "trainer.py": "raise SystemExit('the script')",
        "bin/census.py": "raise SystemExit('the script')",
        "trainer/__init__.py": "",
        "census.py": "WHERE = 'the module'",
    }
    scripts = "scripts=['bin/packaging.py', 'trainer.py', 'bin/census.py']"
    archive = packed(tmp_path, f"packages=['trainer'], py_modules=['census'], {scripts}", files)
    environment = environments.prepare([archive])
    (environment.path / "bin" / "packaging.py").stat()
    code = "import packaging, trainer, census; print(census.WHERE, trainer.__path__ != [])"
    assert says(environment, code) == "the module True"


def test_the_script_of_the_last_package_of_that_name_wins(
    environments: Environments, tmp_path: Path
) -> None:
    found = []
    for at in ("old", "new"):
        (tmp_path / at).mkdir()
        files = {"predictor.py": f"print('{at}')"}
        found.append(packed(tmp_path / at, "py_modules=[], scripts=['predictor.py']", files))
    assert says(environments.prepare(found), "import predictor") == "new"


def test_programs_that_are_no_modules_of_a_source_package_stay_where_they_are(
    environments: Environments, tmp_path: Path
) -> None:
    program = wheel(tmp_path, name="census", version="1.0", script="census-train")
    entry = "entry_points={'console_scripts': ['my-train = trainer:main']}"
    files = {"trainer/__init__.py": "def main(): print('trained')\n"}
    archive = packed(tmp_path, f"packages=['trainer'], {entry}", files)
    environment = environments.prepare([program, archive])
    done = subprocess.run([environment.path / "bin" / "my-train"], capture_output=True, cwd="/")
    assert done.stdout == b"trained\n", done.stderr
    assert not list(site_packages(environment).glob("*train.py"))


def test_several_packages_and_no_word_on_which_are_refused(
    environments: Environments, tmp_path: Path
) -> None:
    files = {"trainer/__init__.py": "", "data/__init__.py": "", **MODULES}
    lines: list[str] = []
    with pytest.raises(FailedPrecondition, match='look for "package discovery"'):
        environments.prepare([packed(tmp_path, "", files)], log=lines.append)
    assert any("Multiple top-level packages discovered" in line for line in lines)
