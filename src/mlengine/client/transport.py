"""Requests over kept connections: what is sent, when it is sent again, what a failure means.

A request is repeated when that cannot do harm: when no connection came about, or when the verb is
safe to repeat. A connection that the engine has closed meanwhile is noticed *before* it is used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from mlengine.client.connections import connector, notice_loss
from mlengine.client.trust import Trust
from mlengine.core.errors import (
    DeadlineExceeded,
    EngineError,
    InvalidArgument,
    Unavailable,
    from_status,
)

if TYPE_CHECKING:
    # Imported when the first request is made: commands that make none start faster.
    import http.client

__all__ = ["Reply", "Transport", "error_in"]

T = TypeVar("T")

_PIECE_BYTES = 256 * 1024
_SHORT_BYTES = 16 * 1024
_PAUSES_S = (0.05, 0.2, 0.5, 1.0)
_MAX_IDLE = 8
_STORING_S = 3600.0
"""How long an engine may store what it was sent: to an object store it may be a thin line."""
_ANYBODYS = Trust()
_STATUS_OF = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Reply(NamedTuple):
    """An HTTP answer.

    Attributes:
        status: HTTP status.
        body: All of it.
        repeated: It was asked for more than once, and an earlier try may have had its effect.
    """

    status: int
    body: bytes
    repeated: bool


class _NotConnectedError(Exception):
    """No connection came about, so nothing was sent."""


class Transport:
    """Speaks to one engine; may be shared by threads.

    Args:
        endpoint: ``http://127.0.0.1:8470``, ``https://…`` or ``unix:/path/to/socket``.
        token: Goes into every Authorization header, and nowhere else.
        timeout_s: The longest silence on a connection.
        trust: Whose certificate it may show, over https.

    Raises:
        InvalidArgument: The endpoint is none of these, or the token cannot be one.
    """

    def __init__(
        self, endpoint: str, token: str, *, timeout_s: float, trust: Trust = _ANYBODYS
    ) -> None:
        if not (token.isascii() and token.isprintable()):
            # Refused here and not shown: what refuses it as a header quotes it.
            raise InvalidArgument(
                "The access token holds characters that no token has.",
                "Set MLENGINE_TOKEN anew, without a line break.",
            )
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._connect = connector(endpoint, trust)
        self._idle: list[http.client.HTTPConnection] = []
        self._pause = threading.Event()

    def close(self) -> None:
        """Close the connections that wait for a next request."""
        while self._idle:
            self._idle.pop().close()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        safe: bool,
        extra_wait_s: float = 0.0,
    ) -> Reply:
        """Send a request and read the whole answer.

        Args:
            method: HTTP method.
            path: Percent-encoded, with the query.
            body: JSON, or None for no body.
            safe: Repeating it has no further effect.
            extra_wait_s: How much longer than usual the engine may take on purpose.

        Raises:
            Unavailable: No engine answers there, or it broke off.
            DeadlineExceeded: It was silent for too long.
        """
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        uncertain = False
        for pause_s in (*_PAUSES_S, None):
            try:
                response, connection = self._exchange(method, path, headers, body, extra_wait_s)
                reply = Reply(response.status, response.read(), uncertain)
                self._keep(connection, response)
            except TimeoutError:
                raise self._silent(extra_wait_s) from None
            except _NotConnectedError as error:
                if pause_s is None:
                    raise self._unreachable(error) from None
            except self._broken() as error:
                if pause_s is None or not safe:
                    raise self._broke_off(error) from None
                uncertain = True
            else:
                if reply.status != 503 or pause_s is None or not safe:
                    return reply
                # The gateway says so too of an engine that ended between the effect and the answer.
                uncertain = True
            self._pause.wait(pause_s)
        raise AssertionError("the last round returns or raises")

    def upload(self, path: str, chunks: Iterable[bytes]) -> Reply:
        """Send a body in pieces with PUT; a failing `chunks` leaves nothing on the other side.

        Raises:
            Unavailable: No engine answers there, or it broke off.
            DeadlineExceeded: It took nothing for too long, or gave no answer for an hour.
        """
        try:
            connection = self._take(0.0)
        except TimeoutError:
            raise self._silent() from None
        except _NotConnectedError as error:
            raise self._unreachable(error) from None
        is_sent = done = False
        try:
            connection.putrequest("PUT", path)
            for key, value in self._headers.items():
                connection.putheader(key, value)
            connection.putheader("Content-Type", "application/octet-stream")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            _send_chunks(connection, chunks)
            is_sent = True
            connection.sock.settimeout(max(self._timeout_s, _STORING_S))
            response = connection.getresponse()
            reply = Reply(response.status, response.read(), False)
            self._keep(connection, response)
            done = True
            return reply
        except TimeoutError:
            raise (self._still_storing() if is_sent else self._silent()) from None
        except self._broken() as error:
            raise self._broke_off(error) from None
        finally:
            if not done:
                connection.close()

    def download(self, path: str) -> tuple[Reply, Iterator[bytes]]:
        """Ask for a body in pieces; an error's body is in the reply instead."""
        try:
            response, connection = self._exchange("GET", path, dict(self._headers), None, 0.0)
            if response.status != 200:
                reply = Reply(response.status, response.read(), False)
                self._keep(connection, response)
                return reply, iter(())
        except TimeoutError:
            raise self._silent() from None
        except _NotConnectedError as error:
            raise self._unreachable(error) from None
        except self._broken() as error:
            raise self._broke_off(error) from None
        return Reply(200, b"", False), self._pieces(response, connection)

    def _pieces(
        self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection
    ) -> Iterator[bytes]:
        import http.client

        try:
            while piece := response.read(_PIECE_BYTES):
                yield piece
            if response.length:
                # `read` with a size takes a connection that ends early for the end of the body.
                raise http.client.IncompleteRead(b"", response.length)
            self._keep(connection, response)
        except TimeoutError:
            raise self._silent() from None
        except self._broken() as error:
            raise self._broke_off(error) from None
        finally:
            if not response.isclosed():
                response.close()
                connection.close()

    def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        extra_wait_s: float,
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        connection = self._take(extra_wait_s)
        try:
            try:
                _request(connection, method, path, headers, body)
            except (BrokenPipeError, ConnectionResetError):
                # A body that is refused early: the answer may be there already.
                pass
            return connection.getresponse(), connection
        except BaseException:
            connection.close()
            raise

    def _take(self, extra_wait_s: float) -> http.client.HTTPConnection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if not _is_stale(connection):
                connection.sock.settimeout(self._timeout_s + extra_wait_s)
                return connection
            connection.close()
        connection = self._connect(self._timeout_s)
        try:
            connection.connect()
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:  # a name like a..b is refused as it is encoded
            connection.close()
            raise _NotConnectedError(str(error)) from None
        notice_loss(connection.sock)
        connection.sock.settimeout(self._timeout_s + extra_wait_s)
        return connection

    def _keep(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        if response.will_close or connection.sock is None or len(self._idle) >= _MAX_IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    @staticmethod
    def _broken() -> tuple[type[Exception], ...]:
        from http.client import HTTPException

        return (HTTPException, OSError)

    def _unreachable(self, error: Exception) -> Unavailable:
        remedy = "Start one with 'mlengine up'."
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            remedy = "Name the file of who vouches for its certificate with MLENGINE_CA."
        return Unavailable(f"No engine answers at {self.endpoint} ({error}).", remedy)

    def _broke_off(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"The engine at {self.endpoint} broke off ({type(error).__name__}).",
            "Look whether it took effect, then try again.",
        )

    def _silent(self, extra_wait_s: float = 0.0) -> DeadlineExceeded:
        wait_s = self._timeout_s + extra_wait_s
        return DeadlineExceeded(
            f"The engine at {self.endpoint} was silent for {wait_s:g} seconds.",
            "Look whether it took effect, then try again.",
        )

    def _still_storing(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The engine at {self.endpoint} got the whole object, and has not said for "
            f"{max(self._timeout_s, _STORING_S):g} seconds that it is stored.",
            "It may still arrive: look with 'storage ls -l' before you send it again.",
        )


def error_in(reply: Reply) -> EngineError:
    """Rebuild the error that an answer carries, so that its text is the engine's own."""
    try:
        error: Any = msgspec.json.decode(reply.body)["error"]
        status, message = str(error["status"]), str(error["message"])
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError):
        status = _STATUS_OF.get(reply.status, "INTERNAL")
        return from_status(status, f"The answer was HTTP {reply.status}, and not an engine's.")
    for detail in error.get("details") or ():
        for violation in detail.get("fieldViolations") or ():
            return from_status(status, str(violation["description"]), field=str(violation["field"]))
    return from_status(status, message)


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> None:
    """Send a request, a short one in one piece: of two pieces each side is woken twice."""
    if body is None or len(body) > _SHORT_BYTES:
        connection.request(method, path, body, headers)
        return
    pieces: list[bytes] = []
    connection.send = pieces.append  # type: ignore[assignment, method-assign]
    try:
        connection.request(method, path, body, headers)
    finally:
        del connection.send  # the class's own is there again
    connection.send(b"".join(pieces))


def _send_chunks(connection: http.client.HTTPConnection, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        for at in range(0, len(chunk), _PIECE_BYTES):
            piece = chunk[at : at + _PIECE_BYTES]
            try:
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            except (BrokenPipeError, ConnectionResetError):
                return  # refused early: the answer says why
    try:
        connection.send(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return


def _is_stale(connection: http.client.HTTPConnection) -> bool:
    """Tell whether something, which can only be the end, waits to be read."""
    import select

    if connection.sock is None or connection.sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
