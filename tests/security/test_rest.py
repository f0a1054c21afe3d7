"""The control plane, attacked: no call without the token, none from a web page, no trick works.

The route walk is the heart: every route of every table, with every method, decided. A route that
is served but stands in no table, or stands in one without a decision, fails it.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

import pytest

from mlengine.core.access import token_digest
from mlengine.rest import ml_v1, own
from mlengine.rest.app import build_app
from mlengine.rest.documents import routes as document_routes
from mlengine.rest.routes import Route
from tests.fakes.asgi import AUTHORIZED, HOST, JSON, TOKEN, call
from tests.fakes.engine import FakeEngine

TABLES = (*ml_v1.ROUTES, *own.ROUTES)
ROUTES = (*TABLES, *document_routes(TABLES))
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "get", "FROB")
OPEN = {"/api/v1/health", "/api/v1/docs", "/api/v1/openapi.json", "/$discovery/rest"}
P = "/v1/projects/p"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def app(engine: FakeEngine) -> Any:
    return build_app(
        engine,
        token_digest=token_digest(TOKEN),
        allowed_hosts=["ml.example"],
        max_body_bytes=100_000,
        max_object_bytes=200_000,
    )


def _path(route: Route) -> str:
    return re.sub(r"\{[a-z]+(\.\.\.)?\}", "x", route.path).replace("{", "")


def _allowed(path: str) -> set[str]:
    return {r.method for r in ROUTES if _path(r) == path}


PATHS = sorted({_path(r) for r in ROUTES})


# --- who may call -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
def test_every_route_and_method_is_decided(app: Any, path: str, method: str) -> None:
    needs_token = not (path in OPEN and method == "GET")
    for headers, status in (
        ((HOST,), 401),
        ((HOST, ("authorization", "Bearer wrong")), 401),
        ((HOST, ("authorization", f"Basic {TOKEN}")), 401),
        ((HOST, ("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer x")), 401),
    ):
        answer = call(app, method, path, headers=headers)
        assert (answer.status == status) is needs_token, headers
    foreign = (("host", "evil.example"), *AUTHORIZED[1:])
    assert call(app, method, path, headers=foreign).status == 403
    page = (*AUTHORIZED, ("origin", "http://evil.example"), ("user-agent", "curl/8"))
    assert call(app, method, path, headers=page).status == 403
    cross = (*AUTHORIZED, ("sec-fetch-site", "cross-site"))
    assert call(app, method, path, headers=cross).status == 403
    answer = call(app, method, path)
    assert (answer.status == 405) is (method not in _allowed(path))


def test_only_these_paths_need_no_token() -> None:
    assert {r.path for r in ROUTES if r.is_open} == OPEN
    assert all(r.method == "GET" for r in ROUTES if r.is_open)


def test_what_is_served_is_what_the_tables_say(app: Any) -> None:
    described = call(app, "GET", "/api/v1/openapi.json", headers=(HOST,)).json["paths"]
    served = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert served == {(r.method, r.path.replace("...}", "}")) for r in ROUTES}


def test_nobody_without_a_token_learns_which_paths_exist(app: Any) -> None:
    for target in ("/", "/nothing", "/v1", "/api/v1/healthz", "//api/v1/health"):
        assert call(app, "GET", target, headers=(HOST,)).status == 401


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/health/",
        "//api/v1/health",
        "/api//v1/health",
        "/api/v1/%68ealth",
        "/api/v1/./health",
        "/api/v1/status/../health",
        "/api/v1/health;x",
        "/api/v1/health%2f",
        "/API/v1/health",
    ],
)
def test_another_spelling_of_an_open_path_is_not_open(app: Any, target: str) -> None:
    assert call(app, "GET", target, headers=(HOST,)).status == 401


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "[::1]", "localhost:1", "[::1]:8470", "ml.example", "LOCALHOST"],
)
def test_our_own_names_are_answered(app: Any, host: str) -> None:
    assert call(app, "GET", P + "/jobs", headers=(("host", host), AUTHORIZED[1])).status == 200


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        ("localhost.evil",),
        ("127.0.0.1.nip.io",),
        ("localhost", "localhost"),
        ("localhost", "evil"),
        ("a/b?x=",),
        ("localhost/../x",),
        ("localhost:99999",),
        ("user@localhost",),
        ("localhost\t",),
    ],
)
def test_other_names_are_refused_before_the_token_is_looked_at(
    app: Any, hosts: tuple[str, ...]
) -> None:
    headers = [("host", host) for host in hosts]
    assert call(app, "GET", P + "/jobs", headers=headers).status == 403


@pytest.mark.parametrize("origin", ["null", "http://evil", "http://127.0.0.1:8470.evil", "file://"])
def test_no_page_of_somebody_else_s_gets_an_answer_or_a_cors_header(app: Any, origin: str) -> None:
    preflight = (HOST, ("origin", origin), ("access-control-request-method", "POST"))
    for method, headers in (("OPTIONS", preflight), ("GET", (*AUTHORIZED, ("origin", origin)))):
        answer = call(app, method, P + "/jobs", headers=headers)
        assert answer.status == 403
        assert not [h for h in answer.headers if h.startswith("access-control-")]


def test_our_own_page_may_call(app: Any) -> None:
    own_page = (("origin", "http://127.0.0.1:8470"), ("sec-fetch-site", "same-origin"))
    assert call(app, "GET", P + "/jobs", headers=(*AUTHORIZED, *own_page)).status == 200


def test_a_method_in_a_header_counts_for_nothing(app: Any, engine: FakeEngine) -> None:
    engine.begin("p", "o")
    headers = (*AUTHORIZED, ("x-http-method-override", "DELETE"), ("x-http-method", "DELETE"))
    assert call(app, "GET", P + "/operations/o", headers=headers).status == 200


def test_a_token_in_the_url_is_refused(app: Any) -> None:
    target = f"{P}/jobs?access_token={TOKEN}"
    assert call(app, "GET", target, headers=(HOST,)).status == 401
    assert call(app, "GET", target).status == 401


@pytest.mark.parametrize("target", ["/api/v1/docs", P + "/jobs", "/nothing", P + "/jobs/none"])
@pytest.mark.parametrize("headers", [AUTHORIZED, (HOST,), (("host", "evil"),)])
def test_every_answer_carries_the_security_headers(app: Any, target: str, headers: Any) -> None:
    answer = call(app, "GET", target, headers=headers)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


# --- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/v1//projects/p/jobs",
        "//v1/projects/p/jobs",
        "/v1/projects/p/jobs/",
        "/v1/projects/p/jobs/.",
        "/v1/projects/p/models/../jobs",
        "/v1/projects/p/%2e%2e/p/jobs",
        "/v1/projects/p%2fjobs",
        "/v1/projects/p/jobs;x=1",
        "/v1/projects/p/jobs%00",
        "/v1/projects/p/jobs%0d%0aX:1",
        "/v1/projects/p/jobs\\",
        "/v1/projects/p/jobs%ff",
        "/v1/projects/p/models/a:predict:predict",
        "/v1/projects/p/jobs:",
        "http://evil/v1/projects/p/jobs",
        "*",
        "",
    ],
)
def test_a_trick_with_the_path_leads_nowhere(app: Any, target: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = call(app, method, target)
        assert answer.status == 404
        assert "evil" not in answer.body.decode()


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../b", "%2e%2e/x", "%2e%2e%2fx", "a%2f..%2fb", "a//b", "x%00", ""]
)
@pytest.mark.parametrize("kind", ["objects", "content"])
def test_an_object_s_name_cannot_climb(app: Any, engine: FakeEngine, name: str, kind: str) -> None:
    engine.before = lambda verb: pytest.fail(verb)
    assert call(app, "GET", f"/api/v1/buckets/bkt/{kind}/{name}").status == 404


@pytest.mark.parametrize(
    "id", ["é", "e%CC%81", "1a", "a-b", "a%20b", "A" * 10_000, "a%3Bb", "a.b", "%F0%9F%92%A9"]
)
def test_an_id_of_other_characters_is_refused(app: Any, id: str) -> None:
    target = f"{P}/jobs/{id}" if id != "é" else f"{P}/jobs/%C3%A9"
    assert call(app, "GET", target).status in (400, 404)
    body = json.dumps({"jobId": id}).encode()
    assert call(app, "POST", P + "/jobs", body=body, headers=(*AUTHORIZED, JSON)).status == 400


# --- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/python-pickle",
        "text/plain; application/json",
        "application/jsonx",
        "",
        None,
    ],
)
@pytest.mark.parametrize("target", [P + "/jobs", P + "/models/m:predict", P + "/jobs/j:cancel"])
def test_only_json_is_taken_for_json(app: Any, kind: str | None, target: str) -> None:
    headers = AUTHORIZED if kind is None else (*AUTHORIZED, ("content-type", kind))
    for body in (b'{"jobId":"a"}', [b'{"jobId":"a"}']):
        answer = call(app, "POST", target, body=body, headers=headers)
        assert answer.status == 415
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"labels":' * 200 + b"1" + b"}" * 200,
        b'{"x":NaN}',
        b'{"x":Infinity}',
        b'{"x":1e999}',
        b'{"x":' + b"9" * 5000 + b"}",
        b'{"jobId":"a","jobId":"b"}',
        b'{"jobId":"\\ud800"}',
        b'{"jobId":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"[]",
        b'"x"',
        b"null",
        b" ",
    ],
)
def test_json_that_is_not_strict_or_not_an_object_is_refused(app: Any, body: bytes) -> None:
    answer = call(app, "POST", P + "/jobs", body=body, headers=(*AUTHORIZED, JSON))
    assert answer.status == 400
    assert answer.json["error"]["status"] == "INVALID_ARGUMENT"


def test_a_body_is_counted_however_it_comes(app: Any) -> None:
    headers = (*AUTHORIZED, JSON)
    for body in (b" " * 100_001, [b" " * 1000] * 101, [b" "] * 100_001):
        answer = call(app, "POST", P + "/jobs", body=body, headers=headers)
        assert answer.status == 400
        assert answer.headers["connection"] == "close"


def test_a_length_that_lies_or_is_huge_is_refused_unread(app: Any) -> None:
    for length in ("1" * 30, "99999999999"):
        headers = (*AUTHORIZED, JSON, ("content-length", length))
        assert call(app, "POST", P + "/jobs", headers=headers).status == 400


def test_an_object_has_a_limit_too(app: Any, engine: FakeEngine) -> None:
    call(app, "POST", "/api/v1/buckets", body=b'{"name":"bkt"}', headers=(*AUTHORIZED, JSON))
    target = "/api/v1/buckets/bkt/content/x"
    assert call(app, "PUT", target, body=[b"x" * 100_000] * 3).status == 400
    assert not engine.objects


def test_a_get_with_a_body_is_refused(app: Any) -> None:
    assert call(app, "GET", P + "/jobs", body=b"{}", headers=(*AUTHORIZED, JSON)).status == 400


# --- cost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "extra"),
    [
        (P + "/jobs", ("range", "bytes=" + ",".join(f"{i}-" for i in range(10_000)))),
        (P + "/jobs", ("content-type", "a" * 1_000_000)),
        (P + "/jobs", ("content-type", "multipart/form-data; " + 'a="' * 100_000)),
        (P + "/jobs?filter=" + "(" * 10_000, None),
        (P + "/jobs?filter=a:" + "*a" * 4_000, None),
        (P + "/jobs?filter=" + "a" * 11_000, None),
        (P + "/jobs?pageToken=" + "A" * 30_000, None),
        (P + "/jobs?fields=" + "a(" * 2_000, None),
        (P + "/jobs?" + "a=1&" * 8_000, None),
        ("/v1" + "/x" * 30_000, None),
        ("/v1/projects/" + "%2e" * 10_000, None),
    ],
)
def test_a_hostile_request_is_cheap(app: Any, target: str, extra: Any) -> None:
    headers = AUTHORIZED if extra is None else (*AUTHORIZED, extra)
    call(app, "GET", P + "/jobs")  # the first request pays for threads
    began = time.process_time()
    assert call(app, "GET", target, headers=headers).status < 500
    assert time.process_time() - began < 0.25  # 50 ms on a quiet machine


@pytest.mark.parametrize(
    "text",
    [
        "' OR 1=1 --",
        '"; DROP TABLE jobs; --',
        "1) UNION SELECT * FROM jobs",
        "a=1; SELECT 1",
        "%00",
    ],
)
@pytest.mark.parametrize("parameter", ["filter", "pageToken"])
def test_sql_in_a_parameter_is_refused(app: Any, text: str, parameter: str) -> None:
    escaped = text.replace("%", "%25").replace(" ", "%20").replace(";", "%3B").replace('"', "%22")
    assert call(app, "GET", f"{P}/jobs?{parameter}={escaped}").status == 400


# --- what leaks ---------------------------------------------------------------------------------


def test_a_defect_of_ours_tells_nothing_and_logs_no_secret(
    app: Any, engine: FakeEngine, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CANARY_ENV", "canary-env")

    def fail(verb: str) -> None:
        raise RuntimeError("boom at /home/somebody/secret.db")

    engine.before = fail
    headers = (*AUTHORIZED, JSON, ("cookie", "s=canary-cookie"), ("x-key", "canary-header"))
    with caplog.at_level(logging.DEBUG):
        answer = call(
            app,
            "POST",
            f"{P}/jobs?key=canary-query",
            body=b'{"jobId":"a","labels":{"x":"canary-body"}}',
            headers=headers,
        )
    assert answer.status == 500
    assert answer.json == {
        "error": {"code": 500, "message": "Internal error encountered.", "status": "INTERNAL"}
    }
    incident = answer.headers["x-incident-id"]
    assert incident in caplog.text
    assert "boom" in caplog.text
    for said in (caplog.text, answer.body.decode(), str(answer.headers)):
        assert "canary" not in said
        assert TOKEN not in said


def test_a_line_in_a_path_stays_one_line_in_the_log(
    app: Any, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(verb: str) -> None:
        raise RuntimeError("boom")

    engine.before = fail
    target = "/api/v1/buckets/bkt/objects/a%0d%0aERROR%20forged%1b%5b31m%E2%80%A8x"
    with caplog.at_level(logging.ERROR):
        assert call(app, "GET", target).status == 500
    (record,) = caplog.records
    assert not {"\n", "\r", "\x1b", "\u2028"} & set(record.getMessage())
