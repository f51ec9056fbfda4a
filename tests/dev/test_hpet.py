"""The high precision event timer, as drivers program it."""

import pytest

from kev.dev.clocks.hpet import (
    ENABLED,
    INTERRUPTS,
    LEVEL_TRIGGERED,
    PERIODIC,
    REPLACES_LEGACY,
    SETS_VALUE,
    USES_32_BITS,
    Hpet,
    Register,
)
from tests.dev.rig import Access, Rig

MICROSECOND = 1000
COUNTS = 100
"""In a microsecond."""
IRQ0, IRQ8 = -1, -9
"""The rig's numbers of the lines that replace these."""


class Timer:
    """The device on a rig, with its registers."""

    def __init__(self) -> None:
        self.rig = Rig(lambda rig: [Hpet.built_for(rig.machine)])
        self.rig.events.clear()

    def read(self, register: int, size: int = 8) -> int:
        value = self.rig.do(Access("mmio", Hpet.gpa + register, size))
        assert isinstance(value, int)
        return value

    def write(self, register: int, value: int, size: int = 8) -> None:
        self.rig.do(Access("mmio", Hpet.gpa + register, size, value))

    def comparator(self, number: int, configuration: int, value: int, period: int | None = None) -> None:
        register = Register.FIRST_COMPARATOR + 0x20 * number
        self.write(register, configuration)
        self.write(register + 8, value)
        if period is not None:
            self.write(register + 8, period)

    def wait(self, microseconds: int) -> None:
        self.rig.do(Access("wait", value=microseconds * MICROSECOND))

    def rises(self, line: int) -> list[int]:
        """When a line has risen, in microseconds."""
        edges = [event for event in self.rig.events if isinstance(event, tuple) and event[0] == line]
        return [time // MICROSECOND for _, asserted, time in edges if asserted is True]


def route(number: int) -> int:
    return number << 9


def test_the_counter_counts_at_the_announced_rate_while_it_is_enabled() -> None:
    timer = Timer()
    femtoseconds = timer.read(Register.CAPABILITIES) >> 32
    timer.wait(7)
    assert timer.read(Register.COUNTER) == 0
    timer.write(Register.CONFIGURATION, ENABLED)
    timer.wait(7)
    count = timer.read(Register.COUNTER)
    assert count * femtoseconds == 7 * 10**9
    timer.write(Register.CONFIGURATION, 0)
    timer.wait(7)
    assert timer.read(Register.COUNTER) == count


def test_the_counter_can_be_set_and_read_by_halves() -> None:
    timer = Timer()
    timer.write(Register.COUNTER, 0x1234_5678, size=4)
    timer.write(Register.COUNTER + 4, 0x9ABC, size=4)
    assert timer.read(Register.COUNTER) == 0x9ABC_1234_5678
    assert timer.read(Register.COUNTER + 4, size=4) == 0x9ABC


def test_a_comparator_interrupts_once_at_its_value() -> None:
    timer = Timer()
    timer.comparator(2, INTERRUPTS | route(21), 50 * COUNTS)
    timer.write(Register.CONFIGURATION, ENABLED)
    timer.wait(49)
    assert timer.rises(21) == []
    timer.wait(500)
    assert timer.rises(21) == [50]


def test_a_periodic_comparator_interrupts_again_and_again() -> None:
    timer = Timer()
    timer.write(Register.CONFIGURATION, ENABLED)
    timer.wait(30)
    timer.comparator(0, INTERRUPTS | PERIODIC | SETS_VALUE | route(20), (30 + 50) * COUNTS, 20 * COUNTS)
    timer.wait(100)
    assert timer.rises(20) == [80, 100, 120]
    assert timer.read(Register.FIRST_COMPARATOR + 8) == 140 * COUNTS


def test_a_comparator_of_32_bits_matches_whenever_these_are_equal() -> None:
    timer = Timer()
    timer.write(Register.COUNTER, 0x1_FFFF_F000)
    timer.comparator(1, INTERRUPTS | USES_32_BITS | route(20), 0x0400)
    timer.write(Register.CONFIGURATION, ENABLED)
    timer.wait(1000)
    assert timer.rises(20) == [(0x1000 + 0x400) // COUNTS]
    timer.wait(43_000_000)
    assert len(timer.rises(20)) == 2


def test_a_level_triggered_interrupt_stays_until_its_status_is_cleared() -> None:
    timer = Timer()
    timer.comparator(1, INTERRUPTS | LEVEL_TRIGGERED | route(23), 10 * COUNTS)
    timer.write(Register.CONFIGURATION, ENABLED)
    timer.wait(20)
    assert timer.rig.levels[23]
    assert timer.read(Register.STATUS) == 1 << 1
    timer.write(Register.STATUS, 1 << 0)
    assert timer.rig.levels[23]
    timer.write(Register.STATUS, 1 << 1)
    assert not timer.rig.levels[23]


@pytest.mark.parametrize(("number", "line"), [(0, IRQ0), (1, IRQ8)])
def test_the_first_two_replace_the_legacy_timers(number: int, line: int) -> None:
    timer = Timer()
    timer.comparator(number, INTERRUPTS | route(20), 10 * COUNTS)
    timer.write(Register.CONFIGURATION, ENABLED | REPLACES_LEGACY)
    assert {event[0] for event in timer.rig.events if isinstance(event, tuple) and event[1:] == ("replaced", True)} == {0, 8}
    timer.wait(20)
    assert timer.rises(line) == [10]
    assert timer.rises(20) == []


def test_what_a_route_does_not_lead_to_is_not_interrupted() -> None:
    timer = Timer()
    timer.comparator(0, INTERRUPTS | route(3), 10 * COUNTS)
    timer.write(Register.CONFIGURATION, ENABLED)
    timer.wait(20)
    assert not any(timer.rig.levels.values())
    assert timer.rig.events[-1] != (3, True, 10 * MICROSECOND)


def test_no_period_keeps_the_machine_busy() -> None:
    timer = Timer()
    timer.comparator(0, INTERRUPTS | PERIODIC | SETS_VALUE | route(20), 1, 1)
    timer.write(Register.CONFIGURATION, ENABLED)
    timer.wait(1000)
    assert 50 <= len(timer.rises(20)) <= 101
