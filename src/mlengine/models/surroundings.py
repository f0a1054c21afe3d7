"""What a version's worker runs in: which interpreter, with which packages of the user's.

    nothing asked for, or ``local``     the engine's own interpreter
    packages                            a layer over the runtime that was asked for
    a routine and a runtime             that runtime
    a model of a framework, a runtime   the engine's own where it serves that model as well (`_own`)
                                        and that runtime otherwise

Environments are made by the room that makes those of jobs, and found by their content; so `prepare`
is asked whenever a worker is to be started, and builds only the first time. Which environment a
version has is noted in a file, for who tidies up.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.version import InvalidVersion
from packaging.version import Version as Release

from mlengine.core.errors import EngineError, FailedPrecondition
from mlengine.core.resources import Version
from mlengine.environments import Environments
from mlengine.environments.likeness import own_version, runtime_pin
from mlengine.environments.resolution import check_python, is_other_python
from mlengine.runtime.artifact import Artifact, Kind, detect
from mlengine.runtime.damage import damage_of
from mlengine.runtime.prediction_error import PredictionError, load_error
from mlengine.runtime.provenance import saved_by
from mlengine.runtime.wholefile import write_whole

__all__ = ["OLDEST_PYTHON", "Surroundings", "SurroundingsOf", "Wants", "request_of", "wanted"]

OLDEST_PYTHON = "3.10"
"""Of workers: they run this package's own code, which jobs do not."""

_TOLD = (
    "name", "deployment_uri", "runtime_version", "python_version", "machine_type", "package_uris",
    "prediction_class", "framework",
)  # fmt: skip
_OWN = ("", "local")
_TENSORFLOW = (Kind.SAVED_MODEL, Kind.KERAS)
_LIBRARIES = {Kind.PICKLE: ("scikit-learn", "xgboost"), Kind.BOOSTER: ("xgboost",)}


class Wants(NamedTuple):
    """What a version asks for.

    Attributes:
        packages: Its packages on this machine, in the order in which they are installed.
    """

    artifact: Path
    framework: str = ""
    runtime_version: str = ""
    python_version: str = ""
    prediction_class: str = ""
    packages: tuple[Path, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is served by the engine's own interpreter as it is, without another look."""
        return not self.packages and self.runtime_version.strip().lower() in _OWN

    @property
    def codeless(self) -> bool:
        """Whether it is `plain`, and a model: no code comes with it."""
        return self.plain and not self.prediction_class


def wanted(version: Version, artifact: Path, packages: Sequence[Path]) -> Wants | None:
    """Return what a version must be run in; None if it asks for nothing."""
    wants = Wants(
        artifact, version.framework, version.runtime_version, version.python_version,
        version.prediction_class, tuple(packages),
    )  # fmt: skip
    return None if wants.codeless and not _other_python(wants) else wants


def request_of(version: Version) -> str:
    """Return a version as the service told user code of it, in ``create_version_request``.

    Only what never changes is in it, in the names of the API's own language.
    """
    fields = {name: getattr(version, name) for name in _TOLD}
    told = {name: value for name, value in fields.items() if value}
    return json.dumps({"version": told})


class Surroundings(NamedTuple):
    """What its workers get.

    Attributes:
        python: The interpreter; empty for the engine's own.
        notes: What the version's log should say of it.
    """

    python: str = ""
    notes: tuple[str, ...] = ()


def _never() -> bool:
    return False


class SurroundingsOf:
    """Makes what versions run in.

    Args:
        environments: Where they are built.
        home: The engine's; logs of builds go into its ``logs``, notes into ``run/surroundings``.
    """

    def __init__(self, environments: Environments, home: Path) -> None:
        self.environments = environments
        self._folder = home / "run" / "surroundings"
        self._logs = home / "logs"

    def check(self, version: Version) -> None:
        """Refuse a runtime that no version can have. Builds nothing.

        Raises:
            EngineError: There is no such runtime or Python, or no interpreter for it.
        """
        check_python(version.python_version, field="version.python_version")
        if version.runtime_version.strip().lower() in _OWN:
            return
        try:
            self.environments.check(
                version.runtime_version, version.python_version, oldest_python=OLDEST_PYTHON
            )
        except EngineError as error:
            field = error.field.replace("training_input.", "version.")
            raise type(error)(error.problem, error.remedy, field=field) from None

    def prepare(
        self, uid: str, wants: Wants, *, cancelled: Callable[[], bool] = _never
    ) -> Surroundings:
        """Return what a version runs in; build it if need be, which may take minutes.

        Args:
            uid: Of the version.
            cancelled: Polled; once true, the installer is killed.

        Raises:
            FailedPrecondition: A package cannot be installed, there is no interpreter, or no
                library could read the model: nothing is built for that.
            Cancelled: `cancelled` said so.
        """
        if wants.plain:
            return Surroundings(notes=_other_python(wants))
        if not wants.packages and not wants.prediction_class:
            served, note = self._own(wants)
            if served:
                return Surroundings(notes=((note,) if note else ()) + _other_python(wants))
        _check_whole(wants)
        log = self._logs / f"environment-{uid}.log"
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log.open("a", encoding="utf-8") as out:

            def tell(line: str) -> None:
                out.write(f"{line}\n")
                out.flush()

            found = self.environments.prepare(
                wants.packages,
                runtime_version=wants.runtime_version,
                python_version=wants.python_version,
                oldest_python=OLDEST_PYTHON,
                log=tell,
                read_log=f"cat {log}",
                cancelled=cancelled,
            )
        self._note(uid, found.path, found.base_python)
        return Surroundings(str(found.python), found.warnings)

    def named(self, uids: set[str]) -> str:
        """Return the text of what is noted of some versions; forget all others."""
        texts = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                if path.stem in uids:
                    texts.append(path.read_text())
                else:
                    path.unlink()
        return "\n".join(texts)

    def _note(self, uid: str, *places: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{uid}.json"
        write_whole(path, json.dumps([str(place) for place in places]).encode())

    def _own(self, wants: Wants) -> tuple[bool, str]:
        """Say whether the engine's own libraries serve a model as its runtime would, and a note."""
        artifact = _model_in(wants)
        if artifact is None or artifact.kind is Kind.ONNX:
            return True, ""  # ONNX is a format of no framework; and what is no model fails anywhere
        if artifact.kind in _TENSORFLOW:
            return self._own_tensorflow(wants.runtime_version)
        saved = saved_by(wants.artifact / artifact.file)
        if saved:
            return saved == own_version(sys.executable, "scikit-learn"), ""
        return all(self._meets(wants, name) for name in _LIBRARIES[artifact.kind]), ""

    def _own_tensorflow(self, runtime_version: str) -> tuple[bool, str]:
        """TensorFlow reads what all older ones have saved."""
        own = own_version(sys.executable, "tensorflow")
        pin = runtime_pin(self.environments.catalogue, runtime_version, "tensorflow")
        if not own or pin is None:
            return bool(own), ""
        if pin.contains(own):
            return True, ""
        asked = next((item.version for item in pin), "")
        if not _is_newer(own, asked):
            return False, ""
        return True, (
            f"The runtime '{runtime_version}' has TensorFlow {asked}; the model is served by "
            f"{own}, which reads it."
        )

    def _meets(self, wants: Wants, library: str) -> bool:
        pin = runtime_pin(self.environments.catalogue, wants.runtime_version, library)
        own = own_version(sys.executable, library)
        return pin is None or bool(own and pin.contains(own))


def _other_python(wants: Wants) -> tuple[str, ...]:
    """Return what to note where the engine's own Python is not the one that was asked for."""
    own = platform.python_version()
    if not is_other_python(wants.python_version, own):
        return ()
    asked = wants.python_version.strip()
    return (f"Python {asked} was asked for; the engine's own, {own}, serves the model.",)


def _check_whole(wants: Wants) -> None:
    """Refuse a model that is damaged; files of a class of the user's are for that to read."""
    artifact = None if wants.prediction_class else _model_in(wants)
    if artifact is None:
        return
    if damage := damage_of(wants.artifact, artifact, wants.framework):
        raise FailedPrecondition(
            f'Bad model detected with error: "{load_error(damage)}"',
            "Export the model again, and upload it whole.",
        )


def _model_in(wants: Wants) -> Artifact | None:
    names = [path.name for path in wants.artifact.iterdir()]
    try:
        return detect(names, wants.framework, where=str(wants.artifact))
    except PredictionError:
        return None


def _is_newer(own: str, asked: str) -> bool:
    with contextlib.suppress(InvalidVersion):
        return Release(own) > Release(asked)
    return False
