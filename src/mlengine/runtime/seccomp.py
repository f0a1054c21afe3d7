"""Seccomp: takes system calls from this process, for good, that no model has a use for.

Sockets first of all, of every kind: without ``network`` there are none, with it those of the
internet. Unix sockets are never made by who is confined (a worker is given the one that it listens
on), so the engine's own are out of reach; a pair of connected ones may be had. Then what reaches
into other processes or into the kernel: debuggers, mounts, namespaces, keys, io_uring (which opens
sockets unseen), limits of others, ways to be scheduled before them.

Then what Landlock does not see: rights, owners, times and attributes of files may be changed by
whoever owns them, wherever they lie. Such a call does nothing and succeeds, for libraries do so to
files that they just wrote, and few are ready to be refused.

Any other call that is refused fails as a system without it would fail it; nobody is killed.

Standard library only, Python >= 3.7, Linux on x86-64 and aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Mapping

__all__ = ["program", "restrict"]

_SET_MODE_FILTER = 1
_ALL_THREADS, _ALLOW_SPECULATION = 1, 1 << 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020000
_INTERNET = (socket.AF_INET, socket.AF_INET6, 16)  # 16: what routes there are (netlink)

_X86_64 = {
    "seccomp": 317, "socket": 41, "clone": 56, "clone3": 435, "prlimit64": 302, "setpriority": 141,
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "pidfd_getfd": 438, "process_madvise": 440, "migrate_pages": 256, "move_pages": 279,
    "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313,
    "delete_module": 176, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "setns": 308, "unshare": 272,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "mount_setattr": 442, "open_by_handle_at": 304, "swapon": 167, "swapoff": 168,
    "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "add_key": 248, "request_key": 249, "keyctl": 250, "acct": 163, "quotactl": 179,
    "syslog": 103, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
    "clock_adjtime": 305, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240,
    "sched_setparam": 142, "sched_setscheduler": 144, "sched_setattr": 314,
    "truncate": 76, "file_setattr": 469,
    "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452,
    "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
    "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
    "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "setxattrat": 463,
    "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "removexattrat": 466,
    "ioprio_set": 251, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
}  # fmt: skip
_AARCH64 = {
    "seccomp": 277, "socket": 198, "clone": 220, "clone3": 435, "prlimit64": 261,
    "setpriority": 140,
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
    "pidfd_getfd": 438, "process_madvise": 440, "migrate_pages": 238, "move_pages": 239,
    "kexec_load": 104, "kexec_file_load": 294, "init_module": 105, "finit_module": 273,
    "delete_module": 106, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
    "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "setns": 268, "unshare": 97,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "mount_setattr": 442, "open_by_handle_at": 265, "swapon": 224, "swapoff": 225,
    "reboot": 142, "sethostname": 161, "setdomainname": 162,
    "add_key": 217, "request_key": 218, "keyctl": 219, "acct": 89, "quotactl": 60,
    "syslog": 116, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171,
    "clock_adjtime": 266, "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180,
    "sched_setparam": 118, "sched_setscheduler": 119, "sched_setattr": 274,
    "truncate": 45, "file_setattr": 469,
    "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchownat": 54, "fchown": 55,
    "utimensat": 88,
    "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "setxattrat": 463,
    "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "removexattrat": 466,
    "ioprio_set": 30, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
}  # fmt: skip
_MACHINES: Mapping[str, tuple[int, Mapping[str, int]]] = {
    "x86_64": (0xC000003E, _X86_64),
    "aarch64": (0xC00000B7, _AARCH64),
}
# These are looked at closer, or belong to what installs the filter.
_SPECIAL = ("seccomp", "socket", "clone", "clone3", "prlimit64", "setpriority")

# Nothing happens, and the caller is told that it did: libraries do these to files of their own.
_FEIGNED = frozenset((
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat",
    "utime", "utimes", "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr",
    "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat",
))  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def restrict(*, network: bool) -> None:
    """Take the calls from all threads of this process, and from all that it starts.

    `PR_SET_NO_NEW_PRIVS` is to be set before.

    Raises:
        OSError: The kernel has no seccomp, or this processor is not known here.
    """
    machine = os.uname().machine
    if machine not in _MACHINES or sys.maxsize < 1 << 32:
        raise OSError(errno.ENOSYS, f"the calls of a {machine} are not known here")
    code = program(machine, network=network)
    lines = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(lines))
    number = ctypes.c_long(_MACHINES[machine][1]["seccomp"])
    # Without "speculation" the kernels before 5.16 slow down all that the process does.
    flags = ctypes.c_long(_ALL_THREADS | _ALLOW_SPECULATION)
    if _libc.syscall(number, ctypes.c_long(_SET_MODE_FILTER), flags, head) != 0:
        code_of_error = ctypes.get_errno()
        raise OSError(code_of_error, os.strerror(code_of_error))


def program(machine: str, *, network: bool) -> bytes:
    """Return the filter as the kernel takes it: one line is eight bytes."""
    architecture, calls = _MACHINES[machine]
    lines = [
        _line(_LOAD, _ARCHITECTURE), _line(_EQUAL, architecture, 1, 0), _refused(errno.EPERM),
        _line(_LOAD, _NUMBER),
    ]  # fmt: skip
    if machine == "x86_64":  # its other way to number calls
        lines += [_line(_AT_LEAST, _X32, 0, 1), _refused(errno.ENOSYS)]
    families = _INTERNET if network else ()
    lines += _case(calls["socket"], [
        _line(_LOAD, _ARGUMENTS),
        *(line for family in families for line in (_line(_EQUAL, family, 0, 1), _allowed())),
        _refused(errno.EACCES),
    ])  # fmt: skip
    # Its flags lie in memory, where no filter looks; libraries take the older call then.
    lines += _case(calls["clone3"], [_refused(errno.ENOSYS)])
    lines += _case(calls["clone"], [
        _line(_LOAD, _ARGUMENTS), _line(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _refused(errno.EPERM),
        _allowed(),
    ])  # fmt: skip
    for name, argument in (("prlimit64", 0), ("setpriority", 1)):  # its own, not those of others
        lines += _case(calls[name], [
            _line(_LOAD, _ARGUMENTS + 8 * argument), _line(_EQUAL, 0, 1, 0),
            _refused(errno.EPERM), _allowed(),
        ])  # fmt: skip
    for name, call in calls.items():
        if name not in _SPECIAL:
            lines += _case(call, [_refused(0 if name in _FEIGNED else errno.EPERM)])
    return b"".join([*lines, _allowed()])


def _case(call: int, lines: list[bytes]) -> list[bytes]:
    """Return lines that are for one call; each of them ends in an answer."""
    return [_line(_EQUAL, call, 0, len(lines)), *lines]


def _refused(number: int) -> bytes:
    return _line(_RETURN, _ERRNO | number)


def _allowed() -> bytes:
    return _line(_RETURN, _ALLOW)


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
