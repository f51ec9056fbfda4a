"""The console's input: the host's standard input as the line of COM1."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import trio

_ESCAPE: Final = b"\x01"  # Ctrl-A
_LEAVE: Final = b"x"
_READ_SIZE: Final = 4096
_LARGEST_BACKLOG: Final = 4096
"""While as many bytes wait for the guest, no more are read, but from a terminal: there the escape has to be seen."""


class InputLine(Protocol):
    """Where input goes: `kev.dev.serial.uart16550.SerialPort`, or what stands in front of one."""

    @property
    def backlog(self) -> int:
        """Bytes that the guest has not taken yet."""

    def receive(self, data: bytes) -> None: ...

    def call_when_taken(self, callback: Callable[[], None] | None) -> None:
        """Calls back whenever the guest has taken a byte."""


@contextmanager
def single_characters(descriptor: int) -> Iterator[None]:
    """Makes a terminal pass on every key as it is typed, without echo; Ctrl-C still interrupts. Does nothing to anything else."""
    if not os.isatty(descriptor):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class EscapeFilter:
    """Finds Ctrl-A x among what is typed. Ctrl-A twice is one Ctrl-A."""

    __slots__ = ("_escaped",)

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What the guest gets of `data`, and whether the user wants to leave."""
        passed = bytearray()
        for value in data:
            byte = bytes([value])
            if not self._escaped:
                self._escaped = byte == _ESCAPE
                if not self._escaped:
                    passed += byte
                continue
            self._escaped = False
            if byte == _LEAVE:
                return bytes(passed), True
            passed += byte if byte == _ESCAPE else _ESCAPE + byte
        return bytes(passed), False


async def forward_input(descriptor: int, port: InputLine, leave: Callable[[], None], expect_input: Callable[[bool], None]) -> None:
    """Passes input on to `port`, until its end or Ctrl-A x, for which `leave` is called. Only a terminal has this escape.

    `expect_input` is told whether more may come without the guest's doing: not while it has to read first what is there.
    """
    keys = EscapeFilter() if os.isatty(descriptor) else None
    expect_input(True)
    while True:
        if keys is None and port.backlog >= _LARGEST_BACKLOG:
            await _wait_for_room(port, expect_input)
        data = await _read(descriptor)
        if not data:
            return
        wants_to_leave = False
        if keys is not None:
            data, wants_to_leave = keys.feed(data)
        if data:
            port.receive(data)
        if wants_to_leave:
            leave()
            return


async def _wait_for_room(port: InputLine, expect_input: Callable[[bool], None]) -> None:
    """Returns when the guest has read enough for more to be sent."""
    room = trio.Event()

    def look() -> None:
        if port.backlog < _LARGEST_BACKLOG:
            expect_input(True)
            room.set()

    expect_input(False)
    port.call_when_taken(look)
    try:
        await room.wait()
    finally:
        port.call_when_taken(None)


async def _read(descriptor: int) -> bytes:
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except OSError:
        # A regular file cannot be waited for, and is always ready.
        await trio.lowlevel.checkpoint()
    return os.read(descriptor, _READ_SIZE)
