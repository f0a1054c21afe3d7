"""An engine whose buckets lie in object stores: the same commands, packages, trainers and jobs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket, Job, JobOptions, PredictionInput, TrainingInput
from tests.live.engines import WITHOUT_RIGHTS, LiveEngine, P, live_engine
from tests.live.objectstores import (
    environment,
    fake_gcs,
    gcs_environment,
    moto_s3,
    s3_environment,
)
from tests.live.relays import Relay
from tests.live.terminal import mlengine
from tests.waiting import wait_until

KEY = f"never-to-be-shown-{secrets.token_hex(8)}"
SAMPLES = Path(__file__).parents[2] / "samples" / "census"


class Stores:
    """An engine with the buckets ``gs://far`` (Cloud Storage) and ``gs://away`` (S3)."""

    def __init__(self, engine: LiveEngine, relay: Relay) -> None:
        self.engine, self.relay = engine, relay

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        return [o.name for o in self.engine.client.list_objects(bucket, prefix=prefix).items]

    def read(self, bucket: str, name: str) -> str:
        return b"".join(self.engine.client.read_object(bucket, name)).decode()

    def run(self, job_id: str, code: str, *args: str, job_dir: str, retries: int = 0) -> Job:
        self.submit(job_id, code, *args, job_dir=job_dir, retries=retries)
        return self.engine.ended(job_id)

    def submit(self, job_id: str, code: str, *args: str, job_dir: str, retries: int = 0) -> None:
        spec = TrainingInput(
            python_module="trainer.task",
            package_uris=[self.engine.upload_package(code)],
            region="local",
            args=list(args),
            job_dir=job_dir,
        )
        options = JobOptions(max_retries=retries)
        job = Job(job_id=job_id, training_input=spec, options=options)
        self.engine.client.create_job(P, job)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("stores")
    with fake_gcs(folder, "team-bucket") as gcs, moto_s3("team-bucket") as s3:
        relay = Relay(gcs)
        variables = {**gcs_environment(relay.url), **s3_environment(s3)}
        variables["AWS_SECRET_ACCESS_KEY"] = KEY
        home = folder / "home"
        with (
            environment(variables),
            live_engine(home, prefix=WITHOUT_RIGHTS, retry_backoff_s="0.1") as engine,
        ):
            engine.make_bucket()
            engine.client.create_bucket(Bucket(name="far", backing="gcs://team-bucket/ml"))
            engine.client.create_bucket(Bucket(name="away", backing="s3://team-bucket/ml"))
            yield Stores(engine, relay)
        relay.close()
        log = (home / "daemon.log").read_text()
        assert "Traceback" not in log
        assert KEY not in log


def test_the_census_loop_runs_on_a_bucket_in_cloud_storage(stores: Stores, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    engine = stores.engine
    data = SAMPLES / "data"
    mlengine(
        engine, "storage", "cp", str(data / "adult.data.csv.gz"), str(data / "adult.test.csv.gz"),
        str(SAMPLES / "instances.jsonl"), "gs://far/data/", cwd=tmp_path,
    )  # fmt: skip
    mlengine(
        engine, "jobs", "submit", "training", "census", "--module-name", "trainer.task",
        "--package-path", str(SAMPLES / "sklearn_trainer" / "trainer"),
        "--staging-bucket", "gs://far", "--job-dir", "gs://far/census", "--stream-logs", "--",
        "--train-files", "gs://far/data/adult.data.csv.gz",
        "--eval-files", "gs://far/data/adult.test.csv.gz", "--max-iter", "10",
        cwd=tmp_path,
    )  # fmt: skip
    assert engine.job("census").state == "SUCCEEDED", engine.lines("census")
    left = [name for name in stores.names("far", "census/") if not name.endswith(".tar.gz")]
    model = ("golden.jsonl", "golden.libraries.json", "model.joblib")
    assert left == ["census/metrics.json", *(f"census/model/{name}" for name in model)]
    assert engine.deploy("gs://far/census/model", model_id="census").error is None
    lines = (SAMPLES / "instances.jsonl").read_text().splitlines()
    body = {"instances": [json.loads(line) for line in lines]}
    answer = engine.client.predict(P, "census", "", json.dumps(body).encode())
    predictions = json.loads(answer.body)["predictions"]
    assert len(predictions) == len(lines)
    spec = PredictionInput(
        model_name=f"projects/{P}/models/census", input_paths=["gs://far/data/inst*.jsonl"],
        output_path="gs://far/answers", data_format="TEXT", region="local",
    )  # fmt: skip
    engine.client.create_job(P, Job(job_id="batch", prediction_input=spec))
    assert engine.ended("batch").state == "SUCCEEDED", engine.lines("batch")
    told = stores.read("far", "answers/prediction.results-00000-of-00001").splitlines()
    assert [json.loads(line) for line in told] == predictions
    wait_until(lambda: not [*engine.home.glob("mirrors/*.json")], 60)
    wait_until(lambda: not [*engine.home.glob("jobs/*/buckets")], 60)


PATHS = """
    import argparse, os, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    parser.add_argument("--table")
    args = parser.parse_args()
    print(args.job_dir, args.table)
    rows = open(args.table).read()
    os.makedirs(args.job_dir + "/deep/er")
    open(args.job_dir + "/deep/er/rows.txt", "w").write(rows.upper())
    os.symlink("/etc/passwd", args.job_dir + "/link")
    os.symlink("er/rows.txt", args.job_dir + "/deep/latest.txt")
    os.remove(args.job_dir + "/old")
    bad = {name for name in os.environ if name.startswith("AWS_")}
    assert not bad, bad
"""


@pytest.mark.parametrize("bucket", ["far", "away"])
def test_a_trainer_that_opens_paths_finds_and_leaves_its_files(stores: Stores, bucket: str) -> None:
    stores.engine.client.write_object(bucket, "in/table.csv", [b"a,b\n"])
    stores.engine.client.write_object(bucket, "run/old", [b"to be removed"])
    stores.engine.client.write_object(bucket, "run/kept", [b"kept"])
    job_id = f"paths_{bucket}"
    job = stores.run(
        job_id, PATHS, f"--table=gs://{bucket}/in/table.csv", job_dir=f"gs://{bucket}/run"
    )
    lines = stores.engine.lines(job_id)
    assert job.state == "SUCCEEDED", lines
    left = ["run/deep/er/rows.txt", "run/deep/latest.txt", "run/kept"]
    assert stores.names(bucket, "run") == left
    assert stores.read(bucket, "run/deep/latest.txt") == "A,B\n"
    assert any(f"gs://{bucket}/run/link is a link that leads to no file" in x for x in lines)
    assert stores.read(bucket, "run/deep/er/rows.txt") == "A,B\n"
    assert f"Fetching gs://{bucket}/in/table.csv: 1 file(s), 0.0 MB." in lines
    assert not any(KEY in line for line in lines)


SPEAKS_GS = """
    import argparse, subprocess
    from google.cloud import storage
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    args = parser.parse_args()
    name, _, folder = args.job_dir.replace("gs://", "").partition("/")
    bucket = storage.Client().bucket(name)
    blob = bucket.blob(folder + "/library.txt")
    blob.metadata = {"colour": "green"}
    blob.upload_from_string("by the library", content_type="text/x-colour")
    try:
        blob.upload_from_string("never", if_generation_match=0)
    except Exception as error:
        print("refused:", type(error).__name__)
    found = bucket.get_blob(folder + "/library.txt")
    print("found:", found.metadata, found.content_type, found.size)
    bucket.blob(folder + "/large.bin", chunk_size=1 << 18).upload_from_string(b"x" * (1 << 20))
    open("local.txt", "w").write("by gsutil")
    subprocess.check_call(["gsutil", "cp", "local.txt", args.job_dir + "/shim.txt"])
    print(subprocess.check_output(["gsutil", "ls", args.job_dir + "/"]).decode().split())
    print(sorted(blob.name for blob in storage.Client().list_blobs(name, prefix=folder)))
"""


@pytest.mark.parametrize("bucket", ["far", "away"])
def test_a_trainer_that_speaks_gs_reaches_the_store_through_its_helper(
    stores: Stores, bucket: str
) -> None:
    pytest.importorskip("google.cloud.storage")
    job_id = f"speaks_{bucket}"
    job = stores.run(job_id, SPEAKS_GS, job_dir=f"gs://{bucket}/speaks")
    lines = stores.engine.lines(job_id)
    assert job.state == "SUCCEEDED", lines
    assert "refused: PreconditionFailed" in lines
    assert "found: {'colour': 'green'} text/x-colour 14" in lines
    names = [f"speaks/{name}" for name in ("large.bin", "library.txt", "shim.txt")]
    assert stores.names(bucket, "speaks/") == names
    assert stores.read(bucket, "speaks/shim.txt") == "by gsutil"


# Runs as the engine's own user, looks wherever such a process may, and says what it found there.
HUNTS = r"""
    import argparse, contextlib, ctypes, os, pathlib, stat, subprocess, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("--home")
    parser.add_argument("--job-dir")
    parser.add_argument("--hex")
    args = parser.parse_args()
    key, libc = bytes.fromhex(args.hex), ctypes.CDLL(None)
    bait = b"bait-" + key[::-1]

    def use():
        path = pathlib.Path("proof.txt")
        path.write_text("made with the key")
        subprocess.check_call(["gsutil", "cp", str(path), "gs://away/hunts/proof.txt"])

    def read(path):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.stat(path).st_mode):
                with open(path, "rb") as file:
                    return file.read(8 << 20)
        return b""

    def places():
        for folder, _folders, names in os.walk(args.home):
            yield from (os.path.join(folder, name) for name in names)
        for process in filter(str.isdigit, os.listdir("/proc")):
            yield from (f"/proc/{process}/environ", f"/proc/{process}/cmdline")
            with contextlib.suppress(OSError):
                yield from (f"/proc/{process}/fd/{n}" for n in os.listdir(f"/proc/{process}/fd"))

    def finds(word):
        if any(word in os.fsencode(value) for value in os.environ.values()):
            yield "own environment"
        yield from (path for path in places() if word in read(path))

    def parent(pid):
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    def is_closed(pid):
        with contextlib.suppress(PermissionError):
            open(f"/proc/{pid}/mem", "rb").close()
            return False
        pidfd = os.pidfd_open(pid)
        return all(libc.syscall(438, pidfd, number, 0) == -1 for number in range(64))

    use()
    supervisor, helpers = os.getppid(), []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            if parent(process) == supervisor and int(process) != os.getpid():
                helpers.append(int(process))
    print("closed:", [is_closed(pid) for pid in (supervisor, *helpers)])
    child = subprocess.Popen(["sleep", "600"], env={**os.environ, "BAIT": bait.decode()})
    (pathlib.Path(args.home) / "bait").write_bytes(bait)
    print("bait:", sorted(os.path.basename(path) for path in finds(bait)))
    print("open:", is_closed(child.pid))
    child.kill()
    child.wait()
    print("found:", sorted(finds(key)))
"""


def test_a_hostile_trainer_finds_no_key_while_its_bucket_works(stores: Stores) -> None:
    home = str(stores.engine.home)
    job = stores.run(
        "hunts", HUNTS, f"--home={home}", f"--hex={KEY.encode().hex()}", job_dir="gs://away/hunts"
    )
    lines = stores.engine.lines("hunts")
    said = "\n".join(lines)
    assert job.state == "SUCCEEDED", said
    assert stores.read("away", "hunts/proof.txt") == "made with the key"
    assert "closed: [True, True]" in lines, said  # its supervisor and its helper
    assert "open: False" in lines, said
    assert "bait: ['bait', 'environ']" in lines, said  # it does look, and sees what is open
    assert "found: []" in lines, said


WRITES = """
    import argparse, os, select, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    parser.add_argument("--go")
    args = parser.parse_args()
    print("ready", flush=True)
    while not os.path.exists(args.go):
        select.select([], [], [], 0.02)
    with open(args.job_dir + "/model.txt", "w") as out:
        out.write("made while the store was away")
"""


def test_a_store_that_goes_away_for_a_while_loses_no_job_and_no_file(
    stores: Stores, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    stores.submit("patient", WRITES, "--go", str(go), job_dir="gs://far/patient")
    stores.engine.lines("patient", until="ready")
    stores.relay.go_away()
    try:
        go.touch()
        stores.engine.lines("patient", until="It is tried again.")
        assert stores.engine.job("patient").state == "RUNNING"
    finally:
        stores.relay.come_back()
    assert stores.engine.ended("patient").state == "SUCCEEDED", stores.engine.lines("patient")
    assert stores.read("far", "patient/model.txt") == "made while the store was away"


RESUMES = """
    import argparse, os, signal, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    args = parser.parse_args()
    path = args.job_dir + "/checkpoint"
    if not os.path.exists(path):
        open(path, "w").write("half way")
        os.kill(os.getpid(), signal.SIGKILL)
    open(args.job_dir + "/done", "w").write(open(path).read())
"""


def test_a_restarted_trainer_finds_its_checkpoints(stores: Stores) -> None:
    job = stores.run("resumes", RESUMES, job_dir="gs://far/resumes", retries=1)
    assert job.state == "SUCCEEDED", stores.engine.lines("resumes")
    assert stores.names("far", "resumes/") == ["resumes/checkpoint", "resumes/done"]
    assert stores.read("far", "resumes/done") == "half way"


LEAVES = """
    import argparse, os, sys, time
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    args = parser.parse_args()
    open(args.job_dir + "/left", "w").write("left")
    print("written", flush=True)
    import select
    select.select([], [], [], 600)
"""


def test_what_a_cancelled_job_wrote_is_in_its_bucket(stores: Stores) -> None:
    stores.submit("cancelled", LEAVES, job_dir="gs://far/cancelled")
    stores.engine.lines("cancelled", until="written")
    stores.engine.client.cancel_job(P, "cancelled")
    assert stores.engine.ended("cancelled").state == "CANCELLED"
    wait_until(lambda: stores.names("far", "cancelled/") == ["cancelled/left"], 60)


# Measures by an event file in its job directory, and leaves a model there.
TUNED = """
    import argparse, pickle, struct, time
    from pathlib import Path
    from sklearn.dummy import DummyRegressor
    from mlengine.runtime.records import masked_crc

    def framed(record):
        length = struct.pack("<Q", len(record))
        return (length + struct.pack("<I", masked_crc(length))
                + record + struct.pack("<I", masked_crc(record)))

    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir", type=Path)
    parser.add_argument("--x", type=float)
    args = parser.parse_args()
    one = b"\\x0a\\x04loss\\x15" + struct.pack("<f", args.x)
    summary = b"\\x0a" + bytes([len(one)]) + one
    event = (b"\\x09" + struct.pack("<d", time.time()) + b"\\x10\\x07"
             + b"\\x2a" + bytes([len(summary)]) + summary)
    (args.job_dir / "logs").mkdir(parents=True)
    (args.job_dir / "logs" / "events.out.tfevents.1").write_bytes(framed(event))
    (args.job_dir / "model").mkdir()
    model = DummyRegressor(strategy="constant", constant=args.x).fit([[0]], [0])
    (args.job_dir / "model" / "model.pkl").write_bytes(pickle.dumps(model))
"""


def test_trials_leave_their_models_in_the_bucket_and_the_best_is_deployed(
    stores: Stores, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    engine = stores.engine
    spec = TrainingInput(
        python_module="trainer.task", package_uris=[engine.upload_package(TUNED)], region="local",
        job_dir="gs://away/tuned",
        hyperparameters={
            "goal": "MINIMIZE", "hyperparameterMetricTag": "loss", "algorithm": "GRID_SEARCH",
            "maxTrials": 3, "maxParallelTrials": 2,
            "params": [{"parameterName": "x", "type": "DISCRETE", "discreteValues": [0.5, 2, 4]}],
        },
    )  # fmt: skip
    engine.client.create_job(P, Job(job_id="tuned", training_input=spec))
    job = engine.ended("tuned")
    assert job.state == "SUCCEEDED", (job.error_message, engine.lines("tuned"))
    assert job.training_output is not None
    found = {t["trialId"]: t["finalMetric"] for t in job.training_output.trials}
    values = {"1": 0.5, "2": 2.0, "3": 4.0}
    assert found == {
        trial: {"trainingStep": "7", "objectiveValue": value} for trial, value in values.items()
    }
    names = [f"tuned/{trial}/{name}" for trial in values
             for name in ("logs/events.out.tfevents.1", "model/model.pkl")]  # fmt: skip
    assert stores.names("away", "tuned/") == names
    mlengine(engine, "models", "create", "tuned", cwd=tmp_path)
    mlengine(
        engine, "versions", "create", "v1", "--model", "tuned", "--framework", "scikit-learn",
        "--from-job", "tuned", cwd=tmp_path,
    )  # fmt: skip
    answer = engine.client.predict(P, "tuned", "", b'{"instances": [[1]]}')
    assert json.loads(answer.body) == {"predictions": [0.5]}
