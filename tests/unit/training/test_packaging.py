from __future__ import annotations

import errno
import os
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.training import sdist
from mlengine.training.packaging import (
    build_packages,
    check_archive_name,
    check_unique,
    find_module_problem,
    package_digest,
)

SETUP_PY = (
    "from setuptools import setup\nsetup(name='census', version='1.2', packages=['trainer'])\n"
)


DATA_SETUP_PY = (
    "from setuptools import setup\nsetup(name='census', packages=['trainer'], "
    "package_data={'trainer': ['**']})\n"
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    return write(tmp_path / "project" / "trainer", {"__init__.py": "", "task.py": "print('hi')\n"})


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as source:
        return source.getnames()


def listing(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_a_bare_package_becomes_a_distribution_of_its_own_name(trainer: Path, out: Path) -> None:
    (archive,) = build_packages(trainer, out)
    assert archive.name == "trainer-0.0.0.tar.gz"
    assert "trainer-0.0.0/trainer/task.py" in names(archive)
    assert "trainer-0.0.0/setup.py" in names(archive)


def test_a_relative_path_is_understood_from_inside_the_package(
    trainer: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trainer)
    assert [path.name for path in build_packages(Path(), out)] == ["trainer-0.0.0.tar.gz"]
    monkeypatch.chdir(write(trainer / "sub", {"x": ""}))
    assert [path.name for path in build_packages(Path(".."), out)] == ["trainer-0.0.0.tar.gz"]


def test_sub_packages_and_data_travel_and_litter_does_not(trainer: Path, out: Path) -> None:
    write(
        trainer,
        {
            "models/__init__.py": "",
            "models/wide.py": "",
            "data/vocabulary.txt": "a",
            "__pycache__/task.cpython-311.pyc": "",
            ".env": "SECRET=1",
            ".git/config": "",
            "old.pyc": "",
        },
    )
    (archive,) = build_packages(trainer, out)
    inside = {name.removeprefix("trainer-0.0.0/") for name in names(archive)}
    assert inside == {
        "PKG-INFO", "setup.py", "trainer/__init__.py", "trainer/task.py",
        "trainer/models/__init__.py", "trainer/models/wide.py", "trainer/data/vocabulary.txt",
    }  # fmt: skip


def test_a_link_to_a_parent_folder_does_not_go_round_for_ever(trainer: Path, out: Path) -> None:
    (trainer / "again").symlink_to(trainer)
    (archive,) = build_packages(trainer, out)
    assert "trainer-0.0.0/trainer/task.py" in names(archive)


def test_the_setup_py_beside_the_package_decides(trainer: Path, out: Path) -> None:
    (trainer.parent / "setup.py").write_text(SETUP_PY)
    (archive,) = build_packages(trainer, out)
    assert archive.name == "census-1.2.tar.gz"
    assert "census-1.2/trainer/task.py" in names(archive)


def test_a_pyproject_of_setuptools_is_built_without_a_network(trainer: Path, out: Path) -> None:
    (trainer.parent / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "census"\nversion = "2.0"\n'
        '[tool.setuptools]\npackages = ["trainer"]\n'
    )
    (archive,) = build_packages(trainer, out)
    assert archive.name == "census-2.0.tar.gz"
    assert "census-2.0/trainer/task.py" in names(archive)


@pytest.mark.parametrize(("text", "problem"), [
    ('build-system = "setuptools"', "its build-system is 'setuptools'. Make it a table"),
    ("[build-system]\nbuild-backend = 3", "its build-system is {'build-backend': 3}. Make it"),
    ("x = " + "[" * 5000, "is not valid TOML: maximum recursion"),
])  # fmt: skip
def test_a_damaged_pyproject_is_refused_by_name(
    trainer: Path, out: Path, text: str, problem: str
) -> None:
    (trainer.parent / "pyproject.toml").write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        build_packages(trainer, out)
    assert f"{trainer.parent / 'pyproject.toml'} is not valid" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("project", ["pyproject.toml", "setup.py"])
def test_a_package_below_src_is_built_by_the_project_beside_src(
    tmp_path: Path, out: Path, project: str
) -> None:
    package = tmp_path / "project" / "src" / "digits"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    text = {
        "pyproject.toml": "[project]\nname = 'digits'\nversion = '1.2.3'\n",
        "setup.py": "from setuptools import setup\n"
        "setup(name='digits', version='1.2.3', packages=['digits'], package_dir={'': 'src'})\n",
    }
    (tmp_path / "project" / project).write_text(text[project])
    assert [path.name for path in build_packages(package, out)] == ["digits-1.2.3.tar.gz"]


def test_a_setup_cfg_with_metadata_keeps_its_requirements(trainer: Path, out: Path) -> None:
    (trainer.parent / "setup.cfg").write_text(
        "[metadata]\nname = census\nversion = 3\n[options]\npackages = trainer\n"
        "install_requires = numpy\n"
    )
    (archive,) = build_packages(trainer, out)
    with tarfile.open(archive) as source:
        member = source.extractfile("census-3/PKG-INFO")
        assert member is not None
        assert b"Requires-Dist: numpy" in member.read()


@pytest.mark.parametrize("text", ["[tool.ruff]\nline-length = 100\n", ""])
def test_a_pyproject_that_only_configures_tools_builds_nothing(
    trainer: Path, out: Path, text: str
) -> None:
    (trainer.parent / "pyproject.toml").write_text(text)
    assert [path.name for path in build_packages(trainer, out)] == ["trainer-0.0.0.tar.gz"]


def test_the_users_tree_is_never_written(trainer: Path, out: Path) -> None:
    root = trainer.parent
    (root / "setup.py").write_text(f"{SETUP_PY}open('trainer/version.py', 'w').write('1')\n")
    before = listing(root)
    (archive,) = build_packages(trainer, out)
    assert listing(root) == before
    assert archive.is_file()


def test_an_environment_beside_the_package_is_not_copied(trainer: Path, out: Path) -> None:
    root = trainer.parent
    write(root / "venv", {"pyvenv.cfg": "", "lib/big.py": ""})
    write(root / "dist", {"old-1.0.tar.gz": "stale"})
    (root / "setup.py").write_text(
        f"import os\nassert sorted(os.listdir()) == ['setup.py', 'trainer']\n{SETUP_PY}"
    )
    assert len(build_packages(trainer, out)) == 1


def test_a_package_may_be_called_a_cache_and_the_caches_of_tools_stay(
    trainer: Path, out: Path
) -> None:
    write(trainer, {"feature_cache/__init__.py": "", ".mypy_cache/x.json": "{}"})
    write(trainer.parent, {".pytest_cache/v": "", "vocab_cache/words.txt": "a"})
    found = "['setup.py', 'trainer', 'vocab_cache']"
    setup = (
        f"import os\nassert sorted(os.listdir()) == {found}\n"
        "assert not os.path.exists('trainer/.mypy_cache')\n"
        "from setuptools import find_packages, setup\n"
        "setup(name='census', version='1.2', packages=find_packages())\n"
    )
    (trainer.parent / "setup.py").write_text(setup)
    (archive,) = build_packages(trainer, out)
    assert "census-1.2/trainer/feature_cache/__init__.py" in names(archive)


def test_a_setup_py_that_fails_shows_its_last_lines_and_the_way_out(
    trainer: Path, out: Path
) -> None:
    (trainer.parent / "setup.py").write_text("raise RuntimeError('no version file')\n")
    with pytest.raises(InvalidArgument) as caught:
        build_packages(trainer, out)
    assert str(caught.value).startswith("Packaging of user Python code failed with message:\n\n")
    assert "no version file" in str(caught.value)
    assert "python setup.py sdist" in str(caught.value)
    assert list(out.iterdir()) == []


def test_a_folder_without_init_is_refused_as_gcloud_does(tmp_path: Path, out: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(InvalidArgument, match="is not a valid Python package because it does not"):
        build_packages(tmp_path / "plain", out)
    with pytest.raises(InvalidArgument, match="is not a directory"):
        build_packages(tmp_path / "absent", out)


@pytest.mark.parametrize("setup", ["", SETUP_PY], ids=["plain", "setup.py"])
def test_the_same_sources_make_the_same_bytes(trainer: Path, tmp_path: Path, setup: str) -> None:
    if setup:
        (trainer.parent / "setup.py").write_text(setup)
    digests = set()
    for age_s in (0, 86_400):
        for path in trainer.parent.rglob("*"):
            os.utime(path, (age_s, age_s))
        into = tmp_path / f"out{age_s}"
        into.mkdir()
        digests.add(package_digest(build_packages(trainer, into)))
    assert len(digests) == 1


FILES = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6})?\.(py|txt)", fullmatch=True), st.binary(max_size=50),
    max_size=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(files=FILES, order=st.randoms(), times=st.lists(st.integers(0, 2**31), min_size=8))
def test_neither_time_nor_order_of_writing_changes_the_digest(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, bytes],
    order: object,
    times: list[int],
) -> None:
    digests = set()
    for shuffled in (False, True):
        root = tmp_path_factory.mktemp("same")
        items = [*files.items(), ("__init__.py", b"")]
        if shuffled:
            order.shuffle(items)  # type: ignore[attr-defined]
        for (name, data), seconds in zip(items, times, strict=False):
            path = root / "trainer" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (seconds, seconds + shuffled))
        digests.add(package_digest(build_packages(root / "trainer", root)))
    assert len(digests) == 1


def test_a_change_in_the_sources_changes_the_digest(trainer: Path, out: Path) -> None:
    first = package_digest(build_packages(trainer, out))
    (trainer / "task.py").write_text("print('ho')\n")
    assert package_digest(build_packages(trainer, out)) != first


@pytest.mark.parametrize("setup", ["", DATA_SETUP_PY], ids=["plain", "setup.py"])
def test_data_larger_than_memory_may_be_packed(trainer: Path, out: Path, setup: str) -> None:
    if setup:
        (trainer.parent / "setup.py").write_text(setup)
    size_bytes = 48 << 20
    with (trainer / "big.bin").open("wb") as file:
        file.truncate(size_bytes)
    tracemalloc.start()
    try:
        (archive,) = build_packages(trainer, out)
        _now_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < size_bytes / 3
    with tarfile.open(archive) as source:
        assert [m.size for m in source if m.name.endswith("big.bin")] == [size_bytes]


@pytest.mark.parametrize("setup", ["", DATA_SETUP_PY], ids=["plain", "setup.py"])
def test_a_large_package_is_warned_of_by_what_makes_it_so(
    trainer: Path, out: Path, setup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setup:
        (trainer.parent / "setup.py").write_text(setup)
    elsewhere = write(
        trainer.parent.parent / "datasets", {"a.bin": "a" * 6000, "b.bin": "b" * 6000}
    )
    (trainer / "data").symlink_to(elsewhere)
    said: list[str] = []
    build_packages(trainer, out, warn=said.append)
    assert said == []
    monkeypatch.setattr(sdist, "_LARGE_BYTES", 10_000)
    build_packages(trainer, out, warn=said.append)
    (line,) = said
    assert "-0.0.0.tar.gz holds 1" in line and "of which trainer/data is 11.7 KiB." in line


@pytest.mark.parametrize("text", ["", "a much longer text than that"])
def test_a_file_that_changes_before_its_turn_is_packed_as_it_is_then(
    trainer: Path, out: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sdist, "_LARGE_BYTES", 0)
    (trainer / "log.txt").write_text("while it trains")
    (archive,) = build_packages(
        trainer, out, warn=lambda _line: (trainer / "log.txt").write_text(text)
    )
    with tarfile.open(archive) as source:
        found = source.extractfile("trainer-0.0.0/trainer/log.txt")
        assert found and found.read() == text.encode()


def test_a_file_that_becomes_shorter_while_it_is_packed_is_named(
    trainer: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdist, "_size_bytes", lambda _data: 1000)
    with pytest.raises(InvalidArgument, match=r"^\[PKG-INFO\] became shorter .* Try again"):
        build_packages(trainer, out)


def test_a_full_disk_is_not_taken_for_a_file_that_became_shorter(
    trainer: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(OSError, match="No space left"):
        build_packages(trainer, out)


def test_the_largest_file_is_named_where_no_folder_is_most_of_it() -> None:
    assert sdist._heaviest({"t-1/t/a": 3, "t-1/u/b": 3, "t-1/v/c": 4}) == ("v/c", 4)


@pytest.mark.parametrize("keep", [0, 20, -30])
def test_an_archive_that_cannot_be_read_is_named(trainer: Path, out: Path, keep: int) -> None:
    (archive,) = build_packages(trainer, out)
    archive.write_bytes(b"junk" if keep == 0 else archive.read_bytes()[:keep])
    with pytest.raises(
        InvalidArgument, match=r"trainer-0\.0\.0\.tar\.gz that was built cannot be read"
    ):
        sdist.repack(archive, print)


def test_links_in_an_archive_become_what_they_point_to(out: Path) -> None:
    archive = out / "t-1.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        (out / "x").write_text("hello")
        target.add(out / "x", "t-1/x")
        for name, kind in (("t-1/hard", tarfile.LNKTYPE), ("t-1/soft", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "t-1/x" if kind == tarfile.LNKTYPE else "x"
            target.addfile(link)
    sdist.repack(archive, print)
    with tarfile.open(archive) as source:
        assert [(m.name, m.isreg(), m.size) for m in source] == [
            ("t-1/hard", True, 5), ("t-1/soft", True, 5), ("t-1/x", True, 5),
        ]  # fmt: skip


def test_two_archives_of_one_name_are_refused(tmp_path: Path) -> None:
    check_unique([tmp_path / "a.whl", tmp_path / "b.whl"])
    with pytest.raises(InvalidArgument, match="Cannot upload multiple packages with the same file"):
        check_unique([tmp_path / "x" / "a.whl", tmp_path / "y" / "a.whl"])


@pytest.mark.parametrize("name", ["trainer.zip", "trainer", "trainer.tar", "tar.gz.txt"])
def test_other_archives_are_refused(name: str) -> None:
    check_archive_name("trainer-0.0.0.tar.gz")
    check_archive_name("trainer-0.0.0-py3-none-any.whl")
    with pytest.raises(InvalidArgument, match="is not a package archive"):
        check_archive_name(name, field="training_input.package_uris")


MODULE_PROBLEMS = {
    "a module is there": ("trainer.task", ""),
    "a package with a main is there": ("trainer.run", ""),
    "a typing error is named": ("trainer.tsk", "Did you mean 'trainer.task'?"),
    "a wrong package is named": ("trainr.task", "has no module 'trainr.task'"),
    "a path is not a module": ("trainer/task.py", "Name the module: trainer.task"),
    "a file name is not a module": ("./trainer/task.py", "Name the module: trainer.task"),
    "a package without a main cannot run": ("trainer", "without a __main__.py"),
    "an empty part is no module": ("trainer..task", "has no module"),
    "nothing is no module": ("", "has no module"),
}


@pytest.mark.parametrize(("module", "says"), MODULE_PROBLEMS.values(), ids=MODULE_PROBLEMS.keys())
def test_module_problems(trainer: Path, module: str, says: str) -> None:
    write(trainer, {"run/__init__.py": "", "run/__main__.py": ""})
    problem = find_module_problem(trainer, module)
    assert says in problem
    assert bool(says) == bool(problem)


def test_a_setup_py_that_renames_packages_is_left_to_the_replica(trainer: Path) -> None:
    (trainer.parent / "setup.py").write_text("setup(package_dir={'census.trainer': 'trainer'})")
    assert find_module_problem(trainer, "census.trainer.task") == ""


def test_interrupting_a_build_leaves_the_tree_as_it_was(trainer: Path, out: Path) -> None:
    root = trainer.parent
    (root / "setup.py").write_text(
        "import os, signal\nopen('trainer/half.py', 'w').close()\n"
        "os.kill(os.getppid(), signal.SIGINT)\nsignal.pause()\n"
    )
    before = listing(root)
    temporary = out / "tmp"
    temporary.mkdir()
    script = (
        "import sys; from pathlib import Path\n"
        "from mlengine.training.packaging import build_packages\n"
        "build_packages(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(trainer), str(out)],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        timeout=60,
    )
    assert b"KeyboardInterrupt" in done.stderr
    assert listing(root) == before
    assert list(temporary.iterdir()) == []
