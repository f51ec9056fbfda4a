"""The interactive console: the host's standard input as the line of COM1."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

_ESCAPE: Final = b"\x01"  # Ctrl-A
_LEAVE: Final = b"x"
_READ_SIZE: Final = 4096


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


async def forward_input(descriptor: int, receive: Callable[[bytes], None], leave: Callable[[], None]) -> None:
    """Passes input on as it comes, until its end or Ctrl-A x, for which `leave` is called. Only a terminal has this escape."""
    keys = EscapeFilter() if os.isatty(descriptor) else None
    while data := await _read(descriptor):
        wants_to_leave = False
        if keys is not None:
            data, wants_to_leave = keys.feed(data)
        if data:
            receive(data)
        if wants_to_leave:
            leave()
            return


async def _read(descriptor: int) -> bytes:
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except OSError:
        # A regular file cannot be waited for, and is always ready.
        await trio.lowlevel.checkpoint()
    return os.read(descriptor, _READ_SIZE)
