"""Google's own Python client, unmodified, against the app over a real server.

With both kinds of discovery: the document that ships with the client, and the one we serve.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlengine.core.access import token_digest
from mlengine.rest.app import build_app
from tests.fakes.asgi import TOKEN
from tests.fakes.engine import FakeEngine
from tests.fakes.server import served

discovery = pytest.importorskip("googleapiclient.discovery")


class _Bearer:
    """What `google_auth_httplib2.AuthorizedHttp` does, without a token server."""

    def __init__(self, http: Any) -> None:
        self.http = http

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **kw: Any
    ) -> Any:
        headers = {**(headers or {}), "authorization": f"Bearer {TOKEN}"}
        return self.http.request(uri, method, body, headers, **kw)

    def close(self) -> None:
        self.http.close()


@pytest.fixture(params=["static", "served"])
def ml(request: pytest.FixtureRequest) -> Iterator[Any]:
    import httplib2

    app = build_app(FakeEngine(), token_digest=token_digest(TOKEN), allowed_hosts=[])
    with served(app) as url:
        more: dict[str, Any] = {"client_options": {"api_endpoint": url}}
        if request.param == "served":
            more = {
                "discoveryServiceUrl": url + "/$discovery/rest?version={apiVersion}",
                "static_discovery": False,
                "cache_discovery": False,
            }
        http = _Bearer(httplib2.Http(timeout=20))
        with discovery.build("ml", "v1", http=http, **more) as service:
            yield service


def test_many_requests_go_in_one_batch(ml: Any) -> None:
    answers: dict[str, Any] = {}

    def keep(key: str, answer: Any, error: Any) -> None:
        answers[key] = answer if error is None else error.resp.status

    jobs, parent = ml.projects().jobs(), "projects/p"
    batch = ml.new_batch_http_request(callback=keep)
    # The document that ships with the client sends batches to Google, whatever the endpoint is.
    batch._batch_uri = ml._baseUrl.rstrip("/") + "/batch"
    body = {"jobId": "é", "trainingInput": {"region": "us-central1"}}
    for key, request in {
        "made": jobs.create(parent=parent, body={**body, "jobId": "a"}),
        "bad": jobs.create(parent=parent, body=body),
        "read": jobs.get(name=f"{parent}/jobs/a"),
        "none": jobs.get(name=f"{parent}/jobs/b"),
        "cancelled": jobs.cancel(name=f"{parent}/jobs/a", body={}),
        "listed": jobs.list(parent=parent, filter=" OR ".join(["jobId:a"] * 300)),
    }.items():
        batch.add(request, request_id=key)
    batch.execute()
    assert answers["read"]["jobId"] == answers["made"]["jobId"] == "a"
    assert (answers["bad"], answers["none"], answers["cancelled"]) == (400, 404, {})
    assert [job["jobId"] for job in answers["listed"]["jobs"]] == ["a"]


def test_the_old_tutorial_runs(ml: Any) -> None:
    projects = ml.projects()
    parent = "projects/demos-191212"
    job = {"jobId": "census_1", "trainingInput": {"region": "us-central1", "workerCount": "2"}}
    assert projects.jobs().create(parent=parent, body=job).execute()["state"] == "QUEUED"
    name = f"{parent}/jobs/census_1"
    assert projects.jobs().get(name=name).execute()["trainingInput"]["workerCount"] == "2"
    projects.jobs().patch(name=name, updateMask="labels", body={"labels": {"a": "b"}}).execute()
    assert projects.jobs().cancel(name=name, body={}).execute() == {}
    listed = projects.jobs().list(parent=parent, filter="labels.a:b", pageSize=5).execute()
    assert [j["jobId"] for j in listed["jobs"]] == ["census_1"]
    matching = " OR ".join(["labels.a:b"] * 300)  # too long for a URI, in the client's eyes
    assert projects.jobs().list(parent=parent, filter=matching).execute() == listed

    model = f"{parent}/models/census"
    projects.models().create(parent=parent, body={"name": "census"}).execute()
    body = {"name": "v1", "deploymentUri": "gs://b/m", "runtimeVersion": "1.4"}
    operation = projects.models().versions().create(parent=model, body=body).execute()
    assert projects.operations().get(name=operation["name"]).execute()["done"] is True
    version = projects.models().versions().get(name=f"{model}/versions/v1").execute()
    assert (version["isDefault"], version["state"]) == (True, "READY")
    projects.models().versions().setDefault(name=f"{model}/versions/v1", body={}).execute()
    answer = projects.predict(name=model, body={"instances": [1]}).execute()
    assert len(answer["predictions"]) == 1
    projects.predict(name=f"{model}/versions/v1", body={"instances": [1]}).execute()
    assert projects.getConfig(name=parent).execute()["serviceAccountProject"] == "7"
    projects.models().versions().delete(name=f"{model}/versions/v1").execute()
    projects.models().delete(name=model).execute()
    assert projects.models().list(parent=parent).execute() == {}
    assert len(projects.operations().list(name=parent).execute()["operations"]) == 3


def test_lists_are_walked_by_list_next(ml: Any) -> None:
    jobs = ml.projects().jobs()
    for i in range(7):
        jobs.create(parent="projects/p", body={"jobId": f"j{i}"}).execute()
    seen, request = [], jobs.list(parent="projects/p", pageSize=3)
    while request is not None:
        page = request.execute()
        seen += [job["jobId"] for job in page["jobs"]]
        request = jobs.list_next(request, page)
    assert len(seen) == 7


def test_a_study_is_tuned(ml: Any) -> None:
    studies = ml.projects().locations().studies()
    parent = "projects/p/locations/us-central1"
    config = {
        "metrics": [{"metric": "loss", "goal": "MINIMIZE"}],
        "parameters": [{"parameter": "x", "type": "DOUBLE",
                        "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
    }  # fmt: skip
    made = studies.create(parent=parent, studyId="s", body={"studyConfig": config}).execute()
    assert (made["name"], made["state"]) == (f"{parent}/studies/s", "ACTIVE")
    assert studies.get(name=made["name"]).execute() == made
    assert studies.list(parent=parent).execute() == {"studies": [made]}
    trials = studies.trials()
    body = {"suggestionCount": 1, "clientId": "me"}
    operation = trials.suggest(parent=made["name"], body=body).execute()
    operations = ml.projects().locations().operations()
    assert operations.get(name=operation["name"]).execute()["done"] is True
    trial = operation["response"]["trials"][0]["name"]
    point = {"stepCount": "1", "metrics": [{"metric": "loss", "value": 0.0}]}
    trials.addMeasurement(name=trial, body={"measurement": point}).execute()
    check = trials.checkEarlyStoppingState(name=trial, body={}).execute()
    assert not check["response"].get("shouldStop")
    assert trials.stop(name=trial, body={}).execute()["state"] == "STOPPING"
    ended = trials.complete(name=trial, body={"finalMeasurement": point}).execute()
    assert ended["finalMeasurement"]["metrics"] == [{"metric": "loss", "value": 0.0}]
    best = trials.listOptimalTrials(parent=made["name"], body={}).execute()
    assert best == {"trials": [ended]}
    mine = trials.create(parent=made["name"], body={"parameters": []}).execute()
    assert trials.list(parent=made["name"]).execute() == {"trials": [ended, mine]}
    assert trials.delete(name=mine["name"]).execute() == {}
    assert trials.get(name=trial).execute() == ended
    assert studies.delete(name=made["name"]).execute() == {}


def test_an_error_is_read_by_the_client(ml: Any) -> None:
    from googleapiclient.errors import HttpError

    jobs = ml.projects().jobs()
    jobs.create(parent="projects/p", body={"jobId": "a"}).execute()
    with pytest.raises(HttpError) as caught:
        jobs.create(parent="projects/p", body={"jobId": "a"}).execute()
    assert caught.value.resp.status == 409
    assert caught.value.reason == "Field: job.job_id Error: A job with this id already exists."
    assert caught.value.error_details[0]["fieldViolations"][0]["field"] == "job.job_id"
    with pytest.raises(HttpError) as caught:
        ml.projects().models().getIamPolicy(resource="projects/p/models/m").execute()
    assert caught.value.resp.status == 404
