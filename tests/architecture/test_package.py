"""What is shipped: the wheel, the names that others may import, the examples in docstrings."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mlengine
from tests.architecture.sources import ROOT, data, files, parsed

PUBLIC_API = Path(__file__).parent / "public_api.txt"
# Rooms' own modules are theirs; of these the names are for everybody.
PUBLIC_MODULES = ("core/errors.py", "core/resources.py", "client/http.py", "client/local.py")


NATIVE = "mlengine/runtime/speedups/_native.abi3.so"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory.mktemp("wheel"))


def built_wheel(folder: Path, **environment: str) -> Path:
    """Build the wheel from a copy without a network."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation",
         "--no-deps", "--disable-pip-version-check", "--wheel-dir", folder / "dist", folder],
        capture_output=True, text=True, timeout=300, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith(f"mlengine-{mlengine.__version__}-cp311-abi3-")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in (*files(), "py.typed"):
        assert f"mlengine/{name}" in names, name
    others = {name for name in names if not name.startswith(f"mlengine-{mlengine.__version__}")}
    shipped = {f"mlengine/{name}" for name in (*files(), *data(), "py.typed")}
    if shutil.which("cc") is None:
        print("WHAT IS IN C WAS NOT BUILT: there is no C compiler", file=sys.stderr)
    else:
        shipped.add(NATIVE)
    assert others == shipped
    (licence,) = (name for name in names if name.endswith("/LICENSE"))
    assert "dist-info" in licence


def test_it_is_built_without_a_compiler_as_well(tmp_path: Path) -> None:
    """What is in C is faster, and nothing else: see `mlengine.runtime.speedups`."""
    with zipfile.ZipFile(built_wheel(tmp_path, CC="/bin/false")) as archive:
        names = archive.namelist()
    assert NATIVE not in names
    assert "mlengine/runtime/speedups/__init__.py" in names


def test_the_installed_wheel_makes_a_store(wheel: Path, tmp_path: Path) -> None:
    """The migrations are data to an installer; without them nothing would start."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import mlengine; from mlengine.store import open_store\n"
        f"store = open_store('sqlite:///{tmp_path / 'engine.db'}')\n"
        "print(mlengine.__file__, store.buckets())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "site" / "mlengine" / "__init__.py"), "[]"]


# --- names ---


def _exported(name: str) -> list[str]:
    for node in parsed(name).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value))
    return []


def _public() -> list[str]:
    rooms = [name for name in files() if name.count("/") <= 1 and name.endswith("__init__.py")]
    found = []
    for name in sorted({*rooms, *PUBLIC_MODULES}):
        module = "mlengine." + name.removesuffix(".py").replace("/", ".")
        module = module.removesuffix(".__init__")
        found += [f"{module}.{exported}" for exported in _exported(name)]
    return sorted(found)


def test_the_public_names_are_the_list() -> None:
    """A name that goes, or comes, is for the changelog: change the list in the same commit."""
    assert _public() == PUBLIC_API.read_text().split()


@pytest.mark.parametrize("name", files())
def test_what_a_module_exports_is_there_and_sorted(name: str) -> None:
    exported = _exported(name)
    assert len(exported) == len(set(exported))
    assert not [word for word in exported if word.startswith("_") and word != "__version__"]
    defined = {
        alias.asname or alias.name
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for node in parsed(name).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            defined |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    assert set(exported) <= defined, set(exported) - defined


# --- examples ---


def _modules() -> list[str]:
    names = [info.name for info in pkgutil.walk_packages(mlengine.__path__, "mlengine.")]
    return [n for n in names if ".migrations." not in n and not n.endswith("__main__")]


@pytest.mark.parametrize("name", _modules())
def test_the_examples_in_a_module_are_true(name: str) -> None:
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        example
        for name in _modules()
        for test in finder.find(importlib.import_module(name))
        for example in test.examples
    ]
    assert len(found) >= 50
