"""Every route of the running engine, by every method and every kind of caller.

`TABLE` is the decision, written by hand: who may call what. A route that the engine has and the
table has not, or the other way round, fails, so nobody adds one without deciding.
"""

from __future__ import annotations

import re

import pytest

from mlengine.rest import documents, ml_v1, own
from tests.live.engines import LiveEngine
from tests.security.wire import LEAKS, send

# Methods that the path answers; "open" needs no token. All others of the list below: 405.
_LOCATION = "/v1/projects/{project}/locations"
_MODEL = "/v1/projects/{project}/models/{model}"
_STUDY = _LOCATION + "/{location}/studies"
_TFSERVING = "/v1/models/{model}"
_INFERENCE = "/v2/models/{model}"
# The gateway's own: it answers them itself, or asks a worker, and never the engine.
_GATEWAY = {
    "/healthz": "GET HEAD open",
    "/metrics": "GET HEAD",
    "/api/v1/limits": "GET HEAD",
    "/v2": "GET HEAD",
    "/v2/health/live": "GET HEAD open",
    "/v2/health/ready": "GET HEAD open",
    _INFERENCE: "GET HEAD",
    _INFERENCE + "/ready": "GET HEAD",
    _INFERENCE + "/infer": "POST",
    _INFERENCE + "/versions/{version}": "GET HEAD",
    _INFERENCE + "/versions/{version}/ready": "GET HEAD",
    _INFERENCE + "/versions/{version}/infer": "POST",
    _TFSERVING: "GET HEAD",
    _TFSERVING + "/metadata": "GET HEAD",
    _TFSERVING + "/versions/{version}": "GET HEAD",
    _TFSERVING + "/versions/{version}/metadata": "GET HEAD",
    _TFSERVING + "/labels/{version}": "GET HEAD",
    _TFSERVING + "/labels/{version}/metadata": "GET HEAD",
    **{
        f"{_TFSERVING}{place}:{verb}": "POST"
        for place in ("", "/versions/{version}", "/labels/{version}")
        for verb in ("predict", "classify", "regress")
    },
}
_TRIAL = _STUDY + "/{study}/trials"
TABLE: dict[str, str] = {
    **_GATEWAY,
    "/$discovery/rest": "GET open",
    "/api/v1/docs": "GET open",
    "/api/v1/health": "GET open",
    "/api/v1/openapi.json": "GET open",
    "/api/v1/status": "GET",
    "/api/v1/buckets": "GET POST",
    "/api/v1/buckets/{bucket}": "DELETE",
    "/api/v1/buckets/{bucket}/objects": "GET",
    "/api/v1/buckets/{bucket}/objects/{object...}": "GET DELETE",
    "/api/v1/buckets/{bucket}/content/{object...}": "GET PUT",
    "/api/v1/projects/{project}/keys": "GET POST",
    "/api/v1/projects/{project}/keys/{key}": "GET",
    "/api/v1/projects/{project}/keys/{key}:revoke": "POST",
    "/api/v1/projects/{project}/jobs/{job}/logs": "GET",
    "/api/v1/projects/{project}/jobs/{job}/metrics": "GET",
    "/batch": "POST",
    "/api/v1/runtimes": "GET",
    "/api/v1/runtimes/{runtime}": "GET DELETE",
    "/api/v1/runtimes/{runtime}:build": "POST",
    "/api/v1/environments:collect": "POST",
    "/api" + _MODEL + "/stats": "GET",
    "/api" + _MODEL + "/traffic": "GET PUT DELETE",
    "/api" + _MODEL + "/traffic:compare": "GET",
    "/api" + _MODEL + "/outcomes": "POST",
    "/api" + _MODEL + "/predictions": "GET",
    "/api" + _MODEL + "/versions/{version}/logs": "GET",
    "/api/v1/projects/{project}/predictions:label": "POST",
    "/v1/projects/{project}:getConfig": "GET",
    "/v1/projects/{project}/jobs": "GET POST",
    "/v1/projects/{project}/jobs/{job}": "GET PATCH",
    "/v1/projects/{project}/jobs/{job}:cancel": "POST",
    "/v1/projects/{project}/jobs/{job}:getIamPolicy": "GET",
    "/v1/projects/{project}/jobs/{job}:setIamPolicy": "POST",
    "/v1/projects/{project}/jobs/{job}:testIamPermissions": "POST",
    "/v1/projects/{project}/models": "GET POST",
    _MODEL: "GET PATCH DELETE",
    _MODEL + ":predict": "POST",
    _MODEL + ":explain": "POST",
    _MODEL + ":getIamPolicy": "GET",
    _MODEL + ":setIamPolicy": "POST",
    _MODEL + ":testIamPermissions": "POST",
    _MODEL + "/versions": "GET POST",
    _MODEL + "/versions/{version}": "GET PATCH DELETE",
    _MODEL + "/versions/{version}:predict": "POST",
    _MODEL + "/versions/{version}:explain": "POST",
    _MODEL + "/versions/{version}:setDefault": "POST",
    "/v1/projects/{project}/operations": "GET",
    "/v1/projects/{project}/operations/{operation}": "GET",
    "/v1/projects/{project}/operations/{operation}:cancel": "POST",
    _LOCATION: "GET",
    _LOCATION + "/{location}": "GET",
    _LOCATION + "/{location}/operations/{operation}": "GET",
    _LOCATION + "/{location}/operations/{operation}:cancel": "POST",
    _STUDY: "GET POST",
    _STUDY + "/{study}": "GET DELETE",
    _TRIAL: "GET POST",
    _TRIAL + ":suggest": "POST",
    _TRIAL + ":listOptimalTrials": "POST",
    _TRIAL + "/{trial}": "GET DELETE",
    _TRIAL + "/{trial}:addMeasurement": "POST",
    _TRIAL + "/{trial}:complete": "POST",
    _TRIAL + "/{trial}:checkEarlyStoppingState": "POST",
    _TRIAL + "/{trial}:stop": "POST",
}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")
# These are no HTTP methods; what they would do is not even asked.
STRANGE = ("get", "post", "Delete", "FROB")


def test_the_table_names_every_route_that_is_served() -> None:
    tables = (*ml_v1.ROUTES, *own.ROUTES)
    served = {path: set(words.split()) for path, words in _GATEWAY.items()}
    for route in (*tables, *documents.routes(tables)):
        words = {route.method} | ({"open"} if route.is_open else set())
        served.setdefault(route.path, set()).update(words)
    assert served == {path: set(words.split()) for path, words in TABLE.items()}


def test_the_engine_serves_what_its_tables_say(live: LiveEngine) -> None:
    described = send(live, "GET", "/api/v1/openapi.json", token="").json["paths"]
    served = {path: {method.upper() for method in methods} for path, methods in described.items()}
    assert served == {
        path.replace("...}", "}"): set(words.split()) - {"open"}
        for path, words in TABLE.items()
        if path not in _GATEWAY
    }


@pytest.mark.parametrize("path", TABLE)
def test_every_method_of_every_path_is_decided_for_every_caller(
    live: LiveEngine, path: str
) -> None:
    allowed = set(TABLE[path].split())
    target = re.sub(r"\{[a-z]+(\.\.\.)?\}", "x9", path)
    for method in METHODS:
        is_open = "open" in allowed and method in allowed
        without = 200 if is_open else 401
        for label, status, token, headers in (
            ("no token", without, "", {}),
            ("another token", without, "mle_" + "A" * 43, {}),
            ("a method in a header", without, "", {"X_HTTP_Method_Override": "GET"}),
            ("no token, foreign host", 403, "", {"Host": "evil.example"}),
            ("foreign host", 403, None, {"Host": "evil.example"}),
            ("foreign page", 403, None, {"Origin": "http://evil.example"}),
            ("null page", 403, None, {"Origin": "null"}),
            ("cross site", 403, None, {"Sec_Fetch_Site": "cross-site"}),
            ("same site", 403, None, {"Sec_Fetch_Site": "same-site", "User_Agent": "curl/8"}),
        ):
            reply = send(live, method, target, token=token, **headers)
            assert reply.status == status, (method, path, label)
            assert "access-control-allow-origin" not in reply.headers
            assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", TABLE)
def test_the_token_opens_the_methods_of_the_table_and_no_other(live: LiveEngine, path: str) -> None:
    allowed = set(TABLE[path].split())
    target = re.sub(r"\{[a-z]+(\.\.\.)?\}", "x9", path)
    for method in METHODS:
        body = b"" if method in ("POST", "PUT", "PATCH") else None
        for override in ({}, {"X_HTTP_Method_Override": "DELETE"}):
            reply = send(live, method, target, body, **override)
            if method in allowed:
                assert reply.status in (200, 400, 404, 501), (method, path, reply.text)
            elif path in ("/healthz", "/metrics"):
                assert reply.status == 404, (method, path)  # behind it there is no such path
            else:
                assert reply.status == 405, (method, path, reply.text)
                assert set(reply.headers["allow"].split(", ")) == allowed - {"open"}
            assert reply.status < 400 or not re.search(LEAKS, reply.text), reply.text


@pytest.mark.parametrize("path", TABLE)
def test_a_word_that_is_no_method_does_nothing(live: LiveEngine, path: str) -> None:
    target = re.sub(r"\{[a-z]+(\.\.\.)?\}", "x9", path)
    for method in STRANGE:
        for token in ("", None):
            assert send(live, method, target, token=token).status in (400, 405), (method, path)


def test_what_is_no_route_needs_the_token_and_is_then_not_found(live: LiveEngine) -> None:
    for target in (
        "/", "/v1", "/v1/", "/v2/projects/x/jobs", "/metrics/", "/console", "/static/x.js",
        "/api/v1/health/", "//api/v1/health", "/api/v1/health;x", "/healthz/",
        "/HEALTHZ", "/%68ealthz", "/healthz/../v1/projects/x/jobs", "/api/v1/./status",
        "/v1/projects/x/jobs/", "/v1/projects/x%2fjobs", "/v1/projects/x/jobs/a/../b",
        "/api/v1/buckets/../../etc/passwd", "/v1/projects/x/models/y/versions/z/extra",
    ):  # fmt: skip
        for method in ("GET", "POST", "DELETE"):
            assert send(live, method, target, token="").status == 401, (method, target)
            assert send(live, method, target).status in (400, 404), (method, target)


def test_another_spelling_of_an_open_path_is_not_open(live: LiveEngine) -> None:
    """The router decodes a path once; the guard compares it as it was sent."""
    for target in ("/api/v1/%68ealth", "/api/v1/do%63s", "/%24discovery/rest"):
        assert send(live, "GET", target, token="").status == 401, target
        assert send(live, "GET", target).status == 200, target


def test_without_an_engine_behind_it_the_gateway_decides_the_same(live: LiveEngine) -> None:
    """Also in the seconds in which the engine is started again."""
    live.kill()
    try:
        for path, words in TABLE.items():
            target = re.sub(r"\{[a-z]+(\.\.\.)?\}", "x9", path)
            method = words.split()[0]
            closed = "open" not in words
            assert (send(live, method, target, token="").status == 401) is closed, path
            assert send(live, method, target, Host="evil.example").status == 403
            assert send(live, method, target, Origin="http://evil.example").status == 403
            reply = send(live, method, target)
            assert reply.status in (200, 404, 503), path
            assert not re.search(LEAKS, reply.text), reply.text
    finally:
        live.start()
