"""Which system calls a worker cannot make: seccomp(2), by a filter in classic BPF.

A denied call fails with EPERM; nothing is killed. What is denied is named, since Python and C libraries differ in what they need. A
call that is newer than the list fails as on a kernel that does not have it. io_uring, which would go round the filter, is denied.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, NamedTuple

from kev.service.workers.confinement.linux import MACHINE, give_up_new_privileges, system_call


class _Architecture(NamedTuple):
    audit: int
    """How a filter is told of it (linux/audit.h)."""
    column: int
    """Of its numbers in `_DENIED`."""


_ARCHITECTURES: Final = {"x86_64": _Architecture(0xC000003E, 0), "aarch64": _Architecture(0xC00000B7, 1)}
_NEWEST: Final = 450
"""The last system call that was considered. They have had the same numbers everywhere since 424."""

_DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # Programs and processes.
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "unshare": (272, 97),
    "setns": (308, 268),
    "personality": (135, 92),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # File systems.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "lookup_dcookie": (212, 18),
    # Rights: Landlock has nothing to say about those of files.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setgroups": (116, 159),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # The kernel.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "vhangup": (153, 58),
    # Memory and messages that processes share.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
"""By name: the numbers on x86-64 and AArch64. None: there is no such call."""
_NETWORK: Final = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
}
"""The same of those that a machine needs whose image is behind a URL."""
_OWN_PROCESS_ONLY: Final = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
}
"""The same of those whose first argument names a process. 0 stands for this one, but for `kill`, where it is the process group."""
_PROCESSES: Final = ("execve", "execveat", "fork", "vfork")
_LEAVING: Final = {"setsid": (112, 157), "setpgid": (109, 154)}
"""What of `_DENIED` is left to those who may have processes, and what is denied to them instead: no process leaves the others."""
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_IOCTL: Final = (16, 29)
_CLONE_THREAD: Final = 0x10000
_CLONE_NAMESPACES: Final = 0x7E020080
"""Flags of clone(2)."""
_TERMINAL_INPUTS: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: they type on the terminal of another."""

_SECCOMP: Final = (317, 277)
_SET_MODE_FILTER: Final = 1
_GET_ACTION_AVAILABLE: Final = 2
_ALL_THREADS: Final = 1
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000

_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER: Final = 0x25
_JUMP_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16
"""Offsets in what a filter sees (`struct seccomp_data`). Of an argument, the low half lies first."""


def available() -> tuple[bool, str]:
    if MACHINE not in _ARCHITECTURES:
        return False, f"system calls of {MACHINE} are not known"
    try:
        number = _SECCOMP[_ARCHITECTURES[MACHINE].column]
        system_call(number, _GET_ACTION_AVAILABLE, 0, ctypes.byref(ctypes.c_uint32(_FAIL)))
    except OSError as error:
        return False, f"the kernel has none: {error.strerror}"
    return True, f"{len(_DENIED) + len(_NETWORK)} system calls denied"


def prepare() -> None:
    """Makes what is the same of the filters of all processes that are forked from this one."""
    if MACHINE in _ARCHITECTURES:
        for network in (False, True):
            _beginning(_ARCHITECTURES[MACHINE], network, processes=False)


def restrict(*, network: bool, processes: bool = False) -> None:
    """This process, with all of its threads, for good. OSError.

    `network`: sockets may be made. `processes`: programs and processes may be started, which get signals, and are as restricted.
    """
    architecture = _ARCHITECTURES[MACHINE]
    program = b"".join(_program(architecture, network, processes=processes))
    code = ctypes.create_string_buffer(program, len(program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    give_up_new_privileges()
    system_call(_SECCOMP[architecture.column], _SET_MODE_FILTER, _ALL_THREADS, filter_)


def _program(architecture: _Architecture, network: bool, *, processes: bool) -> Iterator[bytes]:
    """The filter, instruction by instruction. A jump skips so many if its condition holds, or else so many others."""
    yield _beginning(architecture, network, processes=processes)
    if not processes:
        yield from _own_process_only(architecture)
    yield from (_instruction(_JUMP_EQUAL, _CLONE[architecture.column], 0, 4), _instruction(_LOAD, _ARGUMENTS))
    if processes:
        yield from (_instruction(_JUMP_ANY_BIT, _CLONE_NAMESPACES, 1, 0), _PERMIT, _DENY)
    else:
        yield from (_instruction(_JUMP_ANY_BIT, _CLONE_THREAD, 0, 1), _PERMIT, _DENY)
    yield from (_instruction(_JUMP_EQUAL, _IOCTL[architecture.column], 0, 4), _instruction(_LOAD, _ARGUMENTS + 8))
    first, second = _TERMINAL_INPUTS
    yield from (_instruction(_JUMP_EQUAL, first, 1, 0), _instruction(_JUMP_EQUAL, second, 0, 1), _DENY)
    yield _PERMIT


def _own_process_only(architecture: _Architecture) -> Iterator[bytes]:
    own = os.getpid()
    for number in _numbers(_OWN_PROCESS_ONLY, architecture):
        yield from (_instruction(_JUMP_EQUAL, number, 0, 6), _instruction(_LOAD, _ARGUMENTS))
        zero = _DENY if number == _OWN_PROCESS_ONLY["kill"][architecture.column] else _PERMIT
        yield from (_instruction(_JUMP_EQUAL, own, 2, 0), _instruction(_JUMP_EQUAL, 0, 0, 2), zero, _PERMIT, _DENY)


@cache
def _beginning(architecture: _Architecture, network: bool, *, processes: bool) -> bytes:
    """What is the same in all processes: it is made once, before they are forked."""
    program = [_instruction(_LOAD, _ARCHITECTURE), _instruction(_JUMP_EQUAL, architecture.audit, 1, 0), _DENY]
    program.append(_instruction(_LOAD, _NUMBER))
    # x32's numbers are among these.
    program += (_instruction(_JUMP_GREATER, _NEWEST, 0, 1), _UNKNOWN)
    # A C library makes threads by clone then, whose flags a filter can see.
    program += (_instruction(_JUMP_EQUAL, _CLONE3[architecture.column], 0, 1), _UNKNOWN)
    denied = _DENIED if network else _DENIED | _NETWORK
    if processes:
        denied = {name: numbers for name, numbers in denied.items() if name not in _PROCESSES} | _LEAVING
    for number in _numbers(denied, architecture):
        program += (_instruction(_JUMP_EQUAL, number, 0, 1), _DENY)
    return b"".join(program)


def _numbers(calls: Mapping[str, tuple[int | None, int | None]], architecture: _Architecture) -> Iterator[int]:
    return (number for call in calls.values() if (number := call[architecture.column]) is not None)


def _instruction(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    """`struct sock_filter` (linux/filter.h)."""
    return struct.pack("=HBBI", code, if_so, if_not, value)


_DENY: Final = _instruction(_RETURN, _FAIL | errno.EPERM)
_UNKNOWN: Final = _instruction(_RETURN, _FAIL | errno.ENOSYS)
_PERMIT: Final = _instruction(_RETURN, _ALLOW)
