"""How looking for races is stopped: by signals, of which none is lost, wherever the program is when it comes.

A signal that raised an exception could do so where nobody can catch it: between the emulated CPU and its callback. So a signal is
noted, and whoever works for long looks for it in between, by `check`.
"""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

_received: Final[list[int]] = []


class Stopped(KeyboardInterrupt):
    """A signal wants the work to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal: Final = number


def check() -> None:
    """Stopped if a signal has come."""
    if _received:
        raise Stopped(_received[0])


@contextmanager
def signals_noted(signals: Sequence[int] = (signal.SIGINT,)) -> Iterator[None]:
    """Notes these signals for `check`, in the main thread; elsewhere none come. A second one is not held up."""
    if _received or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signals}

    def note(number: int, _frame: FrameType | None) -> None:
        if _received:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _received.append(number)

    for number in signals:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()
