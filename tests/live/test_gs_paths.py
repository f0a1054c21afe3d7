"""A job whose trainer speaks gs:// itself: by library, by command, by TensorFlow, by URL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from tests.live.engines import LiveEngine, P, live_engine
from tests.live.runtimes import prepared, share_runtimes
from tests.waiting import wait_until

TRAINER = """
    import json, os, subprocess, sys, urllib.request
    bucket = sys.argv[1]
    from google.cloud import storage
    client = storage.Client()
    told = {"project": client.project, "read": client.bucket(bucket).blob(
        "data/a.csv").download_as_bytes().decode()}
    client.bucket(bucket).blob("out/library").upload_from_string("by the library")
    with open("local.txt", "w") as file:
        file.write("by gsutil")
    subprocess.check_call(["gsutil", "-q", "-m", "cp", "local.txt", f"gs://{bucket}/out/"])
    told["ls"] = subprocess.check_output(
        ["gcloud", "storage", "ls", f"gs://{bucket}/data"], text=True).split()
    url = f"https://storage.googleapis.com/{bucket}/data/a.csv"
    told["url"] = urllib.request.urlopen(url).read().decode()
    client.bucket(bucket).blob("out/told").upload_from_string(json.dumps(told))
"""
TENSORFLOW = """
    import sys
    import tensorflow as tf
    bucket = sys.argv[1]
    with tf.io.gfile.GFile(f"gs://{bucket}/out/tensorflow", "w") as file:
        file.write(tf.io.gfile.GFile(f"gs://{bucket}/data/a.csv").read() + "by tensorflow")
    print(tf.io.gfile.glob(f"gs://{bucket}/data/*"))
"""


def read(engine: LiveEngine, name: str) -> str:
    return b"".join(engine.client.read_object("mine", name)).decode()


@pytest.fixture(scope="module")
def data(engine: LiveEngine) -> LiveEngine:
    engine.client.write_object("mine", "data/a.csv", [b"x,y\n1,2\n"])
    return engine


def test_a_trainer_reaches_buckets_by_library_command_and_url(data: LiveEngine) -> None:
    pytest.importorskip("google.cloud.storage")
    data.submit("speaks_gs", data.upload_package(TRAINER), "mine")
    assert data.ended("speaks_gs").state == "SUCCEEDED", data.lines("speaks_gs")
    assert json.loads(read(data, "out/told")) == {
        "project": P, "read": "x,y\n1,2\n", "ls": ["gs://mine/data/a.csv"], "url": "x,y\n1,2\n",
    }  # fmt: skip
    assert read(data, "out/library") == "by the library"
    assert read(data, "out/local.txt") == "by gsutil"


def test_tensorflow_reaches_buckets_by_itself(data: LiveEngine) -> None:
    pytest.importorskip("tensorflow")
    data.submit("tf_gs", data.upload_package(TENSORFLOW), "mine")
    assert data.ended("tf_gs", timeout_s=200).state == "SUCCEEDED", data.lines("tf_gs")
    assert read(data, "out/tensorflow") == "x,y\n1,2\nby tensorflow"
    assert "['gs://mine/data/a.csv']" in data.lines("tf_gs")


def test_a_running_job_keeps_its_buckets_while_the_engine_is_away(data: LiveEngine) -> None:
    pytest.importorskip("google.cloud.storage")
    package = data.upload_package("""
        import os, sys, select
        from google.cloud import storage
        print("ready", flush=True)
        while not os.path.exists(sys.argv[1]):
            select.select([], [], [], 0.02)
        storage.Client().bucket("mine").blob("out/alone").upload_from_string("alone")
        open(sys.argv[1] + ".done", "w").close()
        while not os.path.exists(sys.argv[1] + ".end"):
            select.select([], [], [], 0.02)
    """)
    go = data.home / "go"
    data.submit("alone", package, str(go))
    data.lines("alone", until="ready")
    data.kill()
    go.touch()
    wait_until(lambda: go.with_name("go.done").exists(), 60)
    data.start()
    go.with_name("go.end").touch()
    assert data.ended("alone").state == "SUCCEEDED", data.lines("alone")
    assert read(data, "out/alone") == "alone"
    wait_until(lambda: not any("mlengine.storage.sidecar" in p for p in data.processes()), 60)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("runtime", ["1.15", pytest.param("2.15", marks=pytest.mark.repeats)])
def test_an_older_tensorflow_reaches_buckets_by_itself(runtime: str, tmp_path: Path) -> None:
    try:
        prepared(runtime, strict=True)
    except FailedPrecondition as error:
        if "needs Python" in str(error):
            pytest.skip(str(error))
        raise
    share_runtimes(tmp_path / "home")
    with live_engine(tmp_path / "home") as engine:
        engine.make_bucket()
        engine.client.write_object("mine", "data/a.csv", [b"x,y\n1,2\n"])
        package = engine.upload_package(TENSORFLOW)
        for job_id in ("first", "second"):  # the second may be forked from what the first warmed
            engine.submit(job_id, package, "mine", runtime_version=runtime)
            assert engine.ended(job_id, timeout_s=200).state == "SUCCEEDED", engine.lines(job_id)
            assert read(engine, "out/tensorflow") == "x,y\n1,2\nby tensorflow"
            engine.client.delete_object("mine", "out/tensorflow")
