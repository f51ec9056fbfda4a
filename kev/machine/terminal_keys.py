"""What a terminal sends: every key as it is typed, and those that are meant for kev among them."""

import os
from collections.abc import Container, Iterator
from enum import Enum
from typing import Any, Final

_ESCAPE: Final = b"\x01"  # Ctrl-A


class TerminalMode:
    """Makes a terminal pass on every key as it is typed, without echo; Ctrl-C still interrupts. Does nothing to anything else.

    Only a process in the foreground may change a terminal or read from it: others are stopped (POSIX, "Terminal access control").
    """

    __slots__ = ("_before", "_descriptor", "_signals", "is_terminal")

    def __init__(self, descriptor: int, *, signals: bool = True) -> None:
        """Without `signals`, Ctrl-C and the other keys that send one are passed on, too."""
        self._signals: Final = signals
        self.is_terminal: Final = os.isatty(descriptor)
        self._descriptor: Final = descriptor
        self._before: list[Any] | None = None

    @property
    def may_read(self) -> bool:
        return not self.is_terminal or _in_foreground(self._descriptor)

    def enter(self) -> None:
        """From now on, if the process is in the foreground."""
        if not self.is_terminal or self._before is not None or not self.may_read:
            return
        import termios
        import tty

        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor, termios.TCSANOW)  # what was typed before is not lost, and no output is waited for
        if not self._signals:
            mode = termios.tcgetattr(self._descriptor)
            mode[tty.LFLAG] &= ~(termios.ISIG | termios.IEXTEN)
            mode[tty.IFLAG] &= ~termios.IXON
            termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)

    def leave(self) -> None:
        """The terminal is as it was."""
        before, self._before = self._before, None
        if before is not None and self.may_read:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSANOW, before)


def _in_foreground(descriptor: int) -> bool:
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False  # it is the terminal of another session


class Key(Enum):
    """What Ctrl-A makes of the key that follows."""

    LEAVE = b"x"
    SAVE = b"s"


_KEYS: Final = {key.value: key for key in Key}


class EscapeFilter:
    """Finds Ctrl-A and a `Key` among what is typed. Ctrl-A twice is one Ctrl-A."""

    __slots__ = ("_escaped", "_keys")

    def __init__(self, keys: Container[Key]) -> None:
        """Others than `keys` are the guest's, and the Ctrl-A before them, too."""
        self._keys: Final = keys
        self._escaped = False

    def feed(self, data: bytes) -> Iterator[bytes | Key]:
        """What the guest gets of `data`, and the keys in between."""
        passed = bytearray()
        for value in data:
            byte = bytes([value])
            if not self._escaped:
                self._escaped = byte == _ESCAPE
                if not self._escaped:
                    passed += byte
                continue
            self._escaped = False
            key = _KEYS.get(byte)
            if key is not None and key in self._keys:
                if passed:
                    yield bytes(passed)
                    passed.clear()
                yield key
            else:
                passed += byte if byte == _ESCAPE else _ESCAPE + byte
        if passed:
            yield bytes(passed)
