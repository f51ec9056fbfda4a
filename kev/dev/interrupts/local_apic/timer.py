"""The local APIC's timer (SDM vol. 3, "APIC timer").

The bus it counts runs at 1 GHz, as the time-stamp counter does: both count nanoseconds of the machine's clock.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from kev.clock import TIMER, Clock, Timer, TimerQueue
from kev.dev.clocks.periodic import next_boundary
from kev.dev.clocks.time_stamp_counter import TimeStampCounter
from kev.named_tuple import NamedTuple
from kev.state import TIME, Fields, State, StateError, bits, converted, integers, optional

SHORTEST_PERIOD: Final = 10_000
"""Nanoseconds between two interrupts of a periodic timer, at least. The count itself runs as programmed."""


_NEVER: Final = 1 << 63
"""Later than any run ends: in 292 years."""


class TimerMode(IntEnum):
    """Bits 17-18 of the LVT timer entry."""

    ONE_SHOT = 0
    PERIODIC = 1
    TSC_DEADLINE = 2
    RESERVED = 3


class RunningCount(NamedTuple):
    """What the current count comes from: see `ApicTimer.current_count`."""

    deadline: int
    """When it is zero, by the machine's clock."""
    divisor: int
    """Nanoseconds for each."""
    period: int
    """Nanoseconds from zero to zero, if it begins anew; else more than there can be."""


def divisor(configuration: int) -> int:
    """How many bus cycles a count lasts: the divide configuration register's bits 0, 1 and 3."""
    code = configuration & 3 | (configuration & 8) >> 1
    return 1 if code == 7 else 2 << code


class ApicTimer:
    """Counts down in one of its modes and calls `expired` at the end, masked or not."""

    __slots__ = (
        "_clock",
        "_counter",
        "_deadline",
        "_divide_configuration",
        "_divisor",
        "_expired",
        "_initial_count",
        "_mode",
        "_timer",
        "_timers",
        "_tsc_deadline",
    )

    _FIELDS: Final = Fields(
        {
            "_mode": converted(integers(0, TimerMode.RESERVED), int, TimerMode),
            "_initial_count": bits(32),
            "_divide_configuration": bits(4),
            "_deadline": optional(TIME),
            "_tsc_deadline": bits(64),
        },
        timer=TIMER,
    )

    def __init__(self, counter: TimeStampCounter, clock: Clock, timers: TimerQueue, expired: Callable[[], None]) -> None:
        self._counter: Final = counter
        self._clock: Final = clock
        self._timers: Final = timers
        self._expired: Final = expired
        self._timer: Timer | None = None
        self._deadline: int | None = None
        """When the count reaches zero or the deadline has come, by the clock; None while the timer stands still."""
        self.reset()

    def reset(self) -> None:
        self._stop()
        self._mode = TimerMode.ONE_SHOT
        self._initial_count = 0
        self._divide_configuration = 0
        self._divisor = divisor(0)

    def save(self) -> State:
        return self._FIELDS.save(self, timer=self._timer)

    def load(self, called: str, state: State) -> None:
        self._stop()
        timer = self._FIELDS.load(self, called, state)["timer"]
        if self._deadline is not None and self._mode is not TimerMode.TSC_DEADLINE and not self._initial_count:
            raise StateError(called, "deadline", self._deadline, "null while the initial count is 0")
        self._divisor = divisor(self._divide_configuration)
        self._timer = self._timers.restore(timer, self._expire)

    def set_mode(self, mode: TimerMode) -> None:
        """One-shot and periodic share the running count; a change to or from TSC-deadline stops it."""
        self._catch_up()
        if mode is self._mode:
            return
        if TimerMode.TSC_DEADLINE in (mode, self._mode):
            self._stop()
        self._mode = mode

    @property
    def tsc_deadline(self) -> int:
        """IA32_TSC_DEADLINE: 0 when disarmed, and in every other mode."""
        return self._tsc_deadline

    @tsc_deadline.setter
    def tsc_deadline(self, deadline: int) -> None:
        if self._mode is not TimerMode.TSC_DEADLINE:
            return
        self._stop()
        self._tsc_deadline = deadline
        self.follow_counter()

    def follow_counter(self) -> None:
        """The time-stamp counter may have reached the deadline, or be nearer to it or farther from it than it was."""
        if not self._tsc_deadline:
            return
        remaining = self._tsc_deadline - self._counter.read()
        if remaining > 0:
            self._start(self._clock.now() + remaining)
        else:
            self._stop()
            self._expired()

    @property
    def initial_count(self) -> int:
        return self._initial_count

    @initial_count.setter
    def initial_count(self, count: int) -> None:
        """Starts the count, or stops it with 0. Without effect in TSC-deadline mode."""
        if self._mode is TimerMode.TSC_DEADLINE:
            return
        self._initial_count = count
        if count:
            self._start(self._clock.now() + count * self._divisor)
        else:
            self._stop()

    @property
    def current_count(self) -> int:
        self._catch_up()
        deadline = self._deadline
        if deadline is None or self._mode is TimerMode.TSC_DEADLINE:
            return 0
        remaining = deadline - self._clock.now()
        if self._mode is TimerMode.PERIODIC:
            remaining = (remaining - 1) % (self._initial_count * self._divisor) + 1
        return max(0, -(-remaining // self._divisor))

    @property
    def running(self) -> "RunningCount | None":
        """The count, while it is one that falls."""
        if self._deadline is None or self._mode is TimerMode.TSC_DEADLINE:
            return None
        period = self._initial_count * self._divisor if self._mode is TimerMode.PERIODIC else _NEVER
        return RunningCount(self._deadline, self._divisor, period)

    @property
    def divide_configuration(self) -> int:
        return self._divide_configuration

    @divide_configuration.setter
    def divide_configuration(self, configuration: int) -> None:
        """The count goes on from where it is, at the new speed."""
        count = self.current_count
        self._divide_configuration = configuration
        self._divisor = divisor(configuration)
        if count:
            self._start(self._clock.now() + count * self._divisor)

    def _catch_up(self) -> None:
        """Nobody may find the count at its end before the interrupt is on its way."""
        if self._timer is not None and self._deadline is not None and self._clock.now() >= self._deadline:
            self._timers.cancel(self._timer)
            self._expire()

    def _start(self, deadline: int) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
        self._deadline = min(deadline, _NEVER)
        self._timer = self._timers.at(self._deadline, self._expire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
        self._timer = None
        self._deadline = None
        self._tsc_deadline = 0

    def _expire(self) -> None:
        deadline, self._deadline, self._timer = self._deadline, None, None
        self._tsc_deadline = 0
        if deadline is not None and self._mode is TimerMode.PERIODIC:
            self._start(next_boundary(deadline, self._initial_count * self._divisor, self._clock.now(), SHORTEST_PERIOD))
        self._expired()
