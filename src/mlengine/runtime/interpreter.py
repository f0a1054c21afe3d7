"""Makes an interpreter that was started for nothing in particular one that runs ``python -m``.

A replica that is forked from a zygote must not see the difference from one that was started: its
``sys`` (argv, path, prefix, executable), its environment, its ``__main__``, how its exceptions are
shown, what its exit status is. What remains different, and is meant to be:

- modules that were imported ahead are in ``sys.modules`` before anybody asked for them, and
  variables that they set while they were imported are in ``os.environ``;
- all replicas of one zygote share a hash seed;
- a few frames of ours lie below ``runpy`` on the stack (no traceback shows them);
- ``gc.get_freeze_count()`` is not 0, and ``/proc/self/cmdline`` is separated by blanks.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import os
import signal
import site
import sys
import time
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

__all__ = ["Interpreter", "run_module"]

_OWN = "mlengine"
_START_HOOKS = frozenset({"sitecustomize", "usercustomize"})


class Interpreter:
    """This interpreter as it is once everything has been imported ahead.

    Args:
        given: The environment that it was started with.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        # Set by the interpreter (LC_CTYPE) and by modules (KMP_..., TF2_BEHAVIOR) as they started;
        # a replica that imports them for itself has them too.
        self._set_by_imports = {n: v for n, v in os.environ.items() if given.get(n) != v}
        folders = {os.path.abspath(f) for f in [*site.getsitepackages(), _user_site()]}  # noqa: PTH100
        first = next((i for i, p in enumerate(sys.path) if p in folders), len(sys.path))
        self._standard_path, self._base_path = sys.path[:first], sys.path[first:]
        self._site_folders = folders

    def shadowed(self, layer: str) -> str:
        """Return what the layer has of its own although it is imported already; or nothing."""
        # Before Python 3.10, which has the list, more is refused than must be.
        standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
        loaded = {
            name: module
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] not in standard | {_OWN}
        }
        return _shadowed(layer, "", loaded) if layer else ""

    def become(self, argv: Sequence[str], env: Mapping[str, str], layer: str) -> None:
        """Take over what ``python -m MODULE ARGS`` would have started with, in the current folder.

        Args:
            argv: Its interpreter, ``-m``, the module, the arguments.
            env: Its environment, complete.
            layer: Site-packages that come before the interpreter's own; may be empty.
        """
        _set_environment({**self._set_by_imports, **env})
        _set_prefix(argv[0])
        sys.argv = ["-m", *argv[3:]]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv = list(argv)
        _forget_own_modules()
        self._add_layer(layer)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        importlib.invalidate_caches()
        _refresh_modules()

    def _add_layer(self, layer: str) -> None:
        """Put the layer where a start would: before the base, whose own hooks have run already."""
        sys.path[:] = self._standard_path
        add = site.addsitedir

        def add_unless_base(folder: str, known_paths: Any = None) -> Any:
            if os.path.abspath(folder) not in self._site_folders:  # noqa: PTH100
                return add(folder, known_paths)
            self._append_base()
            return known_paths

        site.addsitedir = add_unless_base  # type: ignore[assignment]
        try:
            if layer:
                add(layer)
        finally:
            site.addsitedir = add
        self._append_base()

    def _append_base(self) -> None:
        sys.path += [p for p in self._base_path if p not in sys.path]


def run_module(name: str) -> NoReturn:
    """Run a module as ``__main__`` and end the process as the interpreter would."""
    import runpy

    sys.modules["__main__"] = _fresh_main()
    status = 0
    uncaught: BaseException | None = None
    try:
        runpy._run_module_as_main(name)  # type: ignore[attr-defined]
    except SystemExit as request:
        status = _status(request.code)
    except BaseException as error:
        uncaught = error  # shown outside, where it is no other exception's context
    if uncaught is not None:
        _show(uncaught)
        status = 1
        if isinstance(uncaught, KeyboardInterrupt) and sys.version_info >= (3, 8):
            _die_interrupted()
        del uncaught
    ctypes.pythonapi.Py_Exit(ctypes.c_int(status))
    raise AssertionError("Py_Exit returned")


def _user_site() -> str:
    return site.getusersitepackages() if site.ENABLE_USER_SITE else ""


def _shadowed(folder: str, package: str, loaded: Mapping[str, Any]) -> str:
    try:
        entries = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return ""
    for entry in entries:
        name = entry.partition(".")[0]
        full = f"{package}.{name}" if package else name
        path = os.path.join(folder, entry)  # noqa: PTH118
        if not package and name in _START_HOOKS:
            return full
        if full not in loaded or not (entry == name or _is_module(entry)):
            continue
        if getattr(loaded[full], "__file__", None):
            return full
        found = _shadowed(path, full, loaded)  # a namespace that both have a part of
        if found:
            return found
    return ""


def _is_module(entry: str) -> bool:
    return entry.endswith(tuple(importlib.machinery.all_suffixes()))


def _set_environment(env: Mapping[str, str]) -> None:
    for name in list(os.environ):
        if name not in env:
            del os.environ[name]
    os.environ.update(env)
    time.tzset()


def _set_prefix(python: str) -> None:
    sys.executable = python
    root = os.path.dirname(os.path.dirname(python))  # noqa: PTH120
    if os.path.exists(os.path.join(root, "pyvenv.cfg")):  # noqa: PTH110, PTH118
        sys.prefix = sys.exec_prefix = root
        site.PREFIXES = [root]
        site.ENABLE_USER_SITE = False


def _forget_own_modules() -> None:
    """Let the replica find its own mlengine, or none; ours stay alive on the stack."""
    for name in [n for n in sys.modules if n.partition(".")[0] == _OWN]:
        del sys.modules[name]


def _refresh_modules() -> None:
    """Redo what modules that were imported ahead have worked out for the zygote."""
    for refresh in (
        _multiprocessing, _sysconfig, _pkg_resources, _random_numbers, _temporary, _authorities,
    ):  # fmt: skip
        refresh(sys.modules)


def _multiprocessing(modules: Mapping[str, Any]) -> None:
    if "multiprocessing.spawn" in modules:
        modules["multiprocessing.spawn"].set_executable(sys.executable)
    if "multiprocessing.process" in modules:
        process = modules["multiprocessing.process"]
        process.ORIGINAL_DIR = os.getcwd()  # noqa: PTH109
        process.current_process().authkey = os.urandom(32)


def _sysconfig(modules: Mapping[str, Any]) -> None:
    if "sysconfig" in modules:
        found = modules["sysconfig"]
        found._PREFIX, found._EXEC_PREFIX = sys.prefix, sys.exec_prefix
        if hasattr(found, "_CONFIG_VARS"):
            found._CONFIG_VARS = None


def _pkg_resources(modules: Mapping[str, Any]) -> None:
    if "pkg_resources" in modules:
        known = modules["pkg_resources"].working_set
        for path in sys.path:
            if path not in known.entries:
                known.add_entry(path)


def _random_numbers(modules: Mapping[str, Any]) -> None:
    """Draw new seeds: `random` does so by itself after a fork, NumPy does not."""
    if "numpy.random" in modules:
        modules["numpy.random"].seed()


def _temporary(modules: Mapping[str, Any]) -> None:
    if "tempfile" in modules:
        modules["tempfile"].tempdir = None


def _authorities(modules: Mapping[str, Any]) -> None:
    if "mlengine_gs1" in modules:  # of the runtime 1.15: see its overlay
        modules["mlengine_gs1"].trust()


def _fresh_main() -> types.ModuleType:
    main = types.ModuleType("__main__")
    main.__loader__ = importlib.machinery.BuiltinImporter
    names = vars(main)
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    names["__builtins__"] = sys.modules["builtins"]
    return main


def _status(code: object) -> int:
    """Return the exit status of ``sys.exit(code)``; what is no number is printed."""
    if code is None:
        return 0
    if isinstance(code, int):
        return ctypes.c_int(code).value if -(1 << 63) <= code < 1 << 63 else -1
    if sys.stderr is not None:
        sys.stderr.write(f"{code}\n")
        sys.stderr.flush()
    return 1


def _show(error: BaseException) -> None:
    """Show an exception that nobody caught, without the frame of `run_module`."""
    traceback = error.__traceback__
    traceback = traceback.tb_next if traceback is not None else None
    error = error.with_traceback(traceback)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        sys.excepthook(type(error), error, traceback)
    except SystemExit as request:
        ctypes.pythonapi.Py_Exit(ctypes.c_int(_status(request.code)))
    except BaseException as another:
        sys.stderr.write("Error in sys.excepthook:\n")
        _show_plainly(another, another.__traceback__ and another.__traceback__.tb_next)
        sys.stderr.write("\nOriginal exception was:\n")
        _show_plainly(error, traceback)


def _show_plainly(error: BaseException, traceback: types.TracebackType | None) -> None:
    sys.__excepthook__(type(error), error.with_traceback(traceback), traceback)


def _die_interrupted() -> None:
    """End as the interpreter does when Ctrl-C reaches the top: by the signal itself."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in _open_streams():
        stream.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _open_streams() -> Iterable[Any]:
    return [s for s in (sys.stdout, sys.stderr) if s is not None and not s.closed]
