from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from mlengine.storage import Buckets
from mlengine.storage.gcs import GcsApi, Request, Response


class Caller:
    """Asks the API without a transport."""

    def __init__(self, api: GcsApi) -> None:
        self.api = api

    def __call__(
        self,
        method: str,
        target: str,
        body: object = b"",
        *,
        chunks: Iterable[bytes] | None = None,
        **headers: str,
    ) -> Response:
        path, _mark, query = target.partition("?")
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.handle(
            Request(method, path, query, lines, [content] if chunks is None else chunks, "http://o")
        )

    def upload(self, name: str, content: bytes, query: str = "") -> dict[str, Any]:
        """Upload by ``uploadType=media`` and return the object."""
        target = f"/upload/storage/v1/b/data/o?uploadType=media&name={name}&{query}"
        return answered(self("POST", target, content))

    def names(self, query: str = "") -> list[str]:
        listed = answered(self("GET", f"/storage/v1/b/data/o?{query}"))
        return [item["name"] for item in listed.get("items", [])]


def answered(response: Response, status: int = 200) -> Any:
    """Return what a response says in JSON."""
    content = content_of(response)
    assert response.status == status, content
    return json.loads(content)


def content_of(response: Response) -> bytes:
    content = b"".join(response.body)
    close = getattr(response.body, "close", None)
    if close is not None:
        close()
    assert response.length in (None, len(content))
    return content


def refused(response: Response) -> tuple[int, str]:
    """Return an error's status and reason."""
    error = json.loads(content_of(response))["error"]
    assert error["code"] == response.status
    return error["code"], error["errors"][0]["reason"]


@pytest.fixture
def call(buckets: Buckets) -> Iterator[Caller]:
    api = GcsApi(buckets)
    yield Caller(api)
    api.close()
