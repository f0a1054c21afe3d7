"""A trainer gets ``gs://`` as it is written if it reads URIs by itself, and folders to write to."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mlengine.training.uris import (
    ensure_folder,
    package_takes_job_dir,
    package_takes_uris_apart,
    takes_job_dir,
    takes_uris_apart,
)
from tests.unit.training.test_imports import layer

SOURCES = {
    "cuts off the scheme": ("bucket = d.replace('gs://', '').split('/')[0]", True),
    "asks for it": ("if d.startswith('gs://'):\n    copy(d)", True),
    "compares": ("on_cloud = 'gs://' in d", True),
    "compares a part": ("on_cloud = d[:5] == 'gs://'", True),
    "matches": ("import re\nb = re.match(r'gs://(.*?)/(.*)', d)", True),
    "the client, from its package": ("from google.cloud import storage", True),
    "the client, by its name": ("import google.cloud.storage as gcs", True),
    "the client, from within": ("from google.cloud.storage import Client", True),
    "gcsfs": ("import gcsfs\nfs = gcsfs.GCSFileSystem()", True),
    "gcsfs, from within": ("from gcsfs.core import GCSFileSystem", True),
    "gcsfs by fsspec": ("import fsspec\nfs = fsspec.filesystem('gs')", True),
    "gcsfs by fsspec, in other words": (
        "from fsspec import filesystem\nfs = filesystem(protocol='gcs', token='anon')",
        True,
    ),
    "files by fsspec": ("import fsspec\nfs = fsspec.filesystem('file')", False),
    "a relative module of that name": ("from .gcsfs import load", False),
    "a module of nearly that name": ("import gcsfs_utils\nfrom gcsfsx import load", False),
    "another client": ("from google.cloud import bigquery", False),
    "a relative module": ("from . import storage", False),
    "a help text": ("p.add_argument('--out', help='a gs:// path', default='gs://b/o')", False),
    "a docstring": ('"""Reads gs://b/x."""', False),
    "builds one": ("import os\np = os.path.join('gs://', b, 'model')", False),
    "formats one": ("p = 'gs://{}/train*'.format(b)", False),
    "opens one": ("f = tf.io.gfile.GFile('gs://b/x')", False),
    "makes a mounted path of it": ("d = d.replace('gs://', '/gcs/')", False),
    "the client beside a mount": ("from google.cloud import storage\nd = '/gcs/b'", True),
    "Python 2": ("print 'gs://'.startswith('gs://')", False),
}  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), SOURCES.values(), ids=SOURCES.keys())
def test_who_takes_uris_apart(tmp_path: Path, source: str, expected: bool) -> None:
    assert takes_uris_apart(layer(tmp_path, "import os", source)) is expected


def test_a_package_in_its_folder_is_read_as_it_would_be_packaged(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "client.py").write_text("import gcsfs")
    (tmp_path / "__init__.py").touch()
    assert not package_takes_uris_apart(tmp_path)
    (tmp_path / "task.py").write_text("import gcsfs")
    assert package_takes_uris_apart(tmp_path)
    (tmp_path / "__init__.py").unlink()
    assert not package_takes_uris_apart(tmp_path)


TOLD = {
    "by the variable alone": ("import os\nd = os.environ['AIP_MODEL_DIR']", False),
    "by both": ("import os\nd = args.job_dir or os.getenv('AIP_MODEL_DIR')", True),
    "by a flag": (
        "p.add_argument('--model-dir', default=E['AIP_MODEL_DIR'])\nF('--job-dir')",
        True,
    ),
    "as a parameter": ("def main(job_dir=os.getenv('AIP_MODEL_DIR')): pass", True),
    "by neither": ("print('hello')", True),
}


@pytest.mark.parametrize(("source", "expected"), TOLD.values(), ids=TOLD.keys())
def test_who_is_given_a_job_dir(tmp_path: Path, source: str, expected: bool) -> None:
    assert takes_job_dir(layer(tmp_path, "import os", source)) is expected
    assert takes_job_dir(tmp_path / "gone")
    package = tmp_path / "unpacked"
    package.mkdir()
    (package / "task.py").write_text(source)
    assert package_takes_job_dir(package) is expected
    assert package_takes_job_dir(tmp_path / "gone")


def test_a_package_that_says_it_in_its_own_folder_is_walked_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "task.py").write_text("parser.add_argument('--job-dir')")
    below = (pytest.fail("It was walked.") for _ in "1")
    monkeypatch.setattr("mlengine.training.sources.package_files", lambda _package: below)
    assert package_takes_job_dir(tmp_path)


def test_what_a_package_requires_says_nothing(tmp_path: Path) -> None:
    assert not takes_uris_apart(layer(tmp_path, "x.startswith('gs://')", own=False))
    assert not takes_uris_apart(tmp_path / "gone")


@pytest.mark.parametrize("name", ["new", "a/b/c", "v1.2", "model-2026.05"])
def test_a_folder_to_write_to_is_made(tmp_path: Path, name: str) -> None:
    made = ensure_folder(tmp_path / name)
    assert made[0] == tmp_path / name and made[-1].parent == tmp_path
    assert (tmp_path / name).is_dir()
    assert not ensure_folder(tmp_path / name)


def test_the_folder_of_a_file_to_write_is_made_with_those_above_it(tmp_path: Path) -> None:
    runs = tmp_path / "results/run1"
    assert ensure_folder(runs / "metrics.txt") == [runs, runs.parent]
    assert [*runs.iterdir()] == []
    assert not ensure_folder(runs / "metrics.txt")


@pytest.mark.parametrize(
    "name",
    ["model.joblib", "train*", "a?b", "x[0-9]", "new/*.csv", "train", "there", "there/x.csv"],
)
def test_what_is_no_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "train-00000-of-00002").write_text("x")
    (tmp_path / "there").write_text("x")
    before = sorted(tmp_path.iterdir())
    assert not ensure_folder(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


def test_where_nobody_may_write_it_is_the_trainer_who_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise PermissionError(errno.EACCES, "")

    monkeypatch.setattr(Path, "mkdir", refuse)  # root, who may run this, may write anywhere
    assert ensure_folder(tmp_path / "new/metrics.txt") == []


def test_a_folder_of_a_longer_name_is_no_reason(tmp_path: Path) -> None:
    (tmp_path / "run10").mkdir()
    assert ensure_folder(tmp_path / "run1")
