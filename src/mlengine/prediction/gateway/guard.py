"""What every request passes first: the rules of `core.access`, by the newest snapshot.

A bearer is the engine's own token, or a key that the snapshot grants something. A key is looked up
by its SHA-256: how long that takes may tell of the digest, and whoever knows a part of a digest
knows nothing of the 256 random bits that it was made of. The engine's token is compared in a time
that tells nothing at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mlengine.core.access import (
    bearer_digest,
    check_host,
    check_no_token_in_query,
    check_origin,
    is_secret,
    unknown_bearer,
)
from mlengine.core.errors import PermissionDenied, Unauthenticated
from mlengine.prediction.routing import Grant, Snapshot

__all__ = ["Guard", "check_covered", "check_monitors", "expired", "is_over"]

_MAX_REMEMBERED_HOSTS = 256


class Guard:
    """The rules with their values; made anew for each snapshot.

    Args:
        snapshot: What to decide by.
        wall_s: The time of day, by which keys expire: seconds since 1970.
    """

    def __init__(self, snapshot: Snapshot, *, wall_s: Callable[[], float] = time.time) -> None:
        self._hosts = frozenset(name.lower() for name in snapshot.allowed_hosts)
        self._digest = snapshot.token_digest.encode()
        self._grants = snapshot.grants
        self._open_paths = {p.encode(): m.encode() for p, m in snapshot.open_paths.items()}
        self._good_hosts: dict[bytes, str] = {}
        self._wall_s = wall_s

    def check_caller(
        self, hosts: Sequence[bytes], origins: Sequence[bytes], sites: Sequence[bytes]
    ) -> None:
        """Check to whom the request is addressed and which page sent it.

        Raises:
            PermissionDenied: Another host's name, or another site's page.
        """
        own = self._good_hosts.get(hosts[0]) if len(hosts) == 1 else None
        if own is None:
            own = check_host(_texts(hosts), self._hosts)
            if len(self._good_hosts) < _MAX_REMEMBERED_HOSTS:
                self._good_hosts[hosts[0]] = own
        if origins or sites:
            check_origin(_texts(origins), _texts(sites), {own})

    def admit(
        self, method: bytes, path: bytes, query: bytes, authorization: Sequence[bytes]
    ) -> Grant | None:
        """Return what the bearer's key grants; None for one who may do all that there is here.

        That is the bearer of the engine's token, and whoever asks what is open to everybody.

        Raises:
            Unauthenticated: No token, one that nobody knows, an expired one, or one in the URL.
        """
        if query:
            check_no_token_in_query(query.decode("latin-1"))
        if self._open_paths and self._open_paths.get(path) == method:
            return None
        digest = bearer_digest(_texts(authorization))
        # With an empty digest nothing is equal: an engine without a token is closed, not open.
        if is_secret(digest.encode(), self._digest):
            return None
        grant = self._grants.get(digest)
        if grant is None:
            raise unknown_bearer()
        if is_over(grant, self._wall_s):
            raise expired(grant)
        return grant


def is_over(grant: Grant | None, wall_s: Callable[[], float]) -> bool:
    """Tell whether a key has expired."""
    return grant is not None and grant.expires != 0 and wall_s() >= grant.expires


def expired(grant: Grant) -> Unauthenticated:
    """Return the error for an expired key."""
    return Unauthenticated(f"The key '{grant.key}' has expired.", "Ask for another one.")


def check_covered(grant: Grant | None, model: str) -> None:
    """Check that a bearer may ask a model; what is said does not tell whether it exists.

    Args:
        grant: What the bearer's key grants; None: everything.
        model: The model's full name.

    Raises:
        PermissionDenied: It may not.
    """
    if grant is not None and not grant.covers(model):
        raise PermissionDenied(
            f"The key '{grant.key}' may not ask '{model}', or there is no such model.",
            "Ask for a key that may.",
        )


def check_monitors(grant: Grant | None) -> None:
    """Check that a bearer may read the metrics.

    Args:
        grant: What the bearer's key grants; None: everything.

    Raises:
        PermissionDenied: It may not.
    """
    if grant is not None and not grant.metrics:
        raise PermissionDenied(
            f"The key '{grant.key}' may not read the metrics.",
            "They tell of all projects: ask with a key that monitors.",
        )


def _texts(values: Sequence[bytes]) -> list[str]:
    return [value.decode("latin-1") for value in values]
