"""The rights of root, which capabilities(7) are, are given away: for good."""

import ctypes
import struct
from typing import Final

from kev.service.workers.confinement.linux import MACHINE, give_up_new_privileges, system_call

_CAPSET: Final = {"x86_64": 126, "aarch64": 91}
_VERSION_3: Final = 0x20080522


def available() -> tuple[bool, str]:
    return (True, "given away") if MACHINE in _CAPSET else (False, f"system calls of {MACHINE} are not known")


def give_away() -> None:
    """All of this thread's. OSError."""
    give_up_new_privileges()
    header, none = (ctypes.create_string_buffer(data) for data in (struct.pack("Ii", _VERSION_3, 0), struct.pack("6I", *(0,) * 6)))
    system_call(_CAPSET[MACHINE], header, none)
