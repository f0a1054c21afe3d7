"""The client is the engine: one suite of verbs, run against the fake itself and through HTTP."""

from __future__ import annotations

import contextlib
import copy
import http.client
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlengine.client import http as client_http
from mlengine.client import transport
from mlengine.client.http import HttpEngine
from mlengine.core.access import token_digest
from mlengine.core.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    EngineError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from mlengine.core.keys import Key
from mlengine.core.policies import Binding, Policy
from mlengine.core.predictions import LoggedPrediction, PredictionLabel, WorkerLog
from mlengine.core.resources import (
    Bucket,
    Job,
    LogEntry,
    MetricSeries,
    Model,
    TrainingInput,
    Version,
)
from mlengine.core.studies import (
    CompleteTrialRequest,
    Measurement,
    MetricSpec,
    MetricValue,
    Study,
    StudyConfig,
    SuggestTrialsRequest,
    Trial,
    TrialParameter,
)
from mlengine.core.traffic import Interval, ModelTraffic, Outcome
from mlengine.engine import Engine
from mlengine.rest.app import build_app
from tests.fakes.asgi import TOKEN
from tests.fakes.engine import FakeEngine
from tests.fakes.server import served

JOB = Job(
    job_id="census_1",
    training_input=TrainingInput(region="us-central1", worker_count=2, args=["--x", "é\u2028"]),
    labels={"owner": "alice"},
)


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[list[FakeEngine], str]]:
    """One server for the module; each test puts its own fake behind it."""
    holder = [FakeEngine()]

    class Current:
        def __getattr__(self, verb: str) -> Any:
            return getattr(holder[0], verb)

    current: Any = Current()
    app = build_app(current, token_digest=token_digest(TOKEN), allowed_hosts=[])
    with served(app) as url:
        yield holder, url


@pytest.fixture
def fake(live: tuple[list[FakeEngine], str]) -> FakeEngine:
    live[0][0] = FakeEngine()
    return live[0][0]


@pytest.fixture
def remote(live: tuple[list[FakeEngine], str], fake: FakeEngine) -> Iterator[HttpEngine]:
    with HttpEngine(live[1], TOKEN, timeout_s=20) as client:
        yield client


@pytest.fixture(params=["fake", "http"])
def engine(request: pytest.FixtureRequest, fake: FakeEngine) -> Engine:
    if request.param == "fake":
        return fake
    remote: HttpEngine = request.getfixturevalue("remote")
    return remote


# --- the suite: what any Engine does ------------------------------------------------------------


def test_a_key_is_made_listed_and_revoked(engine: Engine) -> None:
    made = engine.create_key("p", Key(name="app", models=["m"], requests_per_second=0.5))
    assert (made.name, made.key_string) == ("projects/p/keys/app", "mlk_app")
    kept = engine.get_key("p", "app")
    assert kept.key_string == "" and kept.models == ["m"] and kept.requests_per_second == 0.5
    assert engine.list_keys("p") == [kept] and engine.list_keys("q") == []
    assert engine.revoke_key("p", "app").revoke_time
    with pytest.raises(AlreadyExists):
        engine.create_key("p", Key(name="app"))
    with pytest.raises(NotFound):
        engine.get_key("p", "a/b")


def test_a_policy_is_read_set_and_asked_about(engine: Engine) -> None:
    engine.create_model("p", Model(name="m"))
    engine.create_job("p", JOB)
    for kind, resource_id, role in (
        ("models", "m", "roles/ml.modelUser"), ("jobs", "census_1", "roles/ml.jobOwner"),
    ):  # fmt: skip
        where: tuple[Any, str, str] = (kind, "p", resource_id)
        read = engine.get_iam_policy(*where, requested_version=3)
        wanted = Policy(bindings=[Binding(role=role, members=["user:a"])], etag=read.etag)
        kept = engine.set_iam_policy(*where, wanted, update_mask="bindings,etag")
        assert kept.bindings == wanted.bindings == engine.get_iam_policy(*where).bindings
        with pytest.raises(Aborted):
            engine.set_iam_policy(*where, wanted)
        asked = [f"ml.{kind}.get", "ml.no.such"]
        assert engine.test_iam_permissions(*where, asked) == asked[:1]
        assert engine.test_iam_permissions(kind, "p", "none", asked) == []  # type: ignore[arg-type]


def test_a_job_is_created_read_listed_changed_and_cancelled(engine: Engine) -> None:
    created = engine.create_job("p", JOB)
    assert (created.state, created.training_input) == ("QUEUED", JOB.training_input)
    assert engine.get_job("p", "census_1") == created
    assert engine.list_jobs("p").items == [created]
    assert engine.list_jobs("p", filter="labels.owner:bob").items == []
    changed = engine.update_job("p", "census_1", Job(labels={"a": "b"}), update_mask="labels")
    assert changed.labels == {"a": "b"}
    engine.cancel_job("p", "census_1")
    assert engine.get_job("p", "census_1").state == "CANCELLED"


def test_lists_are_walked_with_tokens(engine: Engine) -> None:
    for i in range(5):
        engine.create_job("p", Job(job_id=f"j{i}"))
    first = engine.list_jobs("p", page_size=3)
    rest = engine.list_jobs("p", page_size=3, page_token=first.next_page_token)
    assert [job.job_id for job in first.items + rest.items] == ["j4", "j3", "j2", "j1", "j0"]
    assert rest.next_page_token == ""
    with pytest.raises(OutOfRange):
        engine.list_jobs("p", filter="jobId:j*", page_token=first.next_page_token)


def test_models_and_versions_live_and_die(engine: Engine) -> None:
    model = engine.create_model("p", Model(name="census", description="d"))
    assert model.name == "projects/p/models/census"
    operation = engine.create_version("p", "census", Version(name="v1", deployment_uri="gs://b/m"))
    assert operation.done
    assert engine.get_operation("p", operation.name.rpartition("/")[2]) == operation
    engine.create_version("p", "census", Version(name="v2"))
    assert engine.get_version("p", "census", "v1").is_default
    assert engine.set_default_version("p", "census", "v2").is_default
    assert len(engine.list_versions("p", "census").items) == 2
    with pytest.raises(FailedPrecondition):
        engine.delete_version("p", "census", "v2")
    changed = Version(description="new")
    engine.update_version("p", "census", "v1", changed, update_mask="description")
    assert engine.get_version("p", "census", "v1").description == "new"
    back = Model(default_version=Version(name="v1"))
    engine.update_model("p", "census", back, update_mask="default_version.name")
    assert engine.get_model("p", "census").default_version == engine.get_version(
        "p", "census", "v1"
    )
    engine.delete_version("p", "census", "v2")
    engine.delete_version("p", "census", "v1")
    engine.delete_model("p", "census")
    assert engine.list_models("p").items == []
    done = engine.list_operations("p", filter="done=true").items
    assert len(done) == 7
    engine.cancel_operation("p", done[0].name.rpartition("/")[2])


def test_predictions_pass_through(engine: Engine) -> None:
    engine.create_model("p", Model(name="census"))
    body = b'{"instances": [1]}'
    reply = engine.predict("p", "census", "", body)
    assert (reply.status, reply.body) == (200, b'{"predictions":[%d],"version":""}' % len(body))
    assert engine.predict("p", "census", "v7", body).body.endswith(b'"v7"}')
    assert engine.predict("p", "none", "", body).status == 404


def test_logs_are_followed(engine: Engine, fake: FakeEngine) -> None:
    engine.create_job("p", JOB)
    fake.say("p", "census_1", LogEntry(message="one", severity="INFO", json_payload={"a": 1}))
    page = engine.read_logs("p", "census_1")
    assert [(e.message, e.json_payload) for e in page.entries] == [("one", {"a": 1})]
    timer = threading.Timer(0.1, fake.say, ("p", "census_1", LogEntry(message="two")))
    timer.start()
    page = engine.read_logs("p", "census_1", cursor=page.cursor, wait_s=20)
    timer.join()
    assert [e.message for e in page.entries] == ["two"]
    engine.cancel_job("p", "census_1")
    assert engine.read_logs("p", "census_1", cursor=page.cursor).finished


def test_metrics_come_with_what_json_has_no_number_for(engine: Engine, fake: FakeEngine) -> None:
    engine.create_job("p", JOB)
    series = MetricSeries(
        tag="a/b&c", run=".", source="log", steps=[1], values=["NaN"], times=[0.5]
    )
    fake.metrics["p", "census_1"] = [series, MetricSeries(tag="other", source="log")]
    assert engine.job_metrics("p", "census_1", tag="a/b&c") == [series]
    assert len(engine.job_metrics("p", "census_1")) == 2
    assert engine.job_metrics("p", "census_1", tag="none") == []
    with pytest.raises(NotFound):
        engine.job_metrics("p", "nobody")


@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_003])
def test_objects_go_in_and_come_out_whole(engine: Engine, size: int) -> None:
    engine.create_bucket(Bucket(name="data"))
    data = bytes(i % 251 for i in range(size))
    pieces = (data[at : at + 70_000] for at in range(0, size, 70_000))
    stored = engine.write_object("data", "a dir/é#?%.bin", pieces)
    assert (stored.name, stored.size) == ("a dir/é#?%.bin", size)
    assert engine.stat_object("data", stored.name) == stored
    assert b"".join(engine.read_object("data", stored.name)) == data
    assert engine.list_objects("data", prefix="a dir/").items == [stored]
    engine.delete_object("data", stored.name)
    assert [bucket.name for bucket in engine.list_buckets()] == ["data"]
    engine.delete_bucket("data")
    assert engine.list_buckets() == []


def test_an_object_may_be_described_as_it_is_written(engine: Engine, fake: FakeEngine) -> None:
    engine.create_bucket(Bucket(name="data"))
    engine.write_object("data", "x", [b"1"])
    about = {"contentType": "text/html", "metadata": {"à": "?&"}}
    engine.write_object("data", "y", [b"1"], like="gs://data/a b&c", about=about)
    assert fake.likes == {"gs://data/y": "gs://data/a b&c"}
    assert fake.about == {"gs://data/y": about}


def test_runtimes_are_built_and_removed(engine: Engine) -> None:
    assert [(runtime.name, runtime.built) for runtime in engine.list_runtimes()] == [
        ("local", True), ("2.15", False),
    ]  # fmt: skip
    assert engine.build_runtime("my-2.15") == engine.get_runtime("2.15")
    assert engine.collect_environments() == 0
    assert engine.collect_environments(keep_bytes=0) == 1_300_000_000
    engine.delete_runtime("2.15")
    assert not engine.get_runtime("2.15").built
    with pytest.raises(NotFound):
        engine.get_runtime("9/../x")


def test_a_bucket_with_objects_goes_only_by_force(engine: Engine) -> None:
    engine.create_bucket(Bucket(name="data"))
    engine.write_object("data", "x", [b"1"])
    with pytest.raises(FailedPrecondition):
        engine.delete_bucket("data")
    engine.delete_bucket("data", force=True)


def test_an_upload_that_fails_on_our_side_leaves_nothing(engine: Engine, fake: FakeEngine) -> None:
    engine.create_bucket(Bucket(name="data"))

    def chunks() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("the disk broke")

    with pytest.raises(RuntimeError, match="the disk broke"):
        engine.write_object("data", "x", chunks())
    assert not fake.objects


def test_the_rest_of_the_verbs(engine: Engine) -> None:
    assert engine.get_config("p").service_account_project == 7
    assert engine.get_location("p", "us-central1") == engine.list_locations("p").items[0]
    assert engine.status().store == "memory"


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda e: e.get_job("p", "none"), NotFound),
        (lambda e: e.get_job("p", "a/b"), NotFound),
        (lambda e: e.create_job("p", Job(job_id="1")), InvalidArgument),
        (lambda e: e.list_jobs("p", page_size=-1), InvalidArgument),
        (lambda e: e.list_jobs("p", page_token="forged"), OutOfRange),
        (lambda e: e.list_jobs("p", filter="state"), InvalidArgument),
        (lambda e: e.update_model("p", "m", Model(), update_mask=""), InvalidArgument),
        (lambda e: e.get_location("p", "mars"), NotFound),
        (lambda e: e.create_bucket(Bucket(name="X")), InvalidArgument),
        (lambda e: e.write_object("none", "x", [b"1"] * 100), NotFound),
        (lambda e: list(e.read_object("none", "x")), NotFound),
    ],
)
def test_errors_are_the_same(
    engine: Engine, fake: FakeEngine, act: Callable[[Engine], Any], error: type[EngineError]
) -> None:
    with pytest.raises(error) as caught:
        act(engine)
    assert type(caught.value) is error


@pytest.mark.parametrize("error", [AlreadyExists, ResourceExhausted, Unavailable, PermissionDenied])
def test_an_error_keeps_its_text_and_field(
    engine: Engine, fake: FakeEngine, error: type[EngineError]
) -> None:
    raised = error("What is wrong.", "What to do.", field="job.labels")

    def refuse(verb: str) -> None:
        raise raised

    fake.before = refuse
    with pytest.raises(error) as caught:
        engine.update_job("p", "a", Job(), update_mask="labels")
    assert str(caught.value) == str(raised) or error is ResourceExhausted
    assert caught.value.description == raised.description or error is ResourceExhausted


# --- what only the client has -------------------------------------------------------------------


def test_an_id_with_a_slash_does_not_become_another_path(
    remote: HttpEngine, fake: FakeEngine
) -> None:
    remote.create_model("p", Model(name="m"))
    remote.create_version("p", "m", Version(name="v"))
    for id in ("m/versions/v", "..", "", "m%2Fversions%2Fv", "m?x", "m:predict"):
        with pytest.raises(EngineError):
            remote.delete_model("p", id)
    assert fake.versions


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a?b", "a#b"])
def test_an_id_that_is_no_part_of_a_path_is_refused_by_name(remote: HttpEngine, id: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: remote.get_model("p", id), lambda: remote.get_version("p", "m", id),
        lambda: remote.get_key("p", id), lambda: remote.get_runtime(id),
        lambda: remote.get_trial("p", "local", "s", id), lambda: remote.delete_bucket(id),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(NotFound, match=re.escape(f"Nothing has the id '{id}'")):
            act()


@pytest.mark.parametrize("project", ["", "..", "a/b", "a?b", "a#b", "UPPER case"])
def test_a_project_that_there_cannot_be_is_refused_by_name(
    remote: HttpEngine, project: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(f"project id {project!r} is not valid")):
        remote.list_models(project)
    with pytest.raises(InvalidArgument, match=re.escape(f"project id {project!r} is not valid")):
        remote.list_keys(project)


def test_a_wrong_token_is_unauthenticated(live: tuple[list[FakeEngine], str]) -> None:
    with HttpEngine(live[1], "wrong") as stranger, pytest.raises(Unauthenticated):
        stranger.list_jobs("p")


def test_our_own_defects_come_back_as_internal(remote: HttpEngine, fake: FakeEngine) -> None:
    def fail(verb: str) -> None:
        raise RuntimeError("secret")

    fake.before = fail
    with pytest.raises(Internal) as caught:
        remote.list_jobs("p")
    assert "secret" not in str(caught.value)


def test_a_download_that_breaks_off_is_noticed(remote: HttpEngine, fake: FakeEngine) -> None:
    remote.create_bucket(Bucket(name="data"))
    remote.write_object("data", "x", [b"1" * 500_000])

    def fail(verb: str) -> None:
        if verb == "read_object piece":
            pieces.append(verb)
            if len(pieces) == 4:
                raise RuntimeError("the disk broke")

    pieces: list[str] = []
    fake.before = fail
    with pytest.raises(Unavailable, match="broke off"):
        b"".join(remote.read_object("data", "x"))


def test_many_threads_share_one_client(remote: HttpEngine) -> None:
    failed: list[Exception] = []

    def work(i: int) -> None:
        try:
            remote.create_job("p", Job(job_id=f"j{i}"))
            assert remote.get_job("p", f"j{i}").job_id == f"j{i}"
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert len(remote.list_jobs("p", page_size=100).items) == 30


@contextlib.contextmanager
def _scripted(*replies: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each connection's request with the next reply; None hangs up."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for reply in replies:
                connection, _peer = listener.accept()
                with connection:
                    seen.append(connection.recv(65536))
                    if reply is not None:
                        connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(60)


def _http(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


_TAKEN = _http(409, b'{"error":{"code":409,"status":"ALREADY_EXISTS","message":"Taken."}}')
_JOB = b'{"jobId":"a","state":"QUEUED","trainingInput":{"region":"r","scaleTier":"BASIC"}}'


def test_an_answer_of_a_later_engine_is_read_as_far_as_it_is_known() -> None:
    body = b'{"name": "projects/p/models/m/versions/v", "state": "READY", "mood": {"good": true}}'
    with _scripted(_http(200, body), _http(200, b'{"versions": [%b]}' % body)) as (url, _requests):
        client = HttpEngine(url, TOKEN)
        assert client.get_version("p", "m", "v").state == "READY"
        assert [v.state for v in client.list_versions("p", "m").items] == ["READY"]


def test_a_read_is_repeated_when_the_connection_breaks() -> None:
    with _scripted(None, _http(503, b"{}"), _http(200, _JOB)) as (url, seen):
        with HttpEngine(url, "t", timeout_s=20) as client:
            assert client.get_job("p", "a").state == "QUEUED"
    assert len(seen) == 3


def test_a_create_that_took_effect_before_the_break_succeeds() -> None:
    with _scripted(None, _TAKEN, _http(200, _JOB)) as (url, _seen):
        with HttpEngine(url, "t", timeout_s=20) as client:
            job = Job(job_id="a", training_input=TrainingInput(region="r"))
            assert client.create_job("p", job).state == "QUEUED"


@pytest.mark.parametrize("trials", [4, 5])
def test_a_tuning_job_that_took_effect_before_the_break_is_known_in_an_engines_words(
    trials: int,
) -> None:
    params = [{"parameter_name": "x", "type": "DOUBLE", "minValue": 0.001, "max_value": 1}]
    asked = {"max_trials": "4", "maxFailedTrials": 0, "enableTrialEarlyStopping": False}
    spec = TrainingInput(region="r", hyperparameters={**asked, "params": params})
    kept = (
        b'{"jobId":"a","state":"QUEUED","trainingInput":{"region":"r","hyperparameters":{"maxTrials"'
        b':%d,"params":[{"parameterName":"x","type":"DOUBLE","minValue":0.001,"maxValue":1.0}]}}}'
    ) % trials
    other = contextlib.nullcontext() if trials == 4 else pytest.raises(AlreadyExists)
    with _scripted(None, _TAKEN, _http(200, kept)) as (url, _seen):
        with HttpEngine(url, "t", timeout_s=20) as client, other:
            assert client.create_job("p", Job(job_id="a", training_input=spec)).state == "QUEUED"


def test_a_create_that_took_effect_before_its_engine_died_succeeds() -> None:
    # The gateway answers for an engine that is gone; the next try meets what the first one made.
    with _scripted(_http(503, b"{}"), _TAKEN, _http(200, _JOB)) as (url, _seen):
        with HttpEngine(url, "t", timeout_s=20) as client:
            job = Job(job_id="a", training_input=TrainingInput(region="r"))
            assert client.create_job("p", job).state == "QUEUED"


def test_a_create_of_a_taken_id_fails_even_after_a_break() -> None:
    with _scripted(None, _TAKEN, _http(200, _JOB)) as (url, _seen):
        with HttpEngine(url, "t", timeout_s=20) as client, pytest.raises(AlreadyExists):
            client.create_job("p", Job(job_id="a", training_input=TrainingInput(region="other")))


def test_a_create_of_a_taken_id_fails_at_once_without_a_break() -> None:
    with _scripted(_TAKEN) as (url, _seen):
        with HttpEngine(url, "t", timeout_s=20) as client, pytest.raises(AlreadyExists):
            client.create_job("p", Job(job_id="a"))


def test_uploads_and_downloads_that_break_off_are_told() -> None:
    with _scripted(None, None, b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nhalf") as (url, _seen):
        with HttpEngine(url, "t", timeout_s=20) as client:
            with pytest.raises(Unavailable, match="broke off"):
                client.write_object("data", "x", [b"1"])
            with pytest.raises(Unavailable, match="broke off"):
                client.read_object("data", "x")
            with pytest.raises(Unavailable, match="broke off"):
                b"".join(client.read_object("data", "x"))


def test_a_short_request_is_sent_in_one_piece(
    remote: HttpEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[bytes] = []
    send = http.client.HTTPConnection.send

    def noted(connection: http.client.HTTPConnection, data: bytes) -> None:
        pieces.append(data)
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", noted)
    remote.create_job("local", JOB)
    assert len(pieces) == 1
    assert pieces[0].startswith(b"POST ")
    assert "é".encode() in pieces[0]
    remote.create_model("local", Model(name="long", description="x" * 100_000))
    assert len(pieces) > 2, "a long body is not copied to be joined to its head"


def test_what_is_not_safe_is_sent_once() -> None:
    with _scripted(None) as (url, seen):
        with HttpEngine(url, "t", timeout_s=20) as client, pytest.raises(Unavailable):
            client.create_version("p", "m", Version(name="v"))
    assert len(seen) == 1


def test_an_answer_that_is_no_engine_s_is_told_apart() -> None:
    with _scripted(_http(502, b"<html>"), _http(200, b"<html>")) as (url, _seen):
        with HttpEngine(url, "t", timeout_s=20) as client:
            with pytest.raises(Unavailable, match="HTTP 502"):
                client.get_job("p", "a")
            with pytest.raises(Internal, match="not JSON"):
                client.get_job("p", "a")


@pytest.mark.parametrize(
    "act",
    [
        lambda e: e.list_jobs("p"),
        lambda e: e.create_version("p", "m", Version(name="v")),
        lambda e: e.write_object("data", "x", [b"1"]),
        lambda e: e.read_object("data", "x"),
    ],
)
def test_no_engine_is_said_with_the_next_step(act: Callable[[Engine], Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with HttpEngine(url, "t") as client, pytest.raises(Unavailable, match="mlengine up"):
        act(client)


def test_silence_is_told_as_long_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "_PREDICT_WAIT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with HttpEngine(url, "t", timeout_s=0.1) as client:
            with pytest.raises(DeadlineExceeded, match=r"silent for 0\.2 seconds"):
                client.predict("p", "m", "v", b"{}")


def test_silence_has_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with HttpEngine(url, "t", timeout_s=0.2) as client, pytest.raises(DeadlineExceeded):
            client.list_jobs("p")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each answer may take, in seconds."""
    waited: list[float] = []
    getresponse = http.client.HTTPConnection.getresponse

    def noted(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        waited.append(connection.sock.gettimeout())
        return getresponse(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", noted)
    return waited


def test_what_was_uploaded_may_be_stored_for_an_hour(
    remote: HttpEngine, waits: list[float]
) -> None:
    remote.create_bucket(Bucket(name="data"))
    remote.write_object("data", "x", [b"1"])
    remote.list_buckets()
    assert waits == [20, 3600, 20]


def test_a_prediction_ends_when_the_engine_says_so(remote: HttpEngine, waits: list[float]) -> None:
    remote.predict("p", "m", "v", b"{}")
    remote.explain("p", "m", "v", b"{}")
    remote.list_buckets()
    assert waits == [3620, 3620, 20]


def test_an_upload_without_an_answer_may_still_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_STORING_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with HttpEngine(url, "t", timeout_s=0.1) as client:
            with pytest.raises(DeadlineExceeded, match=r"0\.2 seconds.*It may still arrive: look"):
                client.write_object("data", "x", [b"1"])


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    app = build_app(FakeEngine(), token_digest=token_digest(TOKEN), allowed_hosts=[])
    with served(app) as url:
        client = HttpEngine(url, TOKEN)
        client.create_model("p", Model(name="m"))
    with client, pytest.raises(Unavailable, match="No engine answers"):
        client.create_version("p", "m", Version(name="v"))


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "localhost:1",
        "ftp://x",
        "http://",
        "http://x:y",
        "http://x/p",
        "http://exa mple",
        "http://x\x7f",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidArgument, match="address"):
        HttpEngine(endpoint, "t")


def test_a_name_that_cannot_be_looked_up_is_no_engine() -> None:
    with HttpEngine("http://a..b", "t") as client, pytest.raises(Unavailable, match="No engine"):
        client.list_jobs("p")


@pytest.mark.parametrize("token", ["mlk_secret\r", "mlk_secret\n", "mlk_secreté"])
def test_a_token_that_cannot_be_one_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidArgument, match="MLENGINE_TOKEN") as told:
        HttpEngine("http://127.0.0.1:9", token)
    assert "secret" not in str(told.value)


def test_a_unix_socket_is_an_address_too(tmp_path: Any) -> None:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _peer = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(_http(200, _JOB))

        thread = threading.Thread(target=serve)
        thread.start()
        with HttpEngine(f"unix:{path}", "t", timeout_s=20) as client:
            assert client.get_job("p", "a").job_id == "a"
        thread.join(60)


def test_importing_the_client_brings_no_http_server_and_no_heavy_library() -> None:
    code = "import sys, mlengine.client.http; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "http.client",
        "ssl",
        "starlette",
        "uvicorn",
        "anyio",
        "sqlalchemy",
        "asyncio",
        "email",
    }
    assert not heavy & set(found.stdout.split())


# --- studies ------------------------------------------------------------------------------------


def test_a_study_and_its_trials_go_all_the_way(engine: Engine) -> None:
    at = ("p", "local", "s")
    config = StudyConfig(metrics=[MetricSpec(metric="loss", goal="MINIMIZE")])
    made = engine.create_study(*at, Study(study_config=config))
    assert made.study_config == config
    assert engine.get_study(*at) == made
    assert engine.list_studies("p", "local") == [made]
    with pytest.raises(AlreadyExists):
        engine.create_study(*at, Study())
    wanted = Trial(parameters=[TrialParameter(parameter="x", float_value=0.0)])
    assert engine.create_trial(*at, wanted).parameters == wanted.parameters
    request = SuggestTrialsRequest(client_id="me", suggestion_count=1)
    operation = engine.suggest_trials(*at, request)
    assert operation.name.startswith("projects/p/locations/local/operations/")
    assert engine.get_operation("p", operation.name.rpartition("/")[2]) == operation
    point = Measurement(step_count=3, metrics=[MetricValue(metric="loss", value=0.0)])
    assert engine.add_trial_measurement(*at, "2", point).measurements == [point]
    assert not (engine.check_trial_stopping(*at, "2").response or {}).get("shouldStop")
    assert engine.stop_trial(*at, "2").state == "STOPPING"
    ended = engine.complete_trial(*at, "2", CompleteTrialRequest(final_measurement=point))
    assert ended.final_measurement == point
    assert engine.get_trial(*at, "2") == ended
    assert engine.list_optimal_trials(*at) == [ended]
    assert len(engine.list_trials(*at)) == 2
    engine.delete_trial(*at, "1")
    assert engine.list_trials(*at) == [ended]
    with pytest.raises(NotFound, match="has no trial 1"):
        engine.get_trial(*at, "1")
    engine.delete_study(*at)
    assert engine.list_studies("p", "local") == []


# --- traffic --------------------------------------------------------------------------------------


def test_traffic_is_set_read_compared_and_cleared(engine: Engine) -> None:
    engine.create_model("p", Model(name="shop"))
    assert engine.get_traffic("p", "shop").split == {}
    wanted = ModelTraffic(split={"v1": 9, "v2": 0}, sticky_by="field:user", shadow=["v3"])
    made = engine.set_traffic("p", "shop", wanted)
    assert (made.split, made.sticky_by, made.shadow) == ({"v1": 9, "v2": 0}, "field:user", ["v3"])
    assert engine.get_traffic("p", "shop") == made
    found = engine.compare_versions("p", "shop", "v1", "v2")
    assert found.candidate is not None
    assert found.candidate.version == "v2"
    assert found.error_rate == Interval(estimate=0.0, low=-0.01, high=0.01, verdict="undecided")
    sent = [Outcome(prediction_id="1-v1--n", value=0.0), Outcome(prediction_id="1-v1--m", value=2)]
    assert engine.add_outcomes("p", "shop", sent).added == 2
    assert engine.add_outcomes("p", "shop", sent).known == 2
    assert engine.clear_traffic("p", "shop").split == {}
    with pytest.raises(NotFound):
        engine.set_traffic("p", "none", wanted)


# --- request logs ---------------------------------------------------------------------------------


def test_logged_predictions_are_listed_and_labelled(engine: Engine, fake: FakeEngine) -> None:
    row = LoggedPrediction(prediction_id="0-v1--1", model="shop", model_version="v1", time="2026")
    fake.logged = [copy.copy(row) for _ in range(3)]
    first = engine.list_predictions("p", "shop", version="v1", since="2025", page_size=2)
    assert first.items == [row] * 2
    rest = engine.list_predictions("p", "shop", page_token=first.next_page_token)
    assert (rest.items, rest.next_page_token) == ([row], "")
    label = PredictionLabel(prediction_id="0-v1--1", value="yes")
    assert engine.label_predictions("p", [label]).labelled == 1
    with pytest.raises(NotFound, match="0-v1--9"):
        engine.label_predictions("p", [PredictionLabel(prediction_id="0-v1--9")])


def test_the_logs_of_a_versions_workers_come_whole_or_their_end(
    engine: Engine, fake: FakeEngine
) -> None:
    engine.create_model("p", Model(name="shop"))
    engine.create_version("p", "shop", Version(name="v1", deployment_uri="gs://b/m"))
    fake.worker_logs = [WorkerLog(file="worker-a-0.log", lines=["one", "two"])]
    assert engine.version_logs("p", "shop", "v1").logs == fake.worker_logs
    assert engine.version_logs("p", "shop", "v1", limit=1).logs[0].lines == ["two"]
    with pytest.raises(NotFound):
        engine.version_logs("p", "shop", "v2")


def test_another_machine_that_went_away_is_noticed(remote: HttpEngine) -> None:
    remote.list_buckets()
    (connection,) = remote._transport._idle
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
