"""Room for the code that libunicorn translates, without which it ends the process by itself, with exit code 1."""

import mmap
import sys
from typing import Final

from kev.addressing import MIB
from kev.host_memory import HostMemoryError

_SIZE: Final = 128 * MIB
"""What Unicorn 2.1 reserves for each CPU (`size_code_gen_buffer` of QEMU's accel/tcg/translate-all.c)."""


def check_room() -> None:
    """HostMemoryError if the operating system would refuse it: a limit of address space, or of memory that can be executed."""
    if sys.platform != "linux":
        return  # where such memory is asked for in another way
    try:
        mmap.mmap(-1, _SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError as error:
        raise HostMemoryError(f"host memory: cannot reserve {_SIZE >> 20} MiB for translated code: {error.strerror}") from error
