from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from tests.fakes.bucket_table import BucketTableFake


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    """Buckets with one that is a folder, called ``data``."""
    made = Buckets(BucketTableFake(), tmp_path / "home/buckets")
    made.create(Bucket(name="data"))
    return made


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    where = tmp_path / "tiny"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "none", str(where)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("FULL DISK NOT TESTED: this machine does not let the test mount a tmpfs")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)
