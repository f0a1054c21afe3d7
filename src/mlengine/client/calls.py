"""Calls of an engine's API: requests out of resources, resources out of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from mlengine.client.transport import Reply, Transport, error_in
from mlengine.core.errors import AlreadyExists, Internal, NotFound
from mlengine.core.names import check_project
from mlengine.core.resources import Operation, Resource
from mlengine.core.wire import decode_answer, encode
from mlengine.engine import Page

__all__ = ["Calls", "json_in", "paging", "path_part", "query_text", "v1"]

R = TypeVar("R", bound=Resource)


class Calls:
    """What every verb over HTTP is made of."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _call(
        self,
        method: str,
        path: str,
        body: Resource | None = None,
        *,
        safe: bool = False,
        extra_wait_s: float = 0.0,
    ) -> dict[str, Any]:
        raw = msgspec.json.encode(encode(body)) if body is not None else None
        reply = self._transport.send(method, path, body=raw, safe=safe, extra_wait_s=extra_wait_s)
        return json_in(reply)

    def _get(self, cls: type[R], path: str) -> R:
        return decode_answer(cls, self._call("GET", path, safe=True), at=cls.__name__.lower())

    def _list(self, cls: type[R], key: str, path: str) -> Page[R]:
        found = self._call("GET", path, safe=True)
        items = [decode_answer(cls, item, at=cls.__name__.lower()) for item in found.get(key, ())]
        return Page(items, str(found.get("nextPageToken", "")))

    def _create(
        self,
        path: str,
        resource: R,
        find: Callable[[], R],
        *,
        as_kept: Callable[[R], R] = lambda resource: resource,
    ) -> R:
        """Create, and take "already exists" for success when an earlier try of ours made it.

        Args:
            find: Reads what has that id.
            as_kept: Writes a resource as an engine keeps it, for the two to be compared.
        """
        sent = encode(resource)
        reply = self._transport.send("POST", path, body=msgspec.json.encode(sent), safe=True)
        try:
            return decode_answer(type(resource), json_in(reply), at=type(resource).__name__.lower())
        except AlreadyExists:
            if reply.repeated:
                found = find()
                if _covers(encode(as_kept(found)), encode(as_kept(resource))):
                    return found
            raise

    def _operation(self, method: str, path: str, body: Resource | None = None) -> Operation:
        return decode_answer(Operation, self._call(method, path, body), at="operation")


def json_in(reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        raise error_in(reply)
    try:
        return msgspec.json.decode(reply.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise Internal(
            "The answer is not JSON.", "Check that the address is an engine's."
        ) from None


def _covers(found: Any, sent: Any) -> bool:
    """Tell whether everything that was sent is in what was found; names may have become full."""
    if isinstance(found, Mapping) and isinstance(sent, Mapping):
        return all(key in found and _covers(found[key], item) for key, item in sent.items())
    if isinstance(found, str) and isinstance(sent, str):
        return found == sent or found.endswith("/" + sent)
    return bool(found == sent)


def v1(name: Callable[..., str], project: str, *ids: str) -> str:
    """Write a resource's path.

    Raises:
        InvalidArgument: Nothing can be called like its project.
        NotFound: Nor like one of its ids.
    """
    return "/v1/" + name(quote(check_project(project)), *map(path_part, ids))


def path_part(id: str) -> str:
    """Write an id as one part of a path: an engine would take more, or another, for the resource.

    Raises:
        NotFound: It can be none, so it names nothing.
    """
    if id in ("", ".", "..") or any(border in id for border in "/?#"):
        raise NotFound(
            f"Nothing has the id '{id}'.", "Write the bare id of what is meant; '/', '?' and '#' "
            "are in none.",
        )  # fmt: skip
    return quote(id, safe="")


def query_text(**parameters: str) -> str:
    given = {key: value for key, value in parameters.items() if value}
    return "?" + urlencode(given) if given else ""


def paging(page_size: int, page_token: str, **more: str) -> str:
    size = str(page_size) if page_size else ""
    return query_text(pageSize=size, pageToken=page_token, **more)
