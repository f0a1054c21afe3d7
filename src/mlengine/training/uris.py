"""How ``gs://`` in arguments reaches a trainer: as a real path, or as it was written.

A real path can be opened by any library, so that is the rule. But a trainer that takes URIs apart
by itself (``args.job_dir.replace("gs://", "").split("/")[0]`` is its bucket), or hands them to
Google's own client, can do nothing with a path: it gets what it would get in the cloud, and
reaches the bucket through the attempt's sidecar. Which of the two it is, its source says.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from mlengine.training.sources import own_sources, package_sources

__all__ = [
    "ensure_folder",
    "package_takes_job_dir",
    "package_takes_uris_apart",
    "takes_job_dir",
    "takes_uris_apart",
]

_SCHEME = "gs://"
_CLIENTS = ("google.cloud.storage", "gcsfs")
# How fsspec, which opens files of many kinds, is asked for the client of this kind alone.
_CHOOSES = frozenset({"filesystem", "get_filesystem_class"})
_PROTOCOLS = frozenset({"gs", "gcs"})
_TAKES_APART = frozenset({
    "startswith", "replace", "strip", "lstrip", "removeprefix", "split", "rsplit", "partition",
    "find", "index", "match", "search", "fullmatch", "findall", "sub", "compile",
})  # fmt: skip
_GLOB = re.compile(r"[*?\[]")
_SUFFIX = re.compile(r"\.[A-Za-z]\w*")


def takes_uris_apart(layer: Path) -> bool:
    """Say whether a package of an environment does something with ``gs://`` but open it.

    Args:
        layer: Site-packages of an environment.
    """
    try:
        return _scan(layer, layer.stat().st_mtime_ns)
    except OSError:
        return False


def package_takes_uris_apart(package: Path) -> bool:
    """Say the same of a package that is not installed, as ``local train`` has it.

    Args:
        package: Its folder. One that is no package says nothing: it may be somebody's whole home.
    """
    if not (package / "__init__.py").is_file():
        return False
    try:
        return _take_apart(package_sources(package))
    except OSError:
        return False


def takes_job_dir(layer: Path) -> bool:
    """Say whether a package may be given ``--job-dir``.

    Trainers of Vertex AI are told where to write by ``AIP_`` variables alone; most refuse arguments
    that they do not know. One is meant that asks for those and has never heard of a job directory.

    Args:
        layer: Site-packages of an environment.
    """
    try:
        return _is_told(layer, layer.stat().st_mtime_ns)
    except OSError:
        return True


def package_takes_job_dir(package: Path) -> bool:
    """Say the same of a package that is not installed, as ``local train`` has it.

    Args:
        package: Its folder.
    """
    try:
        return _hears(package_sources(package))
    except OSError:
        return True


@functools.lru_cache(maxsize=256)
def _is_told(layer: Path, _changed: int) -> bool:
    return _hears(own_sources(layer))


def _hears(sources: Iterable[ast.AST]) -> bool:
    """Say whether they have heard of a job directory, or do not ask for what stands in for it."""
    asks = False
    for tree in sources:
        for word in filter(None, map(_word, ast.walk(tree))):
            if "job_dir" in word or "job-dir" in word:
                return True
            asks = asks or word.startswith("AIP_")
    return not asks


def _word(node: ast.AST) -> str:
    """Return the text or the name that a node is; empty when it is neither."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    names = {ast.Name: "id", ast.Attribute: "attr", ast.arg: "arg", ast.keyword: "arg"}
    return str(getattr(node, names.get(type(node), ""), None) or "")


@functools.lru_cache(maxsize=256)
def _scan(layer: Path, _changed: int) -> bool:
    return _take_apart(own_sources(layer))


def _take_apart(sources: Iterable[ast.AST]) -> bool:
    apart = mounted = False
    for tree in sources:
        for node in ast.walk(tree):
            if _imports_client(node) or _chooses_client(node):
                return True  # which takes nothing but URIs
            apart = apart or _takes_apart(node)
            mounted = mounted or _names_mount(node)
    return apart and not mounted


def _imports_client(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(_is_client(alias.name) for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return any(_is_client(f"{node.module}.{alias.name}") for alias in node.names)
    return False


def _is_client(module: str) -> bool:
    """Say whether it is one of the clients, or in one; `gcsfs_utils` is the trainer's own."""
    return f"{module}.".startswith(tuple(f"{client}." for client in _CLIENTS))


def _chooses_client(node: ast.AST) -> bool:
    """Say whether it is ``fsspec.filesystem("gs")``, which takes nothing but URIs either."""
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
    words = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "protocol")]
    return name in _CHOOSES and any(_word(word) in _PROTOCOLS for word in words)


def _takes_apart(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return any(_names_scheme(part) for part in [node.left, *node.comparators])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in _TAKES_APART and any(_names_scheme(part) for part in node.args)
    return False


def _names_mount(node: ast.AST) -> bool:
    """Say whether it names the folder where Vertex AI has buckets as files: paths suit it best."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_mount(node.value)


def _is_mount(text: str) -> bool:
    return text == "/gcs" or text.startswith("/gcs/")


def _names_scheme(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and _SCHEME in node.value


def ensure_folder(path: Path) -> list[Path]:
    """Make the folder that an argument names, or that its file would be written to.

    Buckets have no folders: a trainer that writes ``gs://bucket/new/model.joblib`` makes none
    before. A name with a suffix is a file's, and any other a folder's, unless names of files that
    are there begin with it. Patterns are left alone, and so are places where nobody may write: a
    trainer that has to will say so.

    Returns:
        The new folders, the innermost first.
    """
    if path.exists() or _GLOB.search(str(path)):
        return []
    is_file = _SUFFIX.search(path.name) is not None
    if not is_file and _begins_a_file(path):
        return []
    folder = path.parent if is_file else path
    made = [*itertools.takewhile(lambda one: not one.exists(), [folder, *folder.parents])]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return []
    return made


def _begins_a_file(path: Path) -> bool:
    folder = path.parent
    return folder.is_dir() and any(
        each.name.startswith(path.name) and each.is_file() for each in folder.iterdir()
    )
