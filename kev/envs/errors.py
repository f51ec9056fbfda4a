"""JOS' errors, as system calls and servers return them."""

from enum import IntEnum

from kev.errors import KevError


class JosError(IntEnum):
    """Error codes of JOS: a system call returns the value, which is negative (JOS, inc/error.h)."""

    UNSPECIFIED = -1
    BAD_ENV = -2
    INVAL = -3
    NO_MEM = -4
    NO_FREE_ENV = -5
    IPC_NOT_RECV = -8
    NO_DISK = -10
    MAX_OPEN = -11
    NOT_FOUND = -12
    BAD_PATH = -13
    FILE_EXISTS = -14
    NOT_EXEC = -15
    NO_VMX = -17
    NO_EPT = -18
    NO_ENT = -21


class JosFailure(KevError):
    """A system call that fails: with its error code, and what is wrong."""

    def __init__(self, code: JosError, what: str) -> None:
        super().__init__(f"{what} ({code.value}, E_{code.name})")
        self.code = code
