"""Versions with code of their own, on a real engine: what works, and what is said of the rest."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.resources import Job, Model, Operation, PredictionInput, Version
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.waiting import wait_until

ROUTINE = """
import json, os, pathlib, sys
from multiprocessing.pool import ThreadPool

class Predictor:
    def __init__(self, folder):
        self.scale = json.loads((folder / "scale.json").read_text())["scale"]

    @classmethod
    def from_path(cls, model_dir):
        return cls(pathlib.Path(model_dir))

    def predict(self, instances, **kwargs):
        if kwargs.get("say"):
            print("heard:", kwargs["say"])
        if kwargs.get("request"):
            return [json.loads(os.environ["create_version_request"])] * len(instances)
        if "nan" in instances:
            return [float("nan")] * len(instances)
        if "few" in instances:
            return []
        if kwargs.get("threads"):
            with ThreadPool(kwargs["threads"]) as pool:
                return pool.map(self.scale.__mul__, instances)
        return [one * self.scale for one in instances]

class Broken(Predictor):
    @classmethod
    def from_path(cls, model_dir):
        raise RuntimeError("weights of another model")
"""
SETUP_THAT_FAILS = "raise SystemExit('this package does not build')\n"


pytestmark = pytest.mark.timeout(600)  # packages are installed, by an installer of its own pace


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with live_engine(tmp_path_factory.mktemp("live") / "home") as engine:
        engine.make_bucket()
        yield World(engine)


class World:
    """An engine with a routine that is deployed already."""

    def __init__(self, engine: LiveEngine) -> None:
        self.engine = engine
        self.package = engine.upload_package(ROUTINE, name="scaling")
        self.uri = engine.upload_model("scale", scale__json=b'{"scale": 3}')
        engine.client.create_model(P, Model(name="coded"))
        config = {"sampledShapleyAttribution": {}}
        assert self.create("v1", explanation_config=config).error is None

    def create(self, version_id: str, **fields: Any) -> Operation:
        given = {"deployment_uri": self.uri, "package_uris": [self.package],
                 "prediction_class": "scaling.task.Predictor", **fields}  # fmt: skip
        client = self.engine.client
        made = client.create_version(P, "coded", Version(name=version_id, **given))
        operation_id = made.name.rpartition("/")[2]
        wait_until(lambda: client.get_operation(P, operation_id).done, 240)
        return client.get_operation(P, operation_id)

    def error(self, version_id: str, **fields: Any) -> str:
        operation = self.create(version_id, **fields)
        assert operation.error is not None
        version = self.engine.client.get_version(P, "coded", version_id)
        assert (version.state, version.error_message) == ("FAILED", operation.error["message"])
        return version.error_message

    def ask(self, *instances: Any, **keys: Any) -> tuple[int, Any]:
        body = json.dumps({"instances": instances, **keys}).encode()
        reply = self.engine.client.predict(P, "coded", "v1", body)
        return reply.status, json.loads(reply.body)

    def printed(self, version_id: str) -> list[str]:
        logs = self.engine.client.version_logs(P, "coded", version_id).logs
        return [line for log in logs for line in log.lines]


def test_it_answers_and_its_words_are_in_the_versions_log(world: World) -> None:
    assert world.ask(1, 2.5) == (200, {"predictions": [3, 7.5]})
    status, answer = world.ask(0, request=True, say="hello")
    assert status == 200
    told = answer["predictions"][0]["version"]
    assert (told["name"], told["prediction_class"]) == ("v1", "scaling.task.Predictor")
    wait_until(lambda: "heard: hello" in world.printed("v1"), 60)


def test_it_may_have_pools_of_threads(world: World) -> None:
    assert world.ask(1, 2, threads=2) == (200, {"predictions": [3, 6]})


def test_it_is_explained_by_what_its_own_predict_returns(world: World) -> None:
    body = json.dumps({"instances": [4, 2.5], "say": "why?"}).encode()
    reply = world.engine.client.explain(P, "coded", "v1", body)
    assert reply.status == 200, reply.body
    found = [one["attributions_by_label"][0] for one in json.loads(reply.body)["explanations"]]
    assert [one["attributions"] for one in found] == [{"input": 12}, {"input": 7.5}]
    assert [(one["example_score"], one["baseline_score"]) for one in found] == [(12, 0), (7.5, 0)]
    wait_until(lambda: "heard: why?" in world.printed("v1"), 60)


def test_a_bad_answer_is_an_error_and_the_next_one_is_good(world: World) -> None:
    for word, said in (("nan", "JSON cannot carry NaN"), ("few", "0 predictions for 1 instances")):
        status, answer = world.ask(word)
        assert status == 400 and said in answer["error"]["message"]
    assert world.ask(2) == (200, {"predictions": [6]})
    told = [line for line in world.printed("v1") if line.startswith("Prediction failed: ")]
    assert len(told) == 1 and "JSON cannot carry NaN" in told[0]


def test_a_file_is_answered_as_its_rows_are_online(world: World) -> None:
    client = world.engine.client
    rows = [1, "ab", None, 2.5]  # None fails: a row fails alone
    client.write_object(BUCKET, "in/rows", [b"".join(json.dumps(r).encode() + b"\n" for r in rows)])
    spec = PredictionInput(
        input_paths=[f"gs://{BUCKET}/in/rows"], output_path=f"gs://{BUCKET}/out/rows",
        data_format="TEXT", region="local", model_name=f"projects/{P}/models/coded",
    )  # fmt: skip
    client.create_job(P, Job(job_id="rows", prediction_input=spec))
    job = world.engine.ended("rows")
    assert job.prediction_output is not None, job.error_message
    counts = job.prediction_output.prediction_count, job.prediction_output.error_count
    assert counts == (3, 1)
    found = b"".join(client.read_object(BUCKET, "out/rows/prediction.results-00000-of-00001"))
    online = [world.ask(row)[1]["predictions"][0] for row in rows if row is not None]
    assert [json.loads(line) for line in found.splitlines()] == online == [3, "ababab", 7.5]


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("nobody", {"prediction_class": "scaling.task.Nobody"},
         "scaling.task.Nobody cannot be found. Please make sure (1) prediction_class is the fully"),
        ("broken", {"prediction_class": "scaling.task.Broken"},
         ("There was a problem processing the user code: scaling.task.Broken.from_path: "
         "RuntimeError: weights of another model (Error code: 4)")),
        ("nocode", {"package_uris": []}, "cannot be found"),
    ],
)  # fmt: skip
def test_code_that_cannot_serve_fails_the_version_in_its_own_words(
    world: World, name: str, fields: dict[str, Any], said: str
) -> None:
    message = world.error(name, **fields)
    assert message.startswith('Create Version failed. Bad model detected with error: "')
    assert said in message


def test_a_package_that_does_not_install_fails_the_version(world: World) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("bad-1.0/setup.py")
        member.size = len(SETUP_THAT_FAILS)
        archive.addfile(member, io.BytesIO(SETUP_THAT_FAILS.encode()))
    world.engine.client.write_object(BUCKET, "packages/bad-1.0.tar.gz", [data.getvalue()])
    message = world.error("unbuilt", package_uris=[f"gs://{BUCKET}/packages/bad-1.0.tar.gz"])
    start = "Create Version failed. User-provided package bad-1.0.tar.gz failed to install: "
    assert message.startswith(start)
    assert "this package does not build" in message
    log = Path(message.rsplit("All that it said: cat ", 1)[1])
    assert "this package does not build" in log.read_text()


def test_a_pickle_finds_the_code_that_it_refers_to(world: World) -> None:
    code = """
from sklearn.base import BaseEstimator
class Doubler(BaseEstimator):
    def predict(self, rows): return [2 * row[0] for row in rows]
"""
    package = world.engine.upload_package(code, name="doubling")
    # Protocol 4, by hand: the class is not there when the pickle is written.
    model = b"\x80\x04\x8c\x0ddoubling.task\x8c\x07Doubler\x93)\x81."
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(model)
    uri = world.engine.upload_model("double", model__pkl=model)
    plain = {"deployment_uri": uri, "prediction_class": "", "framework": "SCIKIT_LEARN"}
    assert "Give the package that holds it in package_uris" in world.error(
        "bare", **plain, package_uris=[]
    )
    assert world.create("double", **plain, package_uris=[package]).error is None
    reply = world.engine.client.predict(P, "coded", "double", b'{"instances": [[4], [5]]}')
    assert reply.body == b'{"predictions":[8,10]}'


def test_it_is_there_again_after_its_worker_and_its_engine_died(world: World) -> None:
    world.engine.kill()
    world.engine.start()
    assert world.ask(5) == (200, {"predictions": [15]})
