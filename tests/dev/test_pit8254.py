"""The 8254 interval timer."""

from hypothesis import given
from hypothesis import strategies as st

from kev.clock import TimerQueue, VirtualClock
from kev.dev.base import PortDevice
from kev.dev.clocks.pit8254 import FREQUENCY, Pit8254

LATCH = 0x00
LOW, HIGH, BOTH = 0x10, 0x20, 0x30
BCD = 1


class Pit:
    """A timer whose time is told in counts, and the edges it puts on IRQ 0."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.timers = TimerQueue(self.clock)
        self.device = Pit8254(self.clock, self.timers, self._set_irq)
        self.asserted = False
        self.edges: list[int] = []

    def _set_irq(self, asserted: bool) -> None:
        if asserted and not self.asserted:
            self.edges.append(self.counts())
        self.asserted = asserted

    def counts(self) -> int:
        return self.clock.now() * FREQUENCY // 10**9

    def advance(self, counts: int) -> None:
        end = -(-(self.counts() + counts) * 10**9 // FREQUENCY)
        while (deadline := self.timers.next_deadline()) is not None and deadline <= end:
            self.clock.advance_to(deadline)
            self.timers.run_due()
        self.clock.advance_to(end)

    def out(self, port: int, value: int) -> None:
        self.device.write_port(port, 1, value)

    def read(self, port: int) -> int:
        return self.device.read_port(port, 1)

    def program(self, counter: int, mode: int, count: int, access: int = BOTH, bcd: int = 0) -> None:
        self.out(0x43, counter << 6 | access | mode << 1 | bcd)
        if access & LOW:
            self.out(0x40 + counter, count & 0xFF)
        if access & HIGH:
            self.out(0x40 + counter, count >> 8)

    def count(self, counter: int) -> int:
        """Latches and reads a counter, low byte first."""
        self.out(0x43, counter << 6 | LATCH)
        return self.read(0x40 + counter) | self.read(0x40 + counter) << 8

    def status(self, counter: int) -> int:
        self.out(0x43, 0xE0 | 2 << counter)
        return self.read(0x40 + counter)

    def output(self, counter: int) -> int:
        return self.status(counter) >> 7


def test_it_is_a_port_device() -> None:
    device = Pit().device
    assert isinstance(device, PortDevice)
    assert [port for ports in device.ports for port in ports] == [0x40, 0x41, 0x42, 0x43, 0x61]


def test_it_is_silent_until_it_is_programmed() -> None:
    pit = Pit()
    pit.advance(1_000_000)
    assert pit.edges == []


def test_the_control_port_reads_as_all_ones() -> None:
    assert Pit().read(0x43) == 0xFF


def test_a_rate_generator_interrupts_at_its_rate() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=11_932)
    pit.advance(FREQUENCY)
    assert pit.edges == [11_932 * n for n in range(1, 100)]


def test_a_square_wave_interrupts_at_its_rate_and_is_high_for_the_first_half() -> None:
    pit = Pit()
    pit.program(0, mode=3, count=1_001)
    outputs = []
    for _ in range(1_001):
        outputs.append(pit.output(0))
        pit.advance(1)
    assert outputs == [1] * 501 + [0] * 500
    assert pit.edges == [1_001]


def test_a_count_of_zero_is_65536() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=0)
    pit.advance(65_536 * 2)
    assert pit.edges == [65_536, 131_072]


def test_a_terminal_count_interrupts_once() -> None:
    pit = Pit()
    pit.program(0, mode=0, count=5_000)
    pit.advance(4_999)
    assert (pit.output(0), pit.edges) == (0, [])
    pit.advance(1)
    assert (pit.output(0), pit.edges) == (1, [5_000])
    pit.advance(200_000)
    assert (pit.output(0), pit.edges) == (1, [5_000])


def test_the_count_goes_on_after_the_terminal_count() -> None:
    pit = Pit()
    pit.program(0, mode=0, count=5_000)
    pit.advance(5_001)
    assert pit.count(0) == 0xFFFF


def test_a_software_strobe_is_low_for_one_count() -> None:
    pit = Pit()
    pit.program(0, mode=4, count=100)
    outputs = []
    for _ in range(103):
        outputs.append(pit.output(0))
        pit.advance(1)
    assert outputs == [1] * 100 + [0] + [1] * 2
    assert pit.edges == [101]


def test_programming_the_counter_again_takes_the_interrupt_back() -> None:
    pit = Pit()
    pit.program(0, mode=0, count=5_000)
    pit.advance(5_000)
    pit.program(0, mode=2, count=20_000)
    assert not pit.asserted
    pit.advance(20_000)
    assert pit.edges == [5_000, 25_000]


def test_a_control_word_alone_stops_the_counter() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=5_000)
    pit.out(0x43, BOTH | 2 << 1)
    pit.advance(50_000)
    assert pit.edges == []


def test_tiny_counts_do_not_keep_the_machine_busy() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=2)
    pit.advance(1_200)
    assert pit.edges == [12 * n for n in range(1, 101)]


def test_periods_that_nobody_saw_become_one_interrupt() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=11_932)
    pit.clock.advance(10**9)
    pit.timers.run_due()
    assert len(pit.edges) == 1


def test_a_latched_count_stays_until_it_is_read() -> None:
    pit = Pit()
    pit.program(2, mode=2, count=1_000)
    pit.out(0x61, 1)
    pit.advance(100)
    pit.out(0x43, 2 << 6 | LATCH)
    pit.advance(100)
    pit.out(0x43, 2 << 6 | LATCH)
    assert pit.read(0x42) | pit.read(0x42) << 8 == 900
    assert pit.read(0x42) | pit.read(0x42) << 8 == 800


def test_a_counter_can_be_read_and_written_by_one_of_its_bytes() -> None:
    pit = Pit()
    pit.program(0, mode=0, count=0x34, access=LOW)
    assert (pit.read(0x40), pit.read(0x40)) == (0x34, 0x34)
    pit.program(0, mode=0, count=0x1200, access=HIGH)
    assert (pit.read(0x40), pit.read(0x40)) == (0x12, 0x12)


def test_reading_back_latches_status_and_count_of_several_counters() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=1_000)
    pit.out(0x43, 0x40 | BOTH | 3 << 1)
    pit.advance(10)
    pit.out(0x43, 0xC0 | 2 | 4)
    assert [pit.read(0x40) for _ in range(3)] == [0x80 | BOTH | 2 << 1, 990 & 0xFF, 990 >> 8]
    assert pit.read(0x41) == 0x80 | 0x40 | BOTH | 3 << 1


def test_a_bcd_counter_counts_in_decimal_digits() -> None:
    pit = Pit()
    pit.program(0, mode=0, count=0x1000, bcd=BCD)
    pit.advance(1)
    assert pit.count(0) == 0x0999
    pit.program(0, mode=2, count=0, bcd=BCD)
    pit.advance(10_000)
    assert len(pit.edges) == 1


def test_the_gate_of_counter_2_holds_the_count() -> None:
    pit = Pit()
    pit.out(0x61, 1)
    pit.program(2, mode=0, count=1_000)
    pit.advance(400)
    pit.out(0x61, 0)
    pit.advance(5_000)
    assert (pit.count(2), pit.read(0x61) & 0x20) == (600, 0)
    pit.out(0x61, 1)
    pit.advance(599)
    assert pit.read(0x61) & 0x20 == 0
    pit.advance(1)
    assert pit.read(0x61) & 0x20 == 0x20


def test_a_rising_gate_restarts_the_periodic_modes() -> None:
    pit = Pit()
    pit.out(0x61, 1)
    pit.program(2, mode=3, count=1_000)
    pit.advance(700)
    assert pit.read(0x61) & 0x20 == 0
    pit.out(0x61, 0)
    assert pit.read(0x61) & 0x20 == 0x20
    pit.out(0x61, 1)
    pit.advance(100)
    assert pit.count(2) == 800


def test_a_rising_gate_triggers_the_one_shot() -> None:
    pit = Pit()
    pit.program(2, mode=1, count=1_000)
    pit.advance(5_000)
    assert pit.read(0x61) & 0x20 == 0x20
    pit.out(0x61, 1)
    pit.advance(999)
    assert pit.read(0x61) & 0x20 == 0
    pit.out(0x61, 0)
    pit.out(0x61, 1)
    pit.advance(999)
    assert pit.read(0x61) & 0x20 == 0
    pit.advance(1)
    assert pit.read(0x61) & 0x20 == 0x20


def test_port_61_keeps_its_four_bits_and_toggles_refresh() -> None:
    pit = Pit()
    pit.out(0x61, 0xFF)
    assert pit.read(0x61) & 0xF == 0xF
    toggles = set()
    for _ in range(4):
        toggles.add((pit.clock.now() // 15_085 % 2, pit.read(0x61) >> 4 & 1))
        pit.clock.advance(15_085)
    assert toggles == {(0, 0), (1, 1)}


def test_a_calibration_with_counter_2_agrees_with_the_clock() -> None:
    pit = Pit()
    pit.clock.advance(123_456_789)
    pit.out(0x61, 1)
    start = pit.clock.now()
    pit.program(2, mode=0, count=11_931)
    while not pit.read(0x61) & 0x20:
        pit.clock.advance(100)
    assert abs(pit.clock.now() - start - 9_999_313) < 1_000


@given(
    mode=st.sampled_from([0, 2, 3]),
    count=st.integers(2, 0xFFFF),
    elapsed=st.integers(0, 200_000),
)
def test_a_count_is_what_stepping_gives(mode: int, count: int, elapsed: int) -> None:
    pit = Pit()
    pit.program(0, mode, count)
    pit.advance(elapsed)
    if mode == 0:
        expected = (count - elapsed) % 0x1_0000
    elif mode == 2:
        expected = count - elapsed % count
    else:
        half, phase = (count + 1) // 2, elapsed % count
        expected = (count & ~1) - 2 * (phase if phase < half else phase - half)
    assert pit.count(0) == expected


def test_the_count_of_a_square_wave_is_even_and_its_high_half_one_longer() -> None:
    pit = Pit()
    pit.program(0, mode=3, count=7)
    counts = []
    for _ in range(7):
        counts.append((pit.count(0), pit.output(0)))
        pit.advance(1)
    assert counts == [(6, 1), (4, 1), (2, 1), (0, 1), (6, 0), (4, 0), (2, 0)]


def null_count(pit: Pit, counter: int) -> int:
    return pit.status(counter) >> 6 & 1


def test_a_new_rate_begins_with_the_next_period() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=1_000)
    pit.advance(400)
    pit.out(0x40, 300 & 0xFF)
    pit.out(0x40, 300 >> 8)
    assert (pit.count(0), null_count(pit, 0)) == (600, 1)
    pit.advance(599)
    assert (pit.count(0), null_count(pit, 0), pit.edges) == (1, 1, [])
    pit.advance(1)
    assert (pit.count(0), null_count(pit, 0), pit.edges) == (300, 0, [1_000])
    pit.advance(600)
    assert pit.edges == [1_000, 1_300, 1_600]


def test_the_last_of_several_new_rates_counts() -> None:
    pit = Pit()
    pit.program(0, mode=2, count=1_000)
    for count in (300, 200):
        pit.advance(100)
        pit.out(0x40, count & 0xFF)
        pit.out(0x40, count >> 8)
    pit.advance(1_000)
    assert pit.edges == [1_000, 1_200]


def test_a_new_count_of_a_square_wave_begins_with_its_next_half() -> None:
    pit = Pit()
    pit.program(0, mode=3, count=1_000)
    pit.advance(400)
    pit.out(0x40, 200 & 0xFF)
    pit.out(0x40, 200 >> 8)
    assert null_count(pit, 0) == 1
    pit.advance(100)
    assert (pit.output(0), pit.count(0), null_count(pit, 0)) == (0, 200, 0)
    pit.advance(99)
    assert pit.output(0) == 0
    pit.advance(1)
    assert (pit.output(0), pit.edges) == (1, [600])
    pit.advance(200)
    assert pit.edges == [600, 800]


def test_a_new_count_of_a_one_shot_waits_for_the_trigger() -> None:
    pit = Pit()
    pit.program(2, mode=1, count=1_000)
    assert null_count(pit, 2) == 1
    pit.out(0x61, 1)
    pit.advance(100)
    pit.out(0x42, 500 & 0xFF)
    pit.out(0x42, 500 >> 8)
    assert (pit.count(2), null_count(pit, 2)) == (900, 1)
    pit.out(0x61, 0)
    pit.out(0x61, 1)
    assert (pit.count(2), null_count(pit, 2)) == (500, 0)


def test_a_new_rate_is_loaded_when_the_gate_rises() -> None:
    pit = Pit()
    pit.out(0x61, 1)
    pit.program(2, mode=2, count=1_000)
    pit.advance(100)
    pit.out(0x42, 500 & 0xFF)
    pit.out(0x42, 500 >> 8)
    pit.out(0x61, 0)
    pit.advance(5_000)
    assert (pit.count(2), null_count(pit, 2)) == (900, 1)
    pit.out(0x61, 1)
    assert (pit.count(2), null_count(pit, 2)) == (500, 0)


def test_whoever_polls_a_count_without_latching_it_sees_its_end() -> None:
    """KeOS waits for a count of exactly 0 before it powers off, 50 times."""
    pit = Pit()
    pit.program(2, 0, 1000)
    pit.out(0x61, 1)
    seen = []
    for _ in range(70_000 // 14):
        pit.advance(7)
        low = pit.read(0x42)
        pit.advance(7)
        seen.append(low | pit.read(0x42) << 8)
    assert seen.count(0) == 2
    assert seen.index(0) == 71


def test_whoever_looks_at_a_count_seldom_sees_what_it_is() -> None:
    pit = Pit()
    pit.program(2, 0, 1000)
    pit.out(0x61, 1)
    pit.advance(900)
    assert pit.read(0x42) | pit.read(0x42) << 8 == 100
    pit.advance(5000)
    assert pit.read(0x42) | pit.read(0x42) << 8 == 0x10000 - 4900
