"""What an object store refuses is told by name; what passes is tried again; nothing is quoted."""

from __future__ import annotations

import datetime
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import (
    Aborted,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.backends import gcswire
from mlengine.storage.backends.remote import RemoteBackend, RemoteBackends, open_remote
from mlengine.storage.backends.remotes import RemoteObject, refusal
from mlengine.storage.paths import parse_backing
from mlengine.storage.records import ObjectRecord
from tests.fakes.bucket_table import BucketTableFake
from tests.live.objectstores import environment, gcs_environment, s3_environment

MOMENT = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
FOUND = RemoteObject("in/a.csv", 1, MOMENT, "1", 1, ObjectRecord())
CALLS: dict[str, Callable[[RemoteBackend], object]] = {
    "list": lambda b: [*b.list("in/")],
    "stat": lambda b: b.stat("in/a.csv"),
    "write": lambda b: b.write("in/a.csv", [b"a"]),
    "read": lambda b: b.store.read(FOUND, 0),
    "delete": lambda b: b.store.delete("in/a.csv"),
}
MEANINGS: dict[int, type[EngineError]] = {
    400: InvalidArgument, 401: FailedPrecondition, 403: FailedPrecondition, 404: NotFound,
    409: Aborted, 412: Aborted,
}  # fmt: skip


class _Store(BaseHTTPRequestHandler):
    """Answers everything with one status and a body that nobody should repeat."""

    protocol_version = "HTTP/1.1"
    status, body = 200, b""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


Answering = Callable[..., RemoteBackend]


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    """Return a bucket on a store that has one answer for all, until the next is asked for."""
    handler = type("Handler", (_Store,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    with environment({**gcs_environment(url), **s3_environment(url)}):
        opened = {
            scheme: open_remote(parse_backing(f"{scheme}://team/ml"), bucket="far")
            for scheme in ("gcs", "s3")
        }

    def answer(scheme: str, status: int, body: bytes = b"secret words") -> RemoteBackend:
        handler.status, handler.body = status, body  # type: ignore[attr-defined]
        return opened[scheme]

    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcswire, "_PAUSE_S", 0.0)


@pytest.mark.parametrize("scheme", ["gcs", "s3"])
@pytest.mark.parametrize("status", MEANINGS)
def test_a_refusal_says_what_it_means_and_of_what(
    answering: Answering, scheme: str, status: int
) -> None:
    backend = answering(scheme, status)
    for name, call in CALLS.items():
        # An object that was there a moment ago was not there all the time.
        meaning = Aborted if (name, status) == ("read", 404) else MEANINGS[status]
        with pytest.raises(meaning) as caught:
            call(backend)
        assert "gs://far/in/" in caught.value.problem
        assert caught.value.remedy
        assert "secret" not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    "code",
    ["ExpiredToken", "ExpiredTokenException", "InvalidToken", "RequestExpired",
     "TokenRefreshRequired"],
)  # fmt: skip
def test_expired_credentials_for_s3_put_off_what_needs_them(
    answering: Answering, code: str
) -> None:
    body = f"<Error><Code>{code}</Code><Message>secret words</Message></Error>"
    backend = answering("s3", 400, body.encode())
    for call in CALLS.values():
        with pytest.raises(Unavailable, match="credentials have expired") as caught:
            call(backend)
        assert "gs://far/in/" in caught.value.problem and code in caught.value.problem
        assert caught.value.remedy == "Renew them, then start the engine again."
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(304, Aborted), (405, InvalidArgument), (408, Unavailable), (410, NotFound),
     (418, InvalidArgument), (429, Unavailable), (500, Unavailable), (302, Unavailable)],
)  # fmt: skip
def test_every_status_has_a_meaning(status: int, meaning: type[EngineError]) -> None:
    error = refusal(status, "gs://far/a")
    assert type(error) is meaning
    assert "gs://far/a" in error.problem


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again_before_it_is_told(
    answering: Answering, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    ask = gcswire.Wire.ask

    def counted(self: gcswire.Wire, method: str, path: str, *args: Any, **named: Any) -> Any:
        tries.append(path)
        return ask(self, method, path, *args, **named)

    monkeypatch.setattr(gcswire.Wire, "ask", counted)
    with pytest.raises(Unavailable, match=str(status)):
        answering("gcs", status).stat("a")
    assert len(tries) == 6


def test_an_answer_that_is_no_json_is_none(answering: Answering) -> None:
    with pytest.raises(Unavailable, match="no JSON") as caught:
        answering("gcs", 200).stat("a")
    assert "secret" not in str(caught.value)


def test_bytes_that_arrived_otherwise_are_told(answering: Answering) -> None:
    body = (
        b'{"name": "ml/a", "size": "3", "updated": "2026-01-02T03:04:05Z", "generation": "1", '
        b'"metageneration": "1"}'
    )
    with pytest.raises(Unavailable, match="other bytes"):
        answering("gcs", 200, body).write("a", [b"1234"])


@pytest.mark.parametrize("scheme", ["gcs", "s3"])
def test_an_object_that_is_replaced_over_and_over_is_read_later(
    answering: Answering, scheme: str
) -> None:
    with pytest.raises(Unavailable, match="is replaced over and over"):
        answering(scheme, 412).open_read("in/a.csv")


def test_a_store_that_cannot_change_what_is_said_of_an_object_says_so(
    answering: Answering,
) -> None:
    with pytest.raises(Unimplemented):
        answering("s3", 200).store.update(FOUND, ObjectRecord())


@pytest.mark.parametrize("scheme", ["gcs", "s3"])
def test_a_bucket_on_nothing_is_refused(
    answering: Answering, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = answering(scheme, 404)
    monkeypatch.setattr(RemoteBackends, "open", lambda *_args, **_named: backend)
    table = BucketTableFake()
    with pytest.raises(FailedPrecondition, match=f"'{scheme}://team/ml' was not found"):
        Buckets(table, tmp_path / "buckets").create(
            Bucket(name="far", backing=f"{scheme}://team/ml")
        )
    assert table.buckets() == []


def test_no_credentials_for_s3_are_told_by_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
    variables = {**dict.fromkeys(nowhere, "/none"), "AWS_EC2_METADATA_DISABLED": "true"}
    with environment(variables):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        backend = open_remote(parse_backing("s3://team/ml"), bucket="far")
        with pytest.raises(FailedPrecondition, match="no credentials for S3") as caught:
            backend.stat("a")
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy


class _Credentials:
    """Google's, that never get a token."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def before_request(self, *_args: object) -> None:
        raise self._error


@pytest.mark.parametrize("kind", ["DefaultCredentialsError", "RefreshError", "TransportError"])
def test_credentials_that_google_does_not_take_are_told(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = pytest.importorskip("google.auth")
    exceptions = pytest.importorskip("google.auth.exceptions")
    error = getattr(exceptions, kind)("secret words")
    monkeypatch.setattr(auth, "default", lambda scopes: (_Credentials(error), ""))
    with environment({}):
        backend = open_remote(parse_backing("gcs://team/ml"), bucket="far")
        meaning = Unavailable if kind == "TransportError" else FailedPrecondition
        with pytest.raises(meaning) as caught:
            backend.stat("a")
    assert "secret" not in str(caught.value)
    assert {
        "DefaultCredentialsError": "There are no credentials for Google Cloud Storage",
        "RefreshError": "Google refuses the engine's credentials (RefreshError)",
        "TransportError": "gs://far/a cannot be reached: Google's token server does not answer",
    }[kind] in caught.value.problem


@pytest.mark.parametrize(("scheme", "module"), [("gcs", "gcs"), ("s3", "s3")])
def test_a_package_that_is_missing_is_named(
    scheme: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"mlengine.storage.backends.{module}", None)
    with pytest.raises(FailedPrecondition) as caught:
        open_remote(parse_backing(f"{scheme}://team/ml"), bucket="far")
    assert f"pip install 'mlengine[{scheme}]'" in caught.value.remedy
