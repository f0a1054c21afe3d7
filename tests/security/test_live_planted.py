"""What an engine is given for itself (a database's password, cloud keys) stays with it.

One engine on PostgreSQL, with a bucket in an S3, and secrets all over its environment: a job that
reads that bucket and a prediction run, and then every process, file and answer is looked into.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.live.objectstores import moto_s3
from tests.live.postgres import PASSWORD, PostgresServer, postgres  # noqa: F401
from tests.security.planted import CLOUD_KEYS, finds_in_files, finds_in_processes, spellings
from tests.security.wire import send
from tests.waiting import wait_until

SECRETS = [*CLOUD_KEYS.values(), PASSWORD]
# It reads the far bucket through its helper, says all that it was given, and waits to be let go.
TRAINER = """
import os, pathlib, sys, threading, urllib.request
host = os.environ["STORAGE_EMULATOR_HOST"]
print("objects:", urllib.request.urlopen(host + "/storage/v1/b/far/o").read().decode(), flush=True)
for name, value in sorted(os.environ.items()):
    print(name, value, flush=True)
print("looked around", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    threading.Event().wait(0.05)
"""


@pytest.fixture(scope="module")
def engine(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,  # noqa: F811
    line_model: bytes,
) -> Iterator[LiveEngine]:
    database = postgres.url(postgres.new_database())
    with moto_s3("far-away") as url:
        environ = {**CLOUD_KEYS, "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}
        home = tmp_path_factory.mktemp("planted") / "home"
        with live_engine(home, environ=environ, database=database) as engine:
            engine.make_bucket()
            engine.client.create_bucket(Bucket(name="far", backing="s3://far-away"))
            engine.client.write_object("far", "data.csv", [b"1,2\n"])
            uri = engine.upload_model("models/line", model__pkl=line_model)
            assert engine.deploy(uri, model_id="line").error is None
            package = engine.upload_package(TRAINER)
            engine.submit("looks", package, str(home / "go"))
            engine.lines("looks", until="looked around")
            yield engine
            (home / "go").touch()
            assert engine.ended("looks").state == "SUCCEEDED"


def test_no_process_of_the_engine_but_itself_shows_a_secret(engine: LiveEngine) -> None:
    predict = "/v1/projects/default/models/line:predict"
    assert send(engine, "POST", predict, b'{"instances": [[2]]}').status == 200
    wrong, seen = finds_in_processes(engine, SECRETS)
    assert wrong == []
    for part in ("supervisor", "trainer.task", "storage.sidecar", "gateway", "runtime.worker"):
        assert any(part in words for words in seen), (part, seen)


def test_the_helper_had_the_keys_all_the_same(engine: LiveEngine) -> None:
    (said,) = (line for line in engine.lines("looks", until="looked") if "objects:" in line)
    assert "data.csv" in said


def test_no_file_of_the_home_holds_a_secret(engine: LiveEngine) -> None:
    assert finds_in_files(engine, SECRETS) == []


def test_no_answer_holds_a_secret(engine: LiveEngine) -> None:
    wanted = {word for secret in SECRETS for word in spellings(secret)}
    for path in (
        "/api/v1/status", "/api/v1/health", "/api/v1/buckets", "/api/v1/openapi.json",
        "/$discovery/rest?version=v1", f"/v1/projects/{P}/jobs", f"/v1/projects/{P}/jobs/looks",
        f"/v1/projects/{P}/jobs/missing", f"/v1/projects/{P}/models/line/versions",
        f"/v1/projects/{P}/operations", f"/v1/projects/{P}:getConfig",
        "/api/v1/buckets/far/objects", f"/api/v1/projects/{P}/jobs/looks/logs",
    ):  # fmt: skip
        reply = send(engine, "GET", path)
        assert reply.status in (200, 404), (path, reply.text)
        assert [word for word in wanted if word.decode() in reply.text] == [], path
    status = send(engine, "GET", "/api/v1/status").json
    assert status["store"].startswith("127.0.0.1:")


def test_a_database_that_is_away_is_named_without_its_password(
    engine: LiveEngine,
    postgres: PostgresServer,  # noqa: F811
) -> None:
    postgres.stop("immediate")
    try:
        reply = send(engine, "GET", f"/v1/projects/{P}/jobs")
    finally:
        postgres.start()
    assert reply.status == 503
    assert [w for w in spellings(PASSWORD) if w.decode() in reply.text] == []
    wait_until(lambda: send(engine, "GET", f"/v1/projects/{P}/jobs").status == 200, 60)
    assert finds_in_files(engine, SECRETS) == []


def test_commands_show_settings_without_secrets(tmp_path: Path) -> None:
    url = "postgresql://me:" + "planted4711" + "@db.example/ml"
    environ = {**os.environ, "MLENGINE_DATABASE": url, "MLENGINE_TOKEN": "planted4711-token"}
    words = [sys.executable, "-m", "mlengine", "--home", str(tmp_path), "config", "list", "--all"]
    done = subprocess.run(
        words, env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert "postgresql://me:***@db.example/ml" in done.stdout
    assert "planted4711" not in done.stdout + done.stderr


def test_an_engine_that_is_not_let_in_says_so_without_the_password(
    engine: LiveEngine,
    postgres: PostgresServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    url = postgres.url("template1", password="planted4711/wrong")
    done = subprocess.run(
        [sys.executable, "-m", "mlengine.daemon", "--home", str(tmp_path / "h"), "--port", "0"],
        env={**os.environ, "MLENGINE_DATABASE": url},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "password" in done.stderr
    assert "planted4711" not in done.stderr
    assert BUCKET in {bucket.name for bucket in engine.client.list_buckets()}
