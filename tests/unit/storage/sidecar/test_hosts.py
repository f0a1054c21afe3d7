"""Who answers what: parts of a batch each by its bucket, and no copy between two services."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.gcs import GcsApi, Request, Response
from mlengine.storage.sidecar import hosts
from tests.fakes.bucket_table import BucketTableFake


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, bytes]]:
    asked: list[tuple[Request, bytes]] = []

    def forward(request: Request, _host: str, *, what: str) -> Response:
        asked.append((request, b"".join(request.body)))
        return Response(200, {}, iter([what.encode()]), None)

    monkeypatch.setattr(hosts, "forward", forward)
    return asked


@pytest.fixture
def api(tmp_path: Path) -> hosts.HostApi:
    buckets = Buckets(BucketTableFake(), tmp_path / "buckets")
    buckets.create(Bucket(name="mine"))
    buckets.write("gs://mine/x", [b"1"])
    return hosts.HostApi(GcsApi(buckets), buckets)


def test_each_part_of_a_batch_goes_where_its_bucket_is(
    api: hosts.HostApi, forwarded: list[tuple[Request, bytes]]
) -> None:
    parts = [
        "PATCH /storage/v1/b/real/o/x HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n{}",
        "DELETE /storage/v1/b/mine/o/x HTTP/1.1\r\n\r\n",
        "POST /storage/v1/b/real/o/x/rewriteTo/b/mine/o/y HTTP/1.1\r\n\r\n",
    ]
    body = "".join(f"--q\r\nContent-Type: application/http\r\n\r\n{part}\r\n" for part in parts)
    headers = {"content-type": "multipart/mixed; boundary=q", "authorization": "Bearer own"}
    content = (body + "--q--\r\n").encode()
    answer = api.handle(Request("POST", "/batch/storage/v1", "", headers, [content]))
    text = b"".join(answer.body).decode()
    assert [line[9:12] for line in text.splitlines() if line.startswith("HTTP/1.1 ")] == [
        "200", "204", "400",
    ]  # fmt: skip
    assert "gs://real/" in text
    ((request, sent),) = forwarded
    assert (request.method, request.path, sent) == ("PATCH", "/storage/v1/b/real/o/x", b"{}")
    assert request.headers == {"authorization": "Bearer own", "content-length": "2"}


@pytest.mark.parametrize("verb", ["copyTo", "rewriteTo"])
@pytest.mark.parametrize(("source", "target"), [("real", "mine"), ("mine", "real")])
def test_nothing_is_copied_between_two_services(
    api: hosts.HostApi, forwarded: list[tuple[Request, bytes]], verb: str, source: str, target: str
) -> None:
    path = f"/storage/v1/b/{source}/o/x/{verb}/b/{target}/o/y"
    answer = api.handle(Request("POST", path))
    text = b"".join(answer.body).decode()
    assert answer.status == 400
    assert f"gs://{source}/ and gs://{target}/ are not of one service" in text
    assert forwarded == []


def test_copies_within_one_service_go_on(
    api: hosts.HostApi, forwarded: list[tuple[Request, bytes]]
) -> None:
    ours = api.handle(Request("POST", "/storage/v1/b/mine/o/x/rewriteTo/b/mine/o/y"))
    assert (ours.status, forwarded) == (200, [])
    assert api.handle(Request("POST", "/storage/v1/b/real/o/x/copyTo/b/real2/o/y")).status == 200
    assert len(forwarded) == 1
