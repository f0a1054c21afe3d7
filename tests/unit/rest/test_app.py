"""Requests in, Google's answers out: names, masks, queries, errors, in the API's own words."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlengine.core.errors import ResourceExhausted, Unavailable
from mlengine.core.resources import LogEntry
from mlengine.rest.app import build_app
from tests.fakes.asgi import AUTHORIZED, HOST, JSON, call
from tests.fakes.engine import FakeEngine

P = "/v1/projects/p"
JOB = {
    "jobId": "census_1",
    "trainingInput": {
        "scaleTier": "CUSTOM",
        "masterType": "n1-standard-4",
        "workerCount": "2",
        "region": "us-central1",
        "args": ["--steps", "5"],
        "hyperparameters": {"maxTrials": 3},
        "scheduling": {"maxRunningTime": "7200s"},
    },
    "labels": {"owner": "alice"},
}
MODEL = {"name": "census", "description": "Who earns what", "regions": ["us-central1"]}
VERSION = {
    "name": "v1",
    "deploymentUri": "gs://b/m",
    "runtimeVersion": "2.1",
    "framework": "XGBOOST",
}


def _send(app: Any, method: str, target: str, body: Any = None) -> Any:
    raw = None if body is None else json.dumps(body).encode()
    return call(app, method, target, body=raw, headers=(*AUTHORIZED, JSON))


def test_a_job_looks_as_google_s_does(app: Any) -> None:
    created = _send(app, "POST", f"{P}/jobs", JOB)
    assert created.status == 200
    etag = created.json["etag"]
    expected = {**JOB, "state": "QUEUED", "createTime": "2018-03-02T06:50:06Z", "etag": etag}
    assert created.json == expected
    assert _send(app, "GET", f"{P}/jobs/census_1").json == expected
    assert _send(app, "GET", f"{P}/jobs").json == {"jobs": [expected]}


def test_snake_case_numbers_and_output_only_fields_are_taken(app: Any) -> None:
    body = {"job_id": "a", "training_input": {"worker_count": 2}, "state": "SUCCEEDED"}
    answer = _send(app, "POST", f"{P}/jobs", body).json
    assert (answer["jobId"], answer["state"]) == ("a", "QUEUED")
    assert answer["trainingInput"] == {"workerCount": "2"}


def test_fields_that_only_google_s_own_client_knows_are_read_over(app: Any) -> None:
    body = {
        "jobId": "a",
        "explanationInput": {},
        "trainingInput": {"nasJobSpec": {}, "scheduling": {"strategy": 1, "maxWaitTime": "1s"}},
        "prediction_input": {"worker_type": "x", "region": "r"},
    }
    answer = _send(app, "POST", f"{P}/jobs", body).json
    assert answer["trainingInput"] == {"scheduling": {"maxWaitTime": "1s"}}
    assert answer["predictionInput"] == {"region": "r"}


def test_a_model_its_version_and_the_operation_look_as_google_s_do(app: Any) -> None:
    model = _send(app, "POST", f"{P}/models", MODEL).json
    assert model == {**MODEL, "name": "projects/p/models/census", "etag": model["etag"]}
    operation = _send(app, "POST", f"{P}/models/census/versions", VERSION).json
    version = {
        **VERSION,
        "name": "projects/p/models/census/versions/v1",
        "isDefault": True,
        "createTime": "2018-03-02T06:50:06Z",
        "state": "READY",
    }
    kind = "type.googleapis.com/google.cloud.ml.v1."
    assert operation == {
        "name": "projects/p/operations/create_version_census-1519973406339",
        "metadata": {
            "@type": kind + "OperationMetadata",
            "createTime": "2018-03-02T06:50:06Z",
            "endTime": "2018-03-02T06:50:06Z",
            "operationType": "CREATE_VERSION",
            "modelName": "projects/p/models/census",
            "version": version,
        },
        "done": True,
        "response": {"@type": kind + "Version", **version},
    }
    assert _send(app, "GET", f"{P}/models/census").json["defaultVersion"] == version


def test_done_is_absent_while_an_operation_runs(app: Any, engine: FakeEngine) -> None:
    engine.begin("p", "create_m_v1-1")
    assert "done" not in _send(app, "GET", f"{P}/operations/create_m_v1-1").json


def test_an_operation_also_answers_under_its_location(app: Any, engine: FakeEngine) -> None:
    engine.begin("p", "op-1")
    regional = f"{P}/locations/us-central1/operations/op-1"
    assert _send(app, "GET", regional).json["name"] == "projects/p/operations/op-1"
    assert _send(app, "POST", f"{regional}:cancel").json == {}
    assert _send(app, "GET", f"{P}/locations/mars/operations/op-1").status == 404


def test_identity_and_locations_look_as_google_s_do(app: Any) -> None:
    assert _send(app, "GET", f"{P}:getConfig").json == {
        "serviceAccount": "service-7@cloud-ml.google.com.iam.gserviceaccount.com",
        "serviceAccountProject": "7",
    }
    location = {"name": "projects/p/locations/us-central1", "capabilities": [{"type": "TRAINING"}]}
    assert _send(app, "GET", f"{P}/locations").json == {"locations": [location]}


@pytest.mark.parametrize("kind", ["jobs", "models", "operations"])
def test_an_empty_list_is_an_empty_object(app: Any, kind: str) -> None:
    assert _send(app, "GET", f"{P}/{kind}").json == {}


@pytest.mark.parametrize("mask", ["updateMask", "update_mask"])
@pytest.mark.parametrize("path", ["default_version.name", "defaultVersion.name"])
@pytest.mark.parametrize("name", ["v2", "projects/p/models/census/versions/v2"])
def test_the_default_version_moves_by_patch(app: Any, mask: str, path: str, name: str) -> None:
    _send(app, "POST", f"{P}/models", MODEL)
    for id in ("v1", "v2"):
        _send(app, "POST", f"{P}/models/census/versions", {**VERSION, "name": id})
    body = {"defaultVersion": {"name": name}}
    assert _send(app, "PATCH", f"{P}/models/census?{mask}={path}", body).status == 200
    assert _send(app, "GET", f"{P}/models/census/versions/v2").json["isDefault"] is True


def test_a_full_name_of_the_same_parent_is_reduced_and_another_s_refused(app: Any) -> None:
    full = {**MODEL, "name": "projects/p/models/census"}
    assert _send(app, "POST", f"{P}/models", full).json["name"] == "projects/p/models/census"
    other = _send(app, "POST", f"{P}/models", {**MODEL, "name": "projects/q/models/census"})
    assert other.status == 400
    assert other.json["error"]["details"][0]["fieldViolations"][0]["field"] == "model.name"


@pytest.mark.parametrize("target", [":cancel", "%3Acancel", "%3acancel"])
def test_a_verb_may_be_encoded(app: Any, engine: FakeEngine, target: str) -> None:
    _send(app, "POST", f"{P}/jobs", JOB)
    assert _send(app, "POST", f"{P}/jobs/census_1{target}", {}).json == {}
    assert engine.jobs["p", "census_1"].state == "CANCELLED"


def test_an_error_is_google_s_envelope(app: Any) -> None:
    _send(app, "POST", f"{P}/jobs", JOB)
    answer = _send(app, "POST", f"{P}/jobs", JOB)
    text = "A job with this id already exists."
    assert answer.status == 409
    assert answer.json == {
        "error": {
            "code": 409,
            "message": f"Field: job.job_id Error: {text}",
            "status": "ALREADY_EXISTS",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{"field": "job.job_id", "description": text}],
                }
            ],
        }
    }


def test_a_quota_names_whose_it_is(app: Any, engine: FakeEngine) -> None:
    def refuse(verb: str) -> None:
        raise ResourceExhausted("Too many jobs.", "Wait.")

    engine.before = refuse
    error = _send(app, "GET", f"{P}/jobs").json["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    violation = {"subject": "p", "description": "Too many jobs. Wait."}
    assert error["details"][0]["violations"] == [violation]


def test_unavailable_says_when_to_come_back(app: Any, engine: FakeEngine) -> None:
    def refuse(verb: str) -> None:
        raise Unavailable("Not now.")

    engine.before = refuse
    answer = _send(app, "GET", f"{P}/jobs")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("method", "target", "status", "text"),
    [
        ("GET", f"{P}/jobs?x=1", 400, 'Unknown name "x"'),
        ("GET", f"{P}/jobs?pageSize=-1", 400, "negative"),
        ("GET", f"{P}/jobs?pageSize=ten", 400, "integer"),
        ("GET", f"{P}/jobs?pageSize=99999999999", 400, "integer"),
        ("GET", f"{P}/jobs?pageSize=1&pageSize=2", 400, "twice"),
        ("GET", f"{P}/jobs?pageToken=forged", 400, "page token"),
        ("GET", f"{P}/jobs?filter=state", 400, "operator"),
        ("GET", f"{P}/jobs?filter=a%FF", 400, "percent-encoded"),
        ("GET", f"{P}/jobs?alt=proto", 400, "alt=json"),
        ("GET", f"{P}/jobs?callback=x", 400, "JSONP"),
        ("GET", f"{P}/jobs?fields=(", 400, "field selection"),
        ("GET", f"{P}/jobs/none", 404, "not found"),
        ("GET", "/v1/projects/P/jobs", 400, "project id"),
        ("GET", "/nothing", 404, "not found on this server"),
        ("PUT", f"{P}/jobs", 405, "Allowed: GET, POST"),
        ("PATCH", f"{P}/models/m", 400, "mask"),
        ("GET", f"{P}/models/m:getIamPolicy", 404, "not found"),
        ("POST", f"{P}/models/m:setIamPolicy", 400, "no policy"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    app: Any, method: str, target: str, status: int, text: str
) -> None:
    answer = _send(app, method, target)
    assert answer.status == status
    assert answer.json["error"]["code"] == status
    assert text in answer.json["error"]["message"]


def test_an_unknown_field_is_named_in_google_s_words(app: Any) -> None:
    message = _send(app, "POST", f"{P}/jobs", {"jobIdd": "a"}).json["error"]["message"]
    start = "Invalid JSON payload received. Unknown name \"jobIdd\" at 'job': Cannot find field."
    assert message.startswith(start)


_TRIALS = f"{P}/locations/local/studies/s/trials"


@pytest.mark.parametrize(
    "target",
    [
        f"{P}/jobs/j:cancel",
        f"{P}/operations/op:cancel",
        f"{P}/locations/local/operations/op:cancel",
        f"{P}/models/m/versions/v:setDefault",
        f"{_TRIALS}/1:stop",
        f"{_TRIALS}/1:checkEarlyStoppingState",
        f"{_TRIALS}:listOptimalTrials",
        "/api/v1/environments:collect?keepBytes=5",
        "/api/v1/runtimes/torch:build",
        "/api/v1/projects/p/keys/k:revoke",
    ],
)
def test_a_field_is_refused_where_a_request_has_none(
    app: Any, engine: FakeEngine, target: str
) -> None:
    asked: list[str] = []
    engine.before = asked.append
    answer = _send(app, "POST", target, {"keepBytes": "5"})
    assert answer.status == 400
    start = 'Invalid JSON payload received. Unknown name "keepBytes": Cannot find field.'
    assert answer.json["error"]["message"].startswith(start)
    assert asked == []


@pytest.mark.parametrize("body", [None, {}])
def test_an_empty_body_is_as_good_as_none(app: Any, body: Any) -> None:
    _send(app, "POST", f"{P}/jobs", JOB)
    assert _send(app, "POST", f"{P}/jobs/census_1:cancel", body).json == {}


def test_system_parameters_are_accepted(app: Any) -> None:
    query = "alt=json&prettyPrint=false&$.xgafv=2&key=k&quotaUser=u&uploadType=&fields=jobs(jobId)"
    _send(app, "POST", f"{P}/jobs", JOB)
    assert _send(app, "GET", f"{P}/jobs?{query}").body == b'{"jobs":[{"jobId":"census_1"}]}'


def test_a_list_is_walked_page_by_page(app: Any) -> None:
    for i in range(7):
        _send(app, "POST", f"{P}/jobs", {"jobId": f"j{i}"})
    seen, token = [], ""
    while True:
        page = _send(app, "GET", f"{P}/jobs?pageSize=3&pageToken={token}").json
        seen += [job["jobId"] for job in page["jobs"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert seen == [f"j{i}" for i in reversed(range(7))]


def test_a_prediction_passes_through_as_it_is(app: Any) -> None:
    _send(app, "POST", f"{P}/models", MODEL)
    body = b'{"instances":[ 1 , NaN ]}'
    answer = call(
        app,
        "POST",
        f"{P}/models/census/versions/v1:predict",
        body=body,
        headers=(*AUTHORIZED, JSON),
    )
    assert answer.json == {"predictions": [len(body)], "version": "v1"}
    assert _send(app, "POST", f"{P}/models/none:predict", {}).status == 404


def test_waiting_for_logs_does_not_keep_anybody_else_waiting(app: Any, engine: FakeEngine) -> None:
    _send(app, "POST", f"{P}/jobs", JOB)
    waiting, go = threading.Semaphore(0), threading.Event()

    def hold(verb: str) -> None:
        if verb == "read_logs":
            waiting.release()
            go.wait(60)

    engine.before = hold
    logs = "/api" + P + "/jobs/census_1/logs?wait_s=0"
    threads = [threading.Thread(target=_send, args=(app, "GET", logs)) for _ in range(40)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert waiting.acquire(timeout=20)
        assert _send(app, "GET", f"{P}/jobs/census_1").status == 200
    finally:
        go.set()
        for thread in threads:
            thread.join(60)


def test_logs_come_after_a_cursor(app: Any, engine: FakeEngine) -> None:
    _send(app, "POST", f"{P}/jobs", JOB)
    for task in ("master-replica-0", "worker-replica-0"):
        engine.say("p", "census_1", LogEntry(message=task, task_name=task, severity="INFO"))
    logs = "/api" + P + "/jobs/census_1/logs"
    page = _send(app, "GET", f"{logs}?taskName=worker-replica-0").json
    assert [entry["message"] for entry in page["entries"]] == ["worker-replica-0"]
    rest = _send(app, "GET", f"{logs}?cursor={page['cursor']}").json
    assert rest == {"entries": [], "cursor": "2", "finished": False}
    assert _send(app, "GET", f"{logs}?wait_s=soon").status == 400


def test_objects_are_stored_listed_read_and_deleted(app: Any) -> None:
    assert _send(app, "POST", "/api/v1/buckets", {"name": "data"}).status == 200
    stored = call(app, "PUT", "/api/v1/buckets/data/content/a/b%20c.csv", body=[b"12", b"34"])
    assert stored.json["size"] == "4"
    assert stored.json["name"] == "a/b c.csv"
    assert _send(app, "GET", "/api/v1/buckets/data/objects/a/b%20c.csv").json == stored.json
    listed = _send(app, "GET", "/api/v1/buckets/data/objects?prefix=a/").json
    assert listed == {"objects": [stored.json]}
    read = call(app, "GET", "/api/v1/buckets/data/content/a/b%20c.csv")
    assert (read.body, read.headers["content-type"]) == (b"1234", "application/octet-stream")
    assert _send(app, "DELETE", "/api/v1/buckets/data").status == 400
    assert _send(app, "DELETE", "/api/v1/buckets/data?force=true").json == {}
    assert _send(app, "GET", "/api/v1/buckets/data/objects").status == 404


def test_a_cut_upload_leaves_nothing(app: Any, engine: FakeEngine) -> None:
    _send(app, "POST", "/api/v1/buckets", {"name": "data"})
    call(app, "PUT", "/api/v1/buckets/data/content/x", body=[b"half"], cut=True)
    assert not engine.objects


_FORM = ("content-type", "application/x-www-form-urlencoded")
_AS_GET = (*AUTHORIZED, ("x-http-method-override", "GET"), _FORM)


def test_a_get_with_a_long_query_comes_as_a_post(app: Any, engine: FakeEngine) -> None:
    asked: list[str] = []
    engine.before = asked.append
    _send(app, "POST", f"{P}/jobs", JOB)
    matching = b"filter=" + b"+OR+".join([b"jobId%3Acensus*"] * 200) + b"&fields=jobs(jobId)"
    found = call(app, "POST", f"{P}/jobs?alt=json", body=matching, headers=_AS_GET)
    assert found.json == {"jobs": [{"jobId": "census_1"}]}
    assert asked == ["create_job", "list_jobs"]
    assert call(app, "POST", f"{P}/jobs:no", body=matching, headers=_AS_GET).status == 404
    assert call(app, "POST", f"{P}/jobs/a:cancel", body=b"a=1", headers=_AS_GET).status == 405


@pytest.mark.parametrize(
    ("method", "override", "form", "status"),
    [
        ("POST", "DELETE", _FORM, 415),
        ("POST", "PATCH", _FORM, 415),
        ("PUT", "GET", _FORM, 405),
        ("POST", "GET", JSON, 400),
    ],
)
def test_no_other_method_comes_as_another(
    app: Any, method: str, override: str, form: tuple[str, str], status: int
) -> None:
    headers = (*AUTHORIZED, ("x-http-method-override", override), form)
    assert call(app, method, f"{P}/jobs", body=b"pageSize=1", headers=headers).status == status


def test_a_query_in_a_body_is_a_query(app: Any) -> None:
    for form in (b"pageSize=x", b"pageSize=1&pageSize=2", b"no=1", b"a" * 40_000):
        assert call(app, "POST", f"{P}/jobs", body=form, headers=_AS_GET).status == 400
    target = f"{P}/jobs?pageSize=1"
    assert call(app, "POST", target, body=b"pageSize=1", headers=_AS_GET).status == 400
    token = call(app, "POST", f"{P}/jobs", body=b"access_token=x", headers=_AS_GET)
    assert token.status == call(app, "GET", f"{P}/jobs?access_token=x").status


def _batch(app: Any, *requests: str, headers: Any = AUTHORIZED) -> list[str]:
    body = "".join(f"--q\r\nContent-ID: <{n}>\r\n\r\n{r}\r\n" for n, r in enumerate(requests))
    kind = ("content-type", "multipart/mixed; boundary=q")
    answer = call(app, "POST", "/batch", body=[body.encode(), b"--q--"], headers=(*headers, kind))
    assert answer.status == 200, answer
    mark = answer.headers["content-type"].partition("=")[2]
    return [part.partition("HTTP/1.1 ")[2] for part in answer.body.decode().split(mark)[1:-1]]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /v1/projects/p/jobs HTTP/1.1", 200),
        (f"GET /v1/projects/p/jobs HTTP/1.1\r\nAuthorization: {AUTHORIZED[1][1]}", 200),
        ("GET /v1/projects/p/jobs HTTP/1.1\r\nAuthorization: Bearer other", 403),
        ("GET /v1/projects/p/jobs?access_token=x HTTP/1.1", 401),
        ("GET /v1/projects/p/jobs HTTP/1.1\r\nContent-Length: 9", 200),
        ("DELETE /v1/projects/p/jobs HTTP/1.1", 405),
        ("GET /v1/projects/p/../jobs HTTP/1.1", 404),
        ("POST /v1/projects/p/models/m:predict HTTP/1.1\r\n\r\n{}", 403),
        ("POST /v1/projects/p/models/m%3Apredict HTTP/1.1\r\n\r\n{}", 403),
        ("POST /v1/projects/p/jobs HTTP/1.1\r\n\r\n{}", 415),
        ("POST /batch HTTP/1.1", 403),
        ("GET /api/v1/status HTTP/1.1", 403),
        ("GET jobs HTTP/1.1", 400),
        ("GET //[ HTTP/1.1", 400),
        ("nothing", 400),
    ],
)
def test_a_part_of_a_batch_is_a_request_by_itself(app: Any, request_line: str, status: int) -> None:
    first, second = _batch(app, request_line, "GET /v1/projects/p/models HTTP/1.1")
    assert first.startswith(f"{status} ")
    assert second.startswith("200 OK")


def test_what_is_no_batch_is_refused(app: Any) -> None:
    assert _send(app, "POST", "/batch", {}).status == 400
    assert call(app, "POST", "/batch", body=b"", headers=[HOST]).status == 401
    assert call(app, "GET", "/batch").status == 405


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ("job_id,training_input(master_type)", {"jobId": "census_1",
         "trainingInput": {"masterType": "n1-standard-4"}}),
        ("trainingInput/hyperparameters/maxTrials", {"trainingInput": {"hyperparameters":
         {"maxTrials": 3}}}),
        ("labels/owner", {"labels": {"owner": "alice"}}),
    ],
)  # fmt: skip
def test_fields_are_chosen_in_either_spelling(app: Any, fields: str, answer: Any) -> None:
    _send(app, "POST", f"{P}/jobs", JOB)
    assert _send(app, "GET", f"{P}/jobs/census_1?fields={fields}").json == answer


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("jobs?fields=items(jobId)", "'items'"),
        ("jobs?fields=jobs(jobId,stat)", "'jobs/stat'. Did you mean 'state'?"),
        ("jobs?fields=jobs/trainingInput/masterConfig/image", "masterConfig/image'"),
        ("locations?fields=locations/capabilities/kind", "'locations/capabilities/kind'"),
    ],
)
def test_fields_that_no_answer_has_are_refused(app: Any, target: str, shown: str) -> None:
    refused = _send(app, "GET", f"{P}/{target}")
    assert refused.status == 400
    assert "Invalid field selection" in refused.json["error"]["message"]
    assert shown in refused.json["error"]["message"]


def test_behind_tls_the_discovery_document_says_https(app: Any, engine: FakeEngine) -> None:
    target = "/$discovery/rest?version=v1"
    proxied = call(app, "GET", target, headers=(*AUTHORIZED, ("x-forwarded-proto", "https")))
    assert proxied.json["rootUrl"] == "https://127.0.0.1:8470/"
    app = build_app(engine, token_digest="d", allowed_hosts=[], scheme="https")
    assert call(app, "GET", target).json["baseUrl"] == "https://127.0.0.1:8470/"


def test_the_descriptions_are_whole(app: Any) -> None:
    discovery = _send(app, "GET", "/$discovery/rest?version=v1").json
    assert discovery["rootUrl"] == discovery["baseUrl"] == "http://127.0.0.1:8470/"
    assert _send(app, "GET", "/$discovery/rest?version=v2").status == 404
    openapi = _send(app, "GET", "/api/v1/openapi.json").json
    uploads = [
        openapi["paths"][path][method]["requestBody"]["content"]
        for path, method in (
            ("/batch", "post"),
            ("/api/v1/buckets/{bucket}/content/{object}", "put"),
        )
    ]
    assert [list(kinds) for kinds in uploads] == [["multipart/mixed"], ["application/octet-stream"]]
    text = json.dumps(openapi)
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in openapi["components"]["schemas"]
    page = _send(app, "GET", "/api/v1/docs")
    assert b"http://" not in page.body
    assert b"https://" not in page.body
    assert "style-src 'sha256-" in page.headers["content-security-policy"]


_FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_fields = [
    "jobId",
    "trainingInput",
    "training_input",
    "predictionInput",
    "name",
    "labels",
    "args",
    "workerCount",
    "region",
    "defaultVersion",
    "autoScaling",
    "minNodes",
    "etag",
    "framework",
    "hyperparameters",
    "scheduling",
    "priority",
]
_keys = st.sampled_from(_fields) | st.text(max_size=4)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)
_targets = st.sampled_from(
    [
        ("POST", f"{P}/jobs"),
        ("PATCH", f"{P}/jobs/a?updateMask=labels"),
        ("POST", f"{P}/models"),
        ("PATCH", f"{P}/models/a?updateMask=default_version.name"),
        ("POST", f"{P}/models/a/versions"),
        ("PATCH", f"{P}/models/a/versions/a?updateMask=labels"),
        ("POST", f"{P}/models/a:predict"),
        ("POST", "/api/v1/buckets"),
    ]
)


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(_targets, st.dictionaries(_keys, _values, max_size=5))
def test_no_json_body_is_our_mistake(app: Any, target: tuple[str, str], body: Any) -> None:
    assert _send(app, *target, body).status < 500


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(_targets, st.binary(max_size=60))
def test_no_bytes_are_our_mistake(app: Any, target: tuple[str, str], body: bytes) -> None:
    assert call(app, *target, body=body, headers=(*AUTHORIZED, JSON)).status < 500
