"""The storage clients that trainers use, unmodified, with nothing but an environment variable.

Each client runs in a process of its own, so that what it reads of the environment is what a replica
has. Its script is what a trainer would write; it fails by an assertion of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from tests.fakes.bucket_table import BucketTableFake
from tests.fakes.gcs_server import gcs_server

pytest.importorskip("google.cloud.storage")
pytest.importorskip("gcsfs")

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    made = Buckets(BucketTableFake(), tmp_path / "buckets")
    made.create(Bucket(name="data"))
    return made


@pytest.fixture(params=["", "/a-s3cret_in-the-path"], ids=["plain", "secret"])
def host(request: pytest.FixtureRequest, buckets: Buckets) -> Iterator[str]:
    with gcs_server(buckets, prefix=request.param) as url:
        yield url


def run(host: str, script: str) -> None:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "STORAGE_EMULATOR_HOST": host,
        # Newer gcsfs asks over gRPC first what kind a bucket is, and tries that for a minute.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "NO_GCE_CHECK": "true",
    }
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_google_cloud_storage(host: str, buckets: Buckets) -> None:
    run(
        host,
        """
        import io, os
        from google.api_core import exceptions
        from google.cloud import storage

        client = storage.Client()
        bucket = client.bucket("data")
        assert bucket.exists() and not client.bucket("none").exists()

        blob = bucket.blob("a/hello.txt")
        blob.metadata = {"k": "v"}
        blob.upload_from_string("hello", content_type="text/plain", if_generation_match=0)
        try:
            bucket.blob("a/hello.txt").upload_from_string("again", if_generation_match=0)
            raise AssertionError("written over")
        except exceptions.PreconditionFailed:
            pass
        found = bucket.get_blob("a/hello.txt")
        assert (found.metadata, found.content_type, found.size) == ({"k": "v"}, "text/plain", 5)
        assert found.download_as_bytes(start=1, end=3) == b"ell"

        content = os.urandom((9 << 20) + 17)
        for chunk_size in (None, 1 << 20):
            big = bucket.blob("big", chunk_size=chunk_size)
            big.upload_from_file(io.BytesIO(content), size=len(content))  # resumable, with crc32c
            assert bucket.blob("big").download_as_bytes() == content
        with bucket.blob("stream").open("wb") as file:  # its length is not known beforehand
            for at in range(0, len(content), 999_999):
                file.write(content[at : at + 999_999])
        with bucket.blob("stream").open("rb") as file:
            assert file.read() == content

        bucket.copy_blob(found, bucket, "copy")
        assert bucket.blob("rewritten").rewrite(found) == (None, 5, 5)
        bucket.rename_blob(bucket.blob("copy"), "renamed")
        whole = bucket.blob("whole")
        whole.compose([found, bucket.blob("renamed")])
        assert whole.download_as_text() == "hellohello"
        found.metadata = {"z": "1"}
        found.patch()
        found.reload()
        assert found.metageneration == 2

        bucket.blob("run/").upload_from_string("")
        assert bucket.blob("run/").exists()
        listed = client.list_blobs("data", delimiter="/", page_size=2)
        names = [each.name for each in listed]
        assert names == ["big", "renamed", "rewritten", "stream", "whole"], names
        assert listed.prefixes == {"a/", "run/"}
        with client.batch():
            for name in names:
                bucket.blob(name).delete()
        assert [each.name for each in bucket.list_blobs()] == ["a/hello.txt", "run/"]

        client.create_bucket("made")
        assert [each.name for each in client.list_buckets()] == ["data", "made"]
        client.bucket("made").delete()
        try:
            bucket.blob("a").upload_from_string("a folder's name")
            raise AssertionError("written")
        except exceptions.BadRequest as error:
            assert "is a folder" in str(error)
        """,
    )
    with buckets.open_read("gs://data/a/hello.txt") as file:
        assert file.read() == b"hello"


def test_gcsfs(host: str, buckets: Buckets) -> None:
    buckets.write("gs://data/by/hand.txt", [b"by hand"])
    run(
        host,
        """
        import os
        import gcsfs

        fs = gcsfs.GCSFileSystem()
        assert fs.cat("data/by/hand.txt") == b"by hand"
        assert not fs.exists("data/none")
        fs.pipe("data/a/x.bin", b"0123456789")
        assert fs.cat_file("data/a/x.bin", 2, 5) == b"234"
        content = os.urandom(11 << 20)
        with fs.open("data/big", "wb", block_size=1 << 20) as file:
            for at in range(0, len(content), 3_000_000):
                file.write(content[at : at + 3_000_000])
        with fs.open("data/big", "rb", block_size=1 << 20) as file:
            file.seek(5 << 20)
            assert file.read(100) == content[5 << 20 :][:100]
        assert fs.cat("data/big") == content
        with fs.open("data/empty", "wb"):
            pass
        fs.touch("data/touched")
        assert fs.info("data/empty")["size"] == 0
        assert fs.ls("data") == ["data/a", "data/big", "data/by", "data/empty", "data/touched"]
        assert fs.isdir("data/a") and fs.isfile("data/a/x.bin")
        assert fs.glob("data/*/x*") == ["data/a/x.bin"]
        fs.cp("data/a", "data/c", recursive=True)
        fs.mv("data/c/x.bin", "data/c/y.bin")
        fs.merge("data/m", ["data/a/x.bin", "data/c/y.bin"])
        assert fs.cat("data/m") == b"0123456789" * 2
        fs.setxattrs("data/m", content_type="text/x", foo="bar")
        assert fs.getxattr("data/m", "foo") == "bar"
        try:
            with fs.open("data/m", "xb") as file:
                file.write(b"1")
            raise AssertionError("written over")
        except FileExistsError:
            pass
        fs.rm(["data/m", "data/big"])
        fs.rm("data/c", recursive=True)
        assert fs.find("data") == ["data/a/x.bin", "data/by/hand.txt", "data/empty", "data/touched"]
        """,
    )


def test_pandas(host: str, buckets: Buckets) -> None:
    run(
        host,
        """
        import pandas

        frame = pandas.DataFrame({"a": range(1000), "b": ["é"] * 1000})
        for name in ("t.csv", "t.csv.gz"):
            frame.to_csv(f"gs://data/{name}", index=False)
            assert pandas.read_csv(f"gs://data/{name}").equals(frame)
        assert len(pandas.read_csv("gs://data/t.csv", chunksize=100).get_chunk()) == 100
        try:
            pandas.read_csv("gs://data/none.csv")
            raise AssertionError("read")
        except FileNotFoundError:
            pass
        """,
    )
    assert buckets.stat("gs://data/t.csv").size > 1000
