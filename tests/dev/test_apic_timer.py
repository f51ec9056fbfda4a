"""The local APIC's timer in its three modes."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.clock import Timer
from kev.dev.chipset.processor import ProcessorMsrs
from tests.dev.board import CURRENT_COUNT, DIVIDE, IA32_TSC_DEADLINE, INITIAL_COUNT, LVT_TIMER, Board

VECTOR = 0x40
ONE_SHOT = VECTOR
PERIODIC = VECTOR | 1 << 17
TSC_DEADLINE = VECTOR | 2 << 17
IA32_TSC = 0x10
IA32_TSC_ADJUST = 0x3B
MASKED = 1 << 16
BY_1 = 0xB


def timer(mode: int, divide: int = BY_1) -> Board:
    board = Board()
    board.write(DIVIDE, divide)
    board.write(LVT_TIMER, mode)
    return board


def service(board: Board) -> int | None:
    vector = board.take()
    board.end_of_interrupt()
    return vector


@pytest.mark.parametrize(("configuration", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (0xA, 128), (0xB, 1)])
def test_the_divide_configuration_slows_the_count(configuration: int, divisor: int) -> None:
    board = timer(ONE_SHOT, configuration)
    assert board.read(DIVIDE) == configuration
    board.write(INITIAL_COUNT, 100)
    board.advance(60 * divisor)
    assert board.read(CURRENT_COUNT) == 40
    board.advance(40 * divisor - 1)
    assert (board.read(CURRENT_COUNT), board.take()) == (1, None)
    board.advance(1)
    assert (board.read(CURRENT_COUNT), board.take()) == (0, VECTOR)


def test_one_shot_interrupts_once() -> None:
    board = timer(ONE_SHOT)
    board.write(INITIAL_COUNT, 50_000)
    board.advance(50_000)
    assert service(board) == VECTOR
    board.advance(1_000_000)
    assert service(board) is None
    assert board.read(INITIAL_COUNT) == 50_000


def test_a_count_of_zero_stops_the_timer() -> None:
    board = timer(ONE_SHOT)
    board.write(INITIAL_COUNT, 50_000)
    board.write(INITIAL_COUNT, 0)
    board.advance(1_000_000)
    assert service(board) is None
    assert board.timers.next_deadline() is None


def test_a_new_count_replaces_the_running_one() -> None:
    board = timer(ONE_SHOT)
    board.write(INITIAL_COUNT, 50_000)
    board.advance(40_000)
    board.write(INITIAL_COUNT, 50_000)
    board.advance(49_999)
    assert service(board) is None
    board.advance(1)
    assert service(board) == VECTOR


def test_a_count_that_is_read_at_its_end_has_interrupted() -> None:
    board = timer(ONE_SHOT)
    board.write(INITIAL_COUNT, 50_000)
    board.clock.advance(60_000)
    assert board.read(CURRENT_COUNT) == 0
    assert service(board) == VECTOR


def test_a_count_that_has_ended_does_not_begin_again_in_periodic_mode() -> None:
    board = timer(ONE_SHOT)
    board.write(INITIAL_COUNT, 50_000)
    board.clock.advance(60_000)
    board.write(LVT_TIMER, PERIODIC)
    assert board.read(CURRENT_COUNT) == 0
    assert service(board) == VECTOR
    assert board.timers.next_deadline() is None


def test_periodic_interrupts_on_every_period_without_drift() -> None:
    board = timer(PERIODIC)
    board.write(INITIAL_COUNT, 20_000)
    times = []
    for _ in range(10_000):
        board.advance(10)
        if service(board):
            times.append(board.clock.now())
    assert times == [20_000, 40_000, 60_000, 80_000, 100_000]
    board.advance(5_000)
    assert board.read(CURRENT_COUNT) == 15_000


def test_periods_that_nobody_served_become_one_interrupt() -> None:
    board = timer(PERIODIC)
    board.write(INITIAL_COUNT, 20_000)
    board.clock.advance(1_010_000)
    board.timers.run_due()
    assert service(board) == VECTOR
    assert service(board) is None
    assert board.timers.next_deadline() == 1_020_000


def test_a_period_of_one_count_does_not_keep_the_machine_busy() -> None:
    board = timer(PERIODIC)
    board.write(INITIAL_COUNT, 1)
    interrupts = 0
    for _ in range(1_000):
        board.advance(1_000)
        interrupts += service(board) is not None
    assert interrupts == 100


def test_a_masked_timer_counts_and_does_not_interrupt() -> None:
    board = timer(MASKED | ONE_SHOT)
    board.write(INITIAL_COUNT, 50_000)
    board.advance(20_000)
    assert board.read(CURRENT_COUNT) == 30_000
    board.advance(30_000)
    assert service(board) is None


def test_one_shot_and_periodic_share_the_running_count() -> None:
    board = timer(ONE_SHOT)
    board.write(INITIAL_COUNT, 50_000)
    board.advance(30_000)
    board.write(LVT_TIMER, PERIODIC)
    assert board.read(CURRENT_COUNT) == 20_000
    board.advance(30_000)
    assert service(board) == VECTOR
    assert board.read(CURRENT_COUNT) == 40_000
    board.write(LVT_TIMER, ONE_SHOT)
    assert board.read(CURRENT_COUNT) == 40_000
    board.advance(100_000)
    assert (service(board), board.read(CURRENT_COUNT)) == (VECTOR, 0)
    board.write(LVT_TIMER, PERIODIC)
    assert board.read(CURRENT_COUNT) == 0


def test_a_new_divisor_applies_to_what_is_left_of_the_count() -> None:
    board = timer(ONE_SHOT)
    board.write(INITIAL_COUNT, 1_000)
    board.advance(400)
    board.write(DIVIDE, 0)
    assert board.read(CURRENT_COUNT) == 600
    board.advance(1_199)
    assert service(board) is None
    board.advance(1)
    assert service(board) == VECTOR


def test_a_tsc_deadline_interrupts_at_that_time_and_reads_as_zero_afterwards() -> None:
    board = timer(TSC_DEADLINE)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000)
    assert board.rdmsr(IA32_TSC_DEADLINE) == 5_000
    board.advance(4_999)
    assert service(board) is None
    board.advance(1)
    assert service(board) == VECTOR
    assert board.rdmsr(IA32_TSC_DEADLINE) == 0


def test_a_tsc_deadline_in_the_past_interrupts_at_once() -> None:
    board = timer(TSC_DEADLINE)
    board.advance(5_000)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000)
    assert board.apics.pending(0) == VECTOR
    assert board.rdmsr(IA32_TSC_DEADLINE) == 0


def test_a_tsc_deadline_of_zero_disarms() -> None:
    board = timer(TSC_DEADLINE)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000)
    board.wrmsr(IA32_TSC_DEADLINE, 0)
    board.advance(10_000)
    assert service(board) is None


@pytest.mark.parametrize(("register", "value"), [(IA32_TSC, 4_000), (IA32_TSC_ADJUST, 3_000)])
def test_a_tsc_deadline_comes_nearer_when_the_tsc_is_set_forward(register: int, value: int) -> None:
    board = timer(TSC_DEADLINE)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000)
    board.advance(1_000)
    ProcessorMsrs(board.counters).write_msr(0, register, value)
    assert board.rdmsr(IA32_TSC_DEADLINE) == 5_000
    board.advance(999)
    assert service(board) is None
    board.advance(1)
    assert service(board) == VECTOR
    board.advance(10_000)
    assert service(board) is None


@pytest.mark.parametrize(("register", "value"), [(IA32_TSC, 0), (IA32_TSC_ADJUST, -1_000 & 0xFFFF_FFFF_FFFF_FFFF)])
def test_a_tsc_deadline_moves_away_when_the_tsc_is_set_back(register: int, value: int) -> None:
    board = timer(TSC_DEADLINE)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000)
    board.advance(1_000)
    ProcessorMsrs(board.counters).write_msr(0, register, value)
    board.advance(4_999)
    assert service(board) is None
    board.advance(1)
    assert service(board) == VECTOR


def test_a_tsc_that_is_set_past_its_deadline_interrupts_at_once() -> None:
    board = timer(TSC_DEADLINE)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000)
    ProcessorMsrs(board.counters).write_msr(0, IA32_TSC, 5_000)
    assert board.apics.pending(0) == VECTOR
    assert board.rdmsr(IA32_TSC_DEADLINE) == 0


def test_a_tsc_deadline_is_compared_with_the_tsc_as_it_was_set() -> None:
    board = timer(TSC_DEADLINE)
    board.advance(1_000)
    ProcessorMsrs(board.counters).write_msr(0, IA32_TSC, 1 << 60)
    board.wrmsr(IA32_TSC_DEADLINE, (1 << 60) + 500)
    board.advance(499)
    assert service(board) is None
    board.advance(1)
    assert service(board) == VECTOR


def test_a_tsc_that_is_set_moves_no_count_and_no_other_processors_deadline() -> None:
    board = Board(vcpus=3)
    for vcpu, mode in enumerate((ONE_SHOT, TSC_DEADLINE, TSC_DEADLINE)):
        board.write(DIVIDE, BY_1, vcpu)
        board.write(LVT_TIMER, mode, vcpu)
    board.write(INITIAL_COUNT, 5_000, 0)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000, 1)
    registers = ProcessorMsrs(board.counters)
    registers.write_msr(0, IA32_TSC, 1 << 40)
    registers.write_msr(2, IA32_TSC, 1 << 40)
    assert board.read(CURRENT_COUNT, 0) == 5_000
    board.advance(4_999)
    assert board.pending() == [None, None, None]
    board.advance(1)
    assert board.pending() == [VECTOR, VECTOR, None]


def test_the_tsc_deadline_is_ignored_in_the_other_modes_and_they_in_its() -> None:
    board = timer(ONE_SHOT)
    assert board.wrmsr(IA32_TSC_DEADLINE, 5_000) is None
    assert board.rdmsr(IA32_TSC_DEADLINE) == 0
    board.write(LVT_TIMER, TSC_DEADLINE)
    board.write(INITIAL_COUNT, 5_000)
    assert (board.read(INITIAL_COUNT), board.read(CURRENT_COUNT)) == (0, 0)
    board.advance(10_000)
    assert service(board) is None


def test_a_change_to_or_from_tsc_deadline_mode_stops_the_timer() -> None:
    board = timer(TSC_DEADLINE)
    board.wrmsr(IA32_TSC_DEADLINE, 5_000)
    board.write(LVT_TIMER, ONE_SHOT)
    board.write(INITIAL_COUNT, 5_000)
    board.write(LVT_TIMER, TSC_DEADLINE)
    board.advance(10_000)
    assert service(board) is None


def test_a_guest_that_puts_its_deadline_off_for_ever_fills_no_memory() -> None:
    def timers() -> int:
        gc.collect()
        return sum(isinstance(each, Timer) for each in gc.get_objects())

    board = timer(TSC_DEADLINE)
    before = timers()
    for deadline in range(1_000_000, 1_002_000):
        board.wrmsr(IA32_TSC_DEADLINE, deadline)
    assert timers() - before < 300
    board.advance(1_001_998)
    assert service(board) is None
    board.advance(1)
    assert service(board) == VECTOR


def test_every_vcpu_has_its_own_timer() -> None:
    board = Board(vcpus=2)
    for vcpu in range(2):
        board.write(LVT_TIMER, TSC_DEADLINE + vcpu, vcpu)
        board.wrmsr(IA32_TSC_DEADLINE, 1_000 * (vcpu + 1), vcpu)
    board.advance(1_000)
    assert board.pending() == [VECTOR, None]
    board.advance(1_000)
    assert board.pending() == [VECTOR, VECTOR + 1]


@given(
    count=st.integers(0, 0xFFFF_FFFF),
    divide=st.sampled_from([0, 1, 2, 3, 8, 9, 0xA, 0xB]),
    periodic=st.booleans(),
    times=st.lists(st.integers(0, 1 << 40), max_size=5),
)
def test_the_current_count_is_what_counting_down_gives(count: int, divide: int, periodic: bool, times: list[int]) -> None:
    board = timer(PERIODIC if periodic else ONE_SHOT, divide)
    board.write(INITIAL_COUNT, count)
    divisor = {0: 2, 1: 4, 2: 8, 3: 16, 8: 32, 9: 64, 0xA: 128, 0xB: 1}[divide]
    for nanoseconds in times:
        board.clock.advance(nanoseconds)
        counted = board.clock.now() // divisor
        expected = count - counted % count if periodic and count else max(0, count - counted)
        assert board.read(CURRENT_COUNT) == expected
        board.timers.run_due()
        assert board.read(CURRENT_COUNT) == expected
