"""Buckets behind Cloud Storage's API on loopback, for tests with clients that we did not write."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mlengine.storage import Buckets
from mlengine.storage.gcs import GcsApi, ServerLimits, serve_connection

__all__ = ["gcs_server"]


@contextlib.contextmanager
def gcs_server(
    buckets: Buckets,
    *,
    prefix: str = "",
    limits: ServerLimits = ServerLimits(),  # noqa: B008  a tuple
) -> Iterator[str]:
    """Serve until the end of the ``with``; yields what ``STORAGE_EMULATOR_HOST`` should be."""
    api, executor = GcsApi(buckets), ThreadPoolExecutor(16)
    loop = asyncio.new_event_loop()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        with contextlib.suppress(asyncio.CancelledError):
            await serve_connection(
                reader, writer, api, prefix=prefix, limits=limits, executor=executor
            )

    async def stop() -> None:
        server.close()
        for task in [*connections]:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, backlog=128))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{prefix}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        executor.shutdown()
        loop.close()
        api.close()
