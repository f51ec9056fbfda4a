"""How long work is stopped: by signals, of which none is lost, wherever the program is when it comes; or by whoever asked for it.

A signal that raised an exception could do so where nobody can catch it: between the emulated CPU and its callback. So a signal is
noted, and whoever works for long looks for it in between, by `check`. One that nobody has looked for goes to whom it would have
gone without.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

_TOGETHER: Final = 1.0
"""Seconds within which signals are one wish: timeout(1) sends two, and so do shells whose terminal is gone."""
_received: Final[list[int]] = []
_heard: Final[set[int]] = set()
"""Those of them that have stopped something."""
_waits: Final[list[bool]] = []
"""Not empty while the main thread waits for what looks for nothing."""
_thread: Final = threading.local()


class Stopped(KeyboardInterrupt):
    """A signal wants the work to end; SIGTERM stands for whoever else does."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal: Final = number


def heeded(signals: Sequence[int]) -> Sequence[int]:
    """Those that this process does not ignore, as one does that nohup(1) or a shell without jobs has started."""
    return [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]


def check() -> None:
    """Stopped if a signal has come, or if nobody wants any more what this thread works on."""
    if _received:
        _heard.update(_received)
        raise Stopped(_received[0])
    is_unwanted: Callable[[], bool] | None = getattr(_thread, "is_unwanted", None)
    if is_unwanted is not None and is_unwanted():
        raise Stopped(signal.SIGTERM)


@contextmanager
def stopped_while_waiting() -> Iterator[None]:
    """Around a wait for another process, and no call of a machine: Stopped out of the wait, if a signal that is noted comes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _waits.append(True)
    try:
        check()
        yield
    finally:
        _waits.pop()


def watched() -> Callable[[], bool]:
    """What `check` would ask in this thread, for another one that asks in its place."""
    is_unwanted: Callable[[], bool] | None = getattr(_thread, "is_unwanted", None)
    return lambda: bool(_received) or (is_unwanted is not None and is_unwanted())


@contextmanager
def stopped_when(is_unwanted: Callable[[], bool]) -> Iterator[None]:
    """In this thread, `check` asks this, too. It is asked often: it has to be quick."""
    before = getattr(_thread, "is_unwanted", None)
    _thread.is_unwanted = is_unwanted if before is None else lambda: before() or is_unwanted()
    try:
        yield
    finally:
        _thread.is_unwanted = before


class _Notes:
    """The handler of signals that are noted."""

    def __init__(self) -> None:
        self._began = 0.0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if not _received:
            self._began = time.monotonic()
            _received.append(number)
            if _waits:
                check()
        elif time.monotonic() - self._began > _TOGETHER:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def note_too(number: int, handler: object) -> None:
    """For whoever handles a signal in the place of `handler`: if that would have noted it, it is."""
    if isinstance(handler, _Notes):
        handler(number, None)


@contextmanager
def signals_noted(signals: Sequence[int] = (signal.SIGINT,)) -> Iterator[None]:
    """Notes these signals for `check`, those that are not ignored, in the main thread; elsewhere none come.

    A second one, a moment later, is not held up.
    """
    if _received or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in heeded(signals)}
    note = _Notes()
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        unheard = [number for number in _received if number not in _heard]
        _received.clear()
        _heard.clear()
        for number in unheard:
            signal.raise_signal(number)
