"""The 8259 pair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.dev.base import PortDevice
from kev.dev.interrupts.pic8259 import Pic8259Pair

MASTER, SLAVE = 0x20, 0xA0
NON_SPECIFIC_EOI = 0x20
READ_IRR, READ_ISR, POLL = 0x0A, 0x0B, 0x0C


class Pic:
    """The pair behind its ports, initialised to vectors 0x20 and 0x28 as most kernels do."""

    def __init__(self, icw4: int = 0x01) -> None:
        self.changes = 0
        self.pair = Pic8259Pair(self._changed)
        for chip, base, cascade in ((MASTER, 0x20, 4), (SLAVE, 0x28, 2)):
            self.initialize(chip, base, cascade, icw4)

    def _changed(self) -> None:
        self.changes += 1

    def initialize(self, chip: int, base: int, cascade: int, icw4: int) -> None:
        self.out(chip, 0x11)
        for word in (base, cascade, icw4):
            self.out(chip + 1, word)

    def out(self, port: int, value: int) -> None:
        self.pair.write_port(port, 1, value)

    def read(self, port: int) -> int:
        return self.pair.read_port(port, 1)

    def raise_irq(self, *irqs: int) -> None:
        for irq in irqs:
            self.pair.set_line(irq, True)

    def drop_irq(self, *irqs: int) -> None:
        for irq in irqs:
            self.pair.set_line(irq, False)

    def pulse(self, *irqs: int) -> None:
        self.raise_irq(*irqs)
        self.drop_irq(*irqs)

    def take(self) -> int | None:
        vector = self.pair.pending
        if vector is not None:
            self.pair.acknowledge(vector)
        return vector

    def in_service(self) -> int:
        """Both chips' in-service registers, as one set of IRQs."""
        for chip in (MASTER, SLAVE):
            self.out(chip, READ_ISR)
        return self.read(SLAVE) << 8 | self.read(MASTER)


def test_it_is_a_port_device() -> None:
    pair = Pic8259Pair(lambda: None)
    assert isinstance(pair, PortDevice)
    assert [port for ports in pair.ports for port in ports] == [0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1]


def test_it_starts_with_the_vectors_of_a_pcs_firmware() -> None:
    pair = Pic8259Pair(lambda: None)
    pair.set_line(4, True)
    assert pair.pending == 0x0C
    pair.acknowledge(0x0C)
    pair.write_port(MASTER, 1, NON_SPECIFIC_EOI)
    pair.set_line(11, True)
    assert pair.pending == 0x73


def test_a_request_is_in_service_until_its_end_of_interrupt() -> None:
    pic = Pic()
    pic.raise_irq(4)
    assert (pic.take(), pic.in_service()) == (0x24, 1 << 4)
    pic.out(MASTER, NON_SPECIFIC_EOI)
    assert (pic.take(), pic.in_service()) == (None, 0)


def test_the_lower_number_comes_first_and_waits_for_no_one_above_it() -> None:
    pic = Pic()
    pic.raise_irq(3, 1)
    assert pic.take() == 0x21
    assert pic.pair.pending is None
    pic.raise_irq(0)
    assert pic.take() == 0x20
    pic.out(MASTER, NON_SPECIFIC_EOI)
    assert pic.pair.pending is None
    pic.out(MASTER, NON_SPECIFIC_EOI)
    assert pic.take() == 0x23


def test_the_slave_is_between_irq_1_and_irq_3() -> None:
    pic = Pic()
    pic.raise_irq(3, 15, 8, 1)
    order = []
    for _ in range(4):
        vector = pic.take()
        assert vector is not None
        order.append(vector)
        if vector >= 0x28:
            pic.out(SLAVE, NON_SPECIFIC_EOI)
        pic.out(MASTER, NON_SPECIFIC_EOI)
    assert order == [0x21, 0x28, 0x2F, 0x23]


def test_an_interrupt_of_the_slave_is_in_service_in_both() -> None:
    pic = Pic()
    pic.raise_irq(12)
    assert (pic.take(), pic.in_service()) == (0x2C, 1 << 12 | 1 << 2)
    pic.out(SLAVE, NON_SPECIFIC_EOI)
    pic.raise_irq(13)
    assert pic.pair.pending is None
    pic.out(MASTER, NON_SPECIFIC_EOI)
    assert pic.take() == 0x2D


def test_a_request_of_the_slave_that_is_masked_is_withdrawn_from_the_master() -> None:
    pic = Pic()
    pic.pulse(12)
    pic.out(SLAVE + 1, 1 << 4)
    assert pic.pair.pending is None
    assert pic.read(MASTER) == 0
    pic.out(SLAVE + 1, 0)
    assert pic.take() == 0x2C


def test_special_fully_nested_mode_lets_the_slave_interrupt_itself() -> None:
    pic = Pic(icw4=0x11)
    pic.raise_irq(12)
    pic.take()
    pic.raise_irq(13, 3)
    assert pic.pair.pending is None
    pic.raise_irq(9)
    assert pic.take() == 0x29


def test_a_mask_holds_a_request_back_and_reads_back() -> None:
    pic = Pic()
    pic.out(MASTER + 1, 0x10)
    pic.raise_irq(4)
    assert pic.pair.pending is None
    assert pic.read(MASTER + 1) == 0x10
    pic.out(MASTER + 1, 0)
    assert pic.take() == 0x24


def test_an_edge_is_kept_and_counts_once() -> None:
    pic = Pic()
    pic.pulse(4)
    assert pic.take() == 0x24
    pic.raise_irq(4)
    pic.take()
    pic.out(MASTER, NON_SPECIFIC_EOI)
    assert pic.take() == 0x24
    pic.out(MASTER, NON_SPECIFIC_EOI)
    pic.raise_irq(4)
    assert pic.take() is None


def test_a_level_counts_as_long_as_it_stands() -> None:
    pic = Pic()
    pic.out(0x4D0, 0x20)
    pic.raise_irq(5)
    assert pic.take() == 0x25
    pic.out(MASTER, NON_SPECIFIC_EOI)
    assert pic.pair.pending == 0x25
    pic.drop_irq(5)
    assert pic.pair.pending is None


def test_timer_keyboard_cascade_clock_and_coprocessor_cannot_be_level_triggered() -> None:
    pic = Pic()
    pic.out(0x4D0, 0xFF)
    pic.out(0x4D1, 0xFF)
    assert (pic.read(0x4D0), pic.read(0x4D1)) == (0xF8, 0xDE)


def test_a_specific_eoi_ends_the_level_it_names() -> None:
    pic = Pic()
    pic.raise_irq(4)
    pic.take()
    pic.raise_irq(1)
    pic.take()
    pic.out(MASTER, 0x60 | 4)
    assert pic.in_service() == 1 << 1


def test_an_end_of_interrupt_with_nothing_in_service_is_harmless() -> None:
    pic = Pic()
    pic.out(MASTER, NON_SPECIFIC_EOI)
    pic.raise_irq(4)
    assert pic.take() == 0x24


def test_automatic_end_of_interrupt_keeps_nothing_in_service() -> None:
    pic = Pic(icw4=0x03)
    pic.raise_irq(4, 12)
    assert (pic.take(), pic.take(), pic.in_service()) == (0x2C, 0x24, 0)


def test_rotation_makes_the_served_level_the_last() -> None:
    pic = Pic()
    pic.raise_irq(1, 3, 5)
    assert pic.take() == 0x21
    pic.out(MASTER, 0xA0)
    pic.pulse(1)
    pic.drop_irq(1)
    pic.pulse(1)
    assert pic.take() == 0x23
    pic.out(MASTER, 0xE0 | 3)
    assert pic.take() == 0x25
    pic.out(MASTER, 0xA0)
    assert pic.take() == 0x21


def test_set_priority_chooses_the_last_level() -> None:
    pic = Pic()
    pic.out(MASTER, 0xC0 | 4)
    pic.raise_irq(4, 5)
    assert pic.take() == 0x25


def test_rotation_in_automatic_end_of_interrupt_mode() -> None:
    pic = Pic(icw4=0x03)
    pic.out(MASTER, 0x80)
    pic.raise_irq(1, 3)
    assert pic.take() == 0x21
    pic.drop_irq(1)
    pic.raise_irq(1)
    assert pic.take() == 0x23
    pic.out(MASTER, 0x00)
    pic.drop_irq(3)
    pic.raise_irq(3)
    assert pic.take() == 0x21


def test_special_mask_mode_ignores_masked_levels_in_service() -> None:
    pic = Pic()
    pic.raise_irq(1)
    pic.take()
    pic.raise_irq(4)
    assert pic.pair.pending is None
    pic.out(MASTER + 1, 1 << 1)
    pic.out(MASTER, 0x68)
    assert pic.take() == 0x24
    pic.out(MASTER, NON_SPECIFIC_EOI)
    assert pic.in_service() == 1 << 1
    pic.out(MASTER, 0x48)
    pic.drop_irq(4)
    pic.raise_irq(4)
    assert pic.pair.pending is None


def test_irr_and_isr_are_read_as_selected() -> None:
    pic = Pic()
    pic.raise_irq(4)
    assert pic.read(MASTER) == 1 << 4
    pic.take()
    pic.out(MASTER, READ_ISR)
    assert (pic.read(MASTER), pic.read(MASTER)) == (1 << 4, 1 << 4)
    pic.out(MASTER, READ_IRR)
    assert pic.read(MASTER) == 0


def test_a_poll_is_an_acknowledge_cycle() -> None:
    pic = Pic()
    pic.raise_irq(4)
    pic.out(MASTER, POLL)
    assert pic.read(MASTER) == 0x84
    assert pic.pair.pending is None
    assert pic.in_service() == 1 << 4
    pic.out(MASTER, POLL)
    assert pic.read(MASTER) == 0


@pytest.mark.parametrize(("vector", "in_service"), [(0x27, 0), (0x2F, 1 << 2)])
def test_a_spurious_interrupt_is_not_in_service(vector: int, in_service: int) -> None:
    pic = Pic()
    pic.pair.acknowledge(vector)
    assert pic.in_service() == in_service


def test_an_interrupt_taken_before_a_more_urgent_one_came_is_the_one_in_service() -> None:
    pic = Pic()
    pic.raise_irq(4)
    taken = pic.pair.pending
    pic.raise_irq(1)
    assert taken is not None
    pic.pair.acknowledge(taken)
    assert pic.in_service() == 1 << 4
    assert pic.take() == 0x21


def test_initialisation_forgets_masks_requests_and_services() -> None:
    pic = Pic()
    pic.raise_irq(4, 5)
    pic.take()
    pic.out(MASTER + 1, 0xFF)
    pic.initialize(MASTER, 0x40, 4, 0x01)
    assert (pic.read(MASTER + 1), pic.in_service(), pic.pair.pending) == (0, 0, None)
    pic.drop_irq(4)
    pic.raise_irq(4)
    assert pic.take() == 0x44


def test_a_chip_is_silent_while_it_is_initialised() -> None:
    pic = Pic()
    pic.out(MASTER, 0x11)
    pic.raise_irq(4)
    pic.out(MASTER + 1, 0x40)
    pic.out(MASTER + 1, 4)
    assert pic.pair.pending is None
    pic.out(MASTER + 1, 1)
    assert pic.pair.pending == 0x44


def test_initialisation_without_icw4_or_for_a_single_chip_is_shorter() -> None:
    pic = Pic(icw4=0x03)
    pic.out(MASTER, 0x12)
    pic.out(MASTER + 1, 0x50)
    pic.raise_irq(4)
    assert (pic.take(), pic.in_service()) == (0x54, 1 << 4)


def test_every_change_of_the_output_is_told() -> None:
    pic = Pic()
    pic.raise_irq(4)
    assert pic.changes == 1
    pic.raise_irq(5)
    assert pic.changes == 1
    pic.raise_irq(1)
    assert pic.changes == 2


PRIORITY = (0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7)
"""The IRQs, most urgent first, in fully nested mode."""


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["pulse", "mask", "unmask"]), st.sampled_from([0, 1, 8, 9, 15, 3, 7])),
            st.tuples(st.sampled_from(["take", "end"]), st.just(0)),
        ),
        max_size=60,
    )
)
def test_the_pair_is_one_controller_with_fifteen_priorities(steps: list[tuple[str, int]]) -> None:
    pic = Pic()
    requested: set[int] = set()
    masked: set[int] = set()
    serving: list[int] = []
    for step, irq in steps:
        if step == "pulse":
            pic.pulse(irq)
            requested.add(irq)
        elif step in ("mask", "unmask"):
            masked = masked | {irq} if step == "mask" else masked - {irq}
            pic.out(MASTER + 1, sum(1 << irq for irq in masked if irq < 8))
            pic.out(SLAVE + 1, sum(1 << irq - 8 for irq in masked if irq >= 8))
        elif step == "take" and (vector := pic.take()) is not None:
            requested.remove(vector - 0x20)
            serving.append(vector - 0x20)
        elif step == "end" and serving:
            if serving.pop() >= 8:
                pic.out(SLAVE, NON_SPECIFIC_EOI)
            pic.out(MASTER, NON_SPECIFIC_EOI)
        # While the slave is served, nothing more of it comes through the master's one input.
        barrier = min((PRIORITY.index(2 * 4 if irq >= 8 else irq) for irq in serving), default=len(PRIORITY))
        eligible = [irq for irq in PRIORITY[:barrier] if irq in requested - masked]
        assert pic.pair.pending == (0x20 + eligible[0] if eligible else None)
