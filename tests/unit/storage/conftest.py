from __future__ import annotations

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
