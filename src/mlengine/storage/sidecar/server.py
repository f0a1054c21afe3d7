"""The sidecar's port: the API in plain HTTP for who knows the secret path, and the proxy.

The first byte of a connection tells which: of all methods only CONNECT begins with a C. It is
looked at, not taken, so that whoever reads next reads from the start.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import ssl
import sys
from typing import NamedTuple

from mlengine.core.errors import EngineError
from mlengine.storage.gcs import GcsApi, serve_connection
from mlengine.storage.sidecar.certificates import is_intercepted
from mlengine.storage.sidecar.config import SidecarConfig, open_buckets
from mlengine.storage.sidecar.connect import Target, read_target, refuse
from mlengine.storage.sidecar.hosts import HostApi
from mlengine.storage.sidecar.outward import dial

__all__ = ["Sidecar"]

_THREADS = 64  # requests answered at one time; each waits for a disk, or for a far host
_FIRST_S = 120.0
_HANDSHAKE_S = 30.0
_PAUSE_S = 0.1
_BLOCK_BYTES = 256 * 1024
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Sidecar:
    """Serves one attempt.

    Args:
        config: What the engine wrote down.
    """

    def __init__(self, config: SidecarConfig) -> None:
        self._secret = config.secret
        self._buckets = open_buckets(config)
        self._api = GcsApi(self._buckets)
        self._tls: ssl.SSLContext | None = None
        if config.certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(config.certificate, config.key)
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _address = await loop.sock_accept(listener)
            except OSError:  # no descriptor is free, or the caller is gone: neither lasts
                await asyncio.sleep(_PAUSE_S)
                continue
            task = loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(_FIRST_S):
                first = await _first_byte(connection)
            if first == b"C":
                await self._proxy(connection)
            elif first:
                caller = await _streams(connection)
                api = HostApi(self._api, self._buckets)
                prefix = f"/{self._secret}"
                await serve_connection(*caller, api, prefix=prefix, executor=self._threads)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the caller is gone, or never spoke
        except EngineError as error:
            print(error, file=sys.stderr)
        finally:
            connection.close()

    async def _proxy(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(_FIRST_S):
                target = await read_target(connection, self._secret)
            if self._tls and target.port == 443 and is_intercepted(target.host):
                await self._intercept(connection, target)
            else:
                await _tunnel(connection, target, self._threads)
        except EngineError as error:
            await refuse(connection, error)

    async def _intercept(self, connection: socket.socket, target: Target) -> None:
        await asyncio.get_running_loop().sock_sendall(connection, _ESTABLISHED)
        caller = await _streams(connection, self._tls)
        api = HostApi(self._api, self._buckets, target.host)
        await serve_connection(*caller, api, scheme="https", executor=self._threads)


class _Streams(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def _streams(connection: socket.socket, tls: ssl.SSLContext | None = None) -> _Streams:
    """Put streams over an accepted connection, behind a TLS handshake if wanted."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_BLOCK_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _protocol = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=tls,
        ssl_handshake_timeout=_HANDSHAKE_S if tls else None,
    )  # fmt: skip
    return _Streams(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def _first_byte(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK)


async def _tunnel(
    connection: socket.socket, target: Target, threads: concurrent.futures.Executor
) -> None:
    """Carry bytes both ways, unread; each direction ends by itself."""
    loop = asyncio.get_running_loop()
    far_socket = await loop.run_in_executor(threads, dial, target.host, target.port)
    await loop.sock_sendall(connection, _ESTABLISHED)
    far = _Streams(*await asyncio.open_connection(sock=far_socket))
    near = await _streams(connection)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(near.reader, far.writer))
            both.create_task(_carry(far.reader, near.writer))
    except* OSError:
        pass  # one end broke off: so does the other
    finally:
        for stream in (near, far):
            stream.writer.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_BLOCK_BYTES):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
