"""Broken, huge and hostile requests to the running engine: each a clear refusal, none a defect."""

from __future__ import annotations

import json
import re

import psutil
import pytest

from tests.live.engines import LiveEngine
from tests.security.wire import LEAKS, Reply, send

JOBS = "/v1/projects/default/jobs"
PREDICT = "/v1/projects/default/models/line:predict"
DEEP = 100_000
BODIES: dict[str, bytes] = {
    "NaN": b'{"jobId": NaN}',
    "-Infinity": b'{"jobId": -Infinity}',
    "1e999": b'{"trainingInput": {"workerCount": 1e999}}',
    "a number of 5,000 digits": b'{"trainingInput": {"workerCount": ' + b"9" * 5000 + b"}}",
    "a key twice": b'{"jobId": "a1", "jobId": "a2"}',
    "a deep key twice": b'{"jobId": "a", "trainingInput": {"region": "a", "region": "b"}}',
    "the same key in both spellings": b'{"jobId": "a1", "job_id": "a2"}',
    "half a surrogate": b'{"jobId": "\\ud800"}',
    "deep lists": b"[" * DEEP,
    "deep lists, closed": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a free field": b'{"jobId": "a", "labels": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    "no object": b"[1]",
    "no JSON": b"jobId=a",
    "two values": b"{} {}",
    "a comment": b'{"jobId": "a" /* x */}',
    "not UTF-8": b'{"jobId": "\xff"}',
    "UTF-16": '{"jobId": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"jobId": "a"}',
    "NUL": b'{"jobId": "a\\u0000b"}',
    "an id of 10 KB": b'{"jobId": "' + b"a" * 10_000 + b'"}',
    "an id with a path": b'{"jobId": "../../etc/passwd"}',
    "an unknown field": b'{"jobId": "a", "__class__": "x"}',
    "an unknown field of 1 MB": b'{"' + b"x" * 1_000_000 + b'": 1}',
    "a list for a word": b'{"jobId": ["a"]}',
    "an object for a list": b'{"jobId": "a", "trainingInput": {"args": {"0": "x"}}}',
    "a label whose name is 1 MB": b'{"jobId": "a", "labels": {"' + b"x" * 1_000_000 + b'": 1}}',
    "half a million labels": b'{"jobId": "a", "labels": {'
    + b",".join(b'"k%d": ""' % i for i in range(500_000)) + b"}}",
    "two million args": b'{"jobId": "a", "trainingInput": {"args": ['
    + b'"",' * 2_000_000 + b'""]}}',
}  # fmt: skip


def _is_clean_refusal(reply: Reply) -> None:
    assert 400 <= reply.status < 500, reply.text[:500]
    error = reply.json["error"]
    assert error["code"] == reply.status
    assert error["status"] and error["message"]
    assert len(reply.body) < 5_000, len(reply.body)
    assert not re.search(LEAKS, reply.text), reply.text


@pytest.fixture(autouse=True)
def _still_well(live: LiveEngine) -> object:
    """Every test leaves the engine in the same process, and answering."""
    pid, gateway = live.pid, live.client.status().gateway_pid
    yield
    assert send(live, "GET", "/api/v1/health").status == 200
    status = live.client.status()
    assert (status.pid, status.gateway_pid) == (pid, gateway)


@pytest.mark.parametrize("name", BODIES)
def test_a_broken_body_is_refused(live: LiveEngine, name: str) -> None:
    for method, path in (
        ("POST", JOBS), ("POST", "/v1/projects/default/models"), ("POST", "/api/v1/buckets"),
    ):  # fmt: skip
        _is_clean_refusal(send(live, method, path, BODIES[name]))
    assert not live.client.list_models("default", filter="name:a").items


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(live: LiveEngine) -> None:
    before = psutil.Process(live.pid).memory_info().rss
    for _ in range(5):
        reply = send(live, "POST", JOBS, b'{"jobId": "' + b"a" * (12 << 20) + b'"}')
        assert reply.status == 400
        _is_clean_refusal(reply)
    assert psutil.Process(live.pid).memory_info().rss - before < 60 << 20


def test_a_body_just_below_the_limit_is_judged(live: LiveEngine) -> None:
    _is_clean_refusal(send(live, "POST", JOBS, b'{"jobId": "' + b"a" * (10_000_000) + b'"}'))


@pytest.mark.parametrize("kind", [
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/octet-stream", "application/x-python-pickle", "application/json, text/plain",
    "application/jsonp", "x" * 5000,
])  # fmt: skip
def test_a_body_that_a_web_form_could_send_is_no_json(live: LiveEngine, kind: str) -> None:
    reply = send(live, "POST", JOBS, b'{"jobId": "a"}', Content_Type=kind)
    assert reply.status == 415
    _is_clean_refusal(reply)


def test_a_million_instances_get_an_answer_or_a_reason(serving: LiveEngine) -> None:
    short = b'{"instances": [' + b"[1]," * 250_000 + b"[1]]}"
    reply = send(serving, "POST", PREDICT, short)
    assert reply.status == 200, reply.text[:300]
    assert len(reply.json["predictions"]) == 250_001
    reply = send(serving, "POST", PREDICT, b'{"instances": [' + b"[1]," * 1_000_000 + b"[1]]}")
    assert reply.status == 400
    _is_clean_refusal(reply)


@pytest.mark.parametrize("name", BODIES)
def test_a_broken_prediction_is_refused_by_the_gateway(serving: LiveEngine, name: str) -> None:
    body = BODIES[name].replace(b'"jobId"', b'"instances"')
    _is_clean_refusal(send(serving, "POST", PREDICT, body))
    good = send(serving, "POST", PREDICT, b'{"instances": [[2]]}')
    assert good.status == 200
    assert good.json["predictions"] == pytest.approx([4.0])


@pytest.mark.parametrize("size", [10_000, 100_000, 1_000_000])
def test_a_huge_header_is_refused(live: LiveEngine, size: int) -> None:
    for name in ("X-Trash", "Cookie", "Authorization", "Accept", "User-Agent"):
        try:
            reply = send(live, "GET", "/api/v1/status", **{name: "a" * size})
        except ConnectionError:
            continue  # cut off before it was read: as good
        assert reply.status in (200, 401, 431), (name, size, reply.text)
        assert size < 50_000 or reply.status == 431
        assert "aaaa" not in reply.text


def test_a_huge_target_is_refused(live: LiveEngine) -> None:
    for target in ("/" + "a" * 70_000, "/api/v1/status?" + "a" * 70_000, "/x" * 30_000):
        try:
            assert send(live, "GET", target).status in (400, 404, 414, 431)
        except ConnectionError:
            continue


LISTS = (JOBS, "/v1/projects/default/models", "/v1/projects/default/operations",
         "/v1/projects/default/models/line/versions", "/api/v1/buckets/mine/objects",
         "/v1/projects/default/locations")  # fmt: skip
BAD_QUERIES = (
    "pageSize=-1", "pageSize=x", "pageSize=1e3", "pageSize=1.5", "pageSize=" + "9" * 400,
    "pageSize=%00", "pageToken=forged", "pageToken=" + "A" * 10_000, "pageToken=%ff",
    "pageToken=../../etc/passwd", "pageSize=1&pageSize=2", "page_size=1&pageSize=2",
    "unknown=1", "orderBy=name;drop table jobs", "callback=alert", "alt=proto",
)  # fmt: skip
BAD_FILTERS = (
    "state=", "state==RUNNING", "(" * 2000, "NOT " * 2000, "state:RUNNING OR " * 500,
    "x" * 10_240, "name='; DROP TABLE jobs; --", "jobId=\" OR 1=1", "%00", "name=%27 OR 1=1 --",
)  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_a_bad_list_parameter_is_refused(serving: LiveEngine, path: str) -> None:
    for query in BAD_QUERIES:
        reply = send(serving, "GET", f"{path}?{query.replace(' ', '%20')}")
        assert reply.status == 400, (path, query[:60], reply.text[:300])
        _is_clean_refusal(reply)
    for size in (0, 1_000_000_000):
        reply = send(serving, "GET", f"{path}?pageSize={size}")
        assert reply.status == 200, reply.text
        assert len(next(iter(reply.json.values()), [])) <= 1000


@pytest.mark.parametrize("path", LISTS[:4])
def test_a_bad_filter_is_refused(serving: LiveEngine, path: str) -> None:
    for text in BAD_FILTERS:
        quoted = text if "%" in text else "".join(f"%{b:02x}" for b in text.encode())
        reply = send(serving, "GET", f"{path}?filter={quoted}".replace(" ", "%20"))
        assert reply.status == 400, (path, text[:60], reply.text[:300])
        _is_clean_refusal(reply)


def test_a_page_token_opens_its_own_list_only(serving: LiveEngine) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        serving.client.write_object("mine", f"paged/{name}", [b""])
    path = "/api/v1/buckets/mine/objects?pageSize=1"
    token = send(serving, "GET", path + "&prefix=paged/").json["nextPageToken"]
    assert send(serving, "GET", f"{path}&prefix=paged/&pageToken={token}").status == 200
    for other in (f"{path}&pageToken={token}", f"{JOBS}?pageToken={token}",
                  f"{path}&prefix=paged/&pageToken={token[:-2]}AA"):  # fmt: skip
        assert send(serving, "GET", other).status == 400


HOSTILE = (
    "..", ".", "%2e%2e", "a%2fb", "a%5cb", "a%00b", "%ff", "~", "-rf", "$(id)", "a;b", "a'b",
    "%0d%0aSet-Cookie:x=1", "%1b[31m", "%e2%80%a8", "a" * 300, "%252e%252e", "{{7*7}}", "a b",
    "<img src=x onerror=alert(1)>", "..%2f..%2f..%2fetc%2fpasswd", "proc%2fself%2fenviron",
)  # fmt: skip
PLACES = (
    "/v1/projects/{}/jobs", "/v1/projects/default/jobs/{}", "/v1/projects/default/models/{}",
    "/v1/projects/default/models/line/versions/{}", "/v1/projects/default/models/{}:predict",
    "/v1/projects/default/operations/{}", "/v1/projects/default/locations/{}",
    "/api/v1/buckets/{}/objects", "/api/v1/buckets/mine/objects/{}",
    "/api/v1/buckets/mine/content/{}", "/api/v1/projects/default/jobs/{}/logs",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_hostile_name_reaches_a_file_a_header_or_a_terminal(
    serving: LiveEngine, place: str
) -> None:
    for name in HOSTILE:
        target = place.format(name.replace(" ", "%20"))
        for method in ("GET", "POST", "DELETE"):
            body = b"{}" if method == "POST" else None
            reply = send(serving, method, target, body)
            assert reply.status < 500 or reply.status == 501, (method, target, reply.text)
            assert "set-cookie" not in reply.headers
            assert b"\x1b" not in reply.body and "\u2028" not in reply.text
            assert "root:x:" not in reply.text
            if reply.status >= 400:
                assert not re.search(LEAKS, reply.text.replace("/proc/", "")), reply.text
    for line in (serving.home / "logs" / "gateway.log").read_text().splitlines():
        assert line.isprintable()


def test_errors_are_json_for_machines_and_never_a_page(live: LiveEngine) -> None:
    for method, target, body in (
        ("GET", "/v1/projects/default/jobs/<script>", None),
        ("POST", JOBS, b'{"jobId": "<img src=x onerror=alert(1)>"}'),
        ("GET", "/<b>", None),
    ):
        reply = send(live, method, target, body, Accept="text/html")
        assert reply.status in (400, 404)
        assert reply.headers["content-type"].startswith("application/json")
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        json.loads(reply.body)
