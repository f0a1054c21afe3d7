"""Keys: who else than the engine's own token may call, for what, and how much of it.

A key's text exists once, in the answer that made it; what is kept is its SHA-256. Two hundred and
fifty-six random bits need no slow hash and no salt: there is no list of likely ones to try.
"""

from __future__ import annotations

import datetime
import re

from mlengine.core.callers import Caller
from mlengine.core.errors import InvalidArgument
from mlengine.core.names import check_id, check_project
from mlengine.core.permissions import ENGINE_ROLES, PROJECT_ROLES
from mlengine.core.policies import check_member
from mlengine.core.resources import Resource

__all__ = [
    "Key",
    "caller_of",
    "check_key",
    "expires_s",
    "key_name",
]

_ID = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)
_MAX_MODELS = 1000
_MIN_RATE, _MAX_RATE, _MAX_COUNT = 1e-6, 1e6, 10**9


class Key(Resource):
    """Somebody who may call.

    Attributes:
        name: The id in a request, ``projects/p/keys/ID`` in an answer.
        member: As policies name it: ``user:NAME`` or ``serviceAccount:ID``.
        role: ``viewer``, ``developer`` or ``admin`` of the project; ``monitor`` of the engine.
        models: Ids of models of the project that it may ask for predictions, and no more.
        requests_per_second: Most predictions in the long run; 0 is no limit.
        burst: Most predictions at once above that; 0 is one second's worth.
        daily_quota: Most predictions of one UTC day; 0 is no limit.
        expire_time: From then on it counts no more; empty is never.
        revoke_time: Since when it counts no more; empty while it does.
        key_string: Its text, in the answer that makes it and nowhere else.
    """

    OUTPUT_ONLY = frozenset({"create_time", "revoke_time", "key_string"})

    name: str = ""
    member: str = ""
    role: str = ""
    models: list[str] = []
    requests_per_second: float = 0.0
    burst: int = 0
    daily_quota: int = 0
    expire_time: str = ""
    create_time: str = ""
    revoke_time: str = ""
    key_string: str = ""


def key_name(project: str, key_id: str) -> str:
    """Return ``projects/{project}/keys/{key_id}``."""
    return f"projects/{project}/keys/{key_id}"


def check_key(project: str, key: Key, *, now: datetime.datetime) -> Key:
    """Return a key as it is recorded, from what somebody asked for; `name` is the bare id.

    Raises:
        InvalidArgument: A field is wrong.
    """
    check_project(project)
    key_id = _check_key_id(key.name)
    if key.role and key.role not in (*PROJECT_ROLES, *ENGINE_ROLES):
        raise InvalidArgument(
            f"There is no role {key.role[:80]!r} for a key.",
            f"Choose one of: {', '.join((*PROJECT_ROLES, *ENGINE_ROLES))}; or none, and name "
            "models.",
            field="key.role",
        )
    if len(key.models) > _MAX_MODELS:
        raise InvalidArgument(
            f"A key names at most {_MAX_MODELS} models.", "Give it a role.", field="key.models"
        )
    for model in key.models:
        check_id(model, kind="model", field="key.models")
    _check_numbers(key)
    member = check_member(key.member, field="key.member") if key.member else ""
    return Key(
        name=key_id,
        member=member or f"serviceAccount:{key_id}",
        role=key.role,
        models=sorted(set(key.models)),
        requests_per_second=key.requests_per_second,
        burst=key.burst,
        daily_quota=key.daily_quota,
        expire_time=_check_expiry(key.expire_time, now),
    )


def caller_of(project: str, key: Key) -> Caller:
    """Return whom a call with this key is from; `key.name` is the bare id."""
    return Caller(
        key=key_name(project, key.name),
        project=project,
        member=key.member,
        role=key.role,
        models=frozenset(key.models),
    )


def expires_s(key: Key) -> float:
    """Return the Unix second from which on a key counts no more; 0 for never."""
    return _moment(key.expire_time).timestamp() if key.expire_time else 0.0


def _check_key_id(value: str) -> str:
    """Return the id if it is one.

    Raises:
        InvalidArgument: It is not 1 to 63 small letters, digits and dashes after a letter.
    """
    if not _ID.fullmatch(value):
        raise InvalidArgument(
            f"A key's id has 1 to 63 small letters, digits and dashes, and begins with a letter; "
            f"{value[:80]!r} does not.",
            "Choose one that says who uses it, such as 'shop-web'.",
            field="key.name",
        )
    return value


def _check_numbers(key: Key) -> None:
    rate = key.requests_per_second
    if rate != 0 and not _MIN_RATE <= rate <= _MAX_RATE:  # NaN is refused, too
        raise InvalidArgument(
            f"A rate of {rate!r} is neither 0 nor from {_MIN_RATE:g} to {_MAX_RATE:.0f}.",
            "Leave it out for no limit.",
            field="key.requests_per_second",
        )
    if key.burst and not rate:
        raise InvalidArgument(
            "A burst means something beside a rate only.",
            "Set requestsPerSecond, too.",
            field="key.burst",
        )
    for field in ("burst", "daily_quota"):
        value = getattr(key, field)
        if not 0 <= value <= _MAX_COUNT:
            raise InvalidArgument(
                f"{value} is not from 0 to {_MAX_COUNT}.",
                "Leave it out for no limit.",
                field=f"key.{field}",
            )


def _check_expiry(text: str, now: datetime.datetime) -> str:
    if not text:
        return ""
    try:
        moment = _moment(text)
    except ValueError:
        raise InvalidArgument(
            f"{text[:60]!r} is no time in UTC.",
            "Write it as 2031-05-06T07:08:09Z.",
            field="key.expire_time",
        ) from None
    if moment <= now:
        raise InvalidArgument(
            f"The key would have expired at {text}, before it is made.",
            "Name a time to come.",
            field="key.expire_time",
        )
    return text


def _moment(text: str) -> datetime.datetime:
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    return datetime.datetime.fromisoformat(text[:19] + "+00:00")
