"""Measures what `pip install mlengine` costs: megabytes on disk, milliseconds to import.

Builds the wheel, installs it with its core dependencies alone into a new virtual environment and
weighs that. It needs an index of packages, so it is no part of the tests; run it when a dependency
changes, and write its figures into CONTRIBUTING.md.

    .venv/bin/python scripts/core_size.py
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET_MB = 60
RUNS = 9


def main() -> int:
    """Print the figures; return 1 when the target is missed."""
    with tempfile.TemporaryDirectory(prefix="mlengine-size-") as folder:
        python, site = _install(Path(folder))
        sizes = _sizes(site)
        total_mb = sum(sizes.values()) / 1e6
        for name, size in sizes.most_common(12):
            print(f"{size / 1e6:7.1f} MB  {name}")
        print(f"{total_mb:7.1f} MB  all of {len(sizes)} (target: < {TARGET_MB} MB)")
        for module in ("mlengine", "mlengine.cli.main"):
            print(f"{_import_ms(python, module):7.1f} ms  import {module} (median of {RUNS})")
        print(f"{_wall_ms(python):7.1f} ms  mlengine --help, the whole process (median of {RUNS})")
    return int(total_mb >= TARGET_MB)


def _install(folder: Path) -> tuple[Path, Path]:
    """Make the environment; return its interpreter and its site-packages."""
    python = folder / "venv" / "bin" / "python"
    # From a copy: a build leaves a folder that the next one would take files from.
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "copy" / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    _run("uv", "build", "--quiet", "--wheel", "--out-dir", folder / "dist", folder / "copy")
    (wheel,) = (folder / "dist").glob("*.whl")
    _run("uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
    _run("uv", "pip", "install", "--quiet", "--link-mode", "copy", "--python", python, wheel)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    return python, site


def _run(*words: str | Path) -> None:
    tool, *rest = words
    subprocess.run([Path(sys.executable).parent / tool, *rest], check=True)


def _sizes(site: Path) -> Counter[str]:
    """Return bytes by top-level name; what a name's metadata takes is counted with it."""
    sizes: Counter[str] = Counter()
    for path in site.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            top = path.relative_to(site).parts[0]
            sizes[top.partition("-")[0].partition(".")[0].lower()] += path.stat().st_size
    return sizes


def _import_ms(python: Path, module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    _run_python(python, "-c", code)  # the first compiles
    return statistics.median(float(_run_python(python, "-c", code)) for _ in range(RUNS)) * 1000


def _wall_ms(python: Path) -> float:
    def once() -> float:
        started_s = time.perf_counter()
        _run_python(python, "-m", "mlengine", "--help")
        return time.perf_counter() - started_s

    once()
    return statistics.median(once() for _ in range(RUNS)) * 1000


def _run_python(python: Path, *words: str) -> str:
    # Byte code is kept, as in any installation.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [python, *words], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
