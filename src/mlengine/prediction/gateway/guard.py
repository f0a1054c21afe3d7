"""What every request passes first: the rules of `core.access`, by the newest snapshot."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.core.access import check_bearer, check_host, check_no_token_in_query, check_origin
from mlengine.prediction.routing import Snapshot

__all__ = ["Guard"]

_MAX_REMEMBERED_HOSTS = 256


class Guard:
    """The rules with their values; made anew for each snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._hosts = frozenset(name.lower() for name in snapshot.allowed_hosts)
        self._origins = frozenset(name.lower() for name in snapshot.allowed_origins)
        self._digest = snapshot.token_digest
        self._open_paths = {p.encode(): m.encode() for p, m in snapshot.open_paths.items()}
        self._good_hosts: dict[bytes, str] = {}

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
            check_origin(_texts(origins), _texts(sites), {own} | self._origins)

    def check_token(
        self, method: bytes, path: bytes, query: bytes, authorization: Sequence[bytes]
    ) -> None:
        """Check the token, unless the path is declared open for the method.

        Raises:
            Unauthenticated: No token, a wrong one, or one in the URL.
        """
        if query:
            check_no_token_in_query(query.decode("latin-1"))
        if self._open_paths and self._open_paths.get(path) == method:
            return
        check_bearer(_texts(authorization), self._digest)


def _texts(values: Sequence[bytes]) -> list[str]:
    return [value.decode("latin-1") for value in values]
