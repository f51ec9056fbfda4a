"""The real-time clock and CMOS memory."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, KIB, MIB
from kev.clock import TimerQueue, VirtualClock
from kev.dev.base import PortDevice
from kev.dev.clocks.rtc import Rtc

SECOND = 10**9
BINARY, HOURS_24, SET = 0x04, 0x02, 0x80
PERIODIC, ALARM, UPDATE = 0x40, 0x20, 0x10
A, B, C, D = 0x0A, 0x0B, 0x0C, 0x0D
NOON = datetime(2024, 2, 29, 12, 34, 56, tzinfo=UTC)
MIDNIGHT = datetime(2024, 12, 31, 0, 0, 0, tzinfo=UTC)
ANY = 0xFF


class Cmos:
    def __init__(self, boot: datetime = NOON, low_ram: int = 128 * MIB, high_ram: int = 0) -> None:
        self.clock = VirtualClock()
        self.timers = TimerQueue(self.clock)
        self.asserted = False
        self.edges: list[int] = []
        boot_time = int(boot.timestamp())
        self.device = Rtc(self.clock, self.timers, self._set_irq, boot_time, low_ram, high_ram)

    def _set_irq(self, asserted: bool) -> None:
        if asserted and not self.asserted:
            self.edges.append(self.clock.now())
        self.asserted = asserted

    def advance(self, nanoseconds: int) -> None:
        end = self.clock.now() + nanoseconds
        while (deadline := self.timers.next_deadline()) is not None and deadline <= end:
            self.clock.advance_to(deadline)
            self.timers.run_due()
        self.clock.advance_to(end)

    def read(self, register: int) -> int:
        self.device.write_port(0x70, 1, register)
        return self.device.read_port(0x71, 1)

    def write(self, register: int, value: int) -> None:
        self.device.write_port(0x70, 1, register)
        self.device.write_port(0x71, 1, value)

    def time(self) -> list[int]:
        """Century, year, month, day, hours, minutes, seconds, as the registers have them."""
        return [self.read(register) for register in (0x32, 9, 8, 7, 4, 2, 0)]

    def set_alarm(self, hours: int, minutes: int, seconds: int) -> None:
        for register, value in ((5, hours), (3, minutes), (1, seconds)):
            self.write(register, value)


def test_it_is_a_port_device() -> None:
    device = Cmos().device
    assert isinstance(device, PortDevice)
    assert list(device.ports) == [range(0x70, 0x72)]


# Date and time


def test_it_starts_in_bcd_and_24_hours_with_valid_memory() -> None:
    cmos = Cmos()
    assert (cmos.read(A), cmos.read(B), cmos.read(C), cmos.read(D)) == (0x26, HOURS_24, 0, 0x80)


def test_it_tells_the_time_since_boot() -> None:
    cmos = Cmos()
    assert cmos.time() == [0x20, 0x24, 0x02, 0x29, 0x12, 0x34, 0x56]
    cmos.advance(12 * 3600 * SECOND)
    assert cmos.time() == [0x20, 0x24, 0x03, 0x01, 0x00, 0x34, 0x56]


def test_binary_mode_shows_plain_numbers() -> None:
    cmos = Cmos()
    cmos.write(B, HOURS_24 | BINARY)
    assert cmos.time() == [20, 24, 2, 29, 12, 34, 56]


@pytest.mark.parametrize(("hour", "shown"), [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)])
def test_12_hour_mode_marks_the_afternoon(hour: int, shown: int) -> None:
    cmos = Cmos(NOON.replace(hour=hour))
    cmos.write(B, 0)
    assert cmos.read(4) == shown


@pytest.mark.parametrize(("day", "expected"), [(25, 1), (26, 2), (29, 5)])
def test_the_day_of_the_week_counts_from_sunday(day: int, expected: int) -> None:
    assert Cmos(NOON.replace(day=day)).read(6) == expected


def test_the_time_stands_still_while_it_is_set() -> None:
    cmos = Cmos()
    cmos.write(B, HOURS_24 | SET)
    cmos.advance(10 * SECOND)
    assert cmos.read(0) == 0x56
    cmos.write(0, 0x10)
    cmos.write(2, 0x11)
    assert (cmos.read(0), cmos.read(2)) == (0x10, 0x11)
    cmos.write(B, HOURS_24)
    cmos.advance(2 * SECOND)
    assert (cmos.read(0), cmos.read(2)) == (0x12, 0x11)


def test_the_fields_may_be_set_in_any_order() -> None:
    cmos = Cmos(datetime(2024, 2, 1, tzinfo=UTC))
    cmos.write(B, HOURS_24 | SET)
    cmos.write(7, 0x31)
    cmos.write(8, 0x01)
    cmos.write(B, HOURS_24)
    assert cmos.time()[:4] == [0x20, 0x24, 0x01, 0x31]


def test_a_field_may_be_set_while_the_clock_runs() -> None:
    cmos = Cmos()
    cmos.write(4, 0x20)
    assert cmos.time()[4:] == [0x20, 0x34, 0x56]


def test_nonsense_in_the_fields_does_no_harm() -> None:
    cmos = Cmos()
    cmos.write(B, HOURS_24 | SET)
    for register in (0x32, 9, 8, 7, 6, 4, 2, 0):
        cmos.write(register, 0xFF)
        assert cmos.read(register) <= 0xFF
    cmos.write(B, HOURS_24)
    assert cmos.read(8) <= 0x12


@given(
    boot=st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31)),
    target=st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31)),
    mode=st.sampled_from([0, BINARY, HOURS_24, BINARY | HOURS_24]),
)
def test_a_time_that_was_set_is_read_back_in_every_format(boot: datetime, target: datetime, mode: int) -> None:
    cmos = Cmos(boot.replace(microsecond=0, tzinfo=UTC))
    hour = target.hour if mode & HOURS_24 else target.hour % 12 or 12
    fields = [target.year // 100, target.year % 100, target.month, target.day, hour, target.minute, target.second]
    encoded = fields if mode & BINARY else [int(str(field), 16) for field in fields]
    if not mode & HOURS_24 and target.hour >= 12:
        encoded[4] |= 0x80
    cmos.write(B, SET | mode)
    for register, value in zip((0x32, 9, 8, 7, 4, 2, 0), encoded, strict=True):
        cmos.write(register, value)
    cmos.write(B, mode)
    assert cmos.time() == encoded
    cmos.advance(86_400 * SECOND)
    tomorrow = target + timedelta(days=1)
    cmos.write(B, BINARY | HOURS_24)
    assert cmos.time()[1:4] == [tomorrow.year % 100, tomorrow.month, tomorrow.day]


def test_update_in_progress_announces_the_next_second() -> None:
    cmos = Cmos()
    cmos.advance(SECOND - 244_001)
    assert cmos.read(A) == 0x26
    cmos.advance(1)
    assert cmos.read(A) == 0xA6
    cmos.advance(244_000)
    assert cmos.read(A) == 0x26


# Interrupts


def test_flags_show_what_has_happened_without_any_interrupt() -> None:
    cmos = Cmos()
    assert cmos.read(C) == 0
    cmos.advance(SECOND)
    assert cmos.read(C) == PERIODIC | UPDATE
    assert cmos.read(C) == 0
    assert cmos.edges == []
    assert cmos.timers.next_deadline() is None


def test_the_update_interrupt_comes_every_second_that_is_acknowledged() -> None:
    cmos = Cmos()
    cmos.write(B, HOURS_24 | UPDATE)
    cmos.advance(3 * SECOND)
    assert cmos.edges == [SECOND]
    assert cmos.read(C) == 0x80 | UPDATE | PERIODIC
    assert not cmos.asserted
    cmos.advance(SECOND)
    assert cmos.edges == [SECOND, 4 * SECOND]


@pytest.mark.parametrize(("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)])
def test_the_periodic_interrupt_comes_at_the_selected_rate(rate: int, hertz: int) -> None:
    cmos = Cmos()
    cmos.write(A, 0x20 | rate)
    cmos.write(B, HOURS_24 | PERIODIC)
    cmos.read(C)
    while cmos.clock.now() < SECOND:
        deadline = cmos.timers.next_deadline()
        assert deadline is not None
        cmos.advance(deadline - cmos.clock.now())
        cmos.read(C)
    assert len(cmos.edges) == hertz
    assert cmos.edges[0] == -(-SECOND // hertz)


class HastyClock:
    """A millisecond passes whenever somebody looks."""

    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        self.time += SECOND // 1000
        return self.time


def test_an_interrupt_that_comes_while_the_last_one_is_acknowledged_has_an_edge_of_its_own() -> None:
    clock, levels = HastyClock(), list[bool]()
    device = Rtc(clock, TimerQueue(clock), levels.append, 0, MIB)
    for port, value in ((0x70, B), (0x71, PERIODIC), (0x70, C)):
        device.write_port(port, 1, value)
    levels.clear()
    assert device.read_port(0x71, 1) & PERIODIC
    assert levels == [False, True]


def test_rate_0_is_no_periodic_interrupt() -> None:
    cmos = Cmos()
    cmos.write(A, 0x20)
    cmos.write(B, HOURS_24 | PERIODIC)
    cmos.advance(10 * SECOND)
    assert (cmos.edges, cmos.read(C) & PERIODIC) == ([], 0)


def test_the_alarm_comes_at_its_time_every_day() -> None:
    cmos = Cmos(MIDNIGHT)
    cmos.set_alarm(0x06, 0x30, 0x15)
    cmos.write(B, HOURS_24 | ALARM)
    at = (6 * 3600 + 30 * 60 + 15) * SECOND
    cmos.advance(86_399 * SECOND)
    assert cmos.edges == [at]
    assert cmos.read(C) & (0x80 | ALARM) == 0x80 | ALARM
    cmos.advance(86_400 * SECOND)
    assert cmos.edges == [at, at + 86_400 * SECOND]


@pytest.mark.parametrize(
    ("alarm", "first"),
    [
        ((ANY, ANY, ANY), 1),
        ((ANY, ANY, 0x30), 30),
        ((ANY, 0x10, 0x00), 600),
        ((ANY, 0x00, 0x00), 3600),
        ((0x00, 0x00, 0x00), 86_400),
        ((0x23, ANY, 0x59), 23 * 3600 + 59),
    ],
)
def test_alarm_bytes_from_c0_on_match_everything(alarm: tuple[int, int, int], first: int) -> None:
    cmos = Cmos(MIDNIGHT)
    cmos.set_alarm(*alarm)
    cmos.write(B, HOURS_24 | ALARM)
    cmos.advance(2 * 86_400 * SECOND)
    assert cmos.edges == [first * SECOND]


def test_an_alarm_that_is_no_time_never_comes() -> None:
    cmos = Cmos(MIDNIGHT)
    cmos.set_alarm(0x24, 0x00, 0x00)
    cmos.write(B, HOURS_24 | ALARM)
    cmos.advance(3 * 86_400 * SECOND)
    assert cmos.edges == []


def test_a_clock_that_is_being_set_neither_updates_nor_rings() -> None:
    cmos = Cmos()
    cmos.set_alarm(ANY, ANY, ANY)
    cmos.write(B, HOURS_24 | SET | ALARM | UPDATE)
    cmos.advance(10 * SECOND)
    assert cmos.edges == []


def test_setting_the_clock_moves_the_alarm() -> None:
    cmos = Cmos(MIDNIGHT)
    cmos.set_alarm(0x06, 0x00, 0x00)
    cmos.write(B, HOURS_24 | ALARM)
    cmos.write(4, 0x05)
    cmos.advance(2 * 3600 * SECOND)
    assert cmos.edges == [3600 * SECOND]


# Memory


def sizes(cmos: Cmos) -> tuple[int, int, int, int]:
    """Base and extended memory in KiB, memory above 16 MiB and above 4 GiB in 64 KiB."""

    def number(*registers: int) -> int:
        return sum(cmos.read(register) << 8 * index for index, register in enumerate(registers))

    assert number(0x17, 0x18) == number(0x30, 0x31)
    return number(0x15, 0x16), number(0x17, 0x18), number(0x34, 0x35), number(0x5B, 0x5C, 0x5D)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (512 * KIB, 0, (512, 0, 0, 0)),
        (16 * MIB, 0, (640, 15 * 1024, 0, 0)),
        (128 * MIB, 0, (640, 0xFFFF, 112 * 16, 0)),
        (0xBFFD_A000, 5 * GIB, (640, 0xFFFF, (0xBFFD_A000 - 16 * MIB) // 0x1_0000, 5 * 0x4000)),
    ],
)
def test_the_memory_tells_the_size_of_ram(low: int, high: int, expected: tuple[int, int, int, int]) -> None:
    assert sizes(Cmos(low_ram=low, high_ram=high)) == expected


def test_the_shutdown_code_is_kept() -> None:
    cmos = Cmos()
    cmos.write(0x0F, 0x0A)
    assert cmos.read(0x0F) == 0x0A


def test_the_nmi_bit_of_the_index_selects_nothing() -> None:
    cmos = Cmos()
    cmos.write(0x80 | 0x0F, 0x0A)
    assert cmos.read(0x0F) == 0x0A


def test_status_c_and_d_are_read_only() -> None:
    cmos = Cmos()
    cmos.write(C, 0xFF)
    cmos.write(D, 0)
    assert (cmos.read(C), cmos.read(D)) == (0, 0x80)


def test_the_index_port_reads_as_all_ones() -> None:
    assert Cmos().device.read_port(0x70, 1) == 0xFF


def test_the_boot_order_is_the_hard_disk_and_then_the_cd() -> None:
    cmos = Cmos()
    assert (cmos.read(0x3D), cmos.read(0x38)) == (0x32, 0)
