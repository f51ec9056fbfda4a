"""Signals that end a command wherever it is: as exceptions, of which none is lost. Imports next to nothing."""

import _thread
import os
import sys
import time

TYPE_CHECKING = False  # typing's own would take longer to import
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType
else:
    # Without what signal imports besides: a signal that comes before there are handlers is a traceback.
    import _signal

SIGNALS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
"""They end a command."""
_NAMES = {int(_signal.SIGINT): "SIGINT", int(_signal.SIGTERM): "SIGTERM", int(_signal.SIGHUP): "SIGHUP"}
_TOGETHER = 1.0
"""Seconds within which signals are one wish: timeout(1) sends two, and so do shells whose terminal is gone."""
_AGAIN_AFTER = 0.01
"""Seconds."""
_STANDARD_ERROR = 2


class Interrupted(KeyboardInterrupt):
    """A signal has come that is to end the command. `lost` is called if that is deleted before anybody has `heard` of it."""

    def __init__(self, number: int, lost: "Callable[[int], None]") -> None:
        super().__init__(_NAMES[number])
        self.signal = number
        self.heard = False
        self._lost = lost

    def __del__(self) -> None:
        if not self.heard:
            self._lost(self.signal)


class Interrupts:
    """What signals do between `begin` and `end`: they raise `Interrupted`, those that were ignored before excepted.

    Python drops exceptions in callbacks of libraries and where objects are deleted, some without a word. Then it is raised again.
    """

    def __init__(self) -> None:
        self._came: float | None = None
        """When the one came that ends the command."""
        self._over = False

    def begin(self) -> None:
        for number in SIGNALS:
            if _signal.getsignal(number) != _signal.SIG_IGN:  # as for a command that nohup started
                _signal.signal(number, self._raise)
        sys.unraisablehook = _tell_unraisable

    def end(self) -> None:
        """From now on signals do what they do to any process."""
        self._over = True
        for number in SIGNALS:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _signal.SIG_DFL)

    def _raise(self, number: int, _frame: "FrameType | None") -> None:
        now = time.monotonic()
        if self._came is not None:
            if now - self._came < _TOGETHER:
                return
            _signal.signal(number, _signal.SIG_DFL)
            _signal.raise_signal(number)
        self._came = now
        raise Interrupted(number, self._raise_again)

    def _raise_again(self, number: int) -> None:
        """A little later: the emulated CPU would repeat for ever a callback that never comes to its end."""
        if not self._over:
            self._came = None
            _thread.start_new_thread(self._send, (number,))

    def _send(self, number: int) -> None:
        time.sleep(_AGAIN_AFTER)
        if not self._over:
            os.kill(os.getpid(), number)


def _tell_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Of an interrupt that was dropped nobody need hear: it comes again."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt that `error` has come of: trio makes others of one that comes amid its own work, or several at once."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        found = rest.pop()
        if found is None or id(found) in seen:
            continue
        if isinstance(found, KeyboardInterrupt):
            return found
        seen.add(id(found))
        rest += [found.__context__, found.__cause__, *getattr(found, "exceptions", ())]
    return None


def number_of(error: KeyboardInterrupt) -> int:
    """The signal that it stands for."""
    number: int = getattr(error, "signal", _signal.SIGINT)
    return number


def conclude(error: KeyboardInterrupt) -> int:
    """Says on stderr what has ended the command; returns the exit code, as shells have it. Nobody waits for a reader any more."""
    from kev.cli.standard_output import give_up_standard_output

    if isinstance(error, Interrupted):
        error.heard = True
    give_up_standard_output()
    number = number_of(error)
    what = "interrupted" if number == _signal.SIGINT else f"ended by {_NAMES[number]}"
    try:
        os.write(_STANDARD_ERROR, f"kev: {what}\n".encode())
    except OSError:
        """The terminal is gone, and with it whoever would read that."""
    return 128 + number
