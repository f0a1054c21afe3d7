"""A trainer of ``local train`` reaches buckets in object stores; their keys it is not given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.training.localaccess import local_access
from tests.live.objectstores import KEYS, moto_s3, s3_environment

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


def test_who_has_no_bucket_or_has_said_where_they_are_gets_nothing(tmp_path: Path) -> None:
    with local_access(tmp_path, backed=[], project="p", environ={}) as access:
        assert access is None
    environ = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
    backed = [Bucket(name="far", backing="s3://team/ml")]
    with local_access(tmp_path, backed=backed, project="p", environ=environ) as access:
        assert access is None
