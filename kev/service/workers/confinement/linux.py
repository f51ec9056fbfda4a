"""System calls of Linux that Python has no names for."""

import ctypes
import os
import platform
from typing import Final

MACHINE: Final = platform.machine()
_PR_SET_NO_NEW_PRIVS: Final = 38
_libc: Final = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: object) -> int:
    """What it returns. OSError."""
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    return _checked(result)


def process_control(option: int, *arguments: int) -> int:
    """prctl(2). OSError."""
    result: int = _libc.prctl(option, *map(ctypes.c_ulong, (*arguments, 0, 0, 0, 0)[:4]))
    return _checked(result)


def give_up_new_privileges() -> None:
    """No program that is started from now on gets more rights than this one: what is forbidden stays forbidden. OSError."""
    process_control(_PR_SET_NO_NEW_PRIVS, 1)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
