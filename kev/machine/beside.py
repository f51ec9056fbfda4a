"""What goes on beside a run, in trio: signals and a time limit end it, and input reaches it."""

import os
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import trio

from kev.machine.ending import Ending
from kev.machine.input_line import InputLine
from kev.machine.terminal import InputForwarder

End: TypeAlias = Callable[[Ending], None]
"""Ends the run."""


async def watch_for_signals(end: End, received: AsyncIterator[int]) -> None:
    async for number in received:
        end(Ending.by_signal(number))


async def watch_for_timeout(end: End, seconds: float, left: float | None = None) -> None:
    """`left` of the seconds are left, by default all."""
    await trio.sleep(seconds if left is None else left)
    end(Ending.timed_out(seconds))


async def read_to_end(descriptor: int, limit: int) -> bytes:
    """All there is to read, or the first `limit` bytes."""
    data = bytearray()
    while len(data) < limit:
        try:
            await trio.lowlevel.wait_readable(descriptor)
        except OSError:
            await trio.lowlevel.checkpoint()  # a regular file cannot be waited for, and is always ready
        try:
            part = os.read(descriptor, limit - len(data))
        except OSError:
            break
        if not part:
            break
        data += part
    return bytes(data)


async def forward_input(
    descriptor: int,
    line: InputLine,
    end: End,
    expect_input: Callable[[bool], None],
    job_control: bool,
    save: Callable[[], None] | None = None,
) -> bool:
    """Input is expected until there is no more, or the user has left, which ends the run; see `InputForwarder.run`."""

    def leave() -> None:
        end(Ending.left())

    try:
        return await InputForwarder(descriptor, line, leave, expect_input, job_control=job_control, save=save).run()
    finally:
        expect_input(False)
