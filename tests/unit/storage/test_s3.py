"""What a writer to S3 is told, where another writes at the same moment."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Callable
from typing import Any

import botocore.exceptions  # type: ignore[import-untyped]
import pytest

from mlengine.storage.backends.remotes import Spool
from mlengine.storage.backends.s3 import S3Store
from mlengine.storage.records import ObjectRecord


class ClientFake:
    """One object of S3; `then` happens between a writing and its writer's next look."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.then: Callable[[], None] = lambda: None

    def put_object(self, *, Body: bytes, **_said: Any) -> dict[str, str]:
        self.body = Body
        answer = {"ETag": self._etag()}
        then, self.then = self.then, lambda: None
        then()
        return answer

    def head_object(self, **_where: Any) -> dict[str, Any]:
        if self.body is None:
            response = {"ResponseMetadata": {"HTTPStatusCode": 404}, "Error": {}}
            raise botocore.exceptions.ClientError(response, "HeadObject")
        now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        return {"ContentLength": len(self.body), "ETag": self._etag(), "LastModified": now}

    def _etag(self) -> str:
        return f'"{hashlib.md5(self.body or b"").hexdigest()}"'


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    made = S3Store("b", "", str)
    monkeypatch.setattr(made, "_client", ClientFake())
    return made


@pytest.mark.parametrize("others", [b"another's", None])
def test_a_writer_is_never_told_anothers_version(store: S3Store, others: bytes | None) -> None:
    client: Any = store._client
    client.then = lambda: setattr(client, "body", others)
    with contextlib.closing(Spool()) as spool:
        spool.append(b"mine")
        told = store.put("x", spool, ObjectRecord(content_type="text/x", metadata={"k": "v"}))
    assert told.version == f'"{hashlib.md5(b"mine").hexdigest()}"'
    assert (told.size, told.record.content_type, told.record.metadata) == (4, "text/x", {"k": "v"})
    if others is not None:
        assert told.generation != store.head("x").generation
