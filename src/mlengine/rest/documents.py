"""Descriptions of the API, written from the route tables: discovery, OpenAPI, a page to read."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from collections.abc import Sequence
from typing import Any

import msgspec

import mlengine
from mlengine.core.errors import NotFound
from mlengine.core.permissions import KNOWN, OPEN
from mlengine.rest.calls import Answer, Call, Document
from mlengine.rest.ml_v1 import METHODS, Method
from mlengine.rest.query import SYSTEM_PARAMETERS
from mlengine.rest.routes import Route
from mlengine.rest.schemas import discovery_schemas, google_schema_name, openapi_schemas

__all__ = ["discovery_document", "openapi_document", "routes"]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;"
    "color:#1a1a1a;background:#fff}table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd;"
    "vertical-align:top}code{font:14px ui-monospace,monospace;overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#121212}"
    "th,td{border-color:#333}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_READ_ONLY_SCOPE = f"{_SCOPE}.read-only"
# Those of which Google's document says so; a key's permissions are what counts here.
_READ_ONLY = frozenset({
    "jobs.get", "jobs.list", "locations.get", "locations.list", "models.get", "models.list",
    "models.versions.list",
})  # fmt: skip

_TYPES: dict[str, dict[str, str]] = {
    "pageSize": {"type": "integer", "format": "int32"},
    "options.requestedPolicyVersion": {"type": "integer", "format": "int32"},
    "updateMask": {"type": "string", "format": "google-fieldmask"},
    "returnPartialSuccess": {"type": "boolean"},
    "force": {"type": "boolean"},
    "wait_s": {"type": "number"},
}


def routes(tables: Sequence[Route]) -> tuple[Route, ...]:
    """Return the routes that serve descriptions of `tables` and of themselves.

    They need no token: they are the same on every engine and say nothing of this one.
    """

    @functools.cache
    def written() -> dict[str, Document]:
        described = Document(msgspec.json.encode(openapi_document(everything)))
        page = Document(_page(everything).encode(), "text/html; charset=utf-8", _PAGE_POLICY)
        return {"openapi": described, "docs": page}

    def discovery(call: Call) -> Answer:
        """Describe the API to Google's client libraries."""
        version = call.query.get("version", "v1")
        if version != "v1":
            raise NotFound(f"There is no version {version[:20]!r} of this API.", "Use v1.")
        body = msgspec.json.encode(discovery_document(call.base_url))
        return Document(msgspec.json.format(body, indent=2))

    def openapi(call: Call) -> Answer:
        """Describe every route as OpenAPI 3.1."""
        return written()["openapi"]

    def docs(call: Call) -> Answer:
        """List every route, for people."""
        return written()["docs"]

    own = (
        _open("discovery", "/$discovery/rest", discovery, query=("version",)),
        _open("openapi", "/api/v1/openapi.json", openapi),
        _open("docs", "/api/v1/docs", docs),
    )
    everything = (*tables, *own)
    return own


def _open(name: str, path: str, run: Any, query: tuple[str, ...] = ()) -> Route:
    return Route(
        id=f"engine.{name}",
        method="GET",
        path=path,
        permission=OPEN,
        run=run,
        query=query,
        response="",
    )


# --- discovery ----------------------------------------------------------------------------------


def discovery_document(root_url: str) -> dict[str, Any]:
    """Write the discovery document of ``ml:v1`` for an engine at `root_url` (ends in ``/``)."""
    used = {name for m in METHODS for name in (m.request, m.response) if name}
    resources: dict[str, Any] = {}
    for method in METHODS:
        *parents, name = method.id.split(".")
        level = resources.setdefault("projects", {})
        for parent in parents:
            level = level.setdefault("resources", {}).setdefault(parent, {})
        level.setdefault("methods", {})[name] = _discovery_method(method)
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "ml:v1",
        "name": "ml",
        "version": "v1",
        "title": "mlengine",
        "description": "A machine-learning engine that speaks ml.googleapis.com/v1.",
        "protocol": "rest",
        "rootUrl": root_url,
        "baseUrl": root_url,
        "basePath": "",
        "servicePath": "",
        "batchPath": "batch",
        "fullyEncodeReservedExpansion": True,
        "auth": {
            "oauth2": {
                "scopes": {
                    _SCOPE: {"description": "Everything."},
                    _READ_ONLY_SCOPE: {"description": "What changes nothing."},
                }
            }
        },
        "parameters": {
            name: {"type": "boolean", "default": "true", "location": "query"}
            if name == "prettyPrint"
            else {"type": "string", "location": "query"}
            for name in SYSTEM_PARAMETERS
        },
        "schemas": discovery_schemas(used),
        "resources": resources,
    }


def _discovery_method(method: Method) -> dict[str, Any]:
    parameter = method.resource_parameter
    named, tail = _split_path(method)
    flat = named + tail if named != "projects/**" else "projects/{project}" + tail
    parameters: dict[str, Any] = {
        parameter: {
            "type": "string",
            "location": "path",
            "required": True,
            "pattern": _pattern(named),
        }
    }
    for name in method.query:
        parameters[name] = {**_TYPES.get(name, {"type": "string"}), "location": "query"}
    document: dict[str, Any] = {
        "id": f"ml.projects.{method.id}",
        "httpMethod": method.http,
        "path": f"v1/{{+{parameter}}}{tail}",
        "flatPath": "v1/" + _google_flat(flat),
        "parameterOrder": [parameter],
        "parameters": parameters,
        "response": {"$ref": google_schema_name(method.response)},
        "scopes": [_SCOPE, *([_READ_ONLY_SCOPE] if method.id in _READ_ONLY else [])],
    }
    if method.request:
        document["request"] = {"$ref": google_schema_name(method.request)}
    return document


def _split_path(method: Method) -> tuple[str, str]:
    """Split a path into the resource's name and what follows it."""
    if method.path.startswith("/**"):
        return "projects/**", method.path[3:]
    path = "projects/{project}" + method.path
    name = path[: path.rindex("}") + 1]
    return name, path[len(name) :]


def _pattern(named: str) -> str:
    if named == "projects/**":
        return "^projects/.*$"
    parts = ["[^/]+" if part.startswith("{") else part for part in named.split("/")]
    return f"^{'/'.join(parts)}$"


def _google_flat(flat: str) -> str:
    """Name path parts as Google does: ``{projectsId}`` after ``projects/``."""
    parts = flat.split("/")
    for i, part in enumerate(parts):
        if part.startswith("{"):
            parts[i] = f"{{{parts[i - 1]}Id}}" + part[part.index("}") + 1 :]
    return "/".join(parts)


# --- OpenAPI ------------------------------------------------------------------------------------


def openapi_document(tables: Sequence[Route]) -> dict[str, Any]:
    """Write every route as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    used: set[str] = set()
    for route in tables:
        used |= {name for name in (route.request, route.response) if name}
        operation = _operation(route)
        paths.setdefault(route.path.replace("...}", "}"), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlengine", "version": mlengine.__version__},
        "paths": paths,
        "components": {
            "schemas": openapi_schemas(used),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    inside = [p.partition("}")[0].removesuffix("...") for p in route.path.split("{")[1:]]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in inside
    ]
    for name in route.query:
        schema = _TYPES.get(name, {"type": "string"})
        parameters.append({"name": name, "in": "query", "schema": schema})
    version = ".version" if "{version}" in route.path and route.raw else ""
    operation: dict[str, Any] = {
        "operationId": route.id + version,
        "summary": route.about,
        **({} if route.permission in (OPEN, KNOWN) else {"x-permission": route.permission}),
        "security": [] if route.is_open else [{"token": []}],
        "responses": {
            "200": {"description": "Done.", **_content(route.response)},
            "default": {"description": "An error.", **_content("Error")},
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if route.request:
        operation["requestBody"] = _content(route.request)
    elif route.upload:
        operation["requestBody"] = {"content": {route.takes: {}}}
    return operation


def _content(name: str) -> dict[str, Any]:
    if not name:
        return {}
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


# --- the page -----------------------------------------------------------------------------------


def _page(tables: Sequence[Route]) -> str:
    rows = "".join(
        f"<tr><td><code>{r.method}</code></td><td><code>{html.escape(r.path)}</code></td>"
        f"<td>{html.escape(r.about)}</td><td>{html.escape(', '.join(r.query))}</td></tr>"
        for r in tables
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'><title>mlengine: routes</title>"
        f"<style>{_STYLE}</style><h1>mlengine: routes</h1>"
        "<p>Send <code>Authorization: Bearer TOKEN</code>; the token is in the engine's home, in "
        "<code>run/token</code>. Bodies are <code>application/json</code>. The same as "
        "<a href=/api/v1/openapi.json>OpenAPI</a>.</p>"
        "<table><thead><tr><th>Method<th>Path<th>What it does<th>Query</thead>"
        f"<tbody>{rows}</tbody></table></html>"
    )
