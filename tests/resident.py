"""Which of a host memory's pages the operating system has provided."""

import ctypes
import sys

import pytest

from kev.addressing import PAGE_SHIFT, Hpa
from kev.host_memory import HostMemory

needs_populating = pytest.mark.skipif(sys.platform != "linux", reason="MADV_POPULATE_WRITE is Linux's")


def resident_pages(memory: HostMemory, start: Hpa, pages: int) -> int:
    """How many of `pages` from `start` on are there (mincore(2))."""
    states = (ctypes.c_ubyte * pages)()
    length = ctypes.c_size_t(pages << PAGE_SHIFT)
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(memory.address + start), length, states) == 0
    return sum(state & 1 for state in states)
