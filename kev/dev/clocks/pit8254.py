"""The 8254 interval timer of a PC, and port 0x61: gate and output of its third counter (Intel 8254 and PIIX datasheets)."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import attrs

from kev.clock import Clock, Timer, TimerQueue
from kev.dev.base import InterruptLine
from kev.dev.clocks.periodic import next_boundary

FREQUENCY: Final = 1_193_182
"""Counts a second."""
SHORTEST_PERIOD: Final = 12
"""Counts (10 us) between two interrupts, at least. The counter itself runs as programmed."""

_POLLING_INTERVAL: Final = 4096
"""Counts (3.4 ms) between two reads by somebody who waits for a count."""

_NANOSECONDS: Final = 1_000_000_000
_REFRESH_PERIOD: Final = 15_085
"""Nanoseconds between two requests to refresh memory: 18 counts."""


class Mode(IntEnum):
    INTERRUPT_ON_TERMINAL_COUNT = 0
    HARDWARE_ONE_SHOT = 1
    RATE_GENERATOR = 2
    SQUARE_WAVE = 3
    SOFTWARE_STROBE = 4
    HARDWARE_STROBE = 5


_PERIODIC: Final = frozenset({Mode.RATE_GENERATOR, Mode.SQUARE_WAVE})
_TRIGGERED: Final = frozenset({Mode.HARDWARE_ONE_SHOT, Mode.HARDWARE_STROBE})
"""The modes that start with a rising gate instead of a count."""


class Access(IntEnum):
    """Which bytes of the count are read and written."""

    LATCH = 0
    LOW = 1
    HIGH = 2
    LOW_THEN_HIGH = 3


@attrs.define(eq=False, repr=False, slots=True)
class Counter:
    """One of the three counters. Every method is told the time, in counts since the machine was switched on."""

    _mode: Mode = Mode.INTERRUPT_ON_TERMINAL_COUNT
    _access: Access = Access.LOW_THEN_HIGH
    _bcd: bool = False
    _gate: bool = True
    _count: int | None = None
    """What it counts down from; None from the control word until the count is written."""
    _start: int | None = None
    """When it began to count down."""
    _held: int | None = None
    """How far it had come when the gate stopped it."""
    _low_byte: int | None = None
    """Written, and waiting for the high byte."""
    _reads_high: bool = False
    _latched_count: int | None = None
    _latched_status: int | None = None
    _polled: int | None = None
    """How far it had come when a count was read last."""

    def program(self, access: Access, mode: Mode, bcd: bool) -> None:
        """A control word: the counter stops until its count is written."""
        self._access, self._mode, self._bcd = access, mode, bcd
        self._count = self._start = self._held = self._low_byte = None
        self._latched_count = self._latched_status = self._polled = None
        self._reads_high = False

    def write(self, now: int, byte: int) -> None:
        if self._access is Access.LOW:
            self._load(now, byte)
        elif self._access is Access.HIGH:
            self._load(now, byte << 8)
        elif self._low_byte is None:
            self._low_byte = byte
            if self._mode is Mode.INTERRUPT_ON_TERMINAL_COUNT:
                self._start = None
        else:
            self._load(now, byte << 8 | self._low_byte)
            self._low_byte = None

    def _load(self, now: int, value: int) -> None:
        self._count = (_from_bcd(value) if self._bcd else value) or self._modulus
        if self._mode not in _TRIGGERED:
            self._start = now
            self._held = None if self._gate else 0

    @property
    def _modulus(self) -> int:
        return 10_000 if self._bcd else 0x1_0000

    def set_gate(self, now: int, gate: bool) -> None:
        if gate == self._gate:
            return
        self._gate = gate
        if not gate:
            if self._mode not in _TRIGGERED:
                self._held = self._elapsed(now)
        elif self._mode in _TRIGGERED or self._mode in _PERIODIC:
            self._start = None if self._count is None else now
            self._held = None
        elif self._held is not None:
            self._start = now - self._held
            self._held = None

    def _elapsed(self, now: int) -> int | None:
        if self._held is not None:
            return self._held
        return None if self._start is None else now - self._start

    def output(self, now: int) -> bool:
        elapsed, count = self._elapsed(now), self._count
        if elapsed is None or count is None:
            return self._mode is not Mode.INTERRUPT_ON_TERMINAL_COUNT
        if self._mode in _PERIODIC:
            if self._held is not None:
                return True
            phase = elapsed % count
            return phase != count - 1 if self._mode is Mode.RATE_GENERATOR else phase < (count + 1) // 2
        if self._mode in (Mode.INTERRUPT_ON_TERMINAL_COUNT, Mode.HARDWARE_ONE_SHOT):
            return elapsed >= count
        return elapsed != count

    def next_rise(self, now: int) -> int | None:
        """When the output rises next, after `now`."""
        if self._start is None or self._held is not None or self._count is None:
            return None
        if self._mode in _PERIODIC:
            return next_boundary(self._start, self._count, now, SHORTEST_PERIOD)
        strobe = self._mode in (Mode.SOFTWARE_STROBE, Mode.HARDWARE_STROBE)
        rise = self._start + self._count + strobe
        return rise if rise > now else None

    def value(self, now: int) -> int:
        """The counting element, 16 bits, in BCD if it counts so."""
        elapsed, count = self._elapsed(now), self._count
        if elapsed is None or count is None:
            return 0
        if self._mode is Mode.RATE_GENERATOR:
            value = count - elapsed % count
        elif self._mode is Mode.SQUARE_WAVE:
            value = count - 2 * elapsed % count
        else:
            value = count - elapsed
        value %= self._modulus
        return _to_bcd(value) if self._bcd else value

    def latch_count(self, now: int) -> None:
        """Holds the count for the next reads; a count that is already held stays."""
        if self._latched_count is None:
            self._latched_count = self.value(now)

    def latch_status(self, now: int) -> None:
        if self._latched_status is None:
            null_count = self._count is None
            self._latched_status = self.output(now) << 7 | null_count << 6 | self._access << 4 | self._mode << 1 | int(self._bcd)

    def read(self, now: int) -> int:
        if self._latched_status is not None:
            status, self._latched_status = self._latched_status, None
            return status
        if self._latched_count is None and not self._reads_high:
            self._show_zero(now)
        value = self.value(now) if self._latched_count is None else self._latched_count
        high = self._access is Access.HIGH or self._reads_high
        if self._access is Access.LOW_THEN_HIGH:
            self._reads_high = not self._reads_high
        if not self._reads_high:
            self._latched_count = None
        return value >> 8 if high else value & 0xFF

    def _show_zero(self, now: int) -> None:
        """Lets a guest that polls the count see the 0 that came between two of its reads.

        On a real PC a read takes about as long as a count, so that hardly any is missed. Here it takes several.
        """
        elapsed, before = self._elapsed(now), self._polled
        self._polled = elapsed
        if elapsed is None or before is None or self._count is None or self._mode in _PERIODIC:
            return
        is_polling = 0 < elapsed - before < _POLLING_INTERVAL
        if is_polling and (elapsed - self._count) // self._modulus > (before - self._count) // self._modulus:
            self._latched_count = 0


def _from_bcd(value: int) -> int:
    return sum((value >> 4 * digit & 0xF) * 10**digit for digit in range(4))


def _to_bcd(value: int) -> int:
    return sum(value // 10**digit % 10 << 4 * digit for digit in range(4))


class Pit8254:
    """A `PortDevice`: counters at 0x40 to 0x42, control at 0x43, gate and output of counter 2 at 0x61. Counter 0 drives `irq`."""

    __slots__ = ("_clock", "_counters", "_irq", "_port61", "_timer", "_timers")

    ports: Final[Sequence[range]] = (range(0x40, 0x44), range(0x61, 0x62))

    def __init__(self, clock: Clock, timers: TimerQueue, irq: InterruptLine) -> None:
        self._clock = clock
        self._timers = timers
        self._irq = irq
        self._timer: Timer | None = None
        self._counters: Final = (Counter(), Counter(), Counter(gate=False))
        self._port61 = 0
        """Bits 0-3 of port 0x61: gate of counter 2, speaker, and two error enables."""

    def read_port(self, port: int, size: int) -> int:
        now = self._now()
        if port == 0x61:
            refresh = self._clock.now() // _REFRESH_PERIOD & 1
            return self._counters[2].output(now) << 5 | refresh << 4 | self._port61
        if port == 0x43:
            return 0xFF
        return self._counters[port - 0x40].read(now)

    def write_port(self, port: int, size: int, value: int) -> None:
        value &= 0xFF
        if port == 0x61:
            self._port61 = value & 0xF
            self._counters[2].set_gate(self._now(), bool(value & 1))
        elif port == 0x43:
            self._control(value)
        else:
            self._counters[port - 0x40].write(self._now(), value)
            if port == 0x40:
                self._restart_interrupts()

    def _now(self) -> int:
        return self._clock.now() * FREQUENCY // _NANOSECONDS

    def _control(self, value: int) -> None:
        if value >> 6 == 3:
            self._read_back(value)
            return
        counter = self._counters[value >> 6]
        access = Access(value >> 4 & 3)
        if access is Access.LATCH:
            counter.latch_count(self._now())
            return
        mode = value >> 1 & 7
        counter.program(access, Mode(mode if mode <= Mode.HARDWARE_STROBE else mode & 3), bool(value & 1))
        if counter is self._counters[0]:
            self._restart_interrupts()

    def _read_back(self, value: int) -> None:
        now = self._now()
        for index, counter in enumerate(self._counters):
            if value & 2 << index:
                if not value & 0x20:
                    counter.latch_count(now)
                if not value & 0x10:
                    counter.latch_status(now)

    def _restart_interrupts(self) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
        self._irq(False)
        self._schedule()

    def _schedule(self) -> None:
        rise = self._counters[0].next_rise(self._now())
        self._timer = None if rise is None else self._timers.at(-(-rise * _NANOSECONDS // FREQUENCY), self._rise)

    def _rise(self) -> None:
        self._irq(False)
        self._irq(True)
        self._schedule()
