"""Ends a slice by the host's clock: the timer interrupt of this hypervisor's host."""

import threading
import time
from collections.abc import Callable
from typing import Final

_LONGEST_SLEEP: Final = 0.002  # seconds; a deadline set while the thread sleeps is met this late at worst

_BETWEEN_CALLS: Final = 0.0005


class PreemptionThread:
    """Ends the running slice when its deadline is over.

    Guest code runs without the interpreter's lock, so a thread of this process can look at the clock meanwhile.
    """

    __slots__ = ("_armed", "_busy", "_closed", "_thread")

    def __init__(self) -> None:
        self._armed: tuple[float, Callable[[], None]] | None = None
        """The deadline, and what ends the slice: read at once, lest the slice of another guest be ended."""
        self._busy = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def arm(self, seconds: float, preempt: Callable[[], None]) -> None:
        """The slice that starts now ends in `seconds`: `preempt` is called then, and again until the slice is over.

        It must be harmless when the slice has just ended by itself.
        """
        self._armed = (time.monotonic() + seconds, preempt)
        if not self._busy.is_set():
            self._busy.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="kev-preemption", daemon=True)
                self._thread.start()

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
        self._busy.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        idle = 0
        while not self._closed:
            armed = self._armed
            if armed is None:
                idle += 1
                if idle > 100:
                    self._park()
                    idle = 0
                time.sleep(_LONGEST_SLEEP)
                continue
            idle = 0
            deadline, preempt = armed
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                preempt()
            time.sleep(min(max(remaining, _BETWEEN_CALLS), _LONGEST_SLEEP))

    def _park(self) -> None:
        """Sleeps without waking up until the next slice is armed: an idle machine costs nothing."""
        self._busy.clear()
        if self._armed is None and not self._closed:
            self._busy.wait()
