"""Which pages the operating system has provided."""

import ctypes
import sys

import pytest

from kev.addressing import PAGE_SHIFT, Hpa
from kev.host_memory import HostMemory

needs_populating = pytest.mark.skipif(sys.platform != "linux", reason="MADV_POPULATE_WRITE is Linux's")


def resident(address: int, size: int) -> int:
    """How many of the pages of this process in `size` bytes at `address` are there (mincore(2))."""
    states = (ctypes.c_ubyte * (size >> PAGE_SHIFT))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), states) == 0
    return sum(state & 1 for state in states)


def resident_pages(memory: HostMemory, start: Hpa, pages: int) -> int:
    """The same of `pages` from `start` on."""
    return resident(memory.address + start, pages << PAGE_SHIFT)
