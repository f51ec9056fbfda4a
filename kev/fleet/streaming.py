"""Work of a thread, whose results come to a trio program as they are there."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from kev.machine.ungrouped import ungrouped
from kev.work.stopping import Stopped, stopped_when

T = TypeVar("T")


@asynccontextmanager
async def streamed(work: Callable[[Callable[[T], None]], object]) -> AsyncIterator[trio.MemoryReceiveChannel[T]]:
    """Runs `work` in a thread; what it passes to the function that it is given is received by an `async for` in the block.

    The channel ends when the work does, and whatever it raised is then raised from the block. When the block is left before, or is
    cancelled, the work is stopped, which takes a fraction of a second.

    async with streamed(lambda send: api.explore(subject, on="local[2]", progress=lambda seen: send(seen.runs))) as counts:
        async for runs in counts:
            print(runs)
    """
    left = threading.Event()
    sender, receiver = trio.open_memory_channel[T](0)

    def send(item: T) -> None:
        try:
            trio.from_thread.run(sender.send, item)
        except (trio.BrokenResourceError, trio.Cancelled):
            left.set()

    def thread() -> None:
        try:
            with stopped_when(left.is_set):
                work(send)
        except Stopped:
            if not left.is_set():
                raise

    async def follow() -> None:
        with sender, trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread)

    with ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            try:
                with receiver:
                    yield receiver
            finally:
                left.set()
