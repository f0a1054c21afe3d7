"""The engine's own routes for keys; part of the table in `own`."""

from __future__ import annotations

from mlengine.core.keys import Key
from mlengine.core.wire import encode
from mlengine.rest.calls import Answer, Call, bare_id
from mlengine.rest.routes import Route

__all__ = ["ROUTES"]

_KEYS = "/api/v1/projects/{project}/keys"
_KEY = _KEYS + "/{key}"


def _create(call: Call) -> Answer:
    """Make a key; its text, `keyString`, is in this answer and nowhere else."""
    key = call.decode(Key, at="key")
    key.name = bare_id(key.name, f"projects/{call.project}/keys/", field="key.name")
    return call.engine.create_key(call.project, key)


def _list(call: Call) -> Answer:
    """List the keys of a project, revoked ones too."""
    found = [encode(key) for key in call.engine.list_keys(call.project)]
    return {"keys": found} if found else {}


def _get(call: Call) -> Answer:
    """Describe a key."""
    return call.engine.get_key(call.project, call.ids["key"])


def _revoke(call: Call) -> Answer:
    """Have a key count no more, at once and for ever."""
    return call.engine.revoke_key(call.project, call.ids["key"])


ROUTES: tuple[Route, ...] = (
    Route(
        id="engine.keys.create",
        method="POST",
        path=_KEYS,
        permission="mlengine.keys.create",
        verb="create_key",
        run=_create,
        request="Key",
        response="Key",
    ),
    Route(
        id="engine.keys.list",
        method="GET",
        path=_KEYS,
        permission="mlengine.keys.list",
        verb="list_keys",
        run=_list,
        response="ListKeysResponse",
    ),
    Route(
        id="engine.keys.get",
        method="GET",
        path=_KEY,
        permission="mlengine.keys.get",
        verb="get_key",
        run=_get,
        response="Key",
    ),
    Route(
        id="engine.keys.revoke",
        method="POST",
        path=_KEY + ":revoke",
        permission="mlengine.keys.revoke",
        verb="revoke_key",
        run=_revoke,
        response="Key",
    ),
)
