"""A trainer of ``local train`` reaches buckets in object stores; their keys it is not given."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.runtime.processes import Process, look, send, snapshot
from mlengine.training.localaccess import local_access
from tests.live.objectstores import KEYS, moto_s3, s3_environment
from tests.waiting import wait_until

ASK = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=60).read().decode())"


def test_the_helper_of_a_local_run_has_the_keys_and_its_trainer_has_not(tmp_path: Path) -> None:
    pytest.importorskip("moto.server")
    own = {name: value for name, value in os.environ.items() if name != "STORAGE_EMULATOR_HOST"}
    backed = [Bucket(name="far", backing="s3://team/ml")]
    with moto_s3("team") as url:
        environ = {**own, **s3_environment(url)}
        with local_access(tmp_path / "none", backed=backed, project="p", environ=environ) as access:
            assert access is not None
            given = access.apply({"PATH": own["PATH"]})
            assert not any(key in value for key in KEYS.values() for value in given.values())
            asked = subprocess.Popen(
                [sys.executable, "-c", ASK, f"{given['STORAGE_EMULATOR_HOST']}/storage/v1/b/far/o"],
                stdout=subprocess.PIPE, env={"PATH": own["PATH"]}, text=True,
            )  # fmt: skip
            pidfd = os.pidfd_open(asked.pid)
            access.wait(pidfd, 120)
            os.close(pidfd)
            said, _ = asked.communicate(timeout=60)
    assert asked.returncode == 0
    assert json.loads(said)["kind"] == "storage#objects"


ASK_TWICE = """
import sys, urllib.request
for again in range(2):
    print(urllib.request.urlopen(sys.argv[1], timeout=60).status, flush=True)
    sys.stdin.readline()
"""


def test_a_helper_that_is_killed_is_started_again_and_that_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "near").mkdir()
    own = {name: value for name, value in os.environ.items() if name != "STORAGE_EMULATOR_HOST"}
    with local_access(tmp_path, backed=[], project="p", environ=own) as access:
        assert access is not None
        given = access.apply({"PATH": own["PATH"]})
        asked = subprocess.Popen(
            [sys.executable, "-c", ASK_TWICE,
             f"{given['STORAGE_EMULATOR_HOST']}/storage/v1/b/near/o"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": own["PATH"]}, text=True,
        )  # fmt: skip
        said: list[str] = []

        def kill_between() -> None:
            assert asked.stdin is not None and asked.stdout is not None
            said.append(asked.stdout.readline())
            (helper,) = (row for row in snapshot().values() if _helps(row, os.getpid()))
            send(helper, signal.SIGKILL)
            wait_until(lambda: look(helper.pid) != helper)  # it was collected
            asked.stdin.write("\n")
            asked.stdin.flush()
            said.append(asked.stdout.readline())
            asked.stdin.close()

        killer = threading.Thread(target=kill_between)
        killer.start()
        pidfd = os.pidfd_open(asked.pid)
        access.wait(pidfd, 120)
        os.close(pidfd)
        killer.join()
        assert asked.wait(60) == 0
        assert asked.stdout is not None
        asked.stdout.close()
    assert said == ["200\n", "200\n"]
    assert "ended (-9); it is started anew" in capfd.readouterr().err
    assert not [row for row in snapshot().values() if _helps(row, os.getpid())]


def _helps(row: Process, parent: int) -> bool:
    if row.parent != parent or not row.alive:
        return False
    with contextlib.suppress(OSError):
        return b"mlengine.storage.sidecar" in Path(f"/proc/{row.pid}/cmdline").read_bytes()
    return False


def test_who_has_no_bucket_or_has_said_where_they_are_gets_nothing(tmp_path: Path) -> None:
    with local_access(tmp_path, backed=[], project="p", environ={}) as access:
        assert access is None
    environ = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
    backed = [Bucket(name="far", backing="s3://team/ml")]
    with local_access(tmp_path, backed=backed, project="p", environ=environ) as access:
        assert access is None
