"""A real PostgreSQL server for tests, from what the machine has, on loopback and a Unix socket.

`postgres_server()` starts one in a new folder and removes both. It runs as production would:
with fsync, and passwords asked for over TCP. As root it runs under another user, for PostgreSQL
refuses to be root. A test takes the fixture `postgres` (one server per worker), and from it a
database of its own; where a hundred would be made they are better used again.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.waiting import wait_until

__all__ = ["PASSWORD", "PostgresServer", "missing", "postgres", "postgres_server"]

PASSWORD = "p/ss:w@rd %41"
"""Of every user; what must never be read anywhere, and hard to spell in a URL."""

APT = "sudo apt install postgresql"
_USERS = ("postgres", "nobody")
_PR_SET_PDEATHSIG = 1


def missing() -> str:
    """Return why no server can be started here, and what to do; empty if one can."""
    return "" if _bin() else f"no PostgreSQL server here; {APT}"


class PostgresServer:
    """A server on a folder; it may be crashed and started again."""

    def __init__(self, folder: Path, bin_folder: Path, address: str = "127.0.0.1") -> None:
        self._folder, self._bin, self.address = folder, bin_folder, address
        self._data = folder / "data"
        self._as: dict[str, Any] = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.port = 0

    @property
    def socket_folder(self) -> Path:
        """Where the Unix socket is; whoever comes that way is not asked for a password."""
        return self._folder

    def url(self, database: str, *, user: str = "postgres", password: str = PASSWORD) -> str:
        """Return the URL of a database, over TCP."""
        quoted = urllib.parse.quote(password, safe="")
        return f"postgresql+psycopg://{user}:{quoted}@{self.address}:{self.port}/{database}"

    def new_database(self, prefix: str = "test_", *, template: str = "template1") -> str:
        """Make a database of a new name, as a copy of another, and return the name."""
        name = f"{prefix}{next(self._numbers)}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def empty_database(self) -> str:
        """Return a database that is as new; one that nobody is in is used again."""
        for name in self.databases("test_"):
            if not self.sessions(name):
                self.sql(f"ALTER DATABASE {name} RESET ALL")
                query = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_'"
                for (schema,) in self.sql(query, database=name):
                    self.sql(f"DROP SCHEMA {schema} CASCADE", database=name)
                self.sql(
                    "CREATE SCHEMA public AUTHORIZATION pg_database_owner; "
                    "GRANT USAGE ON SCHEMA public TO public",
                    database=name,
                )
                return name
        return self.new_database()

    def databases(self, prefix: str) -> list[str]:
        """Return the databases whose names begin so."""
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY oid"
        return [name for (name,) in self.sql(query, prefix)]

    def sql(self, statement: str, *args: object, database: str = "postgres") -> list[Any]:
        """Run a statement as superuser, by the socket; return its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement, args or None)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Connect as superuser, by the socket."""
        host = str(self.socket_folder)
        return psycopg.connect(
            host=host, port=self.port, user="postgres", dbname=database, autocommit=True
        )

    def sessions(self, database: str) -> list[int]:
        """Return the process ids of all sessions of a database."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = %s ORDER BY backend_start"
        return [pid for (pid,) in self.sql(query, database)]

    def kill_sessions(self, database: str) -> int:
        """End every session of a database, and say how many there were."""
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        return len(self.sql(query, database))

    def crash_a_session(self, database: str) -> None:
        """``kill -9`` a backend: the server then throws out everybody, and recovers."""
        os.kill(self.sessions(database)[0], signal.SIGKILL)

    def start(self) -> None:
        """Start, and return once connections are taken."""
        for _ in range(5):  # somebody else may take the port meanwhile
            self.port = self.port or _free_port(self.address)
            self._process = self._run()
            with contextlib.suppress(_Ended):
                wait_until(self._answers, timeout_s=60, message="PostgreSQL starts")
                return
            self.port = 0
        raise AssertionError((self._folder / "log").read_text()[-3000:])

    def stop(self, how: str = "fast") -> None:
        """Stop: ``fast`` is orderly, ``immediate`` is a crash that the next start recovers from."""
        if self._process is None:
            return
        self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])
        self._process.wait(60)
        self._process = None

    def pause(self) -> Callable[[], None]:
        """Stop every process of the server where it is; return what lets them go on."""
        query = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        assert self._process is not None
        pids = [self._process.pid, *(pid for (pid,) in self.sql(query))]

        def send(number: int) -> None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

        send(signal.SIGSTOP)
        return lambda: send(signal.SIGCONT)

    def make(self) -> None:
        """Make the folder of data."""
        if self._as:
            os.chown(self._folder, self._as["user"], self._as["group"])
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        words = ["initdb", "--pgdata", self._data, "--username", "postgres", "--pwfile", secret]
        words += ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        words += ["--locale=C.UTF-8", "--no-sync"]
        program = [str(self._bin / str(words[0])), *map(str, words[1:])]
        done = subprocess.run(program, capture_output=True, cwd=self._folder, **self._as)
        assert done.returncode == 0, done.stderr.decode()
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")

    def _run(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": self.address,
            "port": self.port,
            "unix_socket_directories": self._folder,
            "shared_buffers": "32MB",
            "max_connections": "100",
        }
        words = [str(self._bin / "postgres"), "-D", str(self._data)]
        words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                words, stdout=log, stderr=log, cwd=self._folder, preexec_fn=_die_with_me, **self._as
            )

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise _Ended
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


class _Ended(Exception):
    """The server has ended instead of starting."""


@contextlib.contextmanager
def postgres_server(address: str = "127.0.0.1") -> Iterator[PostgresServer]:
    """Run a new server until the block ends; skip the test where there is none to run.

    Args:
        address: Of this machine, to listen at; loopback, or one in a network of the test's own.
    """
    bin_folder = _bin()
    if bin_folder is None:
        pytest.skip(missing())
    folder = Path(tempfile.mkdtemp(prefix="mlengine-pg-"))
    server = PostgresServer(folder, bin_folder, address)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of a worker."""
    with postgres_server() as server:
        yield server


def _bin() -> Path | None:
    """Return the folder with the newest server's programs."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    found = shutil.which("postgres")
    folders = [*reversed(debian), *([Path(found).resolve().parent] if found else [])]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _unprivileged() -> dict[str, Any]:
    """Return the arguments of `subprocess` that make a child nobody of importance."""
    if os.geteuid() != 0:
        return {}
    for name in _USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError(f"PostgreSQL does not run as root, and there is no user of {_USERS}")


def _die_with_me() -> None:
    """End (fast) when the test's process does, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
