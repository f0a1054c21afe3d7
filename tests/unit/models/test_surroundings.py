"""What a version is served by: the engine's own interpreter, or the runtime that it asks for."""

from __future__ import annotations

import json
import pickle
import platform
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.core.resources import Version
from mlengine.environments import Environment, Environments
from mlengine.environments.catalogue import read_catalogue
from mlengine.environments.likeness import own_version, runtime_pin
from mlengine.models import surroundings
from mlengine.models.surroundings import SurroundingsOf, Wants, request_of, wanted

SOUND = {
    "saved_model.pb": b"\x08\x01",
    "model.keras": b"PK\5\6" + bytes(18),
    "model.pkl": pickle.dumps({}),
    "model.bst": b"binf",
}
"""What has the form of a model."""
OWN = {"tensorflow": "2.15.1", "scikit-learn": "1.3.2", "xgboost": "2.1.4"}


class PlayedEnvironments(Environments):
    """Builds nothing; remembers what it was asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[dict[str, Any]] = []

    def prepare(self, packages: Any, **wish: Any) -> Environment:
        self.asked.append({"packages": packages, **wish})
        wish["log"]("built")
        python = Path("/e/bin/python")
        return Environment(
            python, Path("/e"), "d", True, 0.0, "r", python, ("a note",), Path("/e/layer")
        )


class World:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.model = home / "model"
        self.model.mkdir()
        self.environments = PlayedEnvironments(home / "environments")
        self.surroundings = SurroundingsOf(self.environments, home)

    def served_by(self, runtime: str, **wish: Any) -> str:
        found = self.surroundings.prepare("u", Wants(self.model, "", runtime, **wish))
        return "own" if not found.python else "runtime"

    def sklearn_model(self, version: str, protocol: int = 4) -> None:
        state = {"coef_": [1.0], "_sklearn_version": version}
        (self.model / "model.pkl").write_bytes(pickle.dumps(state, protocol=protocol))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(surroundings, "own_version", lambda _python, name: OWN.get(name, ""))
    return World(tmp_path)


@pytest.mark.parametrize(
    ("file", "runtime", "by"),
    [
        ("saved_model.pb", "2.15", "own"),
        ("saved_model.pb", "1.15", "own"),  # newer reads older
        ("saved_model.pb", "1.8", "own"),
        ("saved_model.pb", "2.21", "runtime"),  # older does not read newer
        ("model.keras", "2.21", "runtime"),
        ("saved_model.pb", "torch", "own"),  # it has no TensorFlow that could be better
        ("model.pkl", "2.15", "own"),
        ("model.pkl", "1.15", "runtime"),
        ("model.bst", "2.15", "own"),
        ("model.bst", "1.15", "runtime"),
        ("model.onnx", "1.15", "own"),
        ("no model", "1.15", "own"),  # the worker says so
    ],
)
def test_a_model_is_served_by_the_engines_own_libraries_where_they_do_as_well(
    world: World, file: str, runtime: str, by: str
) -> None:
    (world.model / file).write_bytes(SOUND.get(file, b"model"))
    assert world.served_by(runtime) == by


@pytest.mark.parametrize("content", [b"", b"<html>"])
def test_no_runtime_is_built_for_a_damaged_model(world: World, content: bytes) -> None:
    (world.model / "model.pkl").write_bytes(content)
    with pytest.raises(FailedPrecondition) as caught:
        world.served_by("1.15")
    assert caught.value.problem.startswith(
        'Bad model detected with error: "Failed to load model: model.pkl is '
    )
    assert world.environments.asked == []
    assert world.served_by("1.15", prediction_class="a.B") == "runtime", "it may be its own file"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_that_says_what_saved_it_is_believed(world: World, protocol: int) -> None:
    world.sklearn_model("1.3.2", protocol)
    assert world.served_by("1.15") == "own"
    world.sklearn_model("1.3.20", protocol)
    assert world.served_by("2.15") == "runtime"


def test_so_is_what_its_trainer_noted(world: World) -> None:
    world.sklearn_model("0.20.4")
    note = world.model / "golden.libraries.json"
    note.write_text(json.dumps({"python": "3.11.7", "libraries": {"sklearn": "1.3.2"}}))
    assert world.served_by("1.15") == "own"
    note.write_text("[]")
    assert world.served_by("1.15") == "runtime"


def test_an_older_runtimes_saved_model_is_served_with_a_note(world: World) -> None:
    (world.model / "saved_model.pb").write_bytes(b"")
    found = world.surroundings.prepare("u", Wants(world.model, "", "1.15"))
    assert found.notes == (
        "The runtime '1.15' has TensorFlow 1.15.5; the model is served by 2.15.1, which reads it.",
    )


def test_without_libraries_of_its_own_the_engine_builds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "own_version", lambda _python, _name: "")
    for file, runtime in (("saved_model.pb", "2.15"), ("model.bst", "sklearn-1.x")):
        (world.model / file).write_bytes(SOUND[file])
        assert world.served_by(runtime) == "runtime"
        (world.model / file).unlink()


def test_code_runs_in_the_runtime_that_was_asked_for(world: World) -> None:
    world.sklearn_model("1.3.2")
    package = Path("p.whl")
    assert world.served_by("2.15", prediction_class="a.B") == "runtime"
    assert world.served_by("", packages=(package,)) == "runtime"
    first, second = world.environments.asked
    assert (first["runtime_version"], first["packages"]) == ("2.15", ())
    assert (second["runtime_version"], second["packages"]) == ("", (package,))
    assert first["oldest_python"] == "3.10"
    log = world.home / "logs" / "environment-u.log"
    assert log.read_text() == "built\nbuilt\n"
    assert first["read_log"] == f"cat {log}"


def test_what_a_version_has_is_noted_until_it_is_gone(world: World) -> None:
    world.surroundings.prepare(
        "u", Wants(world.model, runtime_version="2.15", prediction_class="a")
    )
    assert json.loads(world.surroundings.named({"u", "v"})) == ["/e", "/e/bin/python"]
    assert world.surroundings.named({"v"}) == ""
    assert world.surroundings.named({"u"}) == ""


def test_nothing_asked_for_is_nothing_to_prepare(tmp_path: Path) -> None:
    assert wanted(Version(framework="TENSORFLOW"), tmp_path, []) is None
    assert wanted(Version(runtime_version=" Local "), tmp_path, []) is None
    assert wanted(Version(prediction_class="a.B"), tmp_path, []) is not None
    assert wanted(Version(), tmp_path, [tmp_path / "p.whl"]) is not None


def test_a_runtime_that_nobody_has_is_refused_by_its_field(world: World) -> None:
    with pytest.raises(InvalidArgument, match=r"There is no runtime '9\.1'") as caught:
        world.surroundings.check(Version(runtime_version="9.1"))
    assert caught.value.field == "version.runtime_version"
    world.surroundings.check(Version())


def test_code_is_told_of_its_version_in_the_words_of_the_api() -> None:
    version = Version(
        name="v1", deployment_uri="gs://b/m", prediction_class="a.B", package_uris=["gs://b/p.whl"],
        etag="e", state="READY", description="changes",
    )  # fmt: skip
    told = {"name": "v1", "deployment_uri": "gs://b/m", "package_uris": ["gs://b/p.whl"],
            "prediction_class": "a.B"}  # fmt: skip
    assert json.loads(request_of(version)) == {"version": told}


def test_pins_and_own_versions_are_read_off_what_there_is() -> None:
    import sys

    import numpy as np

    assert str(runtime_pin(read_catalogue(), "1.15", "tensorflow")) == "==1.15.5"
    assert str(runtime_pin(read_catalogue(), "2.15", "xgboost")) == "==2.1.4"
    assert runtime_pin(read_catalogue(), "torch", "tensorflow") is None
    assert own_version(sys.executable, "numpy") == np.__version__
    assert own_version(sys.executable, "no-such-library") == ""


def test_another_python_than_was_asked_for_is_noted_wherever_the_engines_own_serves(
    world: World,
) -> None:
    own = platform.python_version()
    note = f"Python 2.7 was asked for; the engine's own, {own}, serves the model."
    plain = wanted(Version(python_version="2.7"), world.model, ())
    assert plain is not None
    assert world.surroundings.prepare("u", plain).notes == (note,)
    (world.model / "saved_model.pb").write_bytes(b"")
    found = world.surroundings.prepare("u", Wants(world.model, "", "1.15", "2.7"))
    assert found.notes[1:] == (note,)
    assert wanted(Version(python_version=own), world.model, ()) is None


@pytest.mark.parametrize("runtime", ["", "2.15"])
def test_what_is_no_version_of_python_is_refused(world: World, runtime: str) -> None:
    with pytest.raises(InvalidArgument, match="'snake' is not a version of Python") as refused:
        world.surroundings.check(Version(runtime_version=runtime, python_version="snake"))
    assert refused.value.field == "version.python_version"
