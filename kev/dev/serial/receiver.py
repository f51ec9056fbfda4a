"""The receiving half of a serial port: its FIFO, and what the host has sent and the port has not taken yet.

The host sends whenever it likes and as much as it likes; nothing of it is lost. Two rules make that true of drivers written for a
real line. Bytes arrive no faster than at 115200 baud, so that a driver that drains the port on every interrupt does not overrun its
own buffers with what has been pasted. And a port that is being programmed receives nothing: drivers discard what they find, which
must not be the first line of a script on standard input.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from kev.clock import TIMER, Clock, Timer, TimerQueue
from kev.state import FLAG, NUMBERS, Fields, State, StateError, integers
from kev.subscribers import Subscribers

FIFO_DEPTH: Final = 16
FRAME_NANOSECONDS: Final = 10 * 1_000_000_000 // 115_200
"""How long a byte takes: 10 bits. The divisor that the guest sets does not count."""
QUIET_NANOSECONDS: Final = 1_000_000
"""How long the line is quiet after the port was programmed: a driver's next steps, but nothing that a person would notice."""


class SerialReceiver:
    """Holds received bytes until the guest reads them."""

    __slots__ = ("_arrived", "_backlog", "_clock", "_connected", "_depth", "_fifo", "_from_host", "_timer", "_timers", "taken")

    _FIELDS: Final = Fields(
        {
            "_fifo": NUMBERS,
            "_from_host": integers(0, FIFO_DEPTH),
            "_backlog": NUMBERS,
            "_depth": integers(1, FIFO_DEPTH),
            "_connected": FLAG,
        },
        timer=TIMER,
    )

    def __init__(self, clock: Clock, timers: TimerQueue, arrived: Callable[[], None]) -> None:
        """`arrived` is called when bytes from the host have come into the FIFO."""
        self.taken: Final[Subscribers[[]]] = Subscribers()
        """Are told when the FIFO has taken bytes from the host."""
        self._clock = clock
        self._timers = timers
        self._arrived = arrived
        self._timer: Timer | None = None
        self.switch_on()

    def switch_on(self) -> None:
        """What switching the power on does: what the host has sent before is gone."""
        self._fifo: deque[int] = deque()
        self._from_host = 0  # How many bytes at the end of the FIFO came from the host; those before them were looped back.
        self._backlog: deque[int] = deque()
        self._depth = 1
        self._connected = True
        self._stop_timer()

    def save(self) -> State:
        return self._FIELDS.save(self, timer=self._timer)

    def load(self, called: str, state: State) -> None:
        self._stop_timer()
        timer = self._FIELDS.load(self, called, state)["timer"]
        if not self._from_host <= len(self._fifo) <= self._depth:
            raise StateError(called, "fifo", bytes(self._fifo), f"{self._from_host} to {self._depth} bytes")
        self._timer = self._timers.restore(timer, self._fill, self._is_idle)

    def __len__(self) -> int:
        """How many bytes the guest can read."""
        return len(self._fifo)

    @property
    def backlog(self) -> int:
        """How many bytes from the host the FIFO has not taken yet."""
        return len(self._backlog)

    def feed(self, data: bytes) -> None:
        """The host sends `data`. A line that was idle delivers at once."""
        self._backlog.extend(data)
        if self._timer is None:
            self._fill()

    def read(self) -> int:
        """Takes the oldest byte; 0 if there is none."""
        if not self._fifo:
            return 0
        byte = self._fifo.popleft()
        self._from_host = min(self._from_host, len(self._fifo))
        if self._backlog and self._timer is None:
            self._fill_after(self._depth * FRAME_NANOSECONDS)
        return byte

    def loop_back(self, byte: int) -> bool:
        """The port sends `byte` to itself. False if that was an overrun (16550D data sheet, "Line Status Register", bit 1)."""
        if len(self._fifo) < self._depth:
            self._fifo.append(byte)
            return True
        if self._depth == 1:
            self._fifo[0] = byte
        return False

    def reset(self, depth: int) -> None:
        """Empties the FIFO, which holds up to `depth` bytes from now on."""
        self._return_to_backlog()
        self._fifo.clear()
        self._depth = depth
        self._fill_after(QUIET_NANOSECONDS)

    def pause(self) -> None:
        """The port is being programmed: the line is quiet for a while."""
        self._return_to_backlog()
        self._fill_after(QUIET_NANOSECONDS)

    def connect(self, connected: bool) -> None:
        """Whether the line from the host is connected: it is not while the port talks to itself."""
        if connected != self._connected:
            self._connected = connected
            self.pause()

    def _return_to_backlog(self) -> None:
        for _ in range(self._from_host):
            self._backlog.appendleft(self._fifo.pop())
        self._from_host = 0

    def _fill_after(self, nanoseconds: int) -> None:
        self._stop_timer()
        self._timer = self._timers.at(self._clock.now() + nanoseconds, self._fill, self._is_idle)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None

    def _is_idle(self) -> bool:
        """There is nothing to fill the FIFO with."""
        return not self._backlog

    def _fill(self) -> None:
        self._timer = None
        count = min(self._depth - len(self._fifo), len(self._backlog)) if self._connected else 0
        if count > 0:
            self._fifo.extend(self._backlog.popleft() for _ in range(count))
            self._from_host += count
            self._arrived()
            self.taken()
