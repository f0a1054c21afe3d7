"""Modules that lie loose at the top of a source package, as routines of 2019 were packed.

    my_custom_code-0.1/
    ├── setup.py          setup(name=…, version=…, scripts=["predictor.py", "preprocess.py"])
    ├── predictor.py      --prediction-class predictor.MyPredictor
    └── preprocess.py     from preprocess import …

The setuptools of that time took such a setup.py as it is, and the service imported what it had put
among the programs. Today's looks for modules on its own and refuses to choose between two
(`refuses_to_choose`, `name_modules`); and what is in an environment's ``bin`` nobody can import
(`import_scripts`).
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

__all__ = ["import_scripts", "name_modules", "refuses_to_choose"]


def refuses_to_choose(lines: Iterable[str]) -> bool:
    """Whether what a failed build printed is that its setup.py names none of several modules.

    Several *packages* are left refused: nothing tells code from a folder of data, and setuptools
    says what to do.
    """
    return any("Multiple top-level modules discovered" in line for line in lines)


def name_modules(source: Path) -> list[str]:
    """Name, in an unpacked package's setup.cfg, the modules that lie at its top.

    What a setup.py says itself goes before it.

    Args:
        source: The folder that holds the setup.py.

    Returns:
        The names of the modules, sorted.

    Raises:
        OSError: The disk is full.
    """
    names = sorted(path.stem for path in source.glob("*.py") if path.stem.isidentifier())
    names = [name for name in names if name != "setup"]
    config = source / "setup.cfg"
    how = {"encoding": "utf-8", "errors": "surrogateescape"}
    text = config.read_text(**how) if config.is_file() else ""
    section = f"[options]\npy_modules = {', '.join(names)}"
    # Within the text: whoever parses a setup.cfg and writes it anew loses what is not understood.
    text, found = re.subn(r"^\[options\].*$", section, text, count=1, flags=re.MULTILINE)
    config.write_text(text if found else f"{text}\n{section}\n", **how)
    return names


def import_scripts(site_packages: Path, programs: Path, others: Sequence[Path]) -> list[str]:
    """Make importable what source packages have put among the programs as ``NAME.py``.

    No module is replaced or hidden by it: whoever names a program like a library means no module.

    Args:
        site_packages: Where the packages are installed, and the modules go.
        programs: The ``bin`` folder of the same environment.
        others: Further folders whose modules the environment sees.

    Returns:
        The names of the modules, sorted.

    Raises:
        OSError: The disk is full.
    """
    added = []
    for script in sorted(set(_scripts(site_packages, programs))):
        if any(_has_module(folder, script.stem) for folder in (site_packages, *others)):
            continue
        shutil.copyfile(script, site_packages / script.name)
        added.append(script.stem)
    return added


def _scripts(site_packages: Path, programs: Path) -> Iterator[Path]:
    for distribution in importlib.metadata.distributions(path=[str(site_packages)]):
        if not _is_from_source(distribution):
            continue
        for entry in distribution.files or ():
            path = programs / entry.name
            # A program is recorded as ../../../bin/NAME; a package may have a folder 'bin' too.
            is_program = entry.parts[0] == ".." and entry.parent.name == programs.name
            if is_program and path.suffix == ".py" and path.stem.isidentifier() and path.is_file():
                yield path


def _is_from_source(distribution: importlib.metadata.Distribution) -> bool:
    """Whether it was installed from a folder: `build` unpacks source packages, and only these."""
    try:
        return "dir_info" in json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return False


def _has_module(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or any(folder.glob(f"{name}.*"))
