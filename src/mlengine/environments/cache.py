"""Environments: a runtime, and over it a layer of user packages; each found by its content.

    runtimeVersion ──▶ choice (`resolution`) ──▶ the runtime's own environment (`runtime_build`)
    packages       ──────────────────────────▶ a layer over it (`build`)

Both are kept on one shelf (`shelf`), which sees to it that each is built once. The engine's own
runtime is its own interpreter: nothing is built for it but layers.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlengine.core.errors import FailedPrecondition
from mlengine.environments.archives import Archive, read_archive
from mlengine.environments.base import Base, describe_base
from mlengine.environments.build import LayerBuilder, layer_digest
from mlengine.environments.catalogue import OVERLAYS_FOLDER, Catalogue, Recipe, read_catalogue
from mlengine.environments.eviction import GRACE_S, delete_all, evict_oldest
from mlengine.environments.installers import find_installer
from mlengine.environments.interpreters import find_interpreter
from mlengine.environments.resolution import Choice, Wish, choose
from mlengine.environments.runtime_build import RuntimeBuilder, runtime_digest
from mlengine.environments.shelf import Entry, Log, Shelf
from mlengine.environments.venv import python_of, site_packages_of
from mlengine.environments.workshop import Workshop, disk_full, is_disk_full, opened_workshop

__all__ = ["Environment", "Environments", "RuntimeOnDisk"]


def _never() -> bool:
    return False


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Environment:
    """A runtime plus a job's packages, ready to run.

    Attributes:
        python: The interpreter to start replicas with.
        path: The environment's folder; without packages, the prefix of the runtime's interpreter.
        digest: Of all that went into it, 64 hexadecimal digits.
        hit: Nothing had to be built, or somebody else was building it.
        seconds: What preparing it took.
        runtime: The runtime's name; that of the one it stands in for, where it does.
        warnings: What the user should be told about it.
        base_python: The runtime's interpreter, which the packages are layered over.
        site_packages: The layer's folder of modules; None without packages.
        shadowed: Canonical names of distributions that both the layer and the runtime have.
        extra_environment: Variables that replicas need besides.
    """

    python: Path
    path: Path
    digest: str
    hit: bool
    seconds: float
    runtime: str
    base_python: Path
    warnings: tuple[str, ...] = ()
    site_packages: Path | None = None
    shadowed: frozenset[str] = frozenset()
    extra_environment: dict[str, str] = field(default_factory=dict)

    def variables(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return `inherited` with what makes console scripts and subprocesses find it.

        A trainer that starts ``python`` or a script of its own package gets this environment's,
        and the runtime's own scripts (``tensorboard``) behind them.
        """
        binaries = (str(self.python.parent), str(self.base_python.parent))
        search = [*dict.fromkeys(binaries), inherited.get("PATH", os.defpath)]
        return {
            **inherited,
            **self.extra_environment,
            "PATH": os.pathsep.join(search),
            "VIRTUAL_ENV": str(self.path),
        }


@dataclass(frozen=True, slots=True)
class RuntimeOnDisk:
    """What there is of a runtime here.

    Attributes:
        recipe: What it is made of; where its interpreter is missing, of what stands in for it.
        interpreter: The one that it is built over; empty when there is none.
        digest: Of its environment, built or not.
        entry: Its environment; None when it is not built.
        problem: What is to be known before using it, such as that something stands in for it.
        log: Where its build's log is; None when there is none.
    """

    recipe: Recipe
    interpreter: str = ""
    digest: str = ""
    entry: Entry | None = None
    problem: str = ""
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class _Site:
    """Who is told of a build, who may call it off, and how what was told can be read."""

    log: Log
    cancelled: Callable[[], bool]
    read_log: str


class Environments:
    """The environments of one engine; threads and processes may share a root.

    Args:
        root: Their folder; made, with mode 0700, when it does not exist.
        python: The engine's own interpreter.
        installer: ``uv``, ``pip``, or ``auto`` for uv where there is one.
        timeout_s: Longest time to build one, in seconds.
        catalogue: The runtimes; those of the package when None.
        overlays: The folder of overlays.
        allow_direct: Take requirements of the form ``name @ URL``.

    Example:
        >>> environments = Environments(home / "environments")  # doctest: +SKIP
        >>> environments.prepare([Path("trainer-0.0.0.tar.gz")]).python  # doctest: +SKIP
        PosixPath('.../environments/.builds/3f…/bin/python')
    """

    def __init__(
        self,
        root: Path,
        *,
        python: str = sys.executable,
        installer: str = "auto",
        timeout_s: float = 600.0,
        catalogue: Catalogue | None = None,
        overlays: Path = OVERLAYS_FOLDER,
        allow_direct: bool = False,
    ) -> None:
        self._shelf = Shelf(root, timeout_s=timeout_s)
        self._python = python
        self._prefer = installer
        self._timeout_s = timeout_s
        self.catalogue = catalogue or read_catalogue()
        self._overlays = overlays
        self._allow_direct = allow_direct

    @property
    def builds(self) -> Path:
        """The folder in which every environment is; the paths of a job's files name it."""
        return self._shelf.builds

    def check(
        self,
        runtime_version: str,
        python_version: str = "",
        *,
        strict: bool = False,
        legacy_keras: bool = False,
        oldest_python: str = "",
    ) -> tuple[str, ...]:
        """Return what whoever asks for this runtime must be told. Builds nothing.

        Raises:
            InvalidArgument: There is no such runtime, or not as it was asked for.
            FailedPrecondition: This machine has no interpreter for it.
        """
        wish = Wish(runtime_version, python_version, strict, legacy_keras, oldest_python)
        return self._choose(wish).warnings

    def prepare(
        self,
        packages: Sequence[Path],
        *,
        runtime_version: str = "",
        python_version: str = "",
        strict: bool = False,
        legacy_keras: bool = False,
        oldest_python: str = "",
        log: Log | None = None,
        read_log: str = "",
        cancelled: Callable[[], bool] = _never,
    ) -> Environment:
        """Return the environment that holds exactly these packages, building it if need be.

        Args:
            packages: Archives, in the order in which they are installed.
            runtime_version: What the job asked for; see `resolution`.
            python_version: Honoured where the runtime allows it.
            strict: Refuse what would otherwise be a warning.
            legacy_keras: Keras 2 on a runtime of Keras 3.
            oldest_python: Refuse interpreters before it; what stands in for their runtimes is used.
            log: Receives a line for each step, and what the installer prints; may be called
                from another thread.
            read_log: The command that shows those lines, for the error of a build that fails.
            cancelled: Polled; once true, the installer is killed.

        Raises:
            InvalidArgument: A package has a name that no installer understands, or there is no
                such runtime.
            FailedPrecondition: A package cannot be installed (with the installer's last lines),
                or the runtime's interpreter is missing.
            Unavailable: The disk is full. Nothing half-built is left to be used.
            Cancelled: `cancelled` said so.
        """
        started_s = time.monotonic()
        site = _Site(log or _silent, cancelled, read_log)
        wish = Wish(runtime_version, python_version, strict, legacy_keras, oldest_python)
        choice = self._choose(wish)
        archives = [read_archive(path) for path in packages]
        try:
            with self._kept_runtime(choice, site) as (below, was_there):
                base = describe_base(str(python_of(below.path)) if below else self._python)
                if not packages:
                    digest = below.facts["digest"] if below else base.fingerprint()
                    path, facts, hit = Path(base.prefix), {}, True
                else:
                    digest = self._digest(choice, base, packages)
                    layer, hit = self._layer(choice, base, archives, digest, site)
                    path, facts = layer.path, layer.facts
        except OSError as error:
            if is_disk_full(error):
                raise disk_full() from error
            raise
        return Environment(
            python=python_of(path) if packages else base.python,
            path=path,
            digest=digest,
            hit=hit and was_there,
            seconds=time.monotonic() - started_s,
            runtime=choice.serves,
            base_python=base.python,
            warnings=(*choice.warnings, *facts.get("warnings", ())),
            site_packages=site_packages_of(path, base) if packages else None,
            shadowed=frozenset(facts.get("shadowed", ())),
            extra_environment=dict(choice.recipe.variables),
        )

    def build(
        self, name: str, *, log: Log | None = None, cancelled: Callable[[], bool] = _never
    ) -> RuntimeOnDisk:
        """Build a runtime's environment, so that the first job need not wait for it.

        Raises:
            Cancelled: `cancelled` said so.
            NotFound: There is no such runtime.
            FailedPrecondition: It cannot be built.
        """
        recipe = self.catalogue.get(name)
        if recipe.is_local:
            return self.describe(name)
        choice = self._choose(Wish(recipe.name))
        read_log = f"mlengine runtimes describe {recipe.name}"
        try:
            entry, _hit = self._runtime(choice, _Site(log or _silent, cancelled, read_log))
        except OSError as error:
            if is_disk_full(error):
                raise disk_full() from error
            raise
        return self._on_disk(choice, entry)

    def describe(self, name: str) -> RuntimeOnDisk:
        """Say what there is of a runtime here, by its name or an alias.

        Raises:
            NotFound: There is no such runtime.
        """
        recipe = self.catalogue.get(name)
        if recipe.is_local:
            base = describe_base(self._python)
            return RuntimeOnDisk(recipe, str(base.python), base.fingerprint())
        try:
            choice = self._choose(Wish(recipe.name))
        except FailedPrecondition as error:
            return RuntimeOnDisk(recipe, problem=f"{error.problem} {error.remedy}")
        return self._on_disk(choice, self._shelf.find(self._runtime_digest(choice)))

    def _on_disk(self, choice: Choice, entry: Entry | None) -> RuntimeOnDisk:
        assert choice.interpreter is not None
        digest = self._runtime_digest(choice)
        log = self._shelf.log_of(digest)
        return RuntimeOnDisk(
            choice.recipe, str(choice.interpreter.path), digest, entry,
            " ".join(choice.warnings), log if log.exists() else None,
        )  # fmt: skip

    def delete(self, name: str, *, in_use: Collection[Path] = ()) -> None:
        """Remove a runtime's environments, and every layer over them.

        Raises:
            NotFound: There is no such runtime, or it is not built.
            FailedPrecondition: It is the engine's own, or a job is using it.
        """
        recipe = self.catalogue.get(name)
        if recipe.is_local:
            raise FailedPrecondition(
                "The runtime 'local' is the engine's own interpreter.", "It cannot be deleted."
            )
        delete_all(self._shelf, recipe.name, in_use=in_use)

    def collect(
        self, keep_bytes: int, *, in_use: Collection[Path] = (), grace_s: float = GRACE_S
    ) -> int:
        """Remove those used longest ago until the rest fits; return the bytes freed.

        Args:
            keep_bytes: What may stay.
            in_use: Folders that running jobs need: neither they nor their runtimes are removed.
            grace_s: Nor is one that was asked for within so many seconds.
        """
        return evict_oldest(self._shelf, keep_bytes, in_use=in_use, grace_s=grace_s)

    def sweep(self) -> int:
        """Remove what dead builders left behind; safe while others build. Returns how many."""
        return self._shelf.sweep()

    def _choose(self, wish: Wish) -> Choice:
        own = describe_base(self._python).version
        return choose(self.catalogue, wish, find=find_interpreter, own_version=own)

    @contextmanager
    def _kept_runtime(self, choice: Choice, site: _Site) -> Iterator[tuple[Entry | None, bool]]:
        """Give what `_runtime` returns; nobody removes it before the layer over it is built."""
        while True:
            below, was_there = self._runtime(choice, site)
            if below is None:
                yield None, was_there
                return
            with self._shelf.kept(below, cancelled=site.cancelled) as there:
                if there:
                    yield below, was_there
                    return
            # Removed since: it is built again.

    def _runtime(self, choice: Choice, site: _Site) -> tuple[Entry | None, bool]:
        """Return the runtime's environment (None: the engine's own), and whether it was there."""
        if choice.interpreter is None:
            return None, True
        base = describe_base(str(choice.interpreter.path))
        builder = RuntimeBuilder(choice.recipe, base, prefer=self._prefer, overlays=self._overlays)
        digest = self._runtime_digest(choice)

        def fill(path: Path, tell: Log) -> dict[str, Any]:
            with self._workshop(path, tell, site) as workshop:
                return {**builder.build(workshop), "serves": choice.serves, "digest": digest}

        return self._shelf.obtain(digest, fill, log=site.log, cancelled=site.cancelled)

    def _runtime_digest(self, choice: Choice) -> str:
        assert choice.interpreter is not None
        base = describe_base(str(choice.interpreter.path))
        return runtime_digest(choice.recipe, base, root=self._shelf.root, overlays=self._overlays)

    def _digest(self, choice: Choice, base: Base, packages: Sequence[Path]) -> str:
        return layer_digest(
            base, packages, root=self._shelf.root, bare_siblings=choice.bare_siblings,
            approximate=choice.approximate,
        )  # fmt: skip

    def _layer(
        self,
        choice: Choice,
        base: Base,
        archives: Sequence[Archive],
        digest: str,
        site: _Site,
    ) -> tuple[Entry, bool]:
        def fill(path: Path, tell: Log) -> dict[str, Any]:
            with self._workshop(path, tell, site) as workshop:
                installer = find_installer(self._prefer, base)
                builder = LayerBuilder(
                    workshop,
                    base,
                    installer,
                    choice.recipe.name,
                    direct=self._allow_direct,
                    bare_siblings=choice.bare_siblings,
                    approximate=choice.approximate,
                )
                return {**builder.build(archives), "serves": choice.serves, "digest": digest}

        return self._shelf.obtain(digest, fill, log=site.log, cancelled=site.cancelled)

    def _workshop(self, path: Path, log: Log, site: _Site) -> AbstractContextManager[Workshop]:
        return opened_workshop(
            path, timeout_s=self._timeout_s, log=log, cancelled=site.cancelled,
            read_log=site.read_log,
        )  # fmt: skip
