"""Makes a Python of Linux look like one of macOS: put this folder on PYTHONPATH.

What macOS has not is taken away, ``/proc`` cannot be opened, and `sys.platform` says so. What only
macOS has does not appear; the file system and the kernel stay Linux's.
"""

import asyncio  # noqa: F401  # what chooses by the platform when it is imported comes before
import ctypes
import fcntl
import multiprocessing  # noqa: F401
import os
import resource
import select
import selectors
import shutil
import signal
import socket
import subprocess  # noqa: F401
import sys
import sysconfig
import tempfile  # noqa: F401
import urllib.request  # noqa: F401
from typing import Any

_MISSING: dict[Any, str] = {
    os: "pidfd_open sched_getaffinity sched_setaffinity sched_getscheduler sched_setscheduler "
        "O_PATH O_TMPFILE O_DIRECT O_NOATIME memfd_create posix_fadvise posix_fallocate "
        "setresuid setresgid getresuid getresgid eventfd copy_file_range splice getrandom pipe2 "
        "fdatasync waitid P_PIDFD P_PID getxattr setxattr listxattr removexattr",
    signal: "pidfd_send_signal sigtimedwait sigwaitinfo SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT SIGPOLL",
    select: "epoll",
    socket: "SO_PEERCRED SO_PASSCRED SO_BINDTODEVICE SO_DOMAIN SO_PROTOCOL SOCK_CLOEXEC "
            "SOCK_NONBLOCK MSG_CMSG_CLOEXEC MSG_NOSIGNAL MSG_MORE TCP_KEEPIDLE TCP_DEFER_ACCEPT "
            "TCP_USER_TIMEOUT TCP_QUICKACK TCP_CORK TCP_INFO AF_NETLINK AF_PACKET AF_VSOCK AF_ALG",
    resource: "prlimit RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_SIGPENDING RUSAGE_THREAD",
    fcntl: "F_ADD_SEALS F_GET_SEALS F_SETPIPE_SZ F_GETPIPE_SZ F_NOTIFY F_SETLEASE",
}  # fmt: skip
_LIBC_MISSING = ("prctl", "syscall", "memfd_create", "unshare", "setns", "malloc_trim", "mallopt")

for module, names in _MISSING.items():
    for name in names.split():
        vars(module).pop(name, None)  # a later Python, or another libc, may not have it at all
selectors.DefaultSelector = selectors.PollSelector  # as good as kqueue to who asks for no other
shutil._copyxattr = lambda *_args, **_named: None  # as it is where `os` has no listxattr

_find = ctypes.CDLL.__getattr__


def _find_as_there(library: ctypes.CDLL, name: str) -> Any:
    if name in _LIBC_MISSING:
        raise AttributeError(f"dlsym(RTLD_DEFAULT, {name}): symbol not found")
    return _find(library, name)


ctypes.CDLL.__getattr__ = _find_as_there


def _hide_proc(event: str, args: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], str | bytes):
        path = os.fsdecode(args[0])
        if path.startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory", path)


sys.addaudithook(_hide_proc)
sysconfig.get_config_vars()  # read from a file that is named by the platform
sys.platform = "darwin"
