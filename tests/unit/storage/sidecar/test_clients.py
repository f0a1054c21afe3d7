"""Programs that nobody told of us: what trainers import to reach buckets, unpatched."""

from __future__ import annotations

import sys

import pytest

from tests.unit.storage.sidecar.conftest import RunningSidecar


def test_google_cloud_storage_finds_buckets_project_and_no_need_for_credentials(
    sidecar: RunningSidecar,
) -> None:
    pytest.importorskip("google.cloud.storage")
    said = sidecar.run(
        sys.executable,
        """
from google.cloud import storage
client = storage.Client()
bucket = client.bucket("mine")
bucket.blob("lib/small.txt").upload_from_string("hello")
bucket.blob("lib/large.bin", chunk_size=1 << 18).upload_from_string(b"x" * (1 << 20))
print(client.project, bucket.blob("lib/small.txt").download_as_bytes())
bucket.rename_blob(bucket.blob("lib/small.txt"), "lib/renamed.txt")
print([blob.name for blob in client.list_blobs("mine", prefix="lib/")])
print([bucket.name for bucket in client.list_buckets()], client.lookup_bucket("not-there-1"))
try:
    client.create_bucket("another-one")
except Exception as error:
    print(type(error).__name__, "mlengine storage buckets create another-one" in str(error))
try:
    bucket.delete()
except Exception as error:
    print(type(error).__name__)
""",
    )
    assert said.splitlines() == [
        "census b'hello'", "['lib/large.bin', 'lib/renamed.txt']", "['mine'] None",
        "Forbidden True", "Forbidden",
    ]  # fmt: skip
    assert sidecar.read("lib/renamed.txt") == b"hello"
    assert len(sidecar.read("lib/large.bin")) == 1 << 20


def test_a_client_that_wants_credentials_finds_some_that_open_our_buckets(
    sidecar: RunningSidecar,
) -> None:
    """As `google-cloud-storage` 1.x: real credentials from a file, and Google's own names."""
    pytest.importorskip("google.auth")
    sidecar.buckets.write("gs://mine/auth/x", [b"x"])
    said = sidecar.run(
        sys.executable,
        """
import google.auth
from google.auth.transport.requests import AuthorizedSession
scope = "https://www.googleapis.com/auth/devstorage.full_control"
credentials, project = google.auth.default(scopes=[scope])
session = AuthorizedSession(credentials)
answer = session.get("https://www.googleapis.com/storage/v1/b/mine/o?prefix=auth/")
print(project, answer.status_code, [item["name"] for item in answer.json()["items"]])
""",
    )
    assert said == "census 200 ['auth/x']\n"


def test_pandas_and_gcsfs_read_and_write(sidecar: RunningSidecar) -> None:
    pytest.importorskip("gcsfs")
    sidecar.buckets.write("gs://mine/tables/a.csv", [b"x,y\n1,2\n3,4\n"])
    said = sidecar.run(
        sys.executable,
        """
import gcsfs, pandas
frame = pandas.read_csv("gs://mine/tables/a.csv")
frame.to_csv("gs://mine/tables/b.csv", index=False)
print(frame.y.sum(), sorted(gcsfs.GCSFileSystem().ls("mine/tables")))
""",
    )
    assert said == "6 ['mine/tables/a.csv', 'mine/tables/b.csv']\n"
    assert sidecar.read("tables/b.csv") == b"x,y\n1,2\n3,4\n"


def test_urls_of_objects_work_with_certificates_checked(sidecar: RunningSidecar) -> None:
    sidecar.buckets.write("gs://mine/web/a b.txt", [b"as a web page"])
    said = sidecar.run(
        sys.executable,
        """
import requests, urllib.request
for url in ("https://storage.googleapis.com/mine/web/a%20b.txt",
            "https://mine.storage.googleapis.com/web/a%20b.txt"):
    print(requests.get(url).text, urllib.request.urlopen(url).read())
print(requests.get("https://storage.googleapis.com/mine/none").status_code)
""",
    )
    assert said.splitlines() == ["as a web page b'as a web page'"] * 2 + ["404"]


def test_gsutil_is_on_the_path(sidecar: RunningSidecar) -> None:
    sidecar.run(
        sys.executable,
        """
import subprocess
subprocess.run(["gsutil", "-m", "cp", "-", "gs://mine/shim/x"], input=b"piped", check=True)
print(subprocess.check_output(["gcloud", "storage", "ls", "gs://mine/shim/"]).decode())
""",
    )
    assert sidecar.read("shim/x") == b"piped"


TENSORFLOW = """
import tensorflow as tf
g, here = tf.io.gfile, "gs://mine/tf"
print(g.exists(f"{here}/data/a.csv"), g.exists(f"{here}/none"), g.isdir(f"{here}/data"))
print(sorted(g.glob(f"{here}/data/*.csv")), sorted(g.listdir(f"{here}/data")))
with g.GFile(f"{here}/notes.txt", "w") as file:
    file.write("hello " * 1000)
g.rename(f"{here}/notes.txt", f"{here}/moved.txt")
g.copy(f"{here}/moved.txt", f"{here}/copied.txt")
g.remove(f"{here}/moved.txt")
lines = tf.data.TextLineDataset(tf.data.Dataset.list_files(f"{here}/data/*.csv", shuffle=False))
print([line.numpy() for line in lines])
path = tf.train.Checkpoint(v=tf.Variable(3.0)).save(f"{here}/checkpoints/c")
restored = tf.Variable(0.0)
tf.train.Checkpoint(v=restored).restore(tf.train.latest_checkpoint(f"{here}/checkpoints"))
print(path, restored.numpy())
class Twice(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
    def __call__(self, x):
        return 2 * x
tf.saved_model.save(Twice(), f"{here}/model")
print(tf.saved_model.load(f"{here}/model")(tf.constant(4.0)).numpy())
with tf.summary.create_file_writer(f"{here}/logs").as_default():
    tf.summary.scalar("loss", 0.5, step=1)
g.makedirs(f"{here}/new/folder")
print(g.isdir(f"{here}/new/folder"))
g.rmtree(f"{here}/new")
print(g.exists(f"{here}/new"))
"""


def test_tensorflows_own_file_system_reads_writes_and_saves(sidecar: RunningSidecar) -> None:
    pytest.importorskip("tensorflow")
    for name in ("a", "b"):
        sidecar.buckets.write(f"gs://mine/tf/data/{name}.csv", [f"{name},1\n".encode()])
    said = sidecar.run(sys.executable, TENSORFLOW)
    assert said.splitlines() == [
        "True False True",
        "['gs://mine/tf/data/a.csv', 'gs://mine/tf/data/b.csv'] ['a.csv', 'b.csv']",
        "[b'a,1', b'b,1']",
        "gs://mine/tf/checkpoints/c-1 3.0",
        "8.0",
        "True",
        "False",
    ]
    assert sidecar.read("tf/copied.txt") == b"hello " * 1000
    assert "tf/model/saved_model.pb" in sidecar.names("tf/model/")
    assert any("tfevents" in name for name in sidecar.names("tf/logs/"))
