"""``local train``: run a trainer package here and now, as the shell's own child.

No engine, no job, no log: the trainer has the terminal. A distributed run is one primary in the
foreground; its parameter servers and workers live as long as it does, and its evaluators until they
have evaluated what it left, as in a job.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.core.choices import DEFAULT_START_PORT
from mlengine.core.errors import FailedPrecondition, InvalidArgument, did_you_mean
from mlengine.core.system import require_linux
from mlengine.training.checks import MODULE
from mlengine.training.cluster import Cluster
from mlengine.training.localaccess import LocalAccess
from mlengine.training.ports import Ports
from mlengine.training.tfconfig import output_folders, thread_hints
from mlengine.training.uris import package_takes_job_dir

__all__ = ["run_local"]

_DEFAULT_COUNTS = {"worker": 2, "ps": 2, "evaluator": 0}
_FLAGS = {
    "worker": "--worker-count",
    "ps": "--parameter-server-count",
    "evaluator": "--evaluator-count",
}
_STOP_GRACE_S = 3.0
_PR_SET_PDEATHSIG = 1
_LAST_PORT = 65535

_Environment = dict[str, str]


def run_local(
    module_name: str,
    package_path: str | Path,
    *,
    job_dir: str = "",
    job_place: str = "",
    args: Sequence[str] = (),
    distributed: bool = False,
    worker_count: int | None = None,
    parameter_server_count: int | None = None,
    evaluator_count: int | None = None,
    start_port: int = DEFAULT_START_PORT,
    python: str = "",
    evaluator_grace_s: float = 120.0,
    access: LocalAccess | None = None,
    warn: Callable[[str], None] | None = None,
) -> int:
    """Run ``python -m MODULE`` next to its package; return its exit code.

    Args:
        module_name: Such as ``trainer.task``.
        package_path: The package's folder, such as ``trainer/``; its parent is the child's cwd.
        job_dir: Passed on as ``--job-dir``, unchanged, after the other arguments; may be empty. A
            trainer that knows the ``AIP_`` variables only is not given it, as in a job.
        job_place: Where that lies, if it is not `job_dir` itself. A folder of this machine is made
            if it is missing.
        args: The trainer's own arguments.
        distributed: Also start parameter servers, workers and evaluators.
        worker_count: Default 2; None means "not given", as for the other counts.
        parameter_server_count: Default 2.
        evaluator_count: Default 0.
        start_port: The cluster takes ports from here on.
        python: Interpreter; default: ``python`` on the PATH, else this one.
        evaluator_grace_s: Seconds that evaluators have to end by themselves after the primary.
        access: How the trainer's own programs reach the buckets of this home; None: not at all.
        warn: Gets each warning; default: standard error.

    Returns:
        The primary's exit code; 128 + N when signal N ended it.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, and the primary has ended by itself; or it was
            pressed once more, and the primary was stopped.
        InvalidArgument: The folder is no package, or has no such module.
        FailedPrecondition: A port of the cluster is in use, or this is not Linux.
    """
    require_linux("'mlengine local train'")
    package = Path(os.path.abspath(package_path))  # noqa: PTH100 - resolve() would follow links
    interpreter = _interpreter(python)
    _check_package(package, module_name, interpreter)
    warn = warn or _warn
    user_args = [*args, *_job_dir_flag(job_dir, package, warn)]
    command = [interpreter, "-m", module_name, *user_args]
    given = {"worker": worker_count, "ps": parameter_server_count, "evaluator": evaluator_count}
    job = {"job_name": module_name, "args": user_args}
    place = job_place or job_dir
    _make_job_dir(package.parent, place)
    attempt = _attempt(job_dir, place)
    if not distributed:
        _warn_of_counts([role for role, count in given.items() if count is not None], warn)
        return _run(command, package.parent, _alone(job, attempt), access=access, warn=warn)
    counts = {role: _DEFAULT_COUNTS[role] if n is None else n for role, n in given.items()}
    # TensorFlow 1 refuses an evaluator beside a master, who evaluates by itself.
    is_old = not counts["evaluator"] and _has_tensorflow_1(interpreter)
    primary = "master" if is_old else "chief"
    first, *others = _together({primary: 1, **counts}, start_port, job, attempt)
    return _run(
        command, package.parent, first, others,
        access=access, warn=warn, evaluator_grace_s=evaluator_grace_s,
    )  # fmt: skip


def _job_dir_flag(job_dir: str, package: Path, warn: Callable[[str], None]) -> list[str]:
    if not job_dir:
        return []
    if package_takes_job_dir(package):
        return ["--job-dir", job_dir]
    warn("The trainer reads AIP_MODEL_DIR: it is not given --job-dir.")
    return []


def _warn_of_counts(roles: Sequence[str], warn: Callable[[str], None]) -> None:
    for role in roles:
        warn(
            f"{_FLAGS[role]} is ignored if --distributed is not provided.\n"
            "Did you mean to run distributed training?"
        )


def _make_job_dir(cwd: Path, job_dir: str) -> None:
    """Make the job directory, as a job finds it; if that fails the trainer will say so better."""
    if job_dir and "://" not in job_dir:
        with contextlib.suppress(OSError):
            (cwd / job_dir).mkdir(parents=True, exist_ok=True)


def _run(
    command: list[str],
    cwd: Path,
    primary: _Environment,
    others: Sequence[_Environment] = (),
    *,
    access: LocalAccess | None,
    warn: Callable[[str], None],
    evaluator_grace_s: float = 0.0,
) -> int:
    """Run the primary in the foreground, the rest behind it."""
    if access is not None:
        primary, others = access.apply(primary), [access.apply(env) for env in others]
    with contextlib.ExitStack() as evaluating, contextlib.ExitStack() as running:
        evaluating.enter_context(_termination_raises())
        evaluators = []
        for env in others:
            if env["MLENGINE_ROLE"] == "evaluator":
                evaluators.append(evaluating.enter_context(_background(command, cwd, env)))
            else:
                running.enter_context(_background(command, cwd, env))
        # It shares our process group: Ctrl-C reaches it directly, and it may read the terminal.
        child = subprocess.Popen(command, cwd=cwd, env=primary, preexec_fn=_die_with_parent)
        running.callback(_stop, child)
        try:
            code = _wait(child, access)
        except KeyboardInterrupt:
            # It had the same Ctrl-C and may be saving what it has learnt: nothing hurries it.
            if child.poll() is None:
                warn("Waiting for the trainer to end. Press Ctrl-C again to stop it now.")
                _wait(child, access)
            raise
        if code == 0:
            running.close()
            until_s = time.monotonic() + evaluator_grace_s
            for pid in evaluators:
                _wait_unreaped(pid, max(until_s - time.monotonic(), 0.0), access)
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _background(command: list[str], cwd: Path, env: _Environment) -> Iterator[int]:
    """Run a process behind the primary; yield its pid."""
    child = subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
        start_new_session=True, preexec_fn=_die_with_parent,
    )  # fmt: skip
    try:
        yield child.pid
    finally:
        # The group outlives its leader when that left children: kill before the leader is reaped.
        for signum in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signum)
            if signum == signal.SIGTERM:
                _wait_unreaped(child.pid, _STOP_GRACE_S)
        child.wait()


def _wait(child: subprocess.Popen[bytes], access: LocalAccess | None) -> int:
    """Wait for the primary, whose programs may ask for buckets meanwhile; return its exit code."""
    if access is not None:
        _wait_unreaped(child.pid, None, access)
    return child.wait()


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the primary when it is us who must go; it may have ended by itself."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_unreaped(pid: int, timeout_s: float | None, access: LocalAccess | None = None) -> None:
    """Wait until a child has ended, but leave it a zombie, so that its pid stays its own."""
    descriptor = os.pidfd_open(pid)
    try:
        if access is not None:
            access.wait(descriptor, timeout_s)
        else:
            select.select([descriptor], [], [], timeout_s)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _termination_raises() -> Iterator[None]:
    """Turn SIGTERM into an exit that runs clean-up, while in here."""

    def end(signum: int, _frame: object) -> None:
        raise SystemExit(128 + signum)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: whoever embeds us handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _alone(job: Mapping[str, Any], attempt: _Environment) -> _Environment:
    """Return the environment of the only process; who set MASTER_ADDR meant it."""
    cluster = Cluster.of({"master": 1}, Ports().take(3))
    config = {"job": job, "task": {}, "cluster": {}, "environment": "cloud"}
    plain = {**cluster.variables("master", 0), **attempt}
    return {**plain, **os.environ, "TF_CONFIG": json.dumps(config)}


def _together(
    counts: Mapping[str, int], start_port: int, job: Mapping[str, Any], attempt: _Environment
) -> list[_Environment]:
    """Return every process's environment, the primary's first."""
    for role, count in counts.items():
        if count < 0:
            raise InvalidArgument(f"{_FLAGS[role]} is {count}.", "Use 0 or more.")
    members = sum(count for role, count in counts.items() if role != "evaluator")
    ports = range(start_port, start_port + members)
    _check_ports(ports)
    cluster = Cluster.of(counts, [*ports, *Ports().take(2, avoid=ports)], host="localhost")
    share = max(len(os.sched_getaffinity(0)) // sum(counts.values()), 1)
    common = {**os.environ, **thread_hints(os.environ, share), **attempt}
    environments = []
    for role, count in cluster.counts.items():
        for index in range(count):
            task = {"type": role, "index": index}
            config = {
                "job": job, "task": task, "cluster": cluster.addresses, "environment": "cloud"
            }  # fmt: skip
            own = {"TF_CONFIG": json.dumps(config), **cluster.variables(role, index)}
            environments.append({**common, **own})
    return environments


def _attempt(job_dir: str, place: str) -> _Environment:
    """Return what tells every process where to write; `job_dir` may be a URI of `place`."""
    where = {"MLENGINE_JOB_DIR": place, **output_folders(job_dir)} if job_dir else {}
    return {"MLENGINE_ATTEMPT": "1", **where}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _interpreter(python: str) -> str:
    if not python:
        return shutil.which("python") or sys.executable
    found = shutil.which(python)
    if found is None:
        raise InvalidArgument(
            f"The Python interpreter {python!r} was not found.",
            "Set ml_engine/local_python to one that exists.",
        )
    return found


def _check_package(package: Path, module_name: str, interpreter: str) -> None:
    if not (package / "__init__.py").is_file():
        if not package.is_dir():
            what = "is not a folder" if package.exists() else "does not exist"
            raise InvalidArgument(
                f"The package folder {package} {what}.",
                "Pass --package-path the folder that holds your trainer's __init__.py.",
            )
        raise InvalidArgument(
            f"[{package}] is not a valid Python package because it does not contain an "
            "`__init__.py` file.",
            "Please create one and try again.",
        )
    names = module_name.split(".")
    if not MODULE.fullmatch(module_name):
        raise InvalidArgument(
            f"{module_name!r} is not the name of a Python module.",
            f"Write it with dots, such as {package.name}.task.",
        )
    if (package.parent / names[0]).is_dir():
        if not _is_module(package.parent, names):
            known = _modules(package.parent, names[0])
            raise InvalidArgument(
                f"There is no module {module_name} in {package.parent}.",
                did_you_mean(module_name, known)
                + f"Modules there: {', '.join(known[:20]) or 'none'}.",
            )
    elif not _importable(interpreter, names[0], package.parent):
        raise InvalidArgument(
            f"There is no module {names[0]} in {package.parent}, nor is it installed.",
            f"--module-name starts with the package's name: {package.name}.MODULE.",
        )


def _is_module(root: Path, names: Sequence[str]) -> bool:
    path = root.joinpath(*names)
    return path.with_name(path.name + ".py").is_file() or (path / "__main__.py").is_file()


def _modules(root: Path, top: str) -> list[str]:
    files = sorted((root / top).rglob("*.py"))
    dotted = (".".join(f.relative_to(root).with_suffix("").parts) for f in files)
    return [name for name in dotted if not name.endswith("__init__")]


def _importable(interpreter: str, name: str, cwd: Path) -> bool:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    result = subprocess.run(
        [interpreter, "-c", code, name], cwd=cwd, stdin=subprocess.DEVNULL, check=False,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return result.returncode == 0


def _has_tensorflow_1(interpreter: str) -> bool:
    """Ask the interpreter's metadata: importing TensorFlow to learn this takes seconds."""
    code = "from importlib.metadata import version; print(version('tensorflow'))"
    result = subprocess.run(
        [interpreter, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return result.stdout.startswith("1.")


def _check_ports(ports: Sequence[int]) -> None:
    for port in ports:
        if not 0 < port <= _LAST_PORT:
            raise InvalidArgument(f"Port {port} does not exist.", "Choose a lower --start-port.")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise FailedPrecondition(
                    f"Port {port} cannot be used: {error.strerror}.", "Choose another --start-port."
                ) from error


def _warn(text: str) -> None:
    print(f"WARNING: {text}", file=sys.stderr)
