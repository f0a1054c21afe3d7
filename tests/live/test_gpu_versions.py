"""Versions with GPUs on a real engine of a machine that has none: its settings say that it has.

What computes on a GPU is not shown here; who gets which, who is refused, and what is said when a
library finds none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import ResourceExhausted
from mlengine.core.resources import AcceleratorConfig, AutoScaling, Model, Operation, Version
from tests.live.engines import BUCKET, LiveEngine, P, live_engine

ROUTINE = """
import os

class Predictor:
    @classmethod
    def from_path(cls, model_dir):
        return cls()

    def predict(self, instances, **kwargs):
        return [os.environ["CUDA_VISIBLE_DEVICES"]] * len(instances)
"""
FIELDS: dict[str, Any] = {
    "machine_type": "n1-standard-4",
    "accelerator_config": AcceleratorConfig(type="NVIDIA_TESLA_T4", count=1),
    "auto_scaling": AutoScaling(max_nodes=1),
}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    home = tmp_path_factory.mktemp("gpus") / "home"
    with live_engine(home, gpus="0", serving_gpus="1,3") as engine:
        engine.make_bucket()
        engine.client.create_model(P, Model(name="m"))
        yield engine


def create(engine: LiveEngine, version_id: str, **fields: Any) -> Operation:
    return engine.done(engine.client.create_version(P, "m", Version(name=version_id, **fields)))


def sees(engine: LiveEngine, version_id: str) -> str:
    reply = engine.client.predict(P, "m", version_id, b'{"instances": [1]}')
    assert reply.status == 200, reply.body
    return str(json.loads(reply.body)["predictions"][0])


def test_each_version_has_gpus_of_its_own_until_it_is_deleted(engine: LiveEngine) -> None:
    package = engine.upload_package(ROUTINE, name="seeing")
    coded = {"deployment_uri": engine.upload_model("any", x__txt=b"x"), "package_uris": [package],
             "prediction_class": "seeing.task.Predictor"}  # fmt: skip
    for version_id in ("first", "second"):
        assert create(engine, version_id, **coded, **FIELDS).error is None
    assert create(engine, "plain", **coded).error is None
    assert [sees(engine, name) for name in ("first", "second", "plain")] == ["1", "3", "-1"]
    late = create(engine, "third", **coded, **FIELDS)
    assert late.error is not None
    assert "needs 1 GPU, and 0 of the 2 for versions are free" in late.error["message"]
    with pytest.raises(ResourceExhausted, match="for 4 GPUs, for a worker, exceeds the 2 that"):
        create(engine, "fourth", **coded, **{
            **FIELDS, "accelerator_config": AcceleratorConfig(type="NVIDIA_TESLA_T4", count=4),
        })  # fmt: skip

    engine.kill()
    engine.start()
    assert [sees(engine, name) for name in ("first", "second")] == ["1", "3"]
    engine.client.set_default_version(P, "m", "plain")
    for version_id in ("first", "second", "third"):
        engine.done(engine.client.delete_version(P, "m", version_id))
    assert create(engine, "again", **coded, **FIELDS).error is None
    assert sees(engine, "again") == "1"


def test_a_library_that_finds_none_fails_the_version(engine: LiveEngine, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    class Doubler(tf.Module):  # type: ignore[misc, name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def serve(self, x: Any) -> dict[str, Any]:
            return {"y": 2 * x}

    module = Doubler()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        name = f"saved/{path.relative_to(tmp_path)}"
        engine.client.write_object(BUCKET, name, [path.read_bytes()])
    failed = create(engine, "tf", deployment_uri=f"gs://{BUCKET}/saved", **FIELDS)
    assert failed.error is not None
    assert "The version has 1 GPU (of this machine's:" in failed.error["message"]
    assert "finds 0 of them" in failed.error["message"]
