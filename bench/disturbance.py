"""What a host can do to a run: take the processor and the interpreter's lock away, collect garbage, interrupt, deliver late.

All of it is chosen by chance that no seed fixes.
"""

import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

from kev.pager.source import AsynchronousSource, SynchronousSource

CHANCE: Final = random.Random()
_LONGEST_BURST: Final = 20_000
"""Of additions in a thread: a millisecond or so."""
_MOST_NICE: Final = 2


class ScatteredSource(AsynchronousSource):
    """Bytes of which nobody knows when they come, nor which read is done first."""

    def __init__(self, inner: SynchronousSource) -> None:
        super().__init__(inner)
        self._inner: Final = inner

    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        return self._read(offset, buffer)

    async def _read(self, offset: int, buffer: memoryview) -> int:
        if CHANCE.random() < 0.2:
            await trio.sleep(CHANCE.random() / 500)
        else:
            for _ in range(CHANCE.randrange(6)):
                await trio.lowlevel.checkpoint()
        return self._inner.read_into(offset, buffer)


@contextmanager
def piped(data: bytes) -> Iterator[int | None]:
    """A pipe into which `data` is written sooner or later, in pieces."""
    if not data:
        yield None
        return
    ours, theirs = os.pipe()

    def write() -> None:
        rest = data
        while rest:
            time.sleep(CHANCE.random() / 200)
            piece = rest[: CHANCE.randrange(1, len(data) + 1)]
            os.write(theirs, piece)
            rest = rest[len(piece) :]
        os.close(theirs)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield ours
    finally:
        writer.join()
        os.close(ours)


def disturb_process() -> None:
    """Priority and the interpreter's own habits, for the rest of this process."""
    os.nice(CHANCE.randrange(_MOST_NICE + 1))
    sys.setswitchinterval(CHANCE.choice((1e-5, 1e-4, 5e-3)))


def environment() -> Mapping[str, str]:
    """The one of a process whose hashes and fresh memory are others than those of the one before."""
    hashes = {"PYTHONHASHSEED": str(CHANCE.randrange(1 << 32))}
    if CHANCE.random() < 0.5:
        # glibc fills what it hands out with this (mallopt(3), M_PERTURB): what was not written would differ.
        hashes |= {"MALLOC_PERTURB_": str(CHANCE.randrange(1, 256)), "PYTHONMALLOC": "malloc"}
    return {**os.environ, **hashes}


@contextmanager
def disturbance() -> Iterator[None]:
    """A thread that takes the interpreter's lock now and then, and a signal that comes at any moment, for the time of the block.

    To be used in the main thread. It takes SIGALRM and the timer of setitimer(2).
    """
    over = threading.Event()

    def burn() -> None:
        while not over.wait(CHANCE.expovariate(40)):
            sum(range(CHANCE.randrange(_LONGEST_BURST)))

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if CHANCE.random() < 0.01:
            gc.collect(CHANCE.choice((0, 0, 0, 1, 1, 2)))
        if not over.is_set():
            signal.setitimer(signal.ITIMER_REAL, 1e-4 + CHANCE.expovariate(150))

    thread = threading.Thread(target=burn)
    before, threshold = signal.signal(signal.SIGALRM, interrupt), gc.get_threshold()
    thread.start()
    signal.setitimer(signal.ITIMER_REAL, 1e-3)
    try:
        yield
    finally:
        over.set()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.set_threshold(*threshold)
        thread.join()


def disturb_garbage() -> None:
    """From now on, garbage is collected often, seldom or never by itself."""
    gc.set_threshold(CHANCE.choice((0, 200, 700, 5_000)))
