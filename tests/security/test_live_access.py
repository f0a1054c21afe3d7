"""Who may call what: every route of the running engine, by every kind of key.

`TABLE` is the decision, written by hand, not derived from the code that decides: a route that the
engine has and the table has not fails, so nobody adds one without saying who may call it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.client.http import HttpEngine
from mlengine.core.clock import SystemClock, rfc3339
from mlengine.core.errors import InvalidArgument
from mlengine.core.keys import Key
from mlengine.core.policies import Binding, Policy
from mlengine.core.resources import Model
from mlengine.prediction.sockets import socket_dir
from mlengine.rest import documents, ml_v1, own
from tests.live.engines import LiveEngine
from tests.security.test_live_routes import METHODS
from tests.security.wire import Reply, send
from tests.waiting import wait_until

# Who may, besides the engine's own token: v(iewer), d(eveloper), a(dmin), m (a key of this model
# and no more), k (keeps an eye on the engine), o (an admin of another project).
# "-" is nobody else; "open" needs no token.
_M, _J = "/v1/projects/{project}/models/{model}", "/v1/projects/{project}/jobs/{job}"
_V = _M + "/versions/{version}"
_L = "/v1/projects/{project}/locations"
_S = _L + "/{location}/studies"
_T = _S + "/{study}/trials"
_B, _R = "/api/v1/buckets", "/api/v1/runtimes"
_K = "/api/v1/projects/{project}/keys"
TABLE = {
    f"POST {_M}:predict": "dam",
    f"POST {_V}:predict": "dam",
    f"POST {_M}:explain": "dam",
    f"POST {_V}:explain": "dam",
    "GET /v1/projects/{project}:getConfig": "vda",
    "POST /v1/projects/{project}/jobs": "da",
    "GET /v1/projects/{project}/jobs": "vda",
    f"GET {_J}": "vda",
    f"PATCH {_J}": "a",
    f"POST {_J}:cancel": "a",
    f"GET {_J}:getIamPolicy": "da",
    f"POST {_J}:setIamPolicy": "a",
    f"POST {_J}:testIamPermissions": "vdamko",
    "POST /v1/projects/{project}/models": "da",
    "GET /v1/projects/{project}/models": "vda",
    f"GET {_M}": "vda",
    f"PATCH {_M}": "a",
    f"DELETE {_M}": "a",
    f"GET {_M}:getIamPolicy": "da",
    f"POST {_M}:setIamPolicy": "a",
    f"POST {_M}:testIamPermissions": "vdamko",
    f"POST {_M}/versions": "a",
    f"GET {_M}/versions": "vda",
    f"GET {_V}": "vda",
    f"PATCH {_V}": "a",
    f"DELETE {_V}": "a",
    f"POST {_V}:setDefault": "a",
    "GET /v1/projects/{project}/operations": "vda",
    "GET /v1/projects/{project}/operations/{operation}": "vda",
    "POST /v1/projects/{project}/operations/{operation}:cancel": "a",
    f"GET {_L}": "vda",
    f"GET {_L}/{{location}}": "vda",
    f"GET {_L}/{{location}}/operations/{{operation}}": "vda",
    f"POST {_L}/{{location}}/operations/{{operation}}:cancel": "a",
    f"POST {_S}": "da",
    f"GET {_S}": "vda",
    f"GET {_S}/{{study}}": "vda",
    f"DELETE {_S}/{{study}}": "da",
    f"POST {_T}": "da",
    f"GET {_T}": "vda",
    f"GET {_T}/{{trial}}": "vda",
    f"DELETE {_T}/{{trial}}": "da",
    f"POST {_T}:suggest": "da",
    f"POST {_T}:listOptimalTrials": "vda",
    f"POST {_T}/{{trial}}:addMeasurement": "da",
    f"POST {_T}/{{trial}}:complete": "da",
    f"POST {_T}/{{trial}}:checkEarlyStoppingState": "da",  # one that should stop is STOPPING then
    f"POST {_T}/{{trial}}:stop": "da",
    "GET /api/v1/status": "vdako",
    f"POST {_B}": "dao",
    f"GET {_B}": "dao",
    f"DELETE {_B}/{{bucket}}": "-",
    f"GET {_B}/{{bucket}}/objects": "dao",
    f"GET {_B}/{{bucket}}/objects/{{object...}}": "dao",
    f"DELETE {_B}/{{bucket}}/objects/{{object...}}": "dao",
    f"GET {_B}/{{bucket}}/content/{{object...}}": "dao",
    f"PUT {_B}/{{bucket}}/content/{{object...}}": "dao",
    "GET /api" + _J + "/logs": "vda",
    "GET /api" + _J + "/metrics": "vda",
    f"GET {_R}": "vdao",
    f"GET {_R}/{{runtime}}": "vdao",
    f"POST {_R}/{{runtime}}:build": "dao",
    f"DELETE {_R}/{{runtime}}": "-",
    "POST /api/v1/environments:collect": "-",
    "GET /api" + _M + "/traffic": "vda",
    "PUT /api" + _M + "/traffic": "a",
    "DELETE /api" + _M + "/traffic": "a",
    "GET /api" + _M + "/traffic:compare": "vda",
    "GET /api" + _M + "/stats": "vda",
    "POST /api" + _M + "/outcomes": "dam",
    "GET /api" + _M + "/predictions": "da",
    "GET /api" + _V + "/logs": "da",
    "POST /api/v1/projects/{project}/predictions:label": "da",
    f"POST {_K}": "a",
    f"GET {_K}": "a",
    f"GET {_K}/{{key}}": "a",
    f"POST {_K}/{{key}}:revoke": "a",
    "POST /batch": "vdamko",  # each part is asked for what it needs by itself
    "GET /$discovery/rest": "open",
    "GET /api/v1/docs": "open",
    "GET /api/v1/health": "open",
    "GET /api/v1/openapi.json": "open",
}
# The gateway's own; it decides these without the engine. Their models are of the project `default`.
GATEWAY = {
    "GET /metrics": "k",
    "GET /api/v1/limits": "vdamko",
    "GET /v2": "vdamko",
    "GET /v2/models/{model}": "dam",
    "GET /v2/models/{model}/ready": "dam",
    "POST /v2/models/{model}/infer": "dam",
    "GET /v2/models/{model}/versions/{version}": "dam",
    "POST /v2/models/{model}/versions/{version}/infer": "dam",
    "GET /v1/models/{model}": "dam",
    "GET /v1/models/{model}/metadata": "dam",
    "GET /v1/models/{model}/versions/{version}": "dam",
    "POST /v1/models/{model}:predict": "dam",
    "POST /v1/models/{model}:classify": "dam",
    "POST /v1/models/{model}/versions/{version}:regress": "dam",
    "POST /v1/models/{model}/labels/{version}:predict": "dam",
    "GET /healthz": "open",
    "GET /v2/health/live": "open",
    "GET /v2/health/ready": "open",
}
_ID = "x9"
_KEYS = {
    "v": Key(role="viewer"),
    "d": Key(role="developer"),
    "a": Key(role="admin"),
    "m": Key(models=[_ID]),
    "k": Key(role="monitor"),
}


class Callers:
    """Tokens by letter, of keys in the project that a row is about; and tokens that open nothing.

    They are as many as rows of a database, and so are made once.
    """

    def __init__(self, engine: LiveEngine) -> None:
        short = _short_lived(engine)
        self._tokens: dict[str, dict[str, str]] = {}
        for project in (_ID, "default"):
            of = self._tokens[project] = {}
            for letter, key in _KEYS.items():
                of[letter] = _make(engine, project, key, name=f"walk-{letter}")
        for project, other in ((_ID, "default"), ("default", _ID)):
            self._tokens[project]["o"] = self._tokens[other]["a"]
        revoked = _make(engine, _ID, Key(role="admin"), name="walk-revoked")
        engine.client.revoke_key(_ID, "walk-revoked")
        wait_until(lambda: send(engine, "GET", "/api/v1/limits", token=short).status == 401)
        self.nobodies = {
            "no token": "",
            "another engine's": "mle_" + "A" * 43,
            "a made up key": "mlk_" + "A" * 43,
            "a digest": "0" * 64,
            "expired": short,
            "revoked": revoked,
        }

    def of(self, row: str) -> dict[str, str]:
        """Return the tokens for a row: letter → token."""
        return self._tokens["default" if row in GATEWAY else _ID]


def _make(engine: LiveEngine, project: str, key: Key, *, name: str) -> str:
    key.name = name
    return engine.client.create_key(project, key).key_string


def _short_lived(engine: LiveEngine) -> str:
    """Return a key that expires in a moment, however slow the machine is."""
    for seconds in (3, 10, 60):
        ends = SystemClock().now() + datetime.timedelta(seconds=seconds)
        key = Key(role="admin", expire_time=rfc3339(ends))
        try:
            return _make(engine, _ID, key, name=f"walk-short-{seconds}")
        except InvalidArgument:  # it took so long that the key would be over already
            continue
    raise AssertionError("a key took a minute to be made")


@pytest.fixture(scope="module")
def callers(live: LiveEngine) -> Callers:
    return Callers(live)


def _target(row: str) -> tuple[str, str]:
    method, path = row.split(" ", 1)
    return method, re.sub(r"\{[a-z]+(\.\.\.)?\}", _ID, path)


def _ask(engine: LiveEngine, method: str, target: str, token: str) -> Reply:
    body = b"" if method in ("POST", "PUT", "PATCH") else None
    return send(engine, method, target, body, token=token)


def test_the_table_names_every_route_that_is_served() -> None:
    tables = (*ml_v1.ROUTES, *own.ROUTES)
    served = [f"{r.method} {r.path}" for r in (*tables, *documents.routes(tables))]
    assert sorted(served) == sorted(TABLE)


@pytest.mark.parametrize("row", [*TABLE, *GATEWAY])
def test_every_route_is_decided_for_every_caller(
    live: LiveEngine, callers: Callers, row: str
) -> None:
    allowed = {**TABLE, **GATEWAY}[row]
    method, target = _target(row)
    for who, token in callers.nobodies.items():
        reply = _ask(live, method, target, token)
        assert (reply.status == 401) is (allowed != "open"), (who, reply.text)
    for letter, token in callers.of(row).items():
        reply = _ask(live, method, target, token)
        if allowed == "open" or letter in allowed:
            # Nothing of that name is there, and nothing that could be made was sent.
            assert reply.status in (200, 400, 404, 501), (letter, reply.text)
        else:
            assert reply.status == 403, (letter, reply.text)
            assert row in GATEWAY or reply.json["error"]["status"] == "PERMISSION_DENIED"


@pytest.mark.parametrize("path", sorted({row.split(" ", 1)[1] for row in TABLE}))
def test_another_method_is_no_way_in(live: LiveEngine, callers: Callers, path: str) -> None:
    for method in METHODS:
        row = f"{method} {path}"
        if row in TABLE:
            continue
        _method, target = _target(row)
        token = callers.of(row)["v"]
        reply = send(live, method, target, token=token, X_HTTP_Method_Override="DELETE")
        assert reply.status == 405, (row, reply.text)


def test_what_is_no_route_is_found_by_nobody(live: LiveEngine, callers: Callers) -> None:
    for target in ("/v1", "/v1/projects/x9/secrets", "/api/v1/health/", "/v1/projects/x9/jobs/"):
        for token in callers.of("").values():
            assert send(live, "GET", target, token=token).status in (400, 404), target


# --- other people's things ----------------------------------------------------------------------


def test_what_is_anothers_looks_like_what_is_not_there(
    serving: LiveEngine, callers: Callers
) -> None:
    """`line` is a model of the project `default`; nobody has made `nine`."""
    stranger = callers.of("")["a"]
    rows = [row for row in TABLE if "{model}" in row or "{job}" in row]
    for row in rows:
        if row.endswith("testIamPermissions"):
            continue
        method, path = row.split(" ", 1)
        replies = []
        for name in ("line", "nine"):
            target = path.replace("{project}", "default").replace("{version}", "v1")
            target = target.replace("{model}", name).replace("{job}", name)
            reply = _ask(serving, method, target, stranger)
            replies.append((reply.status, reply.body.replace(name.encode(), b"?")))
        assert replies[0] == replies[1] and replies[0][0] == 403, row


def test_a_page_token_is_its_callers_own(live: LiveEngine, callers: Callers) -> None:
    for i in range(3):
        live.client.create_model(_ID, Model(name=f"page{i}"))
    target = f"/v1/projects/{_ID}/models?pageSize=1"
    tokens = callers.of("")
    page = send(live, "GET", target, token=tokens["v"]).json["nextPageToken"]
    assert send(live, "GET", f"{target}&pageToken={page}", token=tokens["v"]).status == 200
    for other in (tokens["d"], tokens["a"], None):
        reply = send(live, "GET", f"{target}&pageToken={page}", token=other)
        assert (reply.status, reply.json["error"]["status"]) == (400, "OUT_OF_RANGE")


def test_a_job_may_not_ask_what_its_maker_may_not(serving: LiveEngine, callers: Callers) -> None:
    """A batch prediction runs as the engine; it is its maker's right that counts."""
    for name in ("projects/default/models/line", "projects/default/models/nine"):
        job = {"jobId": "thief", "predictionInput": {
            "modelName": name, "inputPaths": ["gs://mine/in"], "outputPath": "gs://mine/out",
            "dataFormat": "JSON", "region": "us-central1"}}  # fmt: skip
        body = json.dumps(job).encode()
        target = f"/v1/projects/{_ID}/jobs"
        reply = send(serving, "POST", target, body, token=callers.of("")["d"])
        assert reply.status == 403, reply.text
        assert "prediction_input.model_name" in reply.text


def test_whoever_makes_a_model_owns_it(live: LiveEngine, callers: Callers) -> None:
    developer = callers.of("")["d"]
    body = b'{"name":"own"}'
    made = send(live, "POST", f"/v1/projects/{_ID}/models", body, token=developer)
    assert made.status == 200, made.text
    theirs = f"/v1/projects/{_ID}/models/own"
    assert send(live, "GET", theirs + ":getIamPolicy", token=developer).json["bindings"] == [
        {"role": "roles/ml.modelOwner", "members": ["serviceAccount:walk-d"]}
    ]
    deleted = send(live, "DELETE", theirs, token=developer)
    assert deleted.status == 200, deleted.text
    name = deleted.json["name"]
    assert send(live, "POST", f"/v1/{name}:cancel", b"", token=developer).status == 200
    assert send(live, "POST", f"/v1/{name}:cancel", b"", token=callers.of("")["v"]).status == 403


def test_no_admin_makes_a_key_that_is_more_than_its_own(live: LiveEngine, callers: Callers) -> None:
    admin = callers.of("")["a"]
    keys = f"/api/v1/projects/{_ID}/keys"
    reply = send(live, "POST", keys, b'{"name":"spy","role":"monitor"}', token=admin)
    assert reply.status == 403 and "key.role" in reply.text
    made = send(live, "POST", keys, b'{"name":"helper","role":"admin"}', token=admin)
    assert made.status == 200
    elsewhere = "/api/v1/projects/default/keys"
    assert send(live, "GET", elsewhere, token=made.json["keyString"]).status == 403


# --- a policy holds -----------------------------------------------------------------------------


@pytest.fixture
def ml(serving: LiveEngine) -> Iterator[Any]:
    discovery = pytest.importorskip("googleapiclient.discovery")
    credentials = pytest.importorskip("google.oauth2.credentials")
    with discovery.build(
        "ml", "v1", credentials=credentials.Credentials(serving.token),
        client_options={"api_endpoint": serving.url}, static_discovery=True,
    ) as service:  # fmt: skip
        yield service.projects().models()


def _predict(engine: LiveEngine, token: str) -> int:
    body = b'{"instances": [[3.0]]}'
    target = "/v1/projects/default/models/line:predict"
    return send(engine, "POST", target, body, token=token).status


def test_a_policy_that_googles_client_sets_holds(serving: LiveEngine, ml: Any) -> None:
    token = _make(serving, "default", Key(), name="stranger")
    role = {"role": "roles/ml.modelUser", "members": ["serviceAccount:stranger"]}
    line = "projects/default/models/line"
    assert _predict(serving, token) == 403
    before = ml.getIamPolicy(resource=line, options_requestedPolicyVersion=3).execute()
    assert "bindings" not in before
    body = {"policy": {"bindings": [role], "etag": before["etag"]}, "updateMask": "bindings,etag"}
    after = ml.setIamPolicy(resource=line, body=body).execute()
    assert after["bindings"] == [role]
    assert _predict(serving, token) == 200
    with pytest.raises(Exception, match="concurrent policy changes"):
        ml.setIamPolicy(resource=line, body=body).execute()
    asked = {"permissions": ["ml.models.predict", "ml.models.delete", "ml.jobs.create"]}
    held = ml.testIamPermissions(resource=line, body=asked).execute()
    assert held == {"permissions": ["ml.models.predict", "ml.models.delete"]}
    assert ml.testIamPermissions(resource=line + "s", body=asked).execute() == {}
    reply = send(serving, "POST", f"/v1/{line}:testIamPermissions", json.dumps(asked).encode(),
                 token=token)  # fmt: skip
    assert reply.json == {"permissions": ["ml.models.predict"]}
    ml.setIamPolicy(resource=line, body={"policy": {"etag": after["etag"]}}).execute()
    assert _predict(serving, token) == 403


def test_everybody_with_a_key_may_be_let_in_and_out(serving: LiveEngine, callers: Callers) -> None:
    stranger = callers.of("")["m"]  # of another project, and of another model
    assert _predict(serving, stranger) == 403
    everybody = Binding(role="roles/ml.modelUser", members=["allAuthenticatedUsers"])
    public = Policy(bindings=[everybody])
    serving.client.set_iam_policy("models", "default", "line", public)
    assert _predict(serving, stranger) == 200
    assert _predict(serving, "") == 401
    serving.client.set_iam_policy("models", "default", "line", Policy())
    assert _predict(serving, stranger) == 403


def test_a_revoked_key_predicts_no_more_from_that_moment_on(serving: LiveEngine) -> None:
    token = _make(serving, "default", Key(models=["line"]), name="leaving")
    assert _predict(serving, token) == 200
    serving.client.revoke_key("default", "leaving")
    assert _predict(serving, token) == 401


def test_a_gateway_that_died_comes_back_without_the_revoked_key(serving: LiveEngine) -> None:
    token = _make(serving, "default", Key(models=["line"]), name="surviving")
    assert _predict(serving, token) == 200
    with _behind_the_gateway(serving) as engine:
        os.kill(_gateway_pid(serving), signal.SIGKILL)
        engine.revoke_key("default", "surviving")
    assert _predict(serving, token) == 401


def _behind_the_gateway(engine: LiveEngine) -> HttpEngine:
    return HttpEngine(f"unix:{socket_dir(engine.home / 'run')}/engine.sock", engine.token)


def _gateway_pid(engine: LiveEngine) -> int:
    return int(json.loads((engine.home / "run" / "gateway.json").read_text())["pid"])


def test_a_keys_text_is_nowhere_and_its_deeds_are_in_the_log(
    live: LiveEngine, callers: Callers
) -> None:
    texts = [t.encode() for t in (*callers.of("").values(), callers.nobodies["revoked"])]
    seen = 0
    for path in [Path(at, name) for at, _, names in os.walk(live.home) for name in names]:
        with contextlib.suppress(FileNotFoundError):  # the engine lives: files come and go
            data = path.read_bytes() if path.is_file() else b""
            seen += bool(data)
            assert not any(text in data for text in texts), path
    assert seen > 5
    for method in ("GET", "POST"):
        _ask(live, method, f"/v1/projects/{_ID}/models", callers.of("")["v"])
    log = (live.home / "daemon.log").read_text()
    assert f"projects/{_ID}/keys/walk-v: ml.projects.models.create" in log
    assert "walk-v: ml.projects.models.list" not in log
