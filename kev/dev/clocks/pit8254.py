"""The 8254 interval timer of a PC, and port 0x61: gate and output of its third counter (Intel 8254 and PIIX datasheets)."""

from collections.abc import Sequence
from typing import Final, Self

from kev.clock import TIMER, Clock, Timer, TimerQueue
from kev.dev.base import InterruptLine
from kev.dev.clocks.periodic import next_boundary
from kev.dev.surroundings import Surroundings
from kev.state import FLAG, PART, Fields, State, StateError, bits, integers, listed, optional

_IRQ: Final = 0
FREQUENCY: Final = 1_193_182
"""Counts a second."""
SHORTEST_PERIOD: Final = 12
"""Counts (10 us) between two interrupts, at least. The counter itself runs as programmed."""

_POLLING_INTERVAL: Final = 4096
"""Counts (3.4 ms) between two reads by somebody who waits for a count."""

_NANOSECONDS: Final = 1_000_000_000
_REFRESH_PERIOD: Final = 15_085
"""Nanoseconds between two requests to refresh memory: 18 counts."""


class Mode:
    """How a counter counts, and what its output does."""

    INTERRUPT_ON_TERMINAL_COUNT: Final = 0
    HARDWARE_ONE_SHOT: Final = 1
    RATE_GENERATOR: Final = 2
    SQUARE_WAVE: Final = 3
    SOFTWARE_STROBE: Final = 4
    HARDWARE_STROBE: Final = 5


_PERIODIC: Final = frozenset({Mode.RATE_GENERATOR, Mode.SQUARE_WAVE})
_TRIGGERED: Final = frozenset({Mode.HARDWARE_ONE_SHOT, Mode.HARDWARE_STROBE})
"""The modes that start with a rising gate instead of a count."""


class Access:
    """Which bytes of the count are read and written."""

    LATCH: Final = 0
    LOW: Final = 1
    HIGH: Final = 2
    LOW_THEN_HIGH: Final = 3


_COUNT: Final = integers(1, 0x1_0000)
_COUNTS: Final = integers(-0x1_0000, 1 << 63)
"""Since the machine was switched on, or between two moments."""


class Counter:
    """One of the three counters. Every method is told the time, in counts since the machine was switched on."""

    __slots__ = (
        "_access",
        "_bcd",
        "_count",
        "_gate",
        "_held",
        "_latched_count",
        "_latched_status",
        "_low_byte",
        "_mode",
        "_next_count",
        "_polled",
        "_reads_high",
        "_start",
        "_takes_next",
    )

    _FIELDS: Final = Fields(
        {
            "_mode": integers(0, Mode.HARDWARE_STROBE),
            "_access": integers(Access.LOW, Access.LOW_THEN_HIGH),
            "_bcd": FLAG,
            "_gate": FLAG,
            "_count": optional(_COUNT),
            "_next_count": optional(_COUNT),
            "_takes_next": optional(_COUNTS),
            "_start": optional(_COUNTS),
            "_held": optional(_COUNTS),
            "_low_byte": optional(bits(8)),
            "_reads_high": FLAG,
            "_latched_count": optional(bits(16)),
            "_latched_status": optional(bits(8)),
            "_polled": optional(_COUNTS),
        }
    )

    def __init__(self, gate: bool) -> None:
        self.reset(gate)

    def reset(self, gate: bool) -> None:
        self._gate = gate
        self.program(Access.LOW_THEN_HIGH, Mode.INTERRUPT_ON_TERMINAL_COUNT, bcd=False)

    def save(self) -> State:
        return self._FIELDS.save(self)

    def load(self, called: str, state: State) -> None:
        self._FIELDS.load(self, called, state)
        needed = (self._count, self._next_count, self._start)
        if self._takes_next is not None and None in needed:
            raise StateError(called, "takes_next", self._takes_next, "None while there is no count to replace, or none to take")
        if self._start is not None and self._count is None:
            raise StateError(called, "count", None, "there, since it has started")

    def program(self, access: int, mode: int, bcd: bool) -> None:
        """A control word: the counter stops until its count is written."""
        self._access, self._mode, self._bcd = access, mode, bcd
        self._count: int | None = None
        """What it counts down from; None from the control word until the first count is loaded."""
        self._next_count: int | None = None
        """Written, and not loaded yet."""
        self._takes_next: int | None = None
        """When that will be, if it is a matter of time."""
        self._start: int | None = None
        """When it began to count down."""
        self._held: int | None = None
        """How far it had come when the gate stopped it."""
        self._low_byte: int | None = None
        """Written, and waiting for the high byte."""
        self._reads_high = False
        self._latched_count: int | None = None
        self._latched_status: int | None = None
        self._polled: int | None = None
        """How far it had come when a count was read last."""

    def write(self, now: int, byte: int) -> None:
        if self._access == Access.LOW:
            self._write_count(now, byte)
        elif self._access == Access.HIGH:
            self._write_count(now, byte << 8)
        elif self._low_byte is None:
            self._low_byte = byte
            if self._mode == Mode.INTERRUPT_ON_TERMINAL_COUNT:
                self._start = None
        else:
            low, self._low_byte = self._low_byte, None
            self._write_count(now, byte << 8 | low)

    def _write_count(self, now: int, value: int) -> None:
        """Loads a count, or has it wait for the trigger or the end of the period in the modes that do."""
        self._catch_up(now)
        count = (_from_bcd(value) if self._bcd else value) or self._modulus
        if self._mode in _TRIGGERED:
            self._next_count = count
        elif self._mode in _PERIODIC and self._count is not None:
            self._next_count = count
            if self._takes_next is None and self._held is None:
                self._takes_next = self._end_of_cycle(now)
        else:
            self._count = count
            self._start = now
            self._held = None if self._gate else 0

    def _end_of_cycle(self, now: int) -> int:
        """When the period ends that `now` is in; of a square wave, the half of it."""
        assert self._count is not None
        assert self._start is not None
        phase = (now - self._start) % self._count
        half = (self._count + 1) // 2
        length = half if self._mode == Mode.SQUARE_WAVE and phase < half else self._count
        return now - phase + length

    def _catch_up(self, now: int) -> None:
        """Loads the count that was to be loaded until now."""
        if self._takes_next is None or now < self._takes_next:
            return
        assert self._count is not None
        assert self._next_count is not None
        assert self._start is not None
        was_high = self._mode == Mode.SQUARE_WAVE and (self._takes_next - self._start) % self._count != 0
        # A square wave that was high goes on with its low half.
        self._start = self._takes_next - ((self._next_count + 1) // 2 if was_high else 0)
        self._take_next_count()

    def _take_next_count(self) -> None:
        if self._next_count is not None:
            self._count = self._next_count
        self._next_count = self._takes_next = None

    @property
    def _modulus(self) -> int:
        return 10_000 if self._bcd else 0x1_0000

    def set_gate(self, now: int, gate: bool) -> None:
        if gate == self._gate:
            return
        self._catch_up(now)
        self._gate = gate
        if not gate:
            if self._mode not in _TRIGGERED:
                self._held = self._elapsed(now)
                self._takes_next = None
        elif self._mode in _TRIGGERED or self._mode in _PERIODIC:
            self._take_next_count()
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
        self._catch_up(now)
        elapsed, count = self._elapsed(now), self._count
        if elapsed is None or count is None:
            return self._mode != Mode.INTERRUPT_ON_TERMINAL_COUNT
        if self._mode in _PERIODIC:
            if self._held is not None:
                return True
            phase = elapsed % count
            return phase != count - 1 if self._mode == Mode.RATE_GENERATOR else phase < (count + 1) // 2
        if self._mode in (Mode.INTERRUPT_ON_TERMINAL_COUNT, Mode.HARDWARE_ONE_SHOT):
            return elapsed >= count
        return elapsed != count

    def next_rise(self, now: int) -> int | None:
        """When the output rises next, after `now`."""
        self._catch_up(now)
        start, count, following = self._start, self._count, self._next_count
        if start is None or self._held is not None or count is None:
            return None
        if self._mode not in _PERIODIC:
            strobe = self._mode in (Mode.SOFTWARE_STROBE, Mode.HARDWARE_STROBE)
            return start + count + strobe if start + count + strobe > now else None
        if self._takes_next is None or following is None:
            return next_boundary(start, count, now, SHORTEST_PERIOD)
        ends_period = (self._takes_next - start) % count == 0
        return self._takes_next if ends_period else self._takes_next + following // 2

    def value(self, now: int) -> int:
        """The counting element, 16 bits, in BCD if it counts so."""
        self._catch_up(now)
        elapsed, count = self._elapsed(now), self._count
        if elapsed is None or count is None:
            return 0
        if self._mode == Mode.RATE_GENERATOR:
            value = count - elapsed % count
        elif self._mode == Mode.SQUARE_WAVE:
            # By two, from an even number: a high half of an odd count is one longer, and ends with 0.
            phase, half = elapsed % count, (count + 1) // 2
            value = (count & ~1) - 2 * (phase if phase < half else phase - half)
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
            output = self.output(now)
            null_count = self._count is None or self._next_count is not None
            self._latched_status = output << 7 | null_count << 6 | self._access << 4 | self._mode << 1 | int(self._bcd)

    def read(self, now: int) -> int:
        if self._latched_status is not None:
            status, self._latched_status = self._latched_status, None
            return status
        if self._latched_count is None and not self._reads_high:
            self._show_zero(now)
        value = self.value(now) if self._latched_count is None else self._latched_count
        high = self._access == Access.HIGH or self._reads_high
        if self._access == Access.LOW_THEN_HIGH:
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


_GATES: Final = (True, True, False)
"""Of the counters, when the machine is switched on."""
_READ_BACK: Final = 3
"""The number in a control word that is no counter's."""


class Pit8254:
    """A `PortDevice`: counters at 0x40 to 0x42, control at 0x43, gate and output of counter 2 at 0x61. Counter 0 drives `irq`."""

    __slots__ = ("_asserted", "_clock", "_counters", "_irq", "_port61", "_timer", "_timers")

    _FIELDS: Final = Fields({"_asserted": FLAG, "_port61": bits(4)}, counters=listed(PART, 3), timer=TIMER)

    name: Final = "8254 timer"
    ports: Final[Sequence[range]] = (range(0x40, 0x44), range(0x61, 0x62))

    def __init__(self, clock: Clock, timers: TimerQueue, irq: InterruptLine) -> None:
        self._clock = clock
        self._timers = timers
        self._irq = irq
        self._timer: Timer | None = None
        self._counters: Final = tuple(Counter(gate) for gate in _GATES)
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.clock, machine.timers, machine.line(_IRQ))

    def reset(self) -> None:
        for counter, gate in zip(self._counters, _GATES, strict=True):
            counter.reset(gate)
        self._port61 = 0
        """Bits 0-3 of port 0x61: gate of counter 2, speaker, and two error enables."""
        self._stop_timer()
        self._set_interrupt(False)

    def save(self) -> State:
        return self._FIELDS.save(self, counters=[counter.save() for counter in self._counters], timer=self._timer)

    def load(self, state: State) -> None:
        self._stop_timer()
        parts = self._FIELDS.load(self, self.name, state)
        for number, (counter, saved) in enumerate(zip(self._counters, parts["counters"], strict=True)):
            counter.load(f"{self.name}, counter {number}", saved)
        self._timer = self._timers.restore(parts["timer"], self._rise)
        self._irq(self._asserted)

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
        number, access, mode = value >> 6, value >> 4 & 3, value >> 1 & 7
        if number == _READ_BACK:
            self._read_back(value)
        elif access == Access.LATCH:
            self._counters[number].latch_count(self._now())
        else:
            self._counters[number].program(access, mode if mode <= Mode.HARDWARE_STROBE else mode & 3, bool(value & 1))
            if number == 0:
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
        self._stop_timer()
        self._set_interrupt(False)
        self._schedule()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None

    def _schedule(self) -> None:
        rise = self._counters[0].next_rise(self._now())
        self._timer = None if rise is None else self._timers.at(-(-rise * _NANOSECONDS // FREQUENCY), self._rise)

    def _set_interrupt(self, asserted: bool) -> None:
        self._asserted = asserted
        self._irq(asserted)

    def _rise(self) -> None:
        self._set_interrupt(False)
        self._set_interrupt(True)
        self._schedule()
