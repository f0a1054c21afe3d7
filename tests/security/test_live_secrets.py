"""Whatever fails, the token and what callers sent stay out of logs and answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from pathlib import Path

import psutil
import pytest

from tests.live.engines import LiveEngine, P, live_engine
from tests.security.wire import Reply, send
from tests.waiting import wait_until

CANARY = "canary4711secret"
JOBS = "/v1/projects/default/jobs"
# A secret wherever a request can carry one; all of these are refused or fail.
REQUESTS: dict[str, tuple[str, str, bytes | None, dict[str, str]]] = {
    "a wrong token": ("GET", JOBS, None, {"Authorization": f"Bearer {CANARY}"}),
    "a password": ("GET", JOBS, None, {"Authorization": f"Basic {CANARY}"}),
    "a token in the query": ("GET", f"{JOBS}?access_token={CANARY}", None, {}),
    "a key in the query": ("GET", f"{JOBS}?key={CANARY}&pageSize=-1", None, {}),
    "a cookie": ("GET", "/v1/nowhere", None, {"Cookie": f"session={CANARY}"}),
    "a header": ("GET", "/v1/nowhere", None, {"X-Api-Key": CANARY}),
    "a body that is no JSON": ("POST", JOBS, b'{"jobId": "' + CANARY.encode(), {}),
    "a body of the wrong type": (
        "POST", "/api/v1/buckets",
        b'{"name": "b-x", "backing": "s3://u:' + CANARY.encode() + b'@h/b"}', {},
    ),
    "a prediction that fails": (
        "POST", "/v1/projects/default/models/line:predict",
        b'{"instances": [["' + CANARY.encode() + b'"]]}', {},
    ),
    "a text body": ("POST", JOBS, CANARY.encode(), {"Content-Type": "text/plain"}),
    "a foreign host": ("GET", JOBS, None, {"Host": f"{CANARY}.example"}),
    "a referrer": ("GET", "/v1/nowhere", None, {"Referer": f"http://localhost/?t={CANARY}"}),
}  # fmt: skip
# These names the caller must be told, and they are no secrets by any rule.
MAY_REPEAT = {"a foreign host", "a body of the wrong type", "a prediction that fails"}


def _written(engine: LiveEngine) -> dict[str, bytes]:
    """Everything in the home that is written down for people to read or that others are sent."""
    paths = [engine.home / "daemon.log", *(engine.home / "logs").rglob("*")]
    paths += [p for p in (engine.home / "run").rglob("*") if p.name != "token"]
    paths += (engine.home / "jobs").rglob("*.jsonl")
    return {str(p): p.read_bytes() for p in paths if p.is_file()}


def _finds(engine: LiveEngine, *words: str) -> list[str]:
    return [
        f"{word} in {path}"
        for path, data in _written(engine).items()
        for word in words
        if word.encode() in data
    ]


@pytest.mark.parametrize("name", REQUESTS)
def test_no_refusal_writes_or_repeats_a_secret(serving: LiveEngine, name: str) -> None:
    method, target, body, headers = REQUESTS[name]
    reply = send(
        serving, method, target, body, **{k.replace("-", "_"): v for k, v in headers.items()}
    )
    assert 400 <= reply.status < 500, reply.text
    if name not in MAY_REPEAT:
        assert CANARY not in reply.text
    assert serving.token not in reply.text
    assert _finds(serving, CANARY, serving.token) == []


def test_no_defect_writes_or_repeats_a_secret(tmp_path: Path) -> None:
    """The store is held by another, so that verbs fail in the middle, with secrets all around."""
    with (
        live_engine(tmp_path / "home") as engine,
        contextlib.closing(
            sqlite3.connect(engine.home / "engine.db", isolation_level=None)
        ) as other,
    ):
        engine.make_bucket()
        other.execute("BEGIN EXCLUSIVE")
        replies = []
        model = json.dumps({"name": "m", "description": CANARY}).encode()
        body = json.dumps({"jobId": f"j_{CANARY}", "labels": {"a": CANARY}}).encode()
        for method, target, sent in (
            ("GET", f"{JOBS}?filter=jobId%3D{CANARY}&key={CANARY}", None),
            ("POST", "/v1/projects/default/models", model),
            ("POST", JOBS, body),
            ("GET", "/api/v1/buckets", None),
            ("PUT", "/api/v1/buckets/mine/content/named", CANARY.encode()),
        ):  # fmt: skip
            replies.append(send(engine, method, target, sent, Cookie=CANARY, X_Secret=CANARY))
        other.execute("ROLLBACK")
        failed = [reply for reply in replies if reply.status >= 500]
        assert failed, [reply.status for reply in replies]
        for reply in failed:
            assert CANARY not in reply.text.replace(f"j_{CANARY}", "")
            _tells_nothing(engine, reply)
        assert _finds(engine, CANARY, engine.token) == []


def test_no_unforeseen_defect_writes_or_repeats_a_secret(tmp_path: Path) -> None:
    """A table is gone, which nothing explains: tracebacks are written, with what was asked."""
    with live_engine(tmp_path / "home") as engine:
        with contextlib.closing(sqlite3.connect(engine.home / "engine.db", timeout=30)) as store:
            tables = {row[0] for row in store.execute("SELECT name FROM sqlite_master")}
            assert "models" in tables
            store.execute("ALTER TABLE models RENAME TO taken_away")
            store.commit()
        body = json.dumps({"name": "m", "description": CANARY}).encode()
        replies = [
            send(engine, "POST", "/v1/projects/default/models", body, Cookie=CANARY),
            send(engine, "GET", f"/v1/projects/default/models?filter=name%3D{CANARY}"),
            send(engine, "GET", f"/v1/projects/default/models/{CANARY}", X_Secret=CANARY),
        ]
        with contextlib.closing(sqlite3.connect(engine.home / "engine.db", timeout=30)) as store:
            store.execute("ALTER TABLE taken_away RENAME TO models")
            store.commit()
        assert {reply.status for reply in replies} == {500}
        for reply in replies:
            assert reply.json["error"]["message"] == "Internal error encountered."
            assert reply.headers["x-incident-id"] in (engine.home / "daemon.log").read_text()
            _tells_nothing(engine, reply)
        # The path is written down; what it names is no secret.
        found = [
            line
            for data in _written(engine).values()
            for line in data.decode(errors="replace").splitlines()
            if CANARY in line and f"'/v1/projects/default/models/{CANARY}'" not in line
        ]
        assert found == []
        assert _finds(engine, engine.token) == []


def _tells_nothing(engine: LiveEngine, reply: Reply) -> None:
    assert engine.token not in reply.text
    assert str(engine.home) not in reply.text
    for word in ("Traceback", "sqlalchemy", "sqlite3", ".py", "SELECT", "INSERT"):
        assert word not in reply.text, reply.text


def test_no_death_writes_a_secret(serving: LiveEngine) -> None:
    """A worker that dies in the middle of a prediction, and an engine that is killed."""
    workers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "-m mlengine.runtime.worker" in " ".join(process.info["cmdline"] or [])
        and any(str(serving.home) in word for word in process.info["cmdline"])
    ]
    assert workers
    body = json.dumps({"instances": [[CANARY]]}).encode()
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    predict = "/v1/projects/default/models/line:predict"
    reply = send(serving, "POST", predict, body)
    assert reply.status in (400, 503)
    serving.kill()
    assert send(serving, "POST", JOBS, body, Cookie=CANARY).status == 503
    serving.start()
    good = json.dumps({"instances": [[1]]}).encode()
    wait_until(lambda: send(serving, "POST", predict, good).status == 200, 60)
    assert _finds(serving, CANARY, serving.token) == []


def test_a_job_is_free_to_print_its_own_secrets_but_the_engine_adds_none(live: LiveEngine) -> None:
    package = live.upload_package("import sys; raise SystemExit('failed with ' + sys.argv[1])")
    live.submit("talks", package, "word")
    assert live.ended("talks").state == "FAILED"
    said = "\n".join(live.lines("talks"))
    assert "failed with word" in said
    assert live.token not in said
    assert live.token not in str(live.client.get_job(P, "talks"))
    assert _finds(live, live.token) == []


def test_the_token_is_in_one_file_of_the_home(serving: LiveEngine) -> None:
    holders = [
        str(path.relative_to(serving.home))
        for path in serving.home.rglob("*")
        if path.is_file() and not path.is_symlink() and serving.token.encode() in path.read_bytes()
    ]
    assert holders == ["run/token"]


def test_a_new_token_ends_the_old_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with live_engine(home) as engine:
        old = engine.token
        assert send(engine, "GET", JOBS, token=old).status == 200
    (home / "run" / "token").unlink()
    with live_engine(home) as engine:
        assert engine.token != old
        assert send(engine, "GET", JOBS, token=old).status == 401
        assert send(engine, "GET", JOBS).status == 200
