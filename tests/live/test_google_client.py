"""Google's own Python client drives a real engine, with no code of ours in between."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlengine.core.studies import Study, StudyConfig
from mlengine.core.wire import decode
from tests.live.engines import LiveEngine
from tests.waiting import wait_until

discovery = pytest.importorskip("googleapiclient.discovery")
credentials = pytest.importorskip("google.oauth2.credentials")

PARENT = "projects/default"


@pytest.fixture
def ml(engine: LiveEngine) -> Iterator[Any]:
    with discovery.build(
        "ml",
        "v1",
        credentials=credentials.Credentials(engine.token),
        client_options={"api_endpoint": engine.url},
        static_discovery=True,
    ) as service:
        yield service.projects()


def _done(ml: Any, operation: dict[str, Any]) -> dict[str, Any]:
    def fetch() -> dict[str, Any]:
        found: dict[str, Any] = ml.operations().get(name=operation["name"]).execute()
        assert "done" not in found or found["done"] is True
        return found

    wait_until(lambda: fetch().get("done"), 60)
    return fetch()


def test_jobs(engine: LiveEngine, ml: Any) -> None:
    package = engine.upload_package("print('trained')")
    job = {
        "jobId": "google_1",
        "labels": {"owner": "alice"},
        "trainingInput": {
            "region": "us-central1",
            "pythonModule": "trainer.task",
            "packageUris": [package],
            "scaleTier": "BASIC",
        },
    }
    created = ml.jobs().create(parent=PARENT, body=job).execute()
    assert (created["jobId"], created["state"]) == ("google_1", "QUEUED")
    name = f"{PARENT}/jobs/google_1"
    wait_until(lambda: ml.jobs().get(name=name).execute()["state"] == "SUCCEEDED", 60)
    ended = ml.jobs().get(name=name).execute()
    assert ended["startTime"] and ended["endTime"]
    assert ended["trainingOutput"]["consumedMLUnits"] >= 0
    with pytest.raises(Exception, match=r"A job with this id already exists"):
        ml.jobs().create(parent=PARENT, body=job).execute()
    patched = ml.jobs().patch(name=name, updateMask="labels", body={"labels": {"owner": "bob"}})
    assert patched.execute()["labels"] == {"owner": "bob"}
    listed = ml.jobs().list(parent=PARENT, filter="labels.owner:bob AND state=SUCCEEDED").execute()
    assert [j["jobId"] for j in listed["jobs"]] == ["google_1"]
    assert ml.jobs().list(parent=PARENT, filter="jobId:nothing*").execute() == {}
    assert ml.jobs().cancel(name=name, body={}).execute() == {}


def test_a_running_job_is_cancelled(engine: LiveEngine, ml: Any) -> None:
    package = engine.upload_package("import time\nprint('here')\ntime.sleep(600)")
    engine.submit("google_2", package)
    engine.lines("google_2", until="here")
    name = f"{PARENT}/jobs/google_2"
    assert ml.jobs().cancel(name=name, body={}).execute() == {}
    assert engine.ended("google_2").state == "CANCELLED"


def test_models_versions_and_predict(engine: LiveEngine, ml: Any, iris_model: bytes) -> None:
    uri = engine.upload_model("google/model", model__pkl=iris_model)
    model, models = f"{PARENT}/models/iris", ml.models()
    assert models.create(parent=PARENT, body={"name": "iris"}).execute()["name"] == model
    for version_id in ("v1", "v2"):
        body = {"name": version_id, "deploymentUri": uri, "framework": "SCIKIT_LEARN",
                "runtimeVersion": "1.15", "pythonVersion": "3.7"}  # fmt: skip
        operation = models.versions().create(parent=model, body=body).execute()
        assert operation["metadata"]["operationType"] == "CREATE_VERSION"
        assert _done(ml, operation)["response"]["name"] == f"{model}/versions/{version_id}"
    default = models.versions().setDefault(name=f"{model}/versions/v2", body={}).execute()
    assert default["isDefault"] is True
    assert models.get(name=model).execute()["defaultVersion"]["name"].endswith("/v2")
    listed = models.versions().list(parent=model).execute()["versions"]
    assert [v["name"].rpartition("/")[2] for v in listed] == ["v2", "v1"]
    instances = {"instances": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}
    for name in (model, f"{model}/versions/v1"):
        assert ml.predict(name=name, body=instances).execute() == {"predictions": [0, 2]}
    with pytest.raises(Exception, match=r"Invalid inputs: .*expected 4"):
        ml.predict(name=model, body={"instances": [[1.0]]}).execute()
    patch = models.versions().patch(
        name=f"{model}/versions/v1", updateMask="description", body={"description": "old"}
    )
    assert _done(ml, patch.execute())["response"]["description"] == "old"
    for version_id in ("v1", "v2"):
        deleted = models.versions().delete(name=f"{model}/versions/{version_id}").execute()
        assert _done(ml, deleted)["response"]["@type"].endswith("protobuf.Empty")
    assert _done(ml, models.delete(name=model).execute())["done"] is True
    with pytest.raises(Exception, match=r"models create iris"):
        models.get(name=model).execute()


_PROGRAM = re.compile(r"^```(?:python)?\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_page_on_studies_can_be_typed_in(engine: LiveEngine) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tune.md").read_text()
    files = dict(_PROGRAM.findall(page))
    config = decode(StudyConfig, yaml.safe_load(files["study.yaml"]), at="study.study_config")
    config.algorithm = "RANDOM_SEARCH"  # what is shown is the calls
    at = ("default", "local", "flowers")
    engine.client.create_study(*at, Study(study_config=config))
    environ = {**os.environ, "URL": engine.url, "TOKEN": engine.token, "TRIALS": "3"}
    for name in ("tune.py", "tune_google.py"):
        done = subprocess.run(
            [sys.executable, "-c", files[name]], env=environ, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "rate" in done.stdout
    trials = engine.client.list_trials(*at)
    assert [trial.state for trial in trials] == ["COMPLETED"] * 6
    engine.client.delete_study(*at)


def test_explanations(engine: LiveEngine, ml: Any) -> None:
    pd, pickle = pytest.importorskip("pandas"), pytest.importorskip("pickle")
    compose = pytest.importorskip("sklearn.compose")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    table = pd.DataFrame({"age": [20, 30, 45, 60] * 9, "job": ["farm", "law", "farm", "law"] * 9})
    encoder = compose.ColumnTransformer(
        [("job", OneHotEncoder(), ["job"])], remainder="passthrough"
    )
    fitted = make_pipeline(encoder, LogisticRegression()).fit(table, [0, 1, 0, 1] * 9)
    metadata = (
        b'{"inputs": {"age": {"input_baselines": [30]}, "job": {"input_baselines": ["farm"]}}}'
    )
    files = {"model.pkl": pickle.dumps(fitted), "explanation_metadata.json": metadata}
    version = {"name": "v1", "deploymentUri": engine.upload_model("explained", **files),
               "explanationConfig": {"sampledShapleyAttribution": {"numPaths": 10}}}  # fmt: skip
    model = f"{PARENT}/models/explained"
    ml.models().create(parent=PARENT, body={"name": "explained"}).execute()
    created = ml.models().versions().create(parent=model, body=version).execute()
    assert "error" not in _done(ml, created)
    found = ml.models().versions().get(name=f"{model}/versions/v1").execute()
    assert found["explanationConfig"] == version["explanationConfig"]

    row = {"age": 60, "job": "law"}
    for name in (model, f"{model}/versions/v1"):
        answer = ml.explain(name=name, body={"instances": [row]}).execute()
        ((one,),) = (each["attributions_by_label"] for each in answer["explanations"])
        assert sum(one["attributions"].values()) == pytest.approx(
            one["example_score"] - one["baseline_score"]
        )
        assert list(one["attributions"]) == ["age", "job"] and one["label_index"] == 1
        assert one["example_score"] == pytest.approx(
            fitted.predict_proba(pd.DataFrame([row])).max()
        )
    assert ml.predict(name=model, body={"instances": [row]}).execute() == {"predictions": [1]}
    for body, said in (({"instances": [{"age": 3}]}, "Input job was missing"), ({}, "instances")):
        with pytest.raises(Exception, match=said):
            ml.explain(name=model, body=body).execute()
    xrai = {**version, "name": "v2", "explanationConfig": {"xraiAttribution": {}}}
    with pytest.raises(Exception, match=r"version\.explanation_config\.xrai_attribution"):
        ml.models().versions().create(parent=model, body=xrai).execute()
