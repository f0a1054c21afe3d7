"""From a trainer's folder to the archives that `jobs submit training` uploads.

    ROOT/
    ├── setup.py        if there is one, it says what is packaged (or a pyproject.toml does);
    │                   for src/trainer/ it is the one beside src/
    └── trainer/        --package-path
        ├── __init__.py
        └── task.py     --module-name trainer.task

Runs at the client. The user's tree is only read: whatever a ``setup.py`` writes (``egg-info``,
``build``) goes into a copy that is thrown away, also on Ctrl-C.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.environments import check_archive_name
from mlengine.environments.loosemodules import name_modules, refuses_to_choose
from mlengine.training.sdist import is_litter, package_files, repack, write_plain_sdist

__all__ = [
    "build_packages",
    "build_project",
    "check_archive_name",
    "check_unique",
    "find_module_problem",
    "is_project",
    "package_digest",
]

_BUILD_LIMIT_S = 300.0
_SHOWN_LINES = 20
_CHUNK_BYTES = 1 << 20
_LINKED_FROM_BYTES = 32 << 20
_SHOWN_MODULES = 10

_HINT = (
    "Try manually building your Python code by running:\n  $ python setup.py sdist\n"
    "and providing the output via the `--packages` flag (for example, "
    "`--packages dist/package.tar.gz,dist/package2.whl)`"
)

# A PEP 517 front end in one line: the engine's own setuptools builds, so no index is asked.
_BUILD_META = (
    "import sys; sys.path.insert(0, '.'); from setuptools import build_meta; "
    "build_meta.__legacy__.build_sdist(sys.argv[1])"
)


def build_packages(
    package_path: Path, into: Path, *, warn: Callable[[str], None] | None = None
) -> list[Path]:
    """Build the source distribution of a trainer package.

    Args:
        package_path: The package's folder, such as ``./trainer``.
        into: Existing folder that receives the archives.
        warn: Told of what is packed all the same, such as much data beside the code; if anybody.

    Returns:
        The archives, sorted; the same bytes whenever the sources are the same.

    Raises:
        InvalidArgument: It is not a package, or building it failed; with the last lines of what
            the build printed.

    Example:
        >>> build_packages(Path("samples/trainer"), into)  # doctest: +SKIP
        [PosixPath('.../trainer-0.0.0.tar.gz')]
    """
    package = _named(package_path)
    _check_package(package_path, package)
    root = _project_root(package)
    if not is_project(root):
        return [write_plain_sdist(package, into, warn)]
    return build_project(root, into, warn=warn)


def build_project(
    root: Path, into: Path, *, warn: Callable[[str], None] | None = None
) -> list[Path]:
    """Build the source distribution of a project, be it of a package or of loose modules.

    Args:
        root: The folder with its ``setup.py``, or the ``pyproject.toml`` that describes it.
        into: Existing folder that receives the archives.
        warn: As in `build_packages`.

    Raises:
        InvalidArgument: Building it failed; with the last lines of what the build printed.
    """
    backend = "" if (root / "setup.py").is_file() else _build_backend(root)
    with tempfile.TemporaryDirectory(prefix="mlengine-package-") as temporary:
        try:
            _copy_tree(root, Path(temporary) / "source", seen=frozenset())
        except PermissionError as error:
            raise InvalidArgument(
                f"[{error.filename}] cannot be read, so {root} cannot be packaged.",
                "Make it readable, or move the package into a folder of its own.",
            ) from None
        return _build_copy(backend, Path(temporary), into, warn)


def check_unique(files: Iterable[Path]) -> None:
    """Refuse two archives that would be uploaded under one name.

    Raises:
        InvalidArgument: Names the files.
    """
    by_name: dict[str, list[str]] = {}
    for path in files:
        by_name.setdefault(path.name, []).append(str(path))
    clashing = sorted(path for paths in by_name.values() if len(paths) > 1 for path in paths)
    if clashing:
        raise InvalidArgument(
            f"Cannot upload multiple packages with the same filename: [{', '.join(clashing)}]",
            "Rename one of them.",
        )


def package_digest(files: Sequence[Path]) -> str:
    """Return the sha256, in hexadecimal, of the contents of all files in order.

    It names the folder that they are uploaded to, so equal packages share one.
    """
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                total.update(chunk)
    return total.hexdigest()


def find_module_problem(package_path: Path, module_name: str) -> str:
    """Say why `python -m module_name` could not start, as far as the folder tells; else ``""``.

    Cheap (it lists files, imports nothing), so that a typing error is found before the upload.
    Ask it only if the module must be in this package, not in another archive of the job.

    Example:
        >>> find_module_problem(Path("trainer"), "trainer/task.py")
        "'trainer/task.py' is a path. Name the module: trainer.task"
    """
    if "/" in module_name or module_name.endswith(".py"):
        module = module_name.removesuffix(".py").strip("./").replace("/", ".")
        return f"'{module_name}' is a path. Name the module: {module}"
    package = _named(package_path)
    root = package.parent
    parts = module_name.split(".")
    target = root.joinpath(*parts)
    if all(parts) and target.with_name(f"{target.name}.py").is_file():
        return ""
    if all(parts) and (target / "__main__.py").is_file():
        return ""
    if parts[0] != package.name and _maps_packages(root):
        return ""  # setup.py may install it under any name: the replica will tell
    known = list(_modules(package))
    shown = ", ".join(known[:_SHOWN_MODULES]) + (", ..." if len(known) > _SHOWN_MODULES else "")
    if all(parts) and (target / "__init__.py").is_file():
        start = f"'{module_name}' is a package without a __main__.py, so it cannot be run. "
    else:
        start = f"The package '{package.name}' has no module '{module_name}'. "
    return f"{start}{did_you_mean(module_name, known)}It has: {shown or 'no modules'}."


def _named(package_path: Path) -> Path:
    """Return a package's folder by its name, which ``.`` and ``..`` do not tell."""
    package = package_path.absolute()
    return package if package.name not in ("", "..") else package.resolve()


def _check_package(package_path: Path, package: Path) -> None:
    if not package.is_dir():
        raise InvalidArgument(
            f"[{package_path}] is not a directory.",
            "Please ensure that --package-path refers to a local directory.",
        )
    if not (package / "__init__.py").is_file():
        raise InvalidArgument(
            f"[{package_path}] is not a valid Python package because it does not contain an "
            "`__init__.py` file.",
            "Please create one and try again. Also, please ensure that --package-path refers to "
            "a local directory.",
        )


def _maps_packages(root: Path) -> bool:
    names = ("setup.py", "setup.cfg", "pyproject.toml")
    texts = ((root / name).read_text(errors="replace") for name in names if (root / name).is_file())
    return any("package_dir" in text or "package-dir" in text for text in texts)


def _modules(package: Path) -> Iterator[str]:
    if not package.is_dir():
        return
    for path in package_files(package):
        if path.suffix == ".py" and path.name != "__init__.py":
            relative = path.relative_to(package.parent).with_suffix("")
            yield ".".join(relative.parts).removesuffix(".__main__")


def _project_root(package: Path) -> Path:
    """Return the folder that says how the package is built: its parent, or that of ``src``."""
    parent = package.parent
    if parent.name == "src" and not is_project(parent) and is_project(parent.parent):
        return parent.parent
    return parent


def is_project(folder: Path) -> bool:
    """Say whether a folder says how it is built; a pyproject.toml may only configure tools."""
    return (folder / "setup.py").is_file() or bool(_build_backend(folder))


def _build_backend(root: Path) -> str:
    """Return what builds the project; empty when its files only configure tools."""
    path = root / "pyproject.toml"
    if not path.is_file():
        return "setuptools.build_meta" if _describes_project(root / "setup.cfg") else ""
    try:
        project: dict[str, Any] = tomllib.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is not valid TOML: {error}.", "Mend it.") from None
    system = project.get("build-system", {})
    backend = system.get("build-backend", "") if isinstance(system, dict) else None
    if not isinstance(backend, str):
        raise InvalidArgument(
            f"{path} is not valid: its build-system is {system!r}.",
            "Make it a table whose build-backend is a string.",
        )
    described = "project" in project or _describes_project(root / "setup.cfg")
    return backend or ("setuptools.build_meta" if described else "")


def _describes_project(setup_cfg: Path) -> bool:
    # Many a setup.cfg only configures flake8; one with metadata names the requirements too.
    if not setup_cfg.is_file():
        return False
    text = setup_cfg.read_text(errors="replace")
    return any(line.strip() in ("[metadata]", "[options]") for line in text.splitlines())


def _build_copy(
    backend: str, temporary: Path, into: Path, warn: Callable[[str], None] | None
) -> list[Path]:
    source, made = temporary / "source", temporary / "dist"
    made.mkdir()
    if not backend:
        argv = [sys.executable, "setup.py", "-q", "sdist", "--formats=gztar", "-d", str(made)]
    elif backend.split(":")[0] in ("setuptools.build_meta", "setuptools"):
        argv = [sys.executable, "-c", _BUILD_META, str(made)]
    else:
        argv = _foreign_build(backend, made)
    _run_build(argv, source)
    results = []
    for path in sorted(made.iterdir()):
        if not path.name.endswith((".tar.gz", ".whl")):
            continue  # uv leaves a .gitignore
        if path.name.endswith(".tar.gz"):
            repack(path, warn)
        results.append(Path(shutil.move(path, into / path.name)))
    if not results:
        raise InvalidArgument(
            "Packaging of user Python code failed with message:\n\nit built no archive\n\n", _HINT
        )
    return results


def _foreign_build(backend: str, made: Path) -> list[str]:
    uv = Path(sys.executable).with_name("uv")
    program = str(uv) if uv.is_file() else shutil.which("uv")
    if program:
        return [program, "build", "--quiet", "--sdist", "--out-dir", str(made), "."]
    if any((Path(folder) / "pip" / "__main__.py").is_file() for folder in sys.path):
        return [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(made), "."]
    raise InvalidArgument(
        f"pyproject.toml is built by '{backend}', and neither uv nor pip is there to run it.",
        "Run: pip install 'mlengine[uv]', or build it yourself and give it with --packages.",
    )


def _run_build(argv: Sequence[str], source: Path) -> None:
    lines, problem = _attempt(argv, source)
    if problem and refuses_to_choose(lines):
        name_modules(source)
        lines, problem = _attempt(argv, source)
    if problem:
        message = "\n".join([*lines[-_SHOWN_LINES:], f"({problem})"])
        raise InvalidArgument(
            f"Packaging of user Python code failed with message:\n\n{message}\n\n", _HINT
        )


def _attempt(argv: Sequence[str], source: Path) -> tuple[list[str], str]:
    """Run a build; return the lines that it printed, and why it failed if it did."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            argv,
            cwd=source,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BUILD_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        said, problem = error.output or b"", f"it did not end within {_BUILD_LIMIT_S:.0f} s"
    else:
        said = done.stdout
        problem = f"it ended with status {done.returncode}" if done.returncode else ""
    return said.decode(errors="replace").strip().splitlines(), problem


def _copy_tree(source: Path, target: Path, *, seen: frozenset[Path]) -> None:
    """Copy what a build may read; links as what they point to, environments and caches not.

    Large files are linked instead, which costs nothing: they are data that lies beside the
    package, and no build rewrites them.
    """
    real = source.resolve()
    if real in seen:
        return  # a link to one of its own parents
    target.mkdir()
    for entry in source.iterdir():
        if _stays_home(entry, top=not seen):
            continue
        if entry.is_dir():
            _copy_tree(entry, target / entry.name, seen=seen | {real})
        elif entry.is_file():
            _copy_file(entry, target / entry.name)


def _stays_home(entry: Path, *, top: bool) -> bool:
    if is_litter(entry.name) or entry.name in ("node_modules", ".tox", ".nox"):
        return True
    if not entry.is_dir():
        return False
    leftover = top and entry.name in ("build", "dist") and not (entry / "__init__.py").exists()
    # Tools hide theirs (.mypy_cache); a feature_cache without the dot is the trainer's own.
    cache = entry.name.startswith(".") and entry.name.endswith("_cache")
    return leftover or cache or (entry / "pyvenv.cfg").exists()


def _copy_file(source: Path, target: Path) -> None:
    if source.stat().st_size >= _LINKED_FROM_BYTES:
        try:
            os.link(source.resolve(), target)
        except OSError:
            pass  # another disk
        else:
            return
    shutil.copy2(source, target)
