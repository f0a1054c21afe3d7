"""The engine as a process: ``python -m mlengine.daemon``, which is what `mlengine up` runs.

It stands above the faces because it joins one of them (`rest`) with the engine. The public port is
the gateway's; this process answers on a Unix socket behind it, so predictions go on without it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import logging.handlers
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlengine.runtime.concealment import conceal

if __name__ == "__main__":
    conceal()  # its keys are not for the jobs; what follows takes a second to be imported

from mlengine import __version__
from mlengine.core.access import token_digest
from mlengine.core.clock import SystemClock, rfc3339
from mlengine.core.errors import EngineError
from mlengine.engine.home import LOG_NAME, Home
from mlengine.engine.settings import Settings, load
from mlengine.prediction.gateway import ahead
from mlengine.prediction.gateway.info import LOG_NAME as GATEWAY_LOG_NAME

if TYPE_CHECKING:
    from mlengine.engine.wiring import Wired

_log = logging.getLogger("mlengine")
_LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run an engine until SIGTERM, SIGINT or SIGHUP; return the exit code."""
    parser = argparse.ArgumentParser(prog="mlengine up", description="Run an engine.")
    parser.add_argument("--home")
    parser.add_argument("--project")
    parser.add_argument("--host")
    parser.add_argument("--port")
    parser.add_argument("--backend")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    parser.add_argument("--grpc-port")
    options = parser.parse_args(argv)
    os.umask(0o077)  # everything that this process makes is its owner's alone
    _log_to_stderr()
    try:
        settings = load(os.environ, **vars(options))
        return run(settings)
    except EngineError as error:
        print(f"ERROR: (mlengine.up) {error}", file=sys.stderr)
    except OSError as error:  # a home that cannot be made or written, a full disk
        where = f": {error.filename}" if error.filename else ""
        print(f"ERROR: (mlengine.up) {error.strerror or error}{where}", file=sys.stderr)
    return 1


def run(settings: Settings) -> int:
    """Run an engine with these settings in the foreground; prints one line once it is ready."""
    home = Home(settings.home)
    _keep_audit(settings.home / "logs" / LOG_NAME)
    try:
        ahead.begin(settings.home / "run", settings.home / "logs" / GATEWAY_LOG_NAME)
        # Late: the gateway imports meanwhile what it needs.
        from mlengine.engine.shared import SharedFolder
        from mlengine.engine.wiring import wire
        from mlengine.rest.everyroute import open_paths

        shared = SharedFolder(settings)
        token = shared.token()
        home.keep_token(token)
        wired = wire(settings, shared, open_paths=open_paths())
        try:
            wish = _Wish()
            wired.start()
            _serve(settings, token, wired, home, wish)
        finally:
            wired.stop()
    finally:
        home.close()
    return 0


class _Wish:
    """Whether it is asked to end, by SIGTERM, Ctrl-C or a terminal that closes, while it starts.

    It ends in order then, as soon as it has started: a gateway and workers are in the making, and
    only who has taken them up can stop them. Who asks twice does not want to wait for that.
    """

    def __init__(self) -> None:
        self.spoken = False
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._hear)
        _on_hangup(self._hear)

    def _hear(self, signum: int, _frame: object) -> None:
        if self.spoken and signum != signal.SIGHUP:  # shell and kernel both say that one
            raise SystemExit(128 + signum)
        self.spoken = True


def _on_hangup(handler: Callable[[int, Any], None]) -> None:
    """Have SIGHUP heard, unless `nohup` or the like said that it is to mean nothing."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def _serve(settings: Settings, token: str, wired: Wired, home: Home, wish: _Wish) -> None:
    # Late: predictions are answered meanwhile, by the gateway that has begun.
    from mlengine.rest.app import build_app
    from mlengine.rest.listener import serve

    app = build_app(
        wired.engine,
        token_digest=token_digest(token),
        allowed_hosts=settings.allowed_host_names,
        doorkeeper=wired.access,
        scheme="https" if settings.tls_cert else "http",
    )
    serve(
        app, wired.serving.engine_socket, wish, heed_hangup=_on_hangup,
        on_ready=lambda: _announce(home, wired), on_end=wired.let_go,
    )  # fmt: skip


def _announce(home: Home, wired: Wired) -> None:
    url = wired.serving.endpoint
    started = rfc3339(SystemClock().now())
    home.publish({"pid": os.getpid(), "url": url, "version": __version__, "started": started})
    print(
        f"mlengine {__version__} is ready at {url} (its token: mlengine auth print-access-token)",
        flush=True,
    )


class _LogHandler(logging.handlers.WatchedFileHandler):
    """Whoever rotates the log need not tell us; that it cannot be opened breaks no request."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # from opening it anew: the standard handler lets that out
            self.handleError(record)


def _keep_audit(log: Path) -> None:
    """Write who changed what to the engine's log, where stderr leads elsewhere: to a terminal."""
    with contextlib.suppress(OSError):  # there is no log, or no stderr
        if os.path.samestat(log.stat(), os.fstat(2)):
            return
    handler = _LogHandler(log)
    handler.setFormatter(logging.Formatter(_LINE))
    logging.getLogger("mlengine.audit").addHandler(handler)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=_LINE)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
