"""Programs on terminals of their own."""

import os
import pty
import select
import signal
import subprocess
import termios
from contextlib import suppress
from typing import Any, Final

ENOUGH: Final = 60  # seconds


class Session:
    """A program that leads a session on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.terminal, side = pty.openpty()
        self.before = termios.tcgetattr(side)
        self.output = bytearray()
        self.process = subprocess.Popen(
            arguments, stdin=side, stdout=side, stderr=side, start_new_session=True, preexec_fn=lambda: take_terminal(side)
        )
        self._side = side

    def expect(self, text: bytes, times: int = 1) -> None:
        """Returns when it has come so many times."""
        begin = 0
        while True:
            while times and (found := self.output.find(text, begin)) >= 0:
                begin, times = found + len(text), times - 1
            if not times:
                return
            begin = max(len(self.output) - len(text) + 1, begin)
            ready, _, _ = select.select([self.terminal], [], [], ENOUGH)
            assert ready, f"{text!r} did not come after {self.output[-1000:]!r}"
            self.output += os.read(self.terminal, 65536)

    def end(self) -> int:
        """The exit code; the rest of the output is read before."""
        code = self.process.wait(ENOUGH)
        while select.select([self.terminal], [], [], 0)[0]:
            self.output += os.read(self.terminal, 4096)
        return code

    @property
    def mode(self) -> list[Any]:
        return termios.tcgetattr(self._side)

    @property
    def _foreground(self) -> int:
        """The group that has the terminal; the leader's if none has."""
        try:
            return os.tcgetpgrp(self.terminal) or self.process.pid
        except OSError:
            return self.process.pid

    def close(self) -> None:
        # A shell's jobs have groups of their own.
        for group in (self._foreground, self.process.pid):
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        self.process.wait()
        os.close(self.terminal)
        os.close(self._side)


def take_terminal(side: int) -> None:
    import fcntl

    fcntl.ioctl(side, termios.TIOCSCTTY, 0)
