"""How a run ended."""

import signal
from enum import Enum
from typing import Self

from kev.named_tuple import NamedTuple


class EndingKind(Enum):
    RUNNING = "running"
    """Not yet at all."""
    EXITED = "exited"
    """The guest ended itself."""
    DIED = "died"
    """The guest did what cannot be carried out, or halted for ever."""
    INTERRUPTED = "interrupted"
    """Ctrl-C."""
    TIMED_OUT = "timed out"
    LIMITED = "limited"
    """It came to a limit that its description sets."""
    STOPPED = "stopped"
    """Whoever holds the machine ended it."""


_REASONS = {
    EndingKind.DIED: "the guest died",
    EndingKind.TIMED_OUT: "it came to a limit",
    EndingKind.LIMITED: "it came to a limit",
    EndingKind.INTERRUPTED: "it was interrupted",
}
_LARGEST_EXIT_CODE = 255
EXIT_CODE_MISTAKE = 2
"""Nothing was run: the command line or the image is at fault."""
EXIT_CODE_DIED = 3
EXIT_CODE_LOST = 4
"""The guest has taken down the process that was its machine's alone."""
EXIT_CODE_TIMED_OUT = 124
"""Of every limit: of time, of pages, of output."""
EXIT_CODE_INTERRUPTED = 130
SIGNALLED = 128
"""A signal ended the run: this and its number, as shells have it."""


class Ending(NamedTuple):
    """Why a machine stopped, and the exit code that says so to the shell."""

    kind: EndingKind
    exit_code: int
    message: str = ""

    def __str__(self) -> str:
        return self.message or f"exit code {self.exit_code}"

    @property
    def verdict(self) -> str:
        """The exit code, and whose it is: a guest may well end with that of a guest that died."""
        if self.kind is EndingKind.EXITED:
            return f"{self}, by the guest"
        return f"exit code {self.exit_code}, by kev: {_REASONS.get(self.kind, 'it was ended')}"

    @classmethod
    def running(cls) -> Self:
        """What stands in a report while the run goes on."""
        return cls(EndingKind.RUNNING, 0, "still running")

    @classmethod
    def exited(cls, exit_code: int) -> Self:
        """The guest ended itself with `exit_code`, of which the shell sees the low 8 bits; no failure is a success by that."""
        shown = exit_code & 0xFF
        if shown == exit_code:
            return cls(EndingKind.EXITED, exit_code)
        shown = shown or _LARGEST_EXIT_CODE
        return cls(EndingKind.EXITED, shown, f"exit code {exit_code:,}, which shells see as {shown}")

    @classmethod
    def reset(cls) -> Self:
        """The guest has reset the machine, as kernels do to start anew and as some do when they panic."""
        return cls(EndingKind.EXITED, 0, "reset, exit code 0")

    @classmethod
    def died(cls, message: str) -> Self:
        return cls(EndingKind.DIED, EXIT_CODE_DIED, message)

    @classmethod
    def interrupted(cls) -> Self:
        return cls(EndingKind.INTERRUPTED, EXIT_CODE_INTERRUPTED, "interrupted")

    @classmethod
    def by_signal(cls, number: int) -> Self:
        """A signal ended the run: Ctrl-C's, or one that asks a process to end. The exit code is the shell's for it."""
        if number == signal.SIGINT:
            return cls.interrupted()
        return cls(EndingKind.INTERRUPTED, SIGNALLED + number, f"ended by {signal.Signals(number).name}")

    @classmethod
    def left(cls) -> Self:
        """The user left the console with Ctrl-A x."""
        return cls(EndingKind.INTERRUPTED, 0, "left the console")

    @classmethod
    def stopped(cls) -> Self:
        """Whoever holds the machine has ended it."""
        return cls(EndingKind.STOPPED, 0, "stopped")

    @classmethod
    def timed_out(cls, seconds: float) -> Self:
        return cls(EndingKind.TIMED_OUT, EXIT_CODE_TIMED_OUT, f"timed out after {seconds:g} s")

    @classmethod
    def limited(cls, message: str) -> Self:
        """`message` says which limit it came to."""
        return cls(EndingKind.LIMITED, EXIT_CODE_TIMED_OUT, message)
