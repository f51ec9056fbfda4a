"""Signals that end a command wherever it is: as exceptions, of which none is lost. Imports next to nothing."""

import signal
import sys
import time

TYPE_CHECKING = False  # typing's own would take longer to import
if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They end a command."""
_TOGETHER = 1.0
"""Seconds within which signals are one wish: timeout(1) sends two, and so do shells whose terminal is gone."""
_AGAIN_AFTER = 0.01  # seconds
_STANDARD_ERROR = 2


class Interrupted(KeyboardInterrupt):
    """A signal ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Interrupts:
    """What signals do between `begin` and `end`: they raise `Interrupted`, those that were ignored before excepted.

    Where an exception is dropped (in the callback of a library, or while an object is deleted), the signal is sent again.
    """

    def __init__(self) -> None:
        self._came: float | None = None
        """When the one came that ends the command."""
        self._dropped: int | None = None
        """A signal whose exception was dropped."""

    def begin(self) -> None:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as for a command that nohup started
                signal.signal(number, self._raise)
        sys.unraisablehook = self._note_dropped

    def end(self) -> None:
        """From now on signals do what they do to any process."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)

    def check(self) -> None:
        """Interrupted if a signal has come that nobody has heard of."""
        if self._dropped is not None:
            raise Interrupted(self._dropped)

    def _raise(self, number: int, _frame: "FrameType | None") -> None:
        now = time.monotonic()
        if self._came is not None:
            if now - self._came < _TOGETHER:
                return
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._came, self._dropped = now, None
        raise Interrupted(number)

    def _note_dropped(self, unraisable: "sys.UnraisableHookArgs") -> None:
        error = unraisable.exc_value
        if not isinstance(error, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
            return
        self._came, self._dropped = None, number_of(error)
        import os
        import threading

        again = threading.Timer(_AGAIN_AFTER, os.kill, (os.getpid(), self._dropped))
        again.daemon = True
        again.start()


def number_of(error: KeyboardInterrupt) -> int:
    """The signal that it stands for."""
    number: int = getattr(error, "signal", signal.SIGINT)
    return number


def conclude(error: KeyboardInterrupt) -> int:
    """Says on stderr what has ended the command; returns the exit code, as shells have it. Nobody waits for a reader any more."""
    import os

    from kev.cli.standard_output import give_up_standard_output

    give_up_standard_output()
    number = number_of(error)
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    try:
        os.write(_STANDARD_ERROR, f"kev: {what}\n".encode())
    except OSError:
        """The terminal is gone, and with it whoever would read that."""
    return 128 + number
