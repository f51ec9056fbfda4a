"""The local APICs as guests and the machine see them."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.dev.base import DeviceError, MmioDevice, MsrDevice
from kev.dev.buses.mmio import MmioBus
from kev.dev.interrupts.local_apic.timer import RunningCount
from kev.exits import GENERAL_PROTECTION
from tests.dev.board import (
    COMMAND,
    COMMAND_HIGH,
    DESTINATION_FORMAT,
    ENABLE,
    ERROR_STATUS,
    IA32_APIC_BASE,
    IA32_TSC_DEADLINE,
    INITIAL_COUNT,
    LOCAL_APIC,
    LOGICAL_DESTINATION,
    LVT_ERROR,
    LVT_LINT0,
    LVT_TIMER,
    SPURIOUS,
    TASK_PRIORITY,
    X2APIC,
    Board,
    x2apic,
)

SELF_IPI = x2apic(0x3F0)
ICR = x2apic(COMMAND)
EOI = x2apic(0xB0)
NMI = 0x400
INIT = 0x500
STARTUP = 0x600
ASSERT = 0x4000
LOGICAL = 0x800
MASKED = 0x1_0000


def requested(board: Board, vcpu: int = 0) -> set[int]:
    """The interrupt request register's vectors."""
    return vectors(board, 0x200, vcpu)


def vectors(board: Board, offset: int, vcpu: int = 0) -> set[int]:
    words = [board.read(offset + 0x10 * word, vcpu) for word in range(8)]
    return {32 * word + bit for word in range(8) for bit in range(32) if words[word] >> bit & 1}


def send(board: Board, command: int, destination: int = 0, sender: int = 0) -> None:
    """An interprocessor interrupt through the xAPIC's two registers."""
    board.write(COMMAND_HIGH, destination << 24, sender)
    board.write(COMMAND, command, sender)


def test_they_are_an_msr_and_an_mmio_device() -> None:
    apics = Board().apics
    assert isinstance(apics, MsrDevice)
    assert isinstance(apics, MmioDevice)
    assert (apics.gpa, apics.length) == (LOCAL_APIC, 0x1000)


# Identity and modes


def test_id_and_version_are_the_same_in_both_modes() -> None:
    xapic, x2apic = Board(vcpus=4), Board(vcpus=4, in_x2apic_mode=True)
    assert xapic.read(0x20, vcpu=3) == 3 << 24
    assert x2apic.read(0x20, vcpu=3) == 3
    assert xapic.read(0x30) == x2apic.read(0x30) == 0x50014


def test_only_vcpu_0_is_the_bootstrap_processor() -> None:
    board = Board(vcpus=2)
    assert board.rdmsr(IA32_APIC_BASE, 0) == LOCAL_APIC | ENABLE | 0x100
    assert board.rdmsr(IA32_APIC_BASE, 1) == LOCAL_APIC | ENABLE


def test_x2apic_msrs_raise_gp_until_x2apic_mode_is_enabled() -> None:
    board = Board()
    for index in range(0x800, 0x900):
        assert board.rdmsr(index) is GENERAL_PROTECTION
        assert board.wrmsr(index, 0) is GENERAL_PROTECTION
    assert board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | ENABLE | X2APIC) is None
    assert board.wrmsr(x2apic(TASK_PRIORITY), 0x20) is None
    assert board.rdmsr(x2apic(TASK_PRIORITY)) == 0x20


def test_the_page_reads_as_all_ones_in_x2apic_mode_and_when_disabled() -> None:
    board = Board()
    base = LOCAL_APIC | 0x100
    assert board.wrmsr(IA32_APIC_BASE, base | ENABLE | X2APIC) is None
    board.write(TASK_PRIORITY, 0x40)
    assert board.read(TASK_PRIORITY) == 0xFFFF_FFFF
    assert board.rdmsr(x2apic(TASK_PRIORITY)) == 0
    assert board.wrmsr(IA32_APIC_BASE, base) is None
    assert board.read(0x30) == 0xFFFF_FFFF
    assert board.rdmsr(x2apic(0x30)) is GENERAL_PROTECTION
    assert board.wrmsr(x2apic(TASK_PRIORITY), 0) is GENERAL_PROTECTION


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (ENABLE, ENABLE | X2APIC, True),
        (ENABLE, X2APIC, False),
        (ENABLE, 0, True),
        (0, ENABLE, True),
        (0, X2APIC, False),
        (0, ENABLE | X2APIC, False),
        (ENABLE | X2APIC, ENABLE, False),
        (ENABLE | X2APIC, X2APIC, False),
        (ENABLE | X2APIC, 0, True),
    ],
)
def test_mode_changes_that_the_manual_forbids_raise_gp(before: int, after: int, allowed: bool) -> None:
    board = Board()
    assert board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | before) is None
    assert board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | after) is (None if allowed else GENERAL_PROTECTION)
    assert board.rdmsr(IA32_APIC_BASE) == LOCAL_APIC | 0x100 | (after if allowed else before)


def test_reserved_bits_of_the_base_raise_gp() -> None:
    board = Board()
    assert board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | ENABLE | 1) is GENERAL_PROTECTION
    assert board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | ENABLE | 1 << 60) is GENERAL_PROTECTION


ELSEWHERE = 0xFED4_0000
ONES = 0xFFFF_FFFF


def test_a_vcpu_moves_its_page_and_others_keep_theirs() -> None:
    board, bus = Board(2), MmioBus()
    bus.attach(board.apics)
    board.apics.connect(bus, [range(1 << 20)])
    version = bus.load(0, Gpa(LOCAL_APIC + 0x30), 4)
    assert board.wrmsr(IA32_APIC_BASE, LOCAL_APIC) is None
    assert board.wrmsr(IA32_APIC_BASE, ELSEWHERE | 0x100 | ENABLE) is None
    assert board.rdmsr(IA32_APIC_BASE) == ELSEWHERE | 0x100 | ENABLE
    for vcpu, here, there in ((0, ELSEWHERE, LOCAL_APIC), (1, LOCAL_APIC, ELSEWHERE)):
        bus.store(vcpu, Gpa(here + TASK_PRIORITY), 4, 0x50)
        bus.store(vcpu, Gpa(there + TASK_PRIORITY), 4, 0x60)
        assert bus.load(vcpu, Gpa(here + TASK_PRIORITY), 4) == 0x50
        assert (bus.load(vcpu, Gpa(here + 0x30), 4), bus.load(vcpu, Gpa(there + 0x30), 4)) == (version, ONES)
    assert board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | 0x100 | ENABLE) is None
    assert bus.device_at(Gpa(ELSEWHERE)) is None
    assert bus.load(0, Gpa(LOCAL_APIC + TASK_PRIORITY), 4) == 0x50


def test_where_the_page_is_survives_saving_and_ends_with_a_reset() -> None:
    boards, buses = (Board(), Board()), (MmioBus(), MmioBus())
    for board, bus in zip(boards, buses, strict=True):
        bus.attach(board.apics)
        board.apics.connect(bus, [range(1 << 20)])
    boards[0].wrmsr(IA32_APIC_BASE, ELSEWHERE | ENABLE)
    boards[1].apics.load(boards[0].apics.save())
    assert buses[1].load(0, Gpa(ELSEWHERE + 0x30), 4) == buses[0].load(0, Gpa(ELSEWHERE + 0x30), 4) != ONES
    boards[1].apics.reset()
    assert buses[1].device_at(Gpa(ELSEWHERE)) is None


def test_moving_the_page_over_ram_is_refused_by_name() -> None:
    board = Board()
    board.apics.connect(MmioBus(), [range(1 << 20)])
    with pytest.raises(DeviceError, match=r"vCPU 0 moves its local APIC to 0x80000: it can only be where no RAM is"):
        board.wrmsr(IA32_APIC_BASE, 0x8_0000 | ENABLE)


def test_disabling_and_enabling_resets_the_registers() -> None:
    board = Board()
    board.write(TASK_PRIORITY, 0x40)
    board.wrmsr(IA32_APIC_BASE, LOCAL_APIC)
    board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | ENABLE)
    assert board.read(TASK_PRIORITY) == 0
    assert board.read(SPURIOUS) == 0xFF
    assert board.read(LVT_LINT0) == MASKED


@pytest.mark.parametrize("offset", [0x20, 0x30, 0xA0, 0xD0, 0x100, 0x180, 0x200, 0x390])
def test_writing_a_read_only_msr_raises_gp(offset: int) -> None:
    assert Board(in_x2apic_mode=True).wrmsr(x2apic(offset), 0) is GENERAL_PROTECTION


@pytest.mark.parametrize("index", [EOI, SELF_IPI])
def test_reading_a_write_only_msr_raises_gp(index: int) -> None:
    assert Board(in_x2apic_mode=True).rdmsr(index) is GENERAL_PROTECTION


@pytest.mark.parametrize("index", [0x800, 0x809, 0x80C, 0x80E, 0x82F, 0x831, 0x840, 0x8FF])
def test_msrs_without_a_register_raise_gp(index: int) -> None:
    board = Board(in_x2apic_mode=True)
    assert board.rdmsr(index) is GENERAL_PROTECTION
    assert board.wrmsr(index, 0) is GENERAL_PROTECTION


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (x2apic(TASK_PRIORITY), 0x100),
        (EOI, 1),
        (x2apic(SPURIOUS), 1 << 16),
        (x2apic(ERROR_STATUS), 1),
        (x2apic(LVT_TIMER), 1 << 8),
        (x2apic(LVT_TIMER), 1 << 32),
        (ICR, 1 << 20),
        (SELF_IPI, 0x100),
        (x2apic(0x3E0), 4),
    ],
)
def test_reserved_bits_of_an_msr_raise_gp(index: int, value: int) -> None:
    assert Board(in_x2apic_mode=True).wrmsr(index, value) is GENERAL_PROTECTION


# Accesses to the page


def test_narrow_reads_see_the_bytes_of_a_register_and_zeros_between_registers() -> None:
    apics = Board(vcpus=2).apics
    assert apics.read_mmio(1, 0x23, 1) == 1
    assert apics.read_mmio(0, 0x30, 2) == 0x14
    assert apics.read_mmio(0, 0x32, 2) == 5
    assert apics.read_mmio(0, 0x30, 8) == 0x50014
    assert apics.read_mmio(0, 0x34, 4) == 0


def test_writes_that_are_narrow_or_unaligned_do_nothing() -> None:
    board = Board()
    board.apics.write_mmio(0, TASK_PRIORITY, 1, 0x40)
    board.apics.write_mmio(0, TASK_PRIORITY, 2, 0x40)
    board.apics.write_mmio(0, TASK_PRIORITY + 4, 4, 0x40)
    assert board.read(TASK_PRIORITY) == 0


def test_a_register_that_does_not_exist_is_an_error_that_interrupts() -> None:
    board = Board()
    board.write(LVT_ERROR, 0xE0)
    assert board.read(0x40) == 0
    board.write(0x3F0, 1)
    assert board.take() == 0xE0
    assert board.read(ERROR_STATUS) == 0
    board.write(ERROR_STATUS, 0)
    assert board.read(ERROR_STATUS) == 0x80
    board.write(ERROR_STATUS, 0)
    assert board.read(ERROR_STATUS) == 0


# Priorities


def test_an_interrupt_goes_from_requested_to_in_service_to_done() -> None:
    board = Board()
    board.send_to_itself(0x51)
    assert requested(board) == {0x51}
    assert board.take() == 0x51
    assert (requested(board), vectors(board, 0x100)) == (set(), {0x51})
    board.end_of_interrupt()
    assert vectors(board, 0x100) == set()


def test_only_a_higher_class_interrupts_a_handler() -> None:
    board = Board()
    board.send_to_itself(0x51)
    board.take()
    board.send_to_itself(0x5F)
    assert board.apics.pending(0) is None
    board.send_to_itself(0x60)
    assert board.take() == 0x60
    board.end_of_interrupt()
    assert board.apics.pending(0) is None
    board.end_of_interrupt()
    assert board.take() == 0x5F


def test_the_task_priority_holds_its_class_and_lower_ones_back() -> None:
    board = Board()
    board.write(TASK_PRIORITY, 0x55)
    board.send_to_itself(0x5F)
    assert board.apics.pending(0) is None
    board.write(TASK_PRIORITY, 0x4F)
    assert board.apics.pending(0) == 0x5F


def test_cr8_is_the_class_of_the_task_priority() -> None:
    board = Board()
    assert board.apics.write_cr8(0, 5) is None
    assert board.read(TASK_PRIORITY) == 0x50
    board.write(TASK_PRIORITY, 0x73)
    assert board.apics.read_cr8(0) == 7
    assert board.apics.write_cr8(0, 16) is GENERAL_PROTECTION


@pytest.mark.parametrize(
    ("task", "in_service", "requested", "arbitration"),
    [(0x35, 0x20, 0x25, 0x35), (0x35, 0x20, 0x71, 0x70), (0x35, 0x61, 0x25, 0x20), (0x75, 0x61, 0x51, 0x75)],
)
def test_the_arbitration_priority_weighs_task_service_and_requests(
    task: int, in_service: int, requested: int, arbitration: int
) -> None:
    board = Board()
    board.send_to_itself(in_service)
    board.take()
    board.send_to_itself(requested)
    board.write(TASK_PRIORITY, task)
    assert board.read(0x90) == arbitration


def test_an_end_of_interrupt_with_nothing_in_service_is_harmless() -> None:
    board = Board()
    board.send_to_itself(0x51)
    board.end_of_interrupt()
    assert board.take() == 0x51


def test_the_machine_hears_of_every_change_and_of_nothing_else() -> None:
    board = Board()
    told = board.processors.told
    board.send_to_itself(0x51)
    assert len(told("interrupt")) == 1
    board.send_to_itself(0x51)
    board.send_to_itself(0x41)
    assert len(told("interrupt")) == 1
    board.send_to_itself(0x61)
    assert len(told("interrupt")) == 2
    board.take()
    assert len(told("interrupt")) == 3
    board.end_of_interrupt()
    assert len(told("interrupt")) == 4


@st.composite
def priority_steps(draw: st.DrawFn) -> list[tuple[str, int]]:
    step = st.one_of(
        st.tuples(st.just("request"), st.integers(16, 255)),
        st.tuples(st.just("priority"), st.integers(0, 255)),
        st.tuples(st.sampled_from(["take", "end"]), st.just(0)),
    )
    return draw(st.lists(step, max_size=60))


@given(priority_steps())
def test_what_is_pending_follows_the_manuals_rule(steps: list[tuple[str, int]]) -> None:
    board = Board()
    irr: set[int] = set()
    isr: set[int] = set()
    priority = 0
    for step, value in steps:
        if step == "request":
            board.send_to_itself(value)
            irr.add(value)
        elif step == "priority":
            board.write(TASK_PRIORITY, value)
            priority = value
        elif step == "end":
            board.end_of_interrupt()
            isr -= {max(isr, default=0)}
        elif (vector := board.take()) is not None:
            irr.remove(vector)
            isr.add(vector)
        in_service = max(isr, default=0)
        processor_priority = priority if priority // 16 >= in_service // 16 else in_service // 16 * 16
        candidates = [vector for vector in irr if vector // 16 > processor_priority // 16]
        assert board.apics.pending(0) == max(candidates, default=None)
        assert board.read(0xA0) == processor_priority
        assert (requested(board), vectors(board, 0x100)) == (irr, isr)


# Interprocessor interrupts


def test_an_ipi_reaches_the_processor_it_names() -> None:
    board = Board(vcpus=3)
    send(board, 0x51, destination=2)
    assert board.pending() == [None, None, 0x51]
    board = Board(vcpus=3, in_x2apic_mode=True)
    board.wrmsr(ICR, 1 << 32 | 0x52)
    assert board.pending() == [None, 0x52, None]


@pytest.mark.parametrize(("shorthand", "expected"), [(1, {1}), (2, {0, 1, 2}), (3, {0, 2})])
def test_shorthands_go_to_self_all_and_all_others(shorthand: int, expected: set[int]) -> None:
    for through_msr in (False, True):
        board = Board(vcpus=3, in_x2apic_mode=through_msr)
        if through_msr:
            board.wrmsr(ICR, shorthand << 18 | 0x51, vcpu=1)
        else:
            send(board, shorthand << 18 | 0x51, sender=1)
        assert {vcpu for vcpu, vector in enumerate(board.pending()) if vector == 0x51} == expected


def test_a_broadcast_destination_reaches_everyone() -> None:
    board = Board(vcpus=3)
    send(board, 0x51, destination=0xFF)
    assert board.pending() == [0x51] * 3
    board = Board(vcpus=3, in_x2apic_mode=True)
    board.wrmsr(ICR, 0xFFFF_FFFF << 32 | 0x61)
    assert board.pending() == [0x61] * 3


def test_the_command_register_reads_back_idle() -> None:
    board = Board(vcpus=2)
    send(board, 0x1051, destination=1)
    assert board.read(COMMAND) == 0x51
    assert board.read(COMMAND_HIGH) == 1 << 24
    board = Board(vcpus=2, in_x2apic_mode=True)
    board.wrmsr(ICR, 1 << 32 | 0x52)
    assert board.rdmsr(ICR) == 1 << 32 | 0x52


def test_a_flat_logical_destination_is_a_set_of_bits() -> None:
    board = Board(vcpus=4)
    for vcpu in range(4):
        board.write(LOGICAL_DESTINATION, 1 << 24 + vcpu, vcpu)
    send(board, LOGICAL | 0x51, destination=0b1010)
    assert board.pending() == [None, 0x51, None, 0x51]


def test_a_cluster_destination_is_a_cluster_and_a_set_of_its_members() -> None:
    board = Board(vcpus=4)
    for vcpu, destination in enumerate((0x11, 0x12, 0x21, 0x22)):
        board.write(DESTINATION_FORMAT, 0x0FFF_FFFF, vcpu)
        board.write(LOGICAL_DESTINATION, destination << 24, vcpu)
    send(board, LOGICAL | 0x51, destination=0x23)
    assert board.pending() == [None, None, 0x51, 0x51]


def test_an_x2apic_logical_destination_is_derived_from_the_id() -> None:
    board = Board(vcpus=20, in_x2apic_mode=True)
    assert board.rdmsr(x2apic(LOGICAL_DESTINATION), vcpu=18) == 1 << 16 | 1 << 2
    board.wrmsr(ICR, (1 << 16 | 0b1100) << 32 | LOGICAL | 0x51)
    assert {vcpu for vcpu, vector in enumerate(board.pending()) if vector} == {18, 19}


def test_lowest_priority_goes_to_the_least_busy_destination() -> None:
    board = Board(vcpus=3)
    for vcpu, priority in enumerate((0x60, 0x20, 0x40)):
        board.write(TASK_PRIORITY, priority, vcpu)
    send(board, 0x100 | 0x71, destination=0xFF)
    assert board.pending() == [None, 0x71, None]


def test_a_software_disabled_apic_takes_no_fixed_interrupt_but_an_nmi() -> None:
    board = Board(vcpus=2)
    board.write(SPURIOUS, 0xFF, vcpu=1)
    send(board, 0x51, destination=1)
    send(board, NMI, destination=1)
    assert requested(board, vcpu=1) == set()
    assert board.processors.told("nmi") == [(1, None)]


def test_a_disabled_apic_takes_nothing() -> None:
    board = Board(vcpus=2)
    board.wrmsr(IA32_APIC_BASE, LOCAL_APIC, vcpu=1)
    send(board, NMI, destination=1)
    send(board, INIT | ASSERT, destination=1)
    assert board.processors.told("nmi") + board.processors.told("init") == []


def test_init_and_startup_reach_the_processor_with_the_vector() -> None:
    board = Board(vcpus=2)
    send(board, INIT | ASSERT, destination=1)
    send(board, STARTUP | ASSERT | 0x08, destination=1)
    assert board.processors.told("init") == [(1, None)]
    assert board.processors.told("startup") == [(1, 0x08)]


def test_a_level_deassert_init_does_nothing() -> None:
    board = Board(vcpus=2)
    send(board, INIT | 0x8000, destination=1)
    assert board.processors.told("init") == []
    send(board, INIT | 0x8000 | ASSERT, destination=1)
    assert board.processors.told("init") == [(1, None)]


def test_init_resets_the_registers_of_its_destination() -> None:
    board = Board(vcpus=2)
    send(board, 0x51, destination=1)
    board.write(TASK_PRIORITY, 0x10, vcpu=1)
    send(board, INIT | ASSERT, destination=1)
    assert board.apics.pending(1) is None
    assert board.read(TASK_PRIORITY, vcpu=1) == 0
    assert board.read(SPURIOUS, vcpu=1) == 0xFF


def test_a_vector_below_16_is_an_error_of_the_sender() -> None:
    board = Board(vcpus=2)
    send(board, 0x0F, destination=1)
    board.send_to_itself(3)
    board.write(ERROR_STATUS, 0)
    assert board.read(ERROR_STATUS) == 0x20
    assert requested(board, vcpu=1) == set()


def test_a_vector_below_16_in_the_local_vector_table_is_an_error_of_the_receiver() -> None:
    board = Board()
    board.write(LVT_TIMER, 0x0F)
    board.write(INITIAL_COUNT, 10_000)
    board.advance(20_000)
    board.write(ERROR_STATUS, 0)
    assert board.read(ERROR_STATUS) == 0x40
    assert requested(board) == set()


def test_nobody_at_the_destination_is_harmless() -> None:
    board = Board(vcpus=2)
    board.wrmsr(ICR, 7 << 32 | INIT | ASSERT)
    board.wrmsr(ICR, 7 << 32 | 0x51)
    assert board.pending() == [None, None]


# The local vector table


def test_software_disabling_masks_the_local_vector_table() -> None:
    board = Board()
    board.write(LVT_TIMER, 0x40)
    board.write(SPURIOUS, 0xFF)
    assert board.read(LVT_TIMER) == MASKED | 0x40
    board.write(LVT_TIMER, 0x41)
    assert board.read(LVT_TIMER) == MASKED | 0x41
    board.write(SPURIOUS, 0x1FF)
    board.write(LVT_TIMER, 0x41)
    assert board.read(LVT_TIMER) == 0x41


def test_only_defined_bits_of_an_lvt_entry_stick() -> None:
    board = Board()
    board.write(LVT_TIMER, 0xFFFF_FFFF)
    board.write(LVT_LINT0, 0xFFFF_FFFF)
    board.write(LVT_ERROR, 0xFFFF_FFFF)
    assert [board.read(offset) for offset in (LVT_TIMER, LVT_LINT0, LVT_ERROR)] == [0x7_00FF, 0x1_A7FF, 0x1_00FF]


# The x2APIC's registers (SDM vol. 3, "x2APIC register address space")

READ_ONLY = {0x20, 0x30, 0xA0, 0xD0, *range(0x100, 0x280, 0x10), 0x390}
WRITE_ONLY = {0xB0, 0x3F0}
BOTH = {0x80, 0xF0, 0x280, 0x300, *range(0x320, 0x380, 0x10), 0x380, 0x3E0}


@pytest.mark.parametrize("offset", range(0, 0x1000, 0x10))
def test_an_x2apic_register_can_be_read_and_written_as_the_manual_says(offset: int) -> None:
    board, index = Board(in_x2apic_mode=True), x2apic(offset)
    found = board.rdmsr(index)
    assert (found is not GENERAL_PROTECTION) == (offset in READ_ONLY | BOTH)
    if isinstance(found, int):
        assert found >> 32 == 0
    assert (board.wrmsr(index, found if offset in BOTH and isinstance(found, int) else 0) is None) == (offset in WRITE_ONLY | BOTH)
    if offset != COMMAND:
        assert board.wrmsr(index, 0xFFFF_FFFF_FFFF_FFFF) is GENERAL_PROTECTION
        assert board.wrmsr(index, 1 << 32) is GENERAL_PROTECTION


# Registers that processors may be shown without asking

_OFFSETS = st.integers(0, 0x3F).map(lambda register: 0x10 * register)
_STEPS = st.one_of(
    st.tuples(st.just("read"), _OFFSETS, st.just(0)),
    st.tuples(st.just("write"), _OFFSETS, st.integers(0, 0xFFFF_FFFF)),
    st.tuples(st.just("write"), st.just(INITIAL_COUNT), st.integers(0, 1 << 20)),
    st.tuples(st.just("write"), st.just(COMMAND), st.sampled_from([INIT | ASSERT, 0x40, 0x4_0041, 0xC_0500 | ASSERT])),
    st.tuples(st.just("cr8"), st.just(0), st.integers(0, 16)),
    st.tuples(st.just("base"), st.just(0), st.sampled_from([0, ENABLE, ENABLE | X2APIC])),
    st.tuples(st.just("msr"), st.integers(0x800, 0x83F), st.integers(0, 0x1FF)),
    st.tuples(st.just("deadline"), st.just(0), st.integers(0, 100)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 1 << 34)),
    st.tuples(st.just("take"), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["load", "reset"]), st.just(0), st.just(0)),
)


@given(st.lists(st.tuples(st.integers(0, 1), _STEPS), max_size=60))
def test_a_steady_register_is_what_it_was_until_somebody_is_told(steps: list[tuple[int, tuple[str, int, int]]]) -> None:
    board = Board(vcpus=2)
    kept: list[dict[int, int]] = [{}, {}]
    counts: list[dict[int, RunningCount]] = [{}, {}]
    board.apics.steady_changed.subscribe(lambda vcpu: kept[vcpu].clear())
    board.apics.steady_changed.subscribe(lambda vcpu: counts[vcpu].clear())
    board.apics.count_read.subscribe(lambda vcpu, gpa, count: counts[vcpu].update({gpa - LOCAL_APIC: count}))
    board.apics.steady_read.subscribe(lambda vcpu, gpa, value: kept[vcpu].update({gpa - LOCAL_APIC: value}))
    for vcpu, (what, where, value) in steps:
        if what == "read":
            board.read(where, vcpu)
        elif what == "write":
            board.write(where, value, vcpu)
        elif what == "cr8":
            board.apics.write_cr8(vcpu, value)
        elif what == "base":
            board.wrmsr(IA32_APIC_BASE, LOCAL_APIC | value, vcpu)
        elif what == "msr":
            board.wrmsr(where, value, vcpu)
        elif what == "deadline":
            board.wrmsr(IA32_TSC_DEADLINE, board.clock.now() + value, vcpu)
        elif what == "wait":
            board.advance(min(value, 1 << 20))
        elif what == "take":
            board.take(vcpu)
        elif what == "load":
            other = Board(vcpus=2)
            board.timers.load(other.timers.save())
            board.apics.load(other.apics.save())
        else:
            board.apics.reset()
        for number, registers in enumerate(copy.deepcopy(kept)):
            assert registers == {offset: board.read(offset, number) for offset in registers}
        for number, running in enumerate(copy.deepcopy(counts)):
            for offset, count in running.items():
                left = count.deadline - board.clock.now()
                if left > 0:
                    assert board.read(offset, number) == -(-((left - 1) % count.period + 1) // count.divisor)
