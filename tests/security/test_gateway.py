"""Attacks on the front door, by raw sockets against a real gateway process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.prediction.fuzz import Fuzz
from tests.fakes.gateway import PREDICT, TOKEN, VERSION, Caller, Door, head, open_door
from tests.waiting import wait_until

BODY = b'{"instances": [1, 2]}'
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PATHS = [PREDICT, f"/v1/{VERSION}:predict", "/v1/projects/p/jobs", "/", "/api/v1/buckets"]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as opened:
        yield opened


@pytest.fixture(scope="module")
def hasty_door() -> Iterator[Door]:
    with open_door(
        header_timeout_s=0.5, body_timeout_s=0.8, idle_timeout_s=1.0, predict_timeout_s=0.7,
        max_connections=8, worker_wait_s=0.3,
    ) as opened:  # fmt: skip
        yield opened


# --- A1, A5: the token ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
def test_no_method_of_any_path_answers_without_the_token(
    door: Door, method: str, path: str
) -> None:
    for token in ("", "wrong", TOKEN[:-1], TOKEN.upper()):
        with door.connect() as caller:
            caller.send(head(method, path, token=token))
            answer = caller.answer(of=method)
        assert answer.status == 401, (method, path, token)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL"])
def test_a_header_cannot_change_the_method_or_the_path(door: Door, name: str) -> None:
    answer = door.ask("POST", PREDICT, BODY, token="", **{name: "GET"})
    assert answer.status == 401


@pytest.mark.parametrize("path", ["/v1/x?access_token=T", "/v1/x?a=1&access%5Ftoken=T"])
def test_a_token_in_the_url_is_refused_even_beside_a_good_one(door: Door, path: str) -> None:
    answer = door.ask("GET", path.replace("T", TOKEN, 1))
    assert answer.status == 401
    assert "URL" in answer.json["error"]["message"]
    assert TOKEN not in answer.body.decode()


@pytest.mark.parametrize("value", [
    "Basic " + TOKEN, TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN} x", "Bearer " + "a" * 5000,
])  # fmt: skip
def test_only_a_bearer_token_is_a_token(door: Door, value: str) -> None:
    assert door.ask("GET", "/v1/x", token="", Authorization=value).status == 401


def test_two_authorization_headers_are_refused(door: Door) -> None:
    with door.connect() as caller:
        extra = f"authorization: Bearer {TOKEN}\r\n\r\n".encode()
        caller.send(head("GET", "/v1/x")[:-2] + extra)
        assert caller.answer().status == 401


def test_an_open_path_is_open_for_its_method_and_spelling_only(door: Door) -> None:
    assert door.ask("GET", "/open", token="").status == 200
    assert door.ask("POST", "/open", token="").status == 401
    for path in ("/open/", "//open", "/OPEN", "/%6fpen", "/open;x", "/open/../v1"):
        assert door.ask("GET", path, token="").status == 401, path


# --- A7, A8, A11, A15: names and pages ---


@pytest.mark.parametrize("host", [
    "localhost", "localhost:8470", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:80", "LOCALHOST",
    "engine.example", "engine.example:443",
])  # fmt: skip
def test_our_own_names_are_answered_to(door: Door, host: str) -> None:
    assert door.ask("POST", PREDICT, BODY, Host=host).status == 200


@pytest.mark.parametrize("host", [
    "evil.example", "localhost.evil", "127.0.0.1.nip.io", "a/b?x=", "localhost:", "localhost:x",
    "localhost:99999", "user@localhost", "localhost, evil", "[::1", "localhost.", "0.0.0.0",
])  # fmt: skip
@pytest.mark.parametrize("path", [PREDICT, "/v1/x", "/healthz"])
def test_other_names_are_refused_before_the_token_is_looked_at(
    door: Door, host: str, path: str
) -> None:
    answer = door.ask("POST", path, BODY, token="", Host=host)
    assert (answer.status, answer.json["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_no_host_and_two_hosts_are_refused(door: Door) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host:\r\n"):
        with door.connect() as caller:
            caller.send(b"GET /healthz HTTP/1.1\r\n" + hosts + b"\r\n")
            assert caller.answer().status == 403, hosts


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("headers", [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
    {"Origin": "http://localhost:3000"}, {"Sec_Fetch_Site": "same-site"},
    {"Origin": "http://localhost", "Sec_Fetch_Site": "cross-site"},
    {"Origin": "http://evil.example", "User_Agent": "curl/8.0"},
])  # fmt: skip
def test_other_sites_pages_are_refused_with_any_method(
    door: Door, method: str, headers: dict[str, str]
) -> None:
    with door.connect() as caller:
        caller.send(head(method, PREDICT, **headers))
        answer = caller.answer(of=method)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_our_own_page_may_call(door: Door) -> None:
    page = {"Origin": "http://localhost", "Sec_Fetch_Site": "same-origin"}
    answer = door.ask("POST", PREDICT, BODY, **page)
    assert answer.status == 200


def test_a_preflight_gets_no_permission(door: Door) -> None:
    answer = door.ask(
        "OPTIONS", PREDICT, token="", Origin="http://evil.example",
        Access_Control_Request_Method="POST",
    )  # fmt: skip
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("request_", [
    head("GET", "/healthz"), head("GET", "/v1/x", token=""), head("POST", PREDICT), b"bad\r\n\r\n",
])  # fmt: skip
def test_every_answer_forbids_sniffing_and_framing(door: Door, request_: bytes) -> None:
    with door.connect() as caller:
        caller.send(request_)
        headers = caller.answer().headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-type"] == "application/json; charset=UTF-8"


# --- D2: smuggling ---

_POST = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
_SECOND = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = {
    "both lengths": _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, other order": _POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "the same length twice": _POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": _POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a vertical tab": _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "another coding": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": _POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then identity": _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "bare LF": _POST.replace(b"\r\n", b"\n") + b"Content-Length: 3\n\nabc",
    "one bare LF": _POST + b"X: y\nContent-Length: 3\r\n\r\nabc",
    "bare CR": _POST + b"X: y\rContent-Length: 3\r\n\r\nabc",
    "a plus before the length": _POST + b"Content-Length: +5\r\n\r\nabcde",
    "a negative length": _POST + b"Content-Length: -1\r\n\r\n",
    "an overflowing length": _POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "an empty length": _POST + b"Content-Length: \r\n\r\nabc",
    "a folded line": _POST + b"X: y\r\n z\r\n\r\n",
    "a NUL": _POST + b"X: a\x00b\r\n\r\n",
    "a plus before the chunk size": _CHUNKED + b"+5\r\nabcde\r\n0\r\n\r\n",
    "a hexadecimal prefix": _CHUNKED + b"0x5\r\nabcde\r\n0\r\n\r\n",
    "a bad end of a chunk": _CHUNKED + b"5\r\nabcdeXX0\r\n\r\n",
    "bare LF in chunks": _CHUNKED + b"5\nabcde\n0\n\n",
    "an overflowing chunk": _CHUNKED + b"fffffffffffffffff\r\nabc",
    "chunks in HTTP/1.0": _CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "another version": b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an absolute target": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a control byte in the path": b"GET /a\x01b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a lower-case method": b"get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown method": b"HACK /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_doubtful_requests_get_one_400_and_the_connection_ends(door: Door, data: bytes) -> None:
    with door.connect() as caller:
        caller.send(data + _SECOND)
        answer = caller.answer()
        assert answer.status == 400
        assert answer.json["error"]["status"] == "INVALID_ARGUMENT"
        assert answer.headers["connection"] == "close"
        assert caller.is_closed()  # and nothing after it was taken for a request


@pytest.mark.parametrize("data", [
    b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    head("GET", "/v1/x", Connection="Upgrade", Upgrade="websocket"),
    head("POST", PREDICT, length=3, Connection="Upgrade", Upgrade="h2c") + b"abc",
])  # fmt: skip
def test_the_gateway_is_no_tunnel(door: Door, data: bytes) -> None:
    before = len(door.backends.engine.seen)
    with door.connect() as caller:
        caller.send(data + _SECOND)
        assert caller.answer().status == 405
        assert caller.is_closed()
    assert len(door.backends.engine.seen) == before


def test_what_is_relayed_is_framed_anew_and_without_hop_by_hop_fields(door: Door) -> None:
    with door.connect() as caller:
        caller.send(
            head("POST", "/v1/upload", Transfer_Encoding="chunked", TE="trailers",
                 Connection="keep-alive, X-Private", X_Private="1", X_Kept="2")
            + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nHost: evil\r\n\r\n"
        )  # fmt: skip
        assert caller.answer().body == b"/v1/upload 5"
    seen = door.backends.engine.seen[-1].lower()
    assert b"x-kept: 2" in seen
    for gone in (b"x-private", b"te:", b"evil", b"keep-alive"):
        assert gone not in seen, gone


def test_a_connection_field_cannot_drop_the_token_or_the_host(door: Door) -> None:
    answer = door.ask("GET", "/v1/x", Connection="authorization, host, content-length")
    assert answer.status == 200
    seen = door.backends.engine.seen[-1].lower()
    assert b"authorization: bearer" in seen and b"host: localhost" in seen


# --- D3, A12: what is said and written ---


def test_line_ends_in_a_path_stay_inside_it(door: Door) -> None:
    answer = door.ask("GET", "/v1/%0d%0aX-Evil:%20yes")
    assert "x-evil" not in answer.headers


def test_no_secret_reaches_the_log(door: Door) -> None:
    door.ask("POST", PREDICT, b"canary-body", token="canary-token")
    door.ask("POST", PREDICT + "?canary-query=1", b'{"instances": ["canary-body"]}')
    with door.connect() as caller:
        caller.send(_POST + b"X: canary-header\rboom\r\n\r\n")
        caller.answer()
    log = (door.run_dir / "gateway.log").read_text()
    assert "canary" not in log and TOKEN not in log


def test_the_files_and_sockets_of_the_gateway_are_private(door: Door) -> None:
    for name in ("gateway.sock", "routing.json", "gateway.json"):
        assert (door.run_dir / name).stat().st_mode & 0o077 == 0, name
    assert TOKEN not in (door.run_dir / "routing.json").read_text()


def test_it_listens_on_loopback_only(door: Door) -> None:
    process = psutil.Process(door.info.pid)
    listening = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert [c.laddr.ip for c in listening] == ["127.0.0.1"]


@pytest.mark.parametrize("snapshot", ["{}", '{"token_digest": "ab"}'])
def test_it_will_not_listen_to_the_world_unprotected(tmp_path: Path, snapshot: str) -> None:
    (tmp_path / "routing.json").write_text(snapshot)
    module = "mlengine.prediction.gateway.process"
    argv = [sys.executable, "-m", module, str(tmp_path), "--host", "0.0.0.0"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "will not listen on '0.0.0.0' without" in done.stderr


def test_a_gateway_that_knows_no_token_refuses_everybody(tmp_path: Path) -> None:
    from mlengine.prediction.control import GatewayControl, ensure_gateway

    info = ensure_gateway(tmp_path)
    try:
        for token in ("", "x"):
            with Caller(info.port) as caller:
                caller.send(head("GET", "/v1/x", token=token))
                assert caller.answer().status == 401
    finally:
        GatewayControl(tmp_path).shutdown(timeout_s=3)


# --- D1: slow callers ---


def test_a_head_that_dribbles_is_cut_off(hasty_door: Door) -> None:
    with hasty_door.connect() as caller:
        caller.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert caller.answer().status == 408
        assert caller.is_closed()


def test_a_connection_that_says_nothing_is_closed(hasty_door: Door) -> None:
    with hasty_door.connect() as caller:
        assert caller.is_closed()


def test_a_body_that_dribbles_is_cut_off(hasty_door: Door) -> None:
    for path in (PREDICT, "/v1/upload"):
        with hasty_door.connect() as caller:
            caller.send(head("POST", path, length=100) + b"x")
            assert caller.answer().status == 408, path
            assert caller.is_closed()


def test_an_answer_that_has_begun_is_cut_and_never_mixed_with_an_error(hasty_door: Door) -> None:
    with hasty_door.connect() as caller:
        caller.send(head("POST", "/early", length=100) + b"x")
        said = b""
        try:
            while piece := caller.socket.recv(1000):
                said += piece
        except ConnectionResetError:
            pass
    assert said.count(b"HTTP/1.1") == 1
    assert said.endswith(b"begun")


def test_a_head_that_dribbles_behind_a_slow_download_is_cut_off(hasty_door: Door) -> None:
    with hasty_door.connect() as caller:
        caller.send(head("GET", "/big") + b"GET /healthz HTTP/1.1\r\nHost: ")
        assert len(caller.answer().body) == 8 << 20
        assert caller.answer().status == 408
        assert caller.is_closed()


def test_an_idle_connection_is_closed_after_its_time(hasty_door: Door) -> None:
    with hasty_door.connect() as caller:
        caller.send(head("GET", "/healthz"))
        assert caller.answer().status == 200
        assert caller.is_closed()


def test_slow_callers_do_not_disturb_the_others(hasty_door: Door) -> None:
    slow = [hasty_door.connect() for _ in range(6)]
    try:
        for caller in slow:
            caller.send(b"POST / HTTP/1.1\r\nHost: ")
        assert hasty_door.ask("POST", PREDICT, BODY).json == {"predictions": [1, 2]}
    finally:
        for caller in slow:
            caller.socket.close()


def test_beyond_the_most_connections_callers_are_told_to_come_back(hasty_door: Door) -> None:
    crowd = [hasty_door.connect() for _ in range(8)]
    try:
        for caller in crowd:
            caller.send(b"POST / HTTP/1.1\r\n")
        answer = hasty_door.ask("POST", PREDICT, BODY)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert hasty_door.ask("GET", "/healthz", token="").status == 200
    finally:
        for caller in crowd:
            caller.socket.close()
    wait_until(lambda: hasty_door.ask("POST", PREDICT, BODY).status == 200)


def test_out_of_descriptors_it_sheds_and_recovers() -> None:
    with open_door() as door:
        psutil.Process(door.info.pid).rlimit(psutil.RLIMIT_NOFILE, (96, 96))
        door.control.push(door.snapshot)
        crowd = [door.connect() for _ in range(60)]
        try:
            assert psutil.Process(door.info.pid).is_running()
        finally:
            for caller in crowd:
                caller.socket.close()
        wait_until(lambda: _works(door))


def _works(door: Door) -> bool:
    try:
        return door.ask("POST", PREDICT, BODY).status == 200
    except OSError:
        return False


# --- D4: large and many ---


def test_a_body_over_the_limit_is_refused_at_its_head(door: Door) -> None:
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=1_572_865))
        answer = caller.answer()
    assert answer.status == 400
    said = answer.json["error"]["message"]
    assert said.startswith(
        "Request payload size exceeds the limit: 1572864 bytes. This one has 1572865."
    )
    assert "'max_predict_bytes'" in said and "'options.maxPredictBytes'" in said


def test_a_chunked_body_is_refused_when_it_passes_the_limit(door: Door) -> None:
    with door.connect() as caller:
        caller.send(_CHUNKED)
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with pytest.raises(OSError):
            for _ in range(10_000):
                caller.send(chunk)
    with door.connect() as caller:
        caller.send(_CHUNKED + chunk * 25)
        assert "exceeds the limit" in caller.answer().json["error"]["message"]


def test_a_long_body_must_say_how_long_it_is() -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    with open_door(max_body_bytes=8 << 20) as door:
        with door.connect() as caller:
            caller.send(_CHUNKED + chunk * 31 + last)
            assert caller.answer().json == {"predictions": [1, 2]}
        with door.connect() as caller:
            caller.send(_CHUNKED + chunk * 32)
            answer = caller.answer()
            assert answer.status == 411
            assert "Send Content-Length" in answer.json["error"]["message"]
            assert caller.is_closed()


def test_a_body_at_the_limit_is_taken(door: Door) -> None:
    body = b" " * (1_572_864 - len(BODY)) + BODY
    assert door.ask("POST", PREDICT, body).json == {"predictions": [1, 2]}


def test_tiny_chunks_cost_no_more_than_the_limit(door: Door) -> None:
    process = psutil.Process(door.info.pid)
    before = process.memory_info().rss
    with door.connect() as caller:
        caller.send(_CHUNKED + b"1\r\nx\r\n" * 1_572_864)
        caller.send(b"0\r\n\r\n")
        assert caller.answer().status == 200
    assert process.memory_info().rss - before < 16 << 20


def test_a_huge_upload_passes_without_being_kept(door: Door) -> None:
    process = psutil.Process(door.info.pid)
    before = process.memory_info().rss
    piece = b"x" * (1 << 20)
    with door.connect() as caller:
        caller.send(head("PUT", "/api/v1/upload", length=64 << 20))
        for _ in range(64):
            caller.send(piece)
        assert caller.answer().body == b"/api/v1/upload %d" % (64 << 20)
    assert process.memory_info().rss - before < 16 << 20


@pytest.mark.parametrize("data", [
    head("GET", "/healthz", X="y" * 40_000),
    head("GET", "/healthz", **{f"X{i}": "y" for i in range(200)}),
    head("GET", "/" + "a" * 40_000),
    b"GET /" + b"a" * 200_000,
], ids=["long value", "many lines", "long path", "endless path"])  # fmt: skip
def test_a_head_that_is_too_large_is_refused(door: Door, data: bytes) -> None:
    with door.connect() as caller:
        caller.send(data)
        assert caller.answer().status == 431
        assert caller.is_closed()


@pytest.mark.parametrize("begin", [
    b"0\r\nX: ", b"1;", b"1\r\na\r\n0\r\n" + b"a: b\r\n" * 10, b"1\r\na\r\n1;a=",
], ids=["trailer", "extension", "many trailers", "second extension"])  # fmt: skip
def test_what_stands_around_a_body_is_bounded(door: Door, begin: bytes) -> None:
    """llhttp has no bound for it, and it needs no token."""
    piece = b"a: b\r\n" * 2000 if b"a: b" in begin else b"a" * 12_000
    with door.connect() as caller:
        caller.send(head("GET", "/healthz", token="", Transfer_Encoding="chunked") + begin)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                caller.send(piece)
        assert caller.answer().status == 431
        assert caller.is_closed()


def test_a_short_trailer_is_read_past(door: Door) -> None:
    chunked = b"%x;a=b\r\n%b\r\n0\r\nX-Digest: 7\r\n\r\n" % (len(BODY), BODY)
    with door.connect() as caller:
        for _ in range(2):
            caller.send(head("POST", PREDICT, Transfer_Encoding="chunked") + chunked)
            assert caller.answer().status == 200


def test_an_answer_is_not_lost_when_the_caller_still_sends(door: Door) -> None:
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=1 << 21, token="") + b"x" * (1 << 20))
        assert caller.answer().status == 401


def test_random_bytes_never_end_the_gateway(door: Door) -> None:
    fuzz = Fuzz(door.info.port, PREDICT, TOKEN, random.Random(8), evil=list(SMUGGLED.values()))
    asyncio.run(fuzz.run(600, 8))
    assert fuzz.problem == ""
    assert fuzz.statuses["200"] and fuzz.statuses["400"]
    answer = door.ask("POST", PREDICT, BODY)
    assert json.loads(answer.body) == {"predictions": [1, 2]}
