"""A time limit for opening what a machine is made from, while there is nothing yet that could end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OpeningTimedOut(BaseException):
    """The time limit of the run has come before its machine was there. Nobody on the way may take it for the fault of a file."""


@contextmanager
def opening_within(seconds: float | None) -> Iterator[None]:
    """OpeningTimedOut when the block takes longer, whatever it waits for. In the main thread; elsewhere there is no limit.

    It takes SIGALRM and the timer of setitimer(2) for the time of the block.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise OpeningTimedOut(f"timed out after {seconds:g} s: what the machine is made from cannot be opened")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
