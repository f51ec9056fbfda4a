"""The high precision event timer: a counter of 100 MHz and three comparators (IA-PC HPET Specification 1.0a).

It is built when a guest first looks at its page. Comparators interrupt by the I/O APIC, or in place of the 8254 and the real-time
clock; not by messages.
"""

from collections.abc import Callable
from typing import Final, Self

from kev.addressing import PAGE_SIZE, Gpa
from kev.clock import TIMER, Timer
from kev.dev.base import InterruptLine
from kev.dev.clocks.periodic import next_boundary
from kev.dev.surroundings import Surroundings
from kev.state import PART, TIME, Fields, State, bits, listed

COUNTER_PERIOD: Final = 10
"""Nanoseconds."""
SHORTEST_PERIOD: Final = 1000
"""Counts (10 us) between two interrupts of a comparator, at least."""
COMPARATORS: Final = 3

_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF


class Register:
    """Offsets; they have 64 bits."""

    CAPABILITIES: Final = 0x00
    CONFIGURATION: Final = 0x10
    STATUS: Final = 0x20
    COUNTER: Final = 0xF0
    FIRST_COMPARATOR: Final = 0x100
    """Each has 32 bytes: its configuration, and at 8 its value."""


_COMPARATOR_SIZE: Final = 0x20
_VALUE: Final = 8

_VENDOR: Final = 0x8086
_CAPABILITIES: Final = (
    COUNTER_PERIOD * 1_000_000 << 32  # femtoseconds
    | _VENDOR << 16
    | 1 << 15  # can replace the legacy timers
    | 1 << 13  # a counter of 64 bits
    | COMPARATORS - 1 << 8
    | 1  # revision
)
IDENTITY: Final = _CAPABILITIES & _MASK32
"""What the ACPI table says of it."""

ENABLED: Final = 1 << 0
REPLACES_LEGACY: Final = 1 << 1
"""Of the configuration."""

LEVEL_TRIGGERED: Final = 1 << 1
INTERRUPTS: Final = 1 << 2
PERIODIC: Final = 1 << 3
SETS_VALUE: Final = 1 << 6
USES_32_BITS: Final = 1 << 8
_ROUTE_SHIFT, _ROUTE = 9, 0x1F
_WRITABLE: Final = LEVEL_TRIGGERED | INTERRUPTS | PERIODIC | SETS_VALUE | USES_32_BITS | _ROUTE << _ROUTE_SHIFT
_ROUTES: Final = range(20, 24)
"""Inputs of the I/O APIC."""
_CONSTANT: Final = 1 << 4 | 1 << 5 | sum(1 << 32 + route for route in _ROUTES)
"""Of a comparator's configuration: it can be periodic, it has 64 bits, and where it can be routed to."""
_REPLACED: Final = (0, 8)
"""The ISA IRQs that the first two comparators take over."""


_FARTHEST: Final = 1 << 40
"""Counts (three hours) that a timer may be ahead."""


class Comparator:
    """What the counter is compared with."""

    __slots__ = ("configuration", "period", "timer", "value")

    _FIELDS: Final = Fields({"configuration": bits(14), "period": bits(64), "value": bits(64)}, timer=TIMER)

    def __init__(self) -> None:
        self.timer: Timer | None = None
        self.reset()

    def reset(self) -> None:
        self.configuration = 0
        self.period = 0
        self.value = _MASK64

    def save(self) -> State:
        return self._FIELDS.save(self, timer=self.timer)

    def load(self, called: str, state: State) -> tuple[int, int] | None:
        """Returns the timer that was saved."""
        timer: tuple[int, int] | None = self._FIELDS.load(self, called, state)["timer"]
        return timer

    @property
    def route(self) -> int:
        return self.configuration >> _ROUTE_SHIFT & _ROUTE

    @property
    def _mask(self) -> int:
        return _MASK32 if self.configuration & USES_32_BITS else _MASK64

    def write_value(self, value: int, mask: int) -> None:
        """The bits in `mask` of the value; in periodic mode of the period, and with SETS_VALUE of both (section 2.3.9.2.2)."""
        periodic = self.configuration & PERIODIC
        if not periodic or self.configuration & SETS_VALUE:
            self.value = self.value & ~mask | value & mask
        if periodic:
            self.period = self.period & ~mask | value & mask
        self.configuration &= ~SETS_VALUE

    def go_on(self, count: int) -> None:
        """A periodic one whose value is behind `count`, or equal to it, awaits its next value."""
        behind = count - self.value & self._mask
        if self.configuration & PERIODIC and self.period and behind <= self._mask >> 1:
            self.value = next_boundary(count - behind, self.period, count, SHORTEST_PERIOD) & self._mask

    def distance(self, count: int) -> int:
        """How far the counter has to go on from `count` until it equals the value."""
        return self.value - count & self._mask


class Hpet:
    """An `MmioDevice`."""

    name: Final = "HPET"
    gpa: Final = Gpa(0xFED0_0000)
    length: Final = PAGE_SIZE

    __slots__ = ("_clock", "_comparators", "_configuration", "_count", "_replacing", "_routed", "_started", "_status", "_timers")

    _FIELDS: Final = Fields(
        {"_configuration": bits(2), "_count": bits(64), "_started": TIME, "_status": bits(COMPARATORS)},
        comparators=listed(PART, COMPARATORS),
    )

    def __init__(self, machine: Surroundings) -> None:
        self._clock: Final = machine.clock
        self._timers: Final = machine.timers
        self._replacing: Final = tuple(machine.replacing_line(irq) for irq in _REPLACED)
        self._routed: Final = tuple({route: machine.line(route) for route in _ROUTES} for _ in range(COMPARATORS))
        self._comparators: Final = tuple(Comparator() for _ in range(COMPARATORS))
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine)

    def reset(self) -> None:
        self._status = 0
        """Of level-triggered interrupts, the comparators that assert theirs."""
        for comparator, routed in zip(self._comparators, self._routed, strict=True):
            self._cancel(comparator)
            comparator.reset()
            for line in routed.values():
                line(False)
        for replacing in self._replacing:
            replacing.line(False)
        self._configuration = 0
        self._count = 0
        """When the counter was started, or stopped."""
        self._started = 0
        self._replace(False)

    def save(self) -> State:
        return self._FIELDS.save(self, comparators=[comparator.save() for comparator in self._comparators])

    def load(self, state: State) -> None:
        self.reset()
        parts = self._FIELDS.load(self, self.name, state)
        self._replace(bool(self._configuration & REPLACES_LEGACY))
        for number, (comparator, saved) in enumerate(zip(self._comparators, parts["comparators"], strict=True)):
            timer = comparator.load(f"{self.name}, comparator {number}", saved)
            comparator.timer = self._timers.restore(timer, self._matching(number))
            self._drive(number)

    # Registers

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return self._read(offset & ~7) >> 8 * (offset & 7) & (1 << 8 * size) - 1

    def _read(self, register: int) -> int:
        match register:
            case Register.CAPABILITIES:
                return _CAPABILITIES
            case Register.CONFIGURATION:
                return self._configuration
            case Register.STATUS:
                return self._status
            case Register.COUNTER:
                return self._now()
        number, rest = divmod(register - Register.FIRST_COMPARATOR, _COMPARATOR_SIZE)
        if not 0 <= number < COMPARATORS:
            return 0
        comparator = self._comparators[number]
        if rest == _VALUE:
            self._catch_up(comparator)
            return comparator.value
        return comparator.configuration | _CONSTANT if not rest else 0

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        shift = 8 * (offset & 7)
        self._write(offset & ~7, value << shift, (1 << 8 * size) - 1 << shift & _MASK64)

    def _write(self, register: int, value: int, mask: int) -> None:
        """The bits in `mask` of a register."""
        match register:
            case Register.CONFIGURATION:
                self._configure(self._configuration & ~mask | value & mask & (ENABLED | REPLACES_LEGACY))
            case Register.STATUS:
                self._status &= ~(value & mask)
                self._drive_all()
            case Register.COUNTER:
                self._count, self._started = self._now() & ~mask | value & mask, self._clock.now()
                self._schedule_all()
            case _:
                number, rest = divmod(register - Register.FIRST_COMPARATOR, _COMPARATOR_SIZE)
                if 0 <= number < COMPARATORS:
                    self._write_comparator(number, rest, value, mask)

    def _configure(self, configuration: int) -> None:
        self._count, self._started = self._now(), self._clock.now()
        for number in range(COMPARATORS):
            self._line(number)(False)
        self._configuration = configuration
        self._replace(bool(configuration & REPLACES_LEGACY))
        self._drive_all()
        self._schedule_all()

    def _write_comparator(self, number: int, register: int, value: int, mask: int) -> None:
        comparator = self._comparators[number]
        self._catch_up(comparator)
        if register == _VALUE:
            comparator.write_value(value, mask)
        elif not register:
            self._line(number)(False)
            mask &= _WRITABLE
            comparator.configuration = comparator.configuration & ~mask | value & mask
            self._drive(number)
        self._schedule(number)

    # The counter

    def _now(self) -> int:
        if not self._configuration & ENABLED:
            return self._count
        return self._count + (self._clock.now() - self._started) // COUNTER_PERIOD & _MASK64

    def _catch_up(self, comparator: Comparator) -> None:
        if self._configuration & ENABLED:
            comparator.go_on(self._now())

    def _schedule_all(self) -> None:
        for number in range(COMPARATORS):
            self._schedule(number)

    def _schedule(self, number: int, passed: int = 0) -> None:
        """Awaits the next time that the counter equals the value, which it has `passed` 1 for now."""
        comparator = self._comparators[number]
        self._cancel(comparator)
        if not self._configuration & ENABLED or not comparator.configuration & INTERRUPTS:
            return
        ahead = self._now() + passed - self._count & _MASK64
        distance = ahead + comparator.distance(self._now() + passed & _MASK64)
        if distance - ahead <= _FARTHEST:
            comparator.timer = self._timers.at(self._started + distance * COUNTER_PERIOD, self._matching(number))

    def _cancel(self, comparator: Comparator) -> None:
        if comparator.timer is not None:
            self._timers.cancel(comparator.timer)
            comparator.timer = None

    def _matching(self, number: int) -> Callable[[], None]:
        return lambda: self._match(number)

    def _match(self, number: int) -> None:
        comparator = self._comparators[number]
        comparator.timer = None
        if comparator.configuration & LEVEL_TRIGGERED:
            self._status |= 1 << number
            self._drive(number)
        else:
            line = self._line(number)
            line(True)
            line(False)
        comparator.go_on(self._now())
        self._schedule(number, passed=1)

    # Interrupts

    def _line(self, number: int) -> InterruptLine:
        if self._configuration & REPLACES_LEGACY and number < len(_REPLACED):
            return self._replacing[number].line
        return self._routed[number].get(self._comparators[number].route, _unconnected)

    def _drive(self, number: int) -> None:
        self._line(number)(bool(self._status >> number & 1))

    def _drive_all(self) -> None:
        for number in range(COMPARATORS):
            self._drive(number)

    def _replace(self, replaced: bool) -> None:
        for line in self._replacing:
            line.switch(replaced)


def _unconnected(asserted: bool) -> None:
    """The line of a route that there is not."""
