"""Models over a real store and a real bucket; only the worker is played."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.errors import (
    Aborted,
    AlreadyExists,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from mlengine.core.resources import AutoScaling, Bucket, ManualScaling, Model, Operation, Version
from mlengine.models import Loader
from mlengine.models.artifacts import Artifacts
from mlengine.models.deployment import Deployment
from mlengine.models.registry import Models
from mlengine.runtime.manifest import check_files, manifest_of
from mlengine.runtime.prediction_error import PredictionError
from mlengine.storage import Buckets
from mlengine.store import Store, StoreAway, VersionRecord, open_store
from tests.waiting import wait_until

P = "default"


class PlayedLoader:
    """Loads what its test says; remembers what it was asked for."""

    def __init__(self) -> None:
        self.loaded: dict[str, Path] = {}
        self.unloaded: list[str] = []
        self.published = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def load(self, record: VersionRecord, artifact: Path, *, cancelled: Callable[[], bool]) -> None:
        assert self.gate.wait(60)
        if self.error:
            raise self.error
        assert (artifact / "model.joblib").exists()
        self.loaded[record.version_id] = artifact

    def unload(self, record: VersionRecord) -> None:
        self.unloaded.append(record.version_id)

    def publish(self) -> None:
        self.published += 1


_: type[Loader] = PlayedLoader


class World:
    def __init__(self, home: Path) -> None:
        self.store: Store = open_store(f"sqlite:///{home / 'engine.db'}")
        self.buckets = Buckets(self.store, home / "buckets")
        self.artifacts = Artifacts(self.buckets, home / "models", max_bytes=1000)
        self.loader = PlayedLoader()
        self.leads = True
        self.deployment = Deployment(
            self.store, self.artifacts, self.loader, clock=SystemClock(), leading=lambda: self.leads
        )
        self.models = Models(
            self.store,
            self.artifacts,
            clock=SystemClock(),
            deploy=self.deployment.submit,
            publish=self.loader.publish,
        )
        self.buckets.create(Bucket(name="mine"))

    def put(self, name: str, data: bytes = b"model") -> None:
        self.buckets.write(f"gs://mine/{name}", [data])

    def version(self, version_id: str, **fields: Any) -> Operation:
        fields.setdefault("deployment_uri", "gs://mine/export/")
        return self.models.create_version(P, "census", Version(name=version_id, **fields))

    def ended(self, operation: Operation) -> Operation:
        operation_id = operation.name.rpartition("/")[2]
        wait_until(lambda: self.store.operation(P, operation_id).operation.done, 60)
        return self.store.operation(P, operation_id).operation

    def close(self) -> None:
        self.loader.gate.set()
        self.deployment.close()
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.models.create_model(P, Model(name="census"))
    world.put("export/model.joblib")
    yield world
    world.close()


def test_whoever_is_told_of_a_version_may_ask_other_engines_for_it(world: World) -> None:
    world.deployment._spread_s = 0.5
    began_s = time.monotonic()
    assert world.ended(world.version("v1")).error is None
    assert time.monotonic() - began_s >= 0.5


def test_a_version_is_ready_after_a_worker_loaded_its_own_copy(world: World) -> None:
    operation = world.version("v1", description="first", labels={"a": "b"})
    assert operation.name.startswith("projects/default/operations/create_census_v1-")
    assert not operation.done
    assert operation.metadata["operationType"] == "CREATE_VERSION"
    assert operation.metadata["labels"] == {"a": "b"}
    done = world.ended(operation)
    assert done.error is None
    assert done.response is not None
    assert done.response["@type"] == "type.googleapis.com/google.cloud.ml.v1.Version"
    assert done.response["name"] == "projects/default/models/census/versions/v1"
    assert done.response["isDefault"] is True
    assert done.metadata["endTime"]
    version = world.models.version(P, "census", "v1")
    assert (version.state, version.is_default) == ("READY", True)
    world.put("export/model.joblib", b"changed")
    assert (world.loader.loaded["v1"] / "model.joblib").read_bytes() == b"model"
    assert world.store.version(P, "census", "v1").digest.startswith("sha256:")
    assert world.loader.published >= 1


def test_a_model_that_does_not_load_fails_with_the_loaders_own_words(world: World) -> None:
    world.loader.error = FailedPrecondition('Bad model detected with error: "no pickle"')
    done = world.ended(world.version("v1"))
    assert done.response is None
    assert done.error == {
        "code": 9,
        "message": 'Create Version failed. Bad model detected with error: "no pickle"',
    }
    version = world.models.version(P, "census", "v1")
    assert version.state == "FAILED"
    assert version.error_message == done.error["message"]
    assert world.loader.unloaded == ["v1"]


def test_a_defect_of_the_loader_is_told_and_ends_the_operation(world: World) -> None:
    world.loader.error = RuntimeError("surprise")
    done = world.ended(world.version("v1"))
    assert done.error is not None
    assert done.error["code"] == 13
    assert "RuntimeError: surprise" in done.error["message"]


def test_the_second_version_becomes_default_when_the_first_failed(world: World) -> None:
    world.loader.error = FailedPrecondition("bad")
    world.ended(world.version("v1"))
    world.loader.error = None
    world.ended(world.version("v2"))
    model = world.models.model(P, "census")
    assert model.default_version is not None
    assert model.default_version.name.endswith("/v2")


BAD_SOURCES: dict[str, tuple[list[str], str, type[EngineError]]] = {
    "empty": ([], "is empty or does not exist", FailedPrecondition),
    "no model": (["bad/readme.txt"], "Could not find a model file", FailedPrecondition),
    "two models": (
        ["bad/model.joblib", "bad/model.pkl"],
        "Multiple model files are found",
        FailedPrecondition,
    ),
    "a compiled form of its own": (
        ["bad/model.joblib", "bad/.compiled/compiled.json"],
        "holds '.compiled', where the engine keeps compiled forms",
        FailedPrecondition,
    ),
    "too large": (["bad/model.joblib"] * 1, "exceeds the allowed maximum", InvalidArgument),
}


@pytest.mark.parametrize(("names", "text", "kind"), BAD_SOURCES.values(), ids=BAD_SOURCES.keys())
def test_a_bad_directory_is_refused_and_nothing_is_created(
    world: World, names: list[str], text: str, kind: type[EngineError]
) -> None:
    for name in names:
        world.put(name, b"x" * (2000 if "exceeds" in text else 10))
    with pytest.raises(kind, match=text) as caught:
        world.version("v1", deployment_uri="gs://mine/bad")
    assert caught.value.field == "version.deployment_uri"
    assert world.store.versions(P, "census") == []
    assert world.store.operations(P) == []


def test_a_compiled_form_that_came_after_the_check_is_not_taken(world: World) -> None:
    world.put("export/.compiled/compiled.json")
    with pytest.raises(FailedPrecondition, match="where the engine keeps compiled forms"):
        world.artifacts.commit("u1", "gs://mine/export")
    assert not manifest_of(world.artifacts.path("u1")).exists()


def test_packages_are_copied_in_their_order_and_are_part_of_the_digest(world: World) -> None:
    for name in ("p/second.whl", "q/first.tar.gz"):
        world.put(name, name.encode())
    plain = world.ended(world.version("v1"))
    uris = ["gs://mine/p/second.whl", "gs://mine/q/first.tar.gz"]
    coded = world.ended(world.version("v2", package_uris=uris))
    assert plain.error is None and coded.error is None
    first, second = (world.store.version(P, "census", name) for name in ("v1", "v2"))
    assert first.digest != second.digest
    assert world.artifacts.packages(first.uid) == ()
    packages = world.artifacts.packages(second.uid)
    assert [path.name for path in packages] == ["second.whl", "first.tar.gz"]
    assert packages[0].read_bytes() == b"p/second.whl"


def test_workers_know_what_was_deployed_by_its_manifest(world: World) -> None:
    world.put("p/code.whl")
    done = world.ended(world.version("v1", package_uris=["gs://mine/p/code.whl"]))
    assert done.error is None
    artifact = world.artifacts.path(world.store.version(P, "census", "v1").uid)
    check_files(artifact)
    model = artifact / "model.joblib"
    model.write_bytes(model.read_bytes()[::-1] + b"x")
    with pytest.raises(PredictionError, match=r"'model\.joblib' has other contents"):
        check_files(artifact)


def test_a_model_that_is_a_link_is_named(world: World) -> None:
    world.put("linked/model_3.joblib")
    (world.buckets.local_path("gs://mine/linked") / "model.joblib").symlink_to("model_3.joblib")
    with pytest.raises(
        FailedPrecondition, match=r"'model\.joblib' in gs://mine/linked/ is a link"
    ) as no:
        world.artifacts.check_source("gs://mine/linked", "SCIKIT_LEARN")
    assert no.value.remedy.endswith("copy what a link points to into its place.")
    assert no.value.field == "version.deployment_uri"


def test_where_models_may_run_no_code_those_that_would_are_refused(world: World) -> None:
    strict = Artifacts(world.buckets, world.artifacts._root, max_bytes=1000, allow_code=False)
    world.put("net/model.onnx")
    strict.check_source("gs://mine/net", "")
    strict.check_packages([])
    for work in (
        lambda: strict.check_source("gs://mine/export", "SCIKIT_LEARN"),
        lambda: strict.check_source("gs://mine/net", "", routine=True),
        lambda: strict.check_packages(["gs://mine/p/code.whl"]),
        lambda: strict.commit("u1", "gs://mine/export"),  # it was another one when it was checked
    ):
        with pytest.raises(FailedPrecondition, match="needs code execution"):
            work()
    assert not manifest_of(strict.path("u1")).exists()
    strict.commit("u2", "gs://mine/net")


def test_a_routine_may_load_what_it_likes(world: World) -> None:
    world.put("weights/net.pt")
    where = {"deployment_uri": "gs://mine/weights/"}
    with pytest.raises(FailedPrecondition, match="Could not find a model file"):
        world.version("v1", **where)
    world.version("v1", **where, prediction_class="net.Predictor")
    with pytest.raises(FailedPrecondition, match="is empty or does not exist"):
        world.version("v2", deployment_uri="gs://mine/none/", prediction_class="net.Predictor")


def test_a_package_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(NotFound, match=r"There is no package gs://mine/none\.whl") as caught:
        world.version("v1", package_uris=["gs://mine/none.whl"])
    assert caught.value.field == "version.package_uris"
    world.put("large.whl", b"x" * 1001)
    with pytest.raises(InvalidArgument, match="1001 bytes, which exceeds"):
        world.version("v1", package_uris=["gs://mine/large.whl"])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"deployment_uri": ""}, "version.deployment_uri"),
        ({"deployment_uri": "http://x/y"}, "version.deployment_uri"),
        ({"deployment_uri": "/tmp/x"}, "version.deployment_uri"),
        ({"deployment_uri": "gs://mine/ex?ort"}, "version.deployment_uri"),
        ({"framework": "PYTORCH"}, "version.framework"),
        ({"labels": {"A": "b"}}, "version.labels"),
        ({"prediction_class": "Alone"}, "version.prediction_class"),
        ({"prediction_class": "a.b c"}, "version.prediction_class"),
        ({"prediction_class": "a.B", "framework": "SCIKIT_LEARN"}, "version.framework"),
        ({"package_uris": ["gs://mine/x.zip"]}, "version.package_uris"),
        ({"package_uris": ["gs://mine/a/x.whl", "gs://mine/b/x.whl"]}, "version.package_uris"),
        ({"container": {"image": "x"}}, "version.container"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(
    world: World, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.version("v1", **fields)
    assert caught.value.field == field
    assert "*" not in caught.value.problem, "a pattern of the engine's own"


def test_what_a_model_asks_of_consoles_is_given_back_as_sent(world: World) -> None:
    def told() -> list[bool]:
        models = [world.models.model(P, "loud"), world.models.model(P, "census")]
        return [model.online_prediction_console_logging for model in models]

    made = world.models.create_model(P, Model(name="loud", online_prediction_console_logging=True))
    assert made.online_prediction_console_logging and told() == [True, False]
    mask = "onlinePredictionConsoleLogging"
    world.models.update_model(P, "loud", Model(), update_mask=mask)
    told_of = world.models.update_model(
        P, "census", Model(online_prediction_console_logging=True), update_mask=mask
    )
    assert told() == [False, True]
    assert told_of.response and told_of.response["onlinePredictionConsoleLogging"] is True


def test_the_front_door_knows_what_a_verb_has_made_when_it_returns(world: World) -> None:
    world.loader.gate.clear()  # so that only the verbs publish
    before = world.loader.published
    world.models.create_model(P, Model(name="other"))
    assert world.loader.published == before + 1
    operation = world.version("v1")
    assert world.loader.published == before + 2
    world.models.delete_model(P, "other")
    assert world.loader.published == before + 3
    world.loader.gate.set()
    assert world.ended(operation).response


def test_names_are_checked_and_used_once(world: World) -> None:
    with pytest.raises(AlreadyExists):
        world.models.create_model(P, Model(name="census"))
    with pytest.raises(InvalidArgument):
        world.models.create_model(P, Model(name="1st"))
    with pytest.raises(InvalidArgument, match="regions"):
        world.models.create_model(P, Model(name="other", regions=["a", "b"]))
    world.ended(world.version("v1"))
    with pytest.raises(AlreadyExists):
        world.version("v1")


def test_what_is_missing_is_named(world: World) -> None:
    with pytest.raises(NotFound, match="'mlengine models create nope --project q'"):
        world.models.model("q", "nope")
    with pytest.raises(NotFound, match='The model resource: "nope" was not found'):
        world.models.create_version(
            P, "nope", Version(name="v1", deployment_uri="gs://mine/export")
        )
    world.ended(world.version("v1"))
    with pytest.raises(NotFound, match="Did you mean 'v1'"):
        world.models.version(P, "census", "v11")


def test_updates_honour_mask_and_etag(world: World) -> None:
    world.ended(world.version("v1"))
    update = world.models.update_version
    done = update(P, "census", "v1", Version(description="new"), update_mask="description")
    assert done.done
    assert world.models.version(P, "census", "v1").description == "new"
    with pytest.raises(InvalidArgument, match=r"auto_scaling\.metrics"):
        update(P, "census", "v1", Version(), update_mask="autoScaling.metrics")
    with pytest.raises(InvalidArgument, match="update mask is required"):
        update(P, "census", "v1", Version(), update_mask="")
    with pytest.raises(Aborted, match="etag"):
        update(P, "census", "v1", Version(etag="old"), update_mask="etag,description")
    etag = world.models.version(P, "census", "v1").etag
    update(P, "census", "v1", Version(etag=etag, labels={"a": "b"}), update_mask="etag,labels")
    assert world.models.version(P, "census", "v1").labels == {"a": "b"}
    update(P, "census", "v1", Version(description="newer"), update_mask="etag,description")
    world.models.update_model(P, "census", Model(), update_mask="etag,description")
    world.models.update_model(P, "census", Model(description="people"), update_mask="description")
    assert world.models.model(P, "census").description == "people"


@pytest.mark.parametrize("kind", ["model", "version", "model's default"])
def test_of_two_patches_with_one_etag_the_later_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    world.ended(world.version("v1"))
    world.ended(world.version("v2"))
    models = world.models

    def patch(text: str) -> Operation:
        if kind == "version":
            version = Version(etag=etag, description=text)
            return models.update_version(P, "census", "v2", version, update_mask="etag,description")
        model = Model(etag=etag, description=text, default_version=Version(name="v2"))
        mask = "etag,description" + (",default_version.name" if kind != "model" else "")
        return models.update_model(P, "census", model, update_mask=mask)

    verb = "edit_version" if kind == "version" else "edit_model"
    real = getattr(world.store, verb)

    def after_another(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(world.store, verb, real)
        patch("theirs")  # it comes between what ours has read and what it writes
        return real(*args, **kwargs)

    of = models.version(P, "census", "v2") if kind == "version" else models.model(P, "census")
    etag = of.etag
    monkeypatch.setattr(world.store, verb, after_another)
    with pytest.raises(Aborted, match="etag"):
        patch("ours")
    of = models.version(P, "census", "v2") if kind == "version" else models.model(P, "census")
    assert of.description == "theirs"
    etag = of.etag
    patch("ours, once more")


def test_the_numbers_of_nodes_are_patched_leaf_by_leaf(world: World) -> None:
    world.ended(world.version("v1", auto_scaling=AutoScaling(min_nodes=1, max_nodes=2)))
    update = world.models.update_version
    sent = Version(auto_scaling=AutoScaling(min_nodes=0, max_nodes=5))
    update(P, "census", "v1", sent, update_mask="autoScaling.maxNodes")
    scaling = world.models.version(P, "census", "v1").auto_scaling
    assert scaling == AutoScaling(min_nodes=1, max_nodes=5)
    by_hand = Version(manual_scaling=ManualScaling(nodes=3))
    with pytest.raises(InvalidArgument, match="keeps the way") as caught:
        update(P, "census", "v1", by_hand, update_mask="manualScaling.nodes")
    assert caught.value.field == "version.manual_scaling"
    world.ended(world.version("v2", manual_scaling=ManualScaling(nodes=1)))
    update(P, "census", "v2", by_hand, update_mask="manualScaling.nodes")
    assert world.models.version(P, "census", "v2").manual_scaling == ManualScaling(nodes=3)
    with pytest.raises(InvalidArgument, match="keeps the way"):
        update(P, "census", "v2", sent, update_mask="autoScaling.minNodes")


def test_a_machine_that_cannot_sleep_keeps_a_node(world: World) -> None:
    n1 = {"machine_type": "n1-standard-2", "auto_scaling": AutoScaling(max_nodes=4)}
    world.ended(world.version("v1", **n1))
    assert world.models.version(P, "census", "v1").auto_scaling == AutoScaling(
        min_nodes=1, max_nodes=4
    )
    update = world.models.update_version
    with pytest.raises(InvalidArgument, match="'n1-standard-2' keeps a node") as caught:
        update(P, "census", "v1", Version(), update_mask="autoScaling.minNodes")
    assert caught.value.field == "version.auto_scaling.min_nodes"
    world.ended(world.version("v2", machine_type="n1-standard-2"))
    sent = Version(auto_scaling=AutoScaling(max_nodes=2))
    update(P, "census", "v2", sent, update_mask="autoScaling.maxNodes")
    assert world.models.version(P, "census", "v2").auto_scaling == AutoScaling(
        min_nodes=1, max_nodes=2
    )


def test_a_machine_type_that_is_refused_by_now_does_not_hinder_a_patch(world: World) -> None:
    world.ended(world.version("v1", machine_type="standard_gpu"))

    def only_new(_version: Version) -> None:
        raise InvalidArgument("The machine type has GPUs.", "Use one without.")

    models = Models(
        world.store, world.artifacts, clock=SystemClock(), deploy=world.deployment.submit,
        publish=world.loader.publish, servable=only_new,
    )  # fmt: skip
    models.update_version(P, "census", "v1", Version(description="new"), update_mask="description")
    assert models.version(P, "census", "v1").description == "new"
    with pytest.raises(InvalidArgument, match="has GPUs"):
        models.create_version(P, "census", Version(name="v2", deployment_uri="gs://mine/export"))


def test_an_operation_has_the_labels_of_what_it_is_about(world: World) -> None:
    world.models.create_model("1912", Model(name="m", labels={"team": "a"}))
    told = world.models.delete_model("1912", "m").metadata
    assert (told["labels"], told["projectNumber"]) == ({"team": "a"}, "1912")
    patched = world.models.update_model(
        P, "census", Model(labels={"x": "y"}), update_mask="labels"
    ).metadata
    assert patched["labels"] == {"x": "y"}
    assert "projectNumber" not in patched


def test_the_default_moves_only_when_told(world: World) -> None:
    world.ended(world.version("v1"))
    world.ended(world.version("v2"))
    assert world.models.version(P, "census", "v1").is_default
    assert world.models.set_default(P, "census", "v2").is_default
    assert not world.models.version(P, "census", "v1").is_default
    patch = Model(default_version=Version(name="projects/default/models/census/versions/v1"))
    world.models.update_model(P, "census", patch, update_mask="default_version.name")
    assert world.models.version(P, "census", "v1").is_default
    elsewhere = Model(default_version=Version(name="projects/other/models/census/versions/v1"))
    with pytest.raises(InvalidArgument, match="not a version of this model"):
        world.models.update_model(P, "census", elsewhere, update_mask="defaultVersion.name")


def test_versions_are_deleted_the_default_last_and_then_the_model(world: World) -> None:
    world.ended(world.version("v1"))
    world.ended(world.version("v2"))
    with pytest.raises(FailedPrecondition, match=r"is the default.*set-default VERSION --model"):
        world.models.delete_version(P, "census", "v1")
    with pytest.raises(FailedPrecondition):
        world.models.delete_model(P, "census")
    artifact = world.loader.loaded["v2"]
    for version_id in ("v2", "v1"):
        done = world.ended(world.models.delete_version(P, "census", version_id))
        assert done.response == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert not artifact.exists()
    assert world.loader.unloaded == ["v2", "v1"]
    assert world.models.delete_model(P, "census").done
    with pytest.raises(NotFound):
        world.models.model(P, "census")


def test_a_default_among_failed_versions_goes_after_the_others(world: World) -> None:
    world.loader.error = FailedPrecondition("It does not load.")
    for version_id in ("v1", "v2"):
        world.ended(world.version(version_id))
    assert world.models.version(P, "census", "v1").is_default
    with pytest.raises(FailedPrecondition, match=r"No other version is READY.*others first"):
        world.models.delete_version(P, "census", "v1")
    for version_id in ("v2", "v1"):
        assert world.ended(world.models.delete_version(P, "census", version_id)).error is None


def test_a_default_waits_for_another_version_that_may_get_ready(world: World) -> None:
    world.loader.error = FailedPrecondition("It does not load.")
    world.ended(world.version("v1"))
    world.loader.error = None
    world.loader.gate.clear()
    operation = world.version("v2")
    with pytest.raises(FailedPrecondition, match=r"Wait until one is, .*set-default VERSION"):
        world.models.delete_version(P, "census", "v1")
    world.loader.gate.set()
    world.ended(operation)


def test_a_busy_version_is_left_alone(world: World) -> None:
    world.loader.gate.clear()
    operation = world.version("v1")
    for change in (
        lambda: world.models.delete_version(P, "census", "v1"),
        lambda: world.models.update_version(P, "census", "v1", Version(), update_mask="labels"),
    ):
        with pytest.raises(FailedPrecondition, match="CREATING"):
            change()
    with pytest.raises(FailedPrecondition):
        world.models.set_default(P, "census", "v1")
    world.loader.gate.set()
    assert world.ended(operation).response


def test_a_cancelled_create_ends_with_code_1(world: World) -> None:
    world.loader.gate.clear()
    operation = world.version("v1")
    operation_id = operation.name.rpartition("/")[2]
    record = world.store.operation(P, operation_id)
    world.store.edit_operation(
        P, operation_id, {**record.operation.metadata, "isCancellationRequested": True}
    )
    world.loader.gate.set()
    done = world.ended(operation)
    assert done.error is not None
    assert done.error["code"] == 1
    assert world.models.version(P, "census", "v1").state == "FAILED"


def test_a_create_that_was_cut_off_is_taken_up_again(world: World) -> None:
    """What a killed engine leaves is a CREATING record and an open operation; no more."""
    record = world.store.add_version(
        P, "census", Version(name="v1", deployment_uri="gs://mine/export/"), uid="u1"
    )
    world.store.add_operation(P, "op1", {"operationType": "CREATE_VERSION"}, subject="u1")
    staging = world.artifacts.path(record.uid).parent / "staging"
    staging.mkdir(parents=True)
    (staging / "half").write_bytes(b"written")
    world.deployment.resume()
    done = world.ended(Operation(name="projects/default/operations/op1"))
    assert done.response
    assert world.models.version(P, "census", "v1").state == "READY"
    assert not (world.artifacts.path(record.uid) / "half").exists()


def test_of_artefacts_only_those_of_dead_versions_are_swept(world: World) -> None:
    for uid in ("dead", "named by newer records"):
        world.artifacts.path(uid).mkdir(parents=True)
    world.artifacts.sweep(["dead", "gone before"])
    left = [path.name for path in world.artifacts._root.iterdir()]
    assert left == ["named by newer records"]


def test_a_version_is_made_ready_by_the_engine_that_leads(world: World) -> None:
    world.leads = False
    operation = world.version("v1")
    world.deployment.resume()
    assert not world.loader.loaded
    assert world.models.version(P, "census", "v1").state == "CREATING"
    world.leads = True
    world.deployment.resume()
    assert world.ended(operation).error is None


@pytest.mark.parametrize("error", [None, FailedPrecondition("Bad model.")])
def test_who_lost_the_lead_while_loading_decides_nothing(
    world: World, error: Exception | None
) -> None:
    world.loader.gate.clear()
    operation = world.version("v1")
    uid = world.store.version(P, "census", "v1").uid
    wait_until(lambda: manifest_of(world.artifacts.path(uid)).exists())
    world.leads, world.loader.error = False, error
    world.loader.gate.set()
    wait_until(lambda: not world.deployment._busy)
    assert world.models.version(P, "census", "v1").state == "CREATING"
    assert manifest_of(world.artifacts.path(uid)).exists()  # another engine may be loading it
    world.leads, world.loader.error = True, None
    world.deployment.resume()
    assert world.ended(operation).error is None


def test_a_database_that_is_away_says_nothing_against_a_version(world: World) -> None:
    world.loader.error = StoreAway("The database is away.")
    operation = world.version("v1")
    wait_until(lambda: not world.deployment._busy)
    assert world.models.version(P, "census", "v1").state == "CREATING"
    world.loader.error = None
    world.deployment.resume()
    assert world.ended(operation).error is None
