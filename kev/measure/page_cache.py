"""The host's page cache: files that are read from the disk once more, as after a boot of the host."""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Final

from kev.measure.errors import BenchError

CACHED: Final = "cached_kib"
"""The metric that says how much of a file could not be made cold."""


def make_cold(file: Path) -> int:
    """Has the host forget what it has read of `file`; returns how many bytes of it are cached all the same.

    That is all of it where files lie in memory (tmpfs), or are mapped. BenchError if the file cannot be read, or if the host has
    no means for it: it takes posix_fadvise(2) and mincore(2).
    """
    if not hasattr(os, "posix_fadvise"):
        raise BenchError("this system has no posix_fadvise: the page cache cannot be made cold")
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BenchError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        os.fsync(descriptor)  # what is not on the disk yet is not dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached(descriptor)
    finally:
        os.close(descriptor)


def _cached(descriptor: int) -> int:
    """In bytes, in whole pages."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0
    pages = -(-size // mmap.PAGESIZE)
    resident = (ctypes.c_ubyte * pages)()
    # Private, so that it may be called writable: ctypes tells the address of nothing else.
    with mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None, use_errno=True).mincore(ctypes.byref(first), ctypes.c_size_t(size), resident)
        del first
    if failed:
        raise BenchError(f"the page cache cannot be looked into: {os.strerror(ctypes.get_errno())}")
    return sum(entry & 1 for entry in resident) * mmap.PAGESIZE
