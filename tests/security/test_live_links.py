"""A job writes links into its bucket; the engine follows none of them, whatever it is asked for.

The job runs as the engine's own user, so it can read these files by itself. What must not happen is
that the engine hands them to a *caller*: a download, a model, a batch result, a copy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import EngineError
from mlengine.core.resources import Bucket, Job, PredictionInput
from tests.live.engines import LiveEngine, P
from tests.security.wire import send

SECRET = "canary behind a link"
LINKER = """
    import argparse, os, pathlib
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    parser.add_argument("--secret")
    options = parser.parse_args()
    here = pathlib.Path(options.job_dir)
    here.mkdir(exist_ok=True, parents=True)
    home = here.parents[2]
    for name, target in {
        "passwd": "/etc/passwd", "token": home / "run" / "token", "secret": options.secret,
        "other": home / "buckets" / "theirs" / "private.txt", "relative": "../../../run/token",
        "proc": "/proc/self/environ", "database": home / "engine.db", "loop": "loop",
    }.items():
        (here / name).symlink_to(target)
    for name, target in {"folder": home / "run", "root": "/", "theirs": "../../theirs"}.items():
        (here / name).symlink_to(target, target_is_directory=True)
    (here / "model").mkdir()
    (here / "model" / "model.pkl").symlink_to(options.secret)
    (here / "linked").symlink_to(pathlib.Path(options.secret).parent, target_is_directory=True)
    (here / "hard").mkdir()
    os.link(options.secret, here / "hard" / "model.pkl")
    (here / "honest.txt").write_text("honest")
    os.mkfifo(here / "fifo")
"""
NAMES = ("passwd", "token", "secret", "other", "relative", "proc", "database", "loop", "fifo",
         "folder/token", "root/etc/passwd", "theirs/private.txt")  # fmt: skip


@pytest.fixture(scope="module")
def trapped(live: LiveEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    """The engine after a job has left its links in gs://mine/trap."""
    # On the same disk as the home, or no hard link could be made.
    secret = live.home.parent / "secret" / "model.pkl"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(SECRET)
    secret.chmod(0o600)
    live.client.create_bucket(Bucket(name="theirs"))
    live.client.write_object("theirs", "private.txt", [SECRET.encode()])
    package = live.upload_package(LINKER)
    live.submit("linker", package, "--secret", str(secret), job_dir="gs://mine/trap")
    job = live.ended("linker")
    assert job.state == "SUCCEEDED", job.error_message
    assert (live.home / "buckets" / "mine" / "trap" / "token").is_symlink()
    yield live


def _holds_a_secret(engine: LiveEngine, data: bytes) -> bool:
    return SECRET.encode() in data or engine.token.encode() in data or b"root:x:" in data


@pytest.mark.parametrize("name", NAMES)
def test_a_download_follows_no_link(trapped: LiveEngine, name: str) -> None:
    for method, path in (("GET", "content"), ("GET", "objects")):
        reply = send(trapped, method, f"/api/v1/buckets/mine/{path}/trap/{name}")
        assert reply.status in (400, 404), reply.text
        assert not _holds_a_secret(trapped, reply.body)
        assert str(trapped.home) not in reply.text


def test_a_list_shows_no_link_and_nothing_behind_one(trapped: LiveEngine) -> None:
    names = {o.name for o in trapped.client.list_objects("mine", prefix="trap/").items}
    assert "trap/honest.txt" in names
    # A hard link is a file like any other to whoever looks at it; it is refused as a model below.
    assert names - {"trap/honest.txt", "trap/hard/model.pkl"} == set()


@pytest.mark.parametrize("folder", ["model", "linked", "hard", "folder", "theirs", "root/etc"])
def test_no_model_is_deployed_through_a_link(trapped: LiveEngine, folder: str) -> None:
    version = "v_" + folder.replace("/", "_")
    try:
        done = trapped.deploy(f"gs://mine/trap/{folder}", version, model_id="trapped")
        assert done.error is not None
        message = json.dumps(done.error)
    except EngineError as error:
        message = str(error)
    assert SECRET not in message
    copies = [p for p in (trapped.home / "models").rglob("*") if p.is_file()]
    assert not [p for p in copies if _holds_a_secret(trapped, p.read_bytes())]


@pytest.mark.parametrize("name", [*NAMES, "**", "folder/*", "root/etc/*"])
def test_no_batch_reads_through_a_link(serving: LiveEngine, trapped: LiveEngine, name: str) -> None:
    job_id = "batch_" + "".join(c if c.isalnum() else "_" for c in name)
    spec = PredictionInput(
        model_name=f"projects/{P}/models/line", data_format="TEXT", region="local",
        input_paths=[f"gs://mine/trap/{name}"], output_path=f"gs://mine/out/{job_id}",
    )  # fmt: skip
    try:
        trapped.client.create_job(P, Job(job_id=job_id, prediction_input=spec))
    except EngineError as error:
        assert not _holds_a_secret(trapped, str(error).encode())
        return
    said = "\n".join(trapped.lines(job_id))
    job = trapped.ended(job_id)
    out = trapped.home / "buckets" / "mine" / "out" / job_id
    written = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    # `**` also matches the hard link, which is a file: a caller who may write one may read it.
    if name != "**":
        assert not _holds_a_secret(trapped, written + said.encode())
    assert trapped.token.encode() not in written + said.encode()
    assert job.end_time


def test_no_package_is_installed_through_a_link(trapped: LiveEngine) -> None:
    for name in ("token", "secret", "folder/token"):
        with pytest.raises(EngineError) as caught:
            trapped.submit(f"pkg_{name.replace('/', '_')}", f"gs://mine/trap/{name}")
        assert not _holds_a_secret(trapped, str(caught.value).encode())


@pytest.mark.parametrize("name", [*NAMES, "folder", "linked", "model"])
def test_cp_brings_nothing_from_behind_a_link(
    trapped: LiveEngine, tmp_path: Path, name: str
) -> None:
    def mlengine(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MLENGINE_")}
        return subprocess.run(
            [sys.executable, "-m", "mlengine", *words],
            env={**environ, "MLENGINE_HOME": str(trapped.home)},
            capture_output=True, text=True, timeout=120, cwd=tmp_path,
        )  # fmt: skip

    (tmp_path / "got").mkdir()
    done = mlengine("storage", "cp", "-r", f"gs://mine/trap/{name}", str(tmp_path / "got"))
    assert done.returncode != 0, done.stdout
    got = b"".join(p.read_bytes() for p in (tmp_path / "got").rglob("*") if p.is_file())
    assert not _holds_a_secret(trapped, got + done.stdout.encode() + done.stderr.encode())


@pytest.mark.parametrize("name", [*NAMES, "new/file", "folder/new"])
def test_an_upload_writes_through_no_link(trapped: LiveEngine, name: str) -> None:
    """It may replace a link by a file: late in the module, because it does."""
    before = {p: p.read_bytes() for p in (trapped.home / "run").iterdir() if p.is_file()}
    send(trapped, "PUT", f"/api/v1/buckets/mine/content/trap/{name}", b"overwritten")
    assert {p: p.read_bytes() for p in (trapped.home / "run").iterdir() if p.is_file()} == before
    assert (trapped.home.parent / "secret" / "model.pkl").read_text() == SECRET
    private = b"".join(trapped.client.read_object("theirs", "private.txt"))
    assert private == SECRET.encode()
    assert b"overwritten" not in Path("/etc/passwd").read_bytes()


def test_a_delete_takes_the_link_and_not_what_it_points_at(trapped: LiveEngine) -> None:
    """Last, because it takes the trap away."""
    run = sorted(p.name for p in (trapped.home / "run").iterdir())
    for name in NAMES:
        reply = send(trapped, "DELETE", f"/api/v1/buckets/mine/objects/trap/{name}")
        assert reply.status in (200, 400, 404), reply.text
    trapped.client.create_bucket(Bucket(name="doomed"))
    doomed = trapped.home / "buckets" / "doomed"
    (doomed / "run").symlink_to(trapped.home / "run", target_is_directory=True)
    (doomed / "one").symlink_to(trapped.home.parent / "secret" / "model.pkl")
    send(trapped, "DELETE", "/api/v1/buckets/doomed?force=true")
    assert sorted(p.name for p in (trapped.home / "run").iterdir()) == run
    assert (trapped.home.parent / "secret" / "model.pkl").read_text() == SECRET
    assert Path("/etc/passwd").exists()
