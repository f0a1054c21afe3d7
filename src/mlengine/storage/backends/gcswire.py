"""Requests to Cloud Storage's JSON API: credentials, connections, another try.

``STORAGE_EMULATOR_HOST`` names another server, which is asked without credentials; else those of
the environment are used, as Google's own libraries find them. No message quotes a URL, a header or
what a server said: each may hold a secret.
"""

from __future__ import annotations

import importlib
import os
import random
import threading
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from mlengine.core.errors import (
    FailedPrecondition,
    Unavailable,
)

__all__ = ["Broken", "Wire"]

_GOOGLE = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_TRIES = 6
_PAUSE_S = 0.2
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_PASSING = (408, 429, 500, 502, 503, 504)

Answer = urllib3.BaseHTTPResponse


class Broken(Exception):
    """No answer came, or one that says to try again; the message may be shown."""


class Wire:
    """One server. Thread-safe.

    Raises:
        FailedPrecondition: There are no credentials for Google.
        ImportError: The packages that find them are not installed.
    """

    def __init__(self) -> None:
        host = os.environ.get("STORAGE_EMULATOR_HOST", "")
        self.is_emulator = bool(host) and host != "default"
        if self.is_emulator:
            host = host if "://" in host else f"http://{host}"
        self.origin = host.rstrip("/") if self.is_emulator else _GOOGLE
        self._http = _pool(self.origin)
        self._lock = threading.Lock()
        self._credentials: Any = None
        if not self.is_emulator:
            importlib.import_module("google.auth")  # late: an engine without such buckets has none

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        is_streamed: bool = False,
    ) -> Answer:
        """Ask once.

        Raises:
            Broken: There was no whole answer, or one that says to try again.
        """
        url = f"{self.origin}{path}" + (f"?{urlencode(query)}" if query else "")
        lines = {"Accept-Encoding": "gzip" if is_streamed else "identity", **(headers or {})}
        try:
            self._identify(method, url, lines)
            answer = self._http.request(
                method, url, body=body, headers=lines, retries=False, timeout=_TIMEOUT,
                preload_content=not is_streamed, decode_content=False, redirect=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Broken(_why(error)) from None
        if answer.status in _PASSING:
            answer.close()  # its connection holds what nobody reads
            raise Broken(f"the store answers {answer.status}")
        return answer

    def ask_again(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        what: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        is_streamed: bool = False,
    ) -> tuple[Answer, bool]:
        """Ask until there is an answer; return it, and whether an earlier try may have counted.

        Raises:
            Unavailable: There was none for some seconds.
        """
        for turn in range(_TRIES):
            try:
                answer = self.ask(
                    method, path, query, body=body, headers=headers, is_streamed=is_streamed
                )
                return answer, turn > 0
            except Broken as error:
                self.pause(turn, error, what)
        raise AssertionError("unreachable")

    def pause(self, turn: int, error: Broken, what: str) -> None:
        """Wait before the next try, longer from turn to turn.

        Raises:
            Unavailable: That was the last one.
        """
        if turn + 1 >= _TRIES:
            raise Unavailable(
                f"{what} cannot be reached: {error}.",
                "Try again; check the network to the object store.",
            ) from None
        threading.Event().wait(_PAUSE_S * 2**turn * random.uniform(0.5, 1.0))

    def _identify(self, method: str, url: str, headers: dict[str, str]) -> None:
        if self.is_emulator:
            return
        transport: Any = importlib.import_module("google.auth.transport.urllib3")
        exceptions: Any = importlib.import_module("google.auth.exceptions")
        try:
            with self._lock:
                if self._credentials is None:
                    auth: Any = importlib.import_module("google.auth")
                    self._credentials, _project = auth.default(scopes=[_SCOPE])
                self._credentials.before_request(
                    transport.Request(self._http), method, url, headers
                )
        except exceptions.DefaultCredentialsError:
            raise FailedPrecondition(
                "There are no credentials for Google Cloud Storage.",
                "Set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run 'gcloud auth "
                "application-default login', then start the engine again.",
            ) from None
        except exceptions.TransportError:
            raise Broken("Google's token server does not answer") from None
        except exceptions.GoogleAuthError as error:
            raise FailedPrecondition(
                f"Google refuses the engine's credentials ({type(error).__name__}).",
                "Renew them, then start the engine again.",
            ) from None


def _why(error: Exception) -> str:
    """Say what kind of failure it was; its own words may hold a URL."""
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, urllib3.exceptions.NewConnectionError | ConnectionRefusedError):
        return "nobody answers at its address"
    return f"the connection broke ({type(error).__name__})"


def _pool(origin: str) -> urllib3.PoolManager:
    parts = urlsplit(origin)
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}", maxsize=32)
    return urllib3.PoolManager(maxsize=32)
