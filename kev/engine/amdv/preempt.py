"""Ends a slice by the host's clock: the timer interrupt of this hypervisor's host."""

import _thread
import time
from collections.abc import Callable
from typing import Final

_IDLE_SLEEP: Final = 0.002  # seconds: the next slice has most likely begun by then, and need not wake the thread
_BETWEEN_CALLS: Final = 0.0005
_NEVER: Final = float("inf")


class PreemptionThread:
    """Ends the running slice when its deadline is over.

    Guest code runs without the interpreter's lock, so a thread of this process can look at the clock meanwhile.
    """

    __slots__ = ("_alarm", "_alarmed", "_armed", "_closed", "_over", "_runs", "_wakes")

    def __init__(self) -> None:
        self._armed: tuple[float, Callable[[], None]] | None = None
        """The deadline, and what ends the slice: read at once, lest the slice of another guest be ended."""
        self._wakes = _NEVER
        """When the thread will look at the deadline by itself."""
        self._alarm: Final = _thread.allocate_lock()
        self._alarm.acquire()
        self._alarmed = False
        """The lock was released, to wake the thread."""
        self._closed = False
        self._runs = False
        """There is a thread."""
        self._over = _thread.allocate_lock()
        """Held for as long."""

    def arm(self, seconds: float, preempt: Callable[[], None]) -> None:
        """The slice that starts now ends in `seconds`: `preempt` is called then, and again until the slice is over.

        It must be harmless when the slice has just ended by itself.
        """
        deadline = time.monotonic() + seconds
        self._armed = (deadline, preempt)
        if deadline < self._wakes:
            self._wake()

    def advance(self, seconds: float, preempt: Callable[[], None]) -> None:
        """The running slice ends in `seconds`, if it would not end earlier."""
        armed = self._armed
        if armed is None or time.monotonic() + seconds < armed[0]:
            self.arm(seconds, preempt)

    def disarm(self) -> None:
        """The slice is over."""
        self._armed = None

    def close(self) -> None:
        self._closed = True
        if self._runs:
            self._wake()
            with self._over:
                self._runs = False

    def rest(self) -> None:
        """Ends the thread, which the next slice starts again. There must be none that runs."""
        self.close()
        self._closed = False

    def _wake(self) -> None:
        if not self._runs:
            self._over = over = _thread.allocate_lock()
            over.acquire()
            # One of `threading` would be waited for until it runs, by a slice that on a busy host takes less than that.
            _thread.start_new_thread(self._run, (over,))
            self._runs = True
        elif not self._alarmed:
            self._alarmed = True
            self._alarm.release()

    def _run(self, over: _thread.LockType) -> None:
        try:
            self._watch()
        finally:
            over.release()

    def _watch(self) -> None:
        idle = 0
        while not self._closed:
            armed = self._armed
            if armed is None:
                idle += 1
                # An idle machine costs nothing.
                self._sleep(_IDLE_SLEEP if idle <= 100 else _NEVER)
                continue
            idle = 0
            deadline, preempt = armed
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                preempt()
                remaining = _BETWEEN_CALLS
            self._sleep(remaining)

    def _sleep(self, seconds: float) -> None:
        """Returns at the latest then, or when `_wake` was called since the last return."""
        self._wakes = time.monotonic() + seconds
        if self._alarm.acquire(timeout=-1 if seconds == _NEVER else seconds):
            self._alarmed = False
        self._wakes = _NEVER
