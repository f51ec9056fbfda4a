"""Standard input and output of the process: the machine's serial line, as with Firecracker."""

import os
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from kev.machine.terminal_keys import EscapeFilter, Key, TerminalMode

_AT_ONCE: Final = 4096
"""Bytes that a pipe or a terminal takes without waiting if it takes any: PIPE_BUF of Linux (pipe(7))."""
_MOST_KEPT: Final = 1 << 20
"""Bytes that wait for their reader; more are lost."""
_PATIENCE: Final = 1.0
"""Seconds that a reader may take for the next piece when the machine is gone."""


class ConsoleOutput:
    """Writes to a descriptor what comes, as quickly as it is read. The machine waits for nobody."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: Final = descriptor
        self._waiting = bytearray()
        self._more = trio.Event()
        self._is_over = False

    def put(self, data: bytes) -> None:
        self._waiting += data[: max(_MOST_KEPT - len(self._waiting), 0)]
        self._more.set()

    def finish(self) -> None:
        """Nothing comes any more."""
        self._is_over = True
        self._more.set()

    async def run(self) -> None:
        """Returns when all is written, or nobody reads it."""
        while self._waiting or not self._is_over:
            if not self._waiting:
                self._more = trio.Event()
                await self._more.wait()
                continue
            with trio.move_on_after(_PATIENCE) if self._is_over else trio.CancelScope() as scope:
                await _until_ready(trio.lowlevel.wait_writable, self._descriptor)
            if scope.cancelled_caught:
                return
            try:
                del self._waiting[: os.write(self._descriptor, self._waiting[:_AT_ONCE])]
            except BlockingIOError:
                continue
            except OSError:
                return


async def forward_input(descriptor: int, send: Callable[[bytes], Awaitable[None]], leave: Callable[[], None]) -> None:
    """Types what stands on `descriptor`, until its end. On a terminal, every key is typed as it is pressed, and Ctrl-A x leaves."""
    mode = TerminalMode(descriptor)
    keys = EscapeFilter({Key.LEAVE}) if mode.is_terminal else None
    mode.enter()
    try:
        while data := await _read(descriptor, mode):
            for typed in (data,) if keys is None else keys.feed(data):
                if isinstance(typed, Key):
                    leave()
                    return
                await send(typed)
    finally:
        mode.leave()


async def _read(descriptor: int, mode: TerminalMode) -> bytes:
    await _until_ready(trio.lowlevel.wait_readable, descriptor)
    try:
        return os.read(descriptor, _AT_ONCE) if mode.may_read else b""
    except OSError:
        return b""


async def _until_ready(wait: Callable[[int], Awaitable[None]], descriptor: int) -> None:
    try:
        await wait(descriptor)
    except OSError:
        # A regular file cannot be waited for, and is always ready.
        await trio.lowlevel.checkpoint()
