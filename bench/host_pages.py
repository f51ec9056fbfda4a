"""What the host itself takes for a fresh page, in CPU time, measured on as many at once that the measuring costs nothing."""

import mmap
import os
import sys
import time
from tempfile import TemporaryFile
from typing import Final

from kev.addressing import PAGE_SIZE

_PAGES: Final = 8192


def seconds_of_zero_fill() -> float:
    """For the first touch of a page of anonymous memory; the touch itself, measured by a second one, is not included."""
    with _fresh_pages() as memory, memoryview(memory) as view:
        return (_touch_each(view) - _touch_each(view)) / _PAGES


def seconds_of_file_read() -> float:
    """For a read of one page of a file, from the host's cache, into a page that was not touched before."""
    with TemporaryFile() as file:
        file.write(bytes(range(256)) * (_PAGES * PAGE_SIZE // 256))
        file.flush()
        with _fresh_pages() as memory, memoryview(memory) as view:
            began = time.thread_time()
            os.preadv(file.fileno(), [view], 0)
            return (time.thread_time() - began) / _PAGES


def _fresh_pages() -> mmap.mmap:
    """Memory as kev reserves it for guests."""
    memory = mmap.mmap(-1, _PAGES * PAGE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def _touch_each(view: memoryview) -> float:
    """Writes the first byte of every page, and says how many seconds that took."""
    ones = b"\1" * _PAGES
    began = time.thread_time()
    view[::PAGE_SIZE] = ones
    return time.thread_time() - began
