"""Which route a method and a path mean; what no table names does not exist.

The raw path is cut at ``/`` first and percent-decoded after, once, so that an encoded slash can
never make a segment. Anything that two servers might read differently (empty segments, dots,
backslashes, ``;``, control characters) matches nothing.
"""

from __future__ import annotations

import enum
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlengine.core.names import check_id, check_project
from mlengine.core.permissions import OPEN, ROLES, is_route_permission
from mlengine.rest.calls import Download, Handler, Upload
from mlengine.rest.envelope import MethodNotAllowed, no_such_path

__all__ = ["Match", "Route", "Router", "Traffic"]


class Traffic(enum.Enum):
    """How long a route may keep a thread, and so which pool it draws on."""

    QUICK = "quick"
    LONG_POLL = "long poll"
    PREDICTION = "prediction"
    TRANSFER = "transfer"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One row of a route table.

    Attributes:
        id: Google's method id, or ``engine.…`` for our own.
        method: The HTTP method.
        path: ``/v1/projects/{project}/jobs/{job}:cancel``; a last part ``{object...}`` takes
            all that follows.
        permission: What its callers need, of `core.permissions`: over the model, job or operation
            that the path names, else the project, else the engine. There is no default.
        owner: The role that whoever calls it gets over what it makes; empty for none.
        verb: The engine's verb; empty when it answers without the engine.
        run: Calls that verb, or answers without one.
        upload: Instead of `run`: takes the body in chunks.
        takes: The content type of what `upload` takes.
        download: Instead of `run`: gives the answer in chunks.
        query: Names of the query parameters that it takes.
        request: Name of the schema of the body, empty for none.
        response: Name of the schema of the answer.
        raw: The body goes to the engine as it came, and its answer back.
        traffic: Which threads it uses.
    """

    id: str
    method: str
    path: str
    permission: str
    verb: str = ""
    run: Handler | None = None
    upload: Upload | None = None
    takes: str = "application/octet-stream"
    download: Download | None = None
    query: tuple[str, ...] = ()
    request: str = ""
    response: str = "Empty"
    owner: str = ""
    raw: bool = False
    traffic: Traffic = Traffic.QUICK

    def __post_init__(self) -> None:
        if not is_route_permission(self.permission):
            raise ValueError(f"{self.id} needs {self.permission!r}, which is no permission")
        if self.owner and self.owner not in ROLES:
            raise ValueError(f"{self.id} gives {self.owner!r}, which is no role")
        if not (self.run or self.upload or self.download):
            raise ValueError(f"{self.id} does nothing")

    @property
    def is_open(self) -> bool:
        """Whether it needs no token."""
        return self.permission == OPEN

    @property
    def about(self) -> str:
        """One line for the documentation."""
        handler = self.run or self.upload or self.download
        return " ".join((handler.__doc__ or "").partition("\n\n")[0].split())


class Match(NamedTuple):
    """A route and what its path's parameters are in this request."""

    route: Route
    ids: dict[str, str]


@dataclass
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: tuple[str, _Node] | None = None
    rest: tuple[str, dict[str, Route]] | None = None
    # verb after the colon ("" for none) → HTTP method → route
    leaves: dict[str, dict[str, Route]] = field(default_factory=dict)


_CHECKS: Mapping[str, Callable[[str], Any]] = {
    "project": check_project,
    "job": lambda value: check_id(value, kind="job", field="name"),
    "model": lambda value: check_id(value, kind="model", field="name"),
    "version": lambda value: check_id(value, kind="version", field="name"),
}


_NO_PARTS = frozenset(("", ".", ".."))
_ODD = frozenset("/\\;?#")


class Router:
    """A tree over the tables' paths; matching costs one step a segment.

    Raises:
        ValueError: At construction, when two routes claim the same method and path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def match(self, method: str, raw_path: bytes) -> Match:
        """Find the route.

        Args:
            method: As sent; methods are case-sensitive.
            raw_path: The path as it stood in the request line, without the query.

        Raises:
            NotFound: No route has this path.
            MethodNotAllowed: A route has, with other methods.
            InvalidArgument: A project's, job's, model's or version's id is not one.
        """
        ids: dict[str, str] = {}
        by_method = self._walk(_segments(raw_path), ids)
        if not by_method:
            raise no_such_path()
        route = by_method.get(method)
        if route is None:
            raise MethodNotAllowed(method, ", ".join(sorted(by_method)))
        for key, value in ids.items():
            if key in _CHECKS:
                _CHECKS[key](value)
        return Match(route, ids)

    def _walk(self, segments: list[str], ids: dict[str, str]) -> dict[str, Route] | None:
        node, last = self._root, len(segments) - 1
        for i, segment in enumerate(segments):
            if node.rest:
                name, by_method = node.rest
                ids[name] = "/".join(segments[i:])
                return None if any("/" in part for part in segments[i:]) else by_method
            if not _is_plain(segment):
                return None
            head, verb = segment, ""
            if i == last:
                head, colon, verb = segment.partition(":")
                if colon and not verb:
                    return None
            child = node.literals.get(head)
            if child is None and node.parameter and ":" not in head:
                name, child = node.parameter
                ids[name] = head
            if child is None:
                return None
            if i == last:
                return child.leaves.get(verb)
            node = child
        return None

    def _add(self, route: Route) -> None:
        node = self._root
        *parents, last = route.path.removeprefix("/").split("/")
        last, _colon, verb = last.partition(":")
        for part in parents:
            node = _child(node, part)
        if last.endswith("...}"):
            if node.rest is None:
                node.rest = (last[1:-4], {})
            by_method = node.rest[1]
        else:
            by_method = _child(node, last).leaves.setdefault(verb, {})
        if route.method in by_method:
            raise ValueError(f"two routes for {route.method} {route.path}")
        by_method[route.method] = route


def _child(node: _Node, part: str) -> _Node:
    if not part.startswith("{"):
        return node.literals.setdefault(part, _Node())
    name = part[1:-1]
    if node.parameter is None:
        node.parameter = (name, _Node())
    if node.parameter[0] != name:
        raise ValueError(f"one place, two names: {node.parameter[0]} and {name}")
    return node.parameter[1]


def _segments(raw_path: bytes) -> list[str]:
    """Cut and decode; a path that may not be any route's comes back empty."""
    if not raw_path.startswith(b"/"):
        return []
    try:
        found = [
            urllib.parse.unquote_to_bytes(part).decode("utf-8") for part in raw_path[1:].split(b"/")
        ]
    except UnicodeDecodeError:
        return []
    return [] if any(part in _NO_PARTS or "\x00" in part for part in found) else found


def _is_plain(segment: str) -> bool:
    return segment.isprintable() and _ODD.isdisjoint(segment)
