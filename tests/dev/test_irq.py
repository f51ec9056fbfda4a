"""The interrupt controllers, wired together."""

import pytest

from kev.dev.interrupts.irq import InterruptControllers
from tests.dev.board import ENABLE, IA32_APIC_BASE, LOCAL_APIC, LVT_LINT0, SPURIOUS, X2APIC, Board, x2apic

EXTINT = 0x700
MASKED = 1 << 16
NON_SPECIFIC_EOI = 0x20


def board_with_pic(vcpus: int = 1, icw4: int = 1) -> Board:
    board = Board(vcpus)
    board.program_pic(icw4=icw4)
    return board


@pytest.mark.parametrize(("irq", "vector"), [(0, 0x20), (4, 0x24), (8, 0x28), (15, 0x2F)])
def test_an_isa_irq_reaches_vcpu_0_through_the_8259(irq: int, vector: int) -> None:
    board = board_with_pic(vcpus=2)
    board.controllers.line(irq)(True)
    assert board.pending() == [vector, None]
    assert board.take() == vector
    assert board.pending() == [None, None]


@pytest.mark.parametrize(("irq", "gsi"), [(0, 2), (1, 1), (4, 4), (15, 15), (16, 16), (23, 23)])
def test_an_irq_is_an_input_of_the_io_apic(irq: int, gsi: int) -> None:
    board = Board()
    board.pic.write_port(0x21, 1, 0xFF)
    board.pic.write_port(0xA1, 1, 0xFF)
    board.redirect(gsi, 0x51)
    board.controllers.line(irq)(True)
    assert board.take() == 0x51


@pytest.mark.parametrize("irq", [-1, 2, 24])
def test_there_is_no_line_to_the_cascade_or_beyond(irq: int) -> None:
    with pytest.raises(ValueError, match=f"IRQ {irq}"):
        Board().controllers.line(irq)


def test_the_lines_of_an_irq_are_ored() -> None:
    board = Board()
    board.redirect(10, 1 << 15 | 0x51)
    board.pic.write_port(0xA1, 1, 0xFF)
    one, other = board.controllers.line(10), board.controllers.line(10)
    one(True)
    other(True)
    one(False)
    board.take()
    board.end_of_interrupt()
    assert board.take() == 0x51
    other(False)
    board.end_of_interrupt()
    assert board.take() is None


def test_a_replacing_line_is_connected_instead_of_all_others() -> None:
    board = board_with_pic()
    before = board.controllers.line(0)
    replacing = board.controllers.replacing_line(0)
    after = board.controllers.line(0)
    replacing.line(True)
    assert board.take() is None
    replacing.switch(True)
    assert board.take() == 0x20
    board.pic.write_port(0x20, 1, NON_SPECIFIC_EOI)
    replacing.line(False)
    before(True)
    after(True)
    assert board.take() is None
    replacing.switch(False)
    assert board.take() == 0x20


@pytest.mark.parametrize("lint0", [MASKED | EXTINT, 0x31, 0x400])
def test_lint0_must_be_unmasked_and_extint(lint0: int) -> None:
    board = board_with_pic()
    board.write(LVT_LINT0, lint0)
    board.controllers.line(4)(True)
    assert board.apics.pending(0) != 0x24
    board.write(LVT_LINT0, EXTINT)
    assert board.apics.pending(0) == 0x24


def test_lint0_can_be_a_fixed_interrupt_or_an_nmi() -> None:
    board = board_with_pic()
    board.write(LVT_LINT0, 0x31)
    board.controllers.line(4)(True)
    assert board.take() == 0x31
    board = board_with_pic()
    board.write(LVT_LINT0, 0x400)
    board.controllers.line(4)(True)
    assert board.processors.told("nmi") == [(0, None)]


def test_lint0_sees_no_edge_while_the_8259_only_changes_its_mind() -> None:
    board = board_with_pic()
    board.write(LVT_LINT0, 0x31)
    board.controllers.line(4)(True)
    board.take()
    board.end_of_interrupt()
    board.controllers.line(1)(True)
    assert board.take() is None


@pytest.mark.parametrize("how", ["software", "hardware"])
def test_a_disabled_local_apic_lets_the_8259_through(how: str) -> None:
    board = board_with_pic()
    if how == "software":
        board.write(SPURIOUS, 0xFF)
    else:
        board.wrmsr(IA32_APIC_BASE, LOCAL_APIC)
    board.controllers.line(4)(True)
    assert board.take() == 0x24


def test_an_8259_interrupt_asks_no_priority_and_needs_no_local_end_of_interrupt() -> None:
    board = board_with_pic()
    board.write(0x80, 0xFF)
    board.send_to_itself(0xF1)
    board.controllers.line(4)(True)
    assert board.take() == 0x24
    assert board.read(0x110) == 0
    board.pic.write_port(0x20, 1, NON_SPECIFIC_EOI)
    board.apics.write_cr8(0, 0)
    assert board.take() == 0xF1


def test_the_same_vector_from_both_sides_is_served_by_the_8259_first() -> None:
    board = board_with_pic()
    board.send_to_itself(0x24)
    board.controllers.line(4)(True)
    assert (board.take(), board.read(0x110)) == (0x24, 0)
    assert (board.take(), board.read(0x110)) == (0x24, 1 << 4)


def test_the_io_apics_input_0_is_the_8259() -> None:
    board = board_with_pic(vcpus=2, icw4=3)
    board.write(LVT_LINT0, MASKED)
    board.redirect(0, EXTINT, high=1 << 24)
    board.controllers.line(4)(True)
    board.controllers.line(5)(True)
    assert board.pending() == [None, 0x24]
    assert board.take(vcpu=1) == 0x24
    assert board.take(vcpu=1) == 0x25
    assert board.pending() == [None, None]


def test_an_extint_message_is_good_for_one_interrupt() -> None:
    board = board_with_pic(vcpus=2, icw4=3)
    board.write(LVT_LINT0, MASKED)
    board.redirect(0, EXTINT, high=1 << 24)
    board.controllers.line(4)(True)
    assert board.take(vcpu=1) == 0x24
    board.redirect(0, MASKED | EXTINT, high=1 << 24)
    board.controllers.line(5)(True)
    assert board.pending() == [None, None]


def test_a_more_urgent_request_replaces_the_pending_one() -> None:
    board = board_with_pic()
    board.controllers.line(4)(True)
    board.controllers.line(1)(True)
    assert board.apics.pending(0) == 0x21
    assert board.processors.told("interrupt") == [(0, None)] * 2


def test_a_vector_taken_before_its_acknowledge_cycle_stays_that_vector() -> None:
    board = board_with_pic()
    board.controllers.line(4)(True)
    board.controllers.line(1)(True)
    board.apics.acknowledge(0, 0x24)
    assert board.take() == 0x21


class TakesAtOnce:
    """A processor that acknowledges whatever is pending as soon as it hears of it."""

    def __init__(self) -> None:
        self.controllers: InterruptControllers | None = None
        self.taken: list[int] = []

    def interrupt_changed(self, vcpu: int) -> None:
        assert self.controllers is not None
        vector = self.controllers.local_apics.pending(vcpu)
        if vector is not None:
            self.taken.append(vector)
            self.controllers.local_apics.acknowledge(vcpu, vector)

    def nmi(self, vcpu: int) -> None: ...

    def init(self, vcpu: int) -> None: ...

    def startup(self, vcpu: int, vector: int) -> None: ...


def test_a_processor_may_acknowledge_while_it_is_told() -> None:
    processor, board = TakesAtOnce(), Board()
    controllers = processor.controllers = InterruptControllers(board.counters, board.clock, board.timers, processor)
    apics = controllers.local_apics
    apics.write_msr(0, IA32_APIC_BASE, LOCAL_APIC | ENABLE | X2APIC)
    for vector in (0x51, 0x61, 0x41):
        apics.write_msr(0, x2apic(0x3F0), vector)
    controllers.line(4)(True)
    for _ in range(3):
        apics.write_msr(0, x2apic(0xB0), 0)
    assert processor.taken == [0x51, 0x61, 0x0C, 0x41]
