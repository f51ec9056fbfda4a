"""The console's input: the host's standard input as what COM1 or the keyboard takes."""

import os
import signal
from collections.abc import Callable
from typing import Final

import trio

from kev.machine.input_line import LARGEST_BACKLOG, READ_SIZE, InputLine
from kev.machine.terminal_keys import EscapeFilter, Key, TerminalMode
from kev.work.stopping import heeded


class InputForwarder:
    """Passes input on to the guest, until its end or Ctrl-A x. Only a terminal has this escape."""

    def __init__(
        self,
        descriptor: int,
        port: InputLine,
        leave: Callable[[], None],
        expect_input: Callable[[bool], None],
        *,
        job_control: bool,
        save: Callable[[], None] | None = None,
    ) -> None:
        """`leave` is called for Ctrl-A x, and `save` for Ctrl-A s.

        `job_control`: this is the main thread, which gets the signals of the terminal.

        `expect_input` is told whether more may come without the guest's doing: not while it has to read first what is there.
        """
        self._descriptor: Final = descriptor
        self._port: Final = port
        self._leave: Final = leave
        self._save: Final = save
        self._expect_input: Final = expect_input
        self._mode: Final = TerminalMode(descriptor)
        self._job_control: Final = job_control and self._mode.is_terminal
        self._continued = trio.Event()

    async def run(self) -> bool:
        """Returns at the end of the input: whether there was some, or a terminal, at which somebody may have typed it.

        The terminal is as it was before then, also while the process is stopped.
        """
        found = False
        try:
            self._mode.enter()
            async with trio.open_nursery() as nursery:
                if self._job_control:
                    await nursery.start(self._watch_jobs)
                found = await self._forward()
                nursery.cancel_scope.cancel()
        finally:
            self._mode.leave()
        return found or self._mode.is_terminal

    async def _forward(self) -> bool:
        found = False
        keys = EscapeFilter({Key.LEAVE} if self._save is None else set(Key)) if self._mode.is_terminal else None
        self._expect_input(True)
        while True:
            if keys is None and self._port.backlog >= LARGEST_BACKLOG:
                await _wait_for_room(self._port, self._expect_input)
            data = await self._read()
            if not data:
                return found
            found = True
            for typed in (data,) if keys is None else keys.feed(data):
                if isinstance(typed, bytes):
                    self._port.receive(typed)
                elif typed is Key.LEAVE:
                    self._leave()
                    return found
                elif self._save is not None:
                    self._save()

    async def _read(self) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._descriptor)
            except OSError:
                # A regular file cannot be waited for, and is always ready.
                await trio.lowlevel.checkpoint()
            if self._mode.may_read:
                try:
                    return os.read(self._descriptor, READ_SIZE)
                except OSError:
                    return b""  # the terminal is gone
            await self._wait_for_foreground()

    async def _wait_for_foreground(self) -> None:
        self._continued = trio.Event()
        await self._continued.wait()

    async def _watch_jobs(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGCONT, *heeded((signal.SIGTSTP,))) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGTSTP:
                    self._mode.leave()
                    os.kill(os.getpid(), signal.SIGSTOP)
                self._mode.enter()
                self._continued.set()


async def _wait_for_room(port: InputLine, expect_input: Callable[[bool], None]) -> None:
    """Returns when the guest has read enough for more to be sent."""
    room = trio.Event()

    def look() -> None:
        if port.backlog < LARGEST_BACKLOG:
            expect_input(True)
            room.set()

    expect_input(False)
    stop_looking = port.taken.subscribe(look)
    try:
        await room.wait()
    finally:
        stop_looking()
