"""The I/O APIC."""

import pytest

from kev.dev.base import MmioDevice
from tests.dev.board import LOGICAL_DESTINATION, SPURIOUS, Board

LEVEL = 1 << 15
MASKED = 1 << 16
REMOTE_IRR = 1 << 14
GSI = 10


def select(board: Board, register: int) -> None:
    board.io_apic.write_mmio(0, 0, 4, register)


def read(board: Board, register: int) -> int:
    select(board, register)
    return board.io_apic.read_mmio(0, 0x10, 4)


def write(board: Board, register: int, value: int) -> None:
    select(board, register)
    board.io_apic.write_mmio(0, 0x10, 4, value)


def redirected(low: int, high: int = 0, vcpus: int = 1) -> Board:
    board = Board(vcpus)
    board.redirect(GSI, low, high)
    return board


def test_it_is_an_mmio_device_at_its_usual_place() -> None:
    io_apic = Board().io_apic
    assert isinstance(io_apic, MmioDevice)
    assert (io_apic.gpa, io_apic.length) == (0xFEC0_0000, 0x1000)


def test_it_has_24_masked_entries() -> None:
    board = Board()
    assert read(board, 1) == 0x17_0011
    assert [read(board, 0x10 + index) for index in range(48)] == [MASKED, 0] * 24
    assert read(board, 0x40) == 0


def test_the_version_is_read_only_and_the_id_has_four_bits_that_the_arbitration_id_follows() -> None:
    board = Board()
    write(board, 1, 0)
    write(board, 0, 0xFFFF_FFFF)
    write(board, 2, 0)
    assert (read(board, 0), read(board, 1), read(board, 2)) == (0x0F00_0000, 0x17_0011, 0x0F00_0000)


def test_an_entry_keeps_what_is_written_but_for_the_read_only_bits() -> None:
    board = Board()
    write(board, 0x12, 0xFFFF_FFFF)
    write(board, 0x13, 0xFFFF_FFFF)
    assert (read(board, 0x12), read(board, 0x13)) == (0x1_AFFF, 0xFF00_0000)


def test_the_index_reads_back() -> None:
    board = Board()
    select(board, 0x12)
    assert board.io_apic.read_mmio(0, 0, 4) == 0x12


def test_there_is_nothing_beside_index_and_window() -> None:
    board = Board()
    board.io_apic.write_mmio(0, 0x40, 4, 0x51)
    assert board.io_apic.read_mmio(0, 0x40, 4) == 0


def test_an_edge_interrupts_once() -> None:
    board = redirected(0x51)
    board.io_apic.set_line(GSI, True)
    assert board.take() == 0x51
    board.end_of_interrupt()
    board.io_apic.set_line(GSI, True)
    assert board.take() is None
    board.io_apic.set_line(GSI, False)
    board.io_apic.set_line(GSI, True)
    assert board.take() == 0x51


def test_a_pulse_is_an_edge() -> None:
    board = redirected(0x51)
    board.io_apic.set_line(GSI, True)
    board.io_apic.set_line(GSI, False)
    assert board.take() == 0x51


def test_an_edge_while_masked_is_lost() -> None:
    board = redirected(MASKED | 0x51)
    board.io_apic.set_line(GSI, True)
    board.redirect(GSI, 0x51)
    assert board.take() is None


def test_a_level_interrupts_until_it_is_gone() -> None:
    board = redirected(LEVEL | 0x51)
    board.io_apic.set_line(GSI, True)
    assert board.take() == 0x51
    assert board.redirection(GSI) == LEVEL | REMOTE_IRR | 0x51
    board.end_of_interrupt()
    assert board.take() == 0x51
    board.io_apic.set_line(GSI, False)
    board.end_of_interrupt()
    assert board.take() is None
    assert board.redirection(GSI) == LEVEL | 0x51


def test_a_level_that_comes_again_before_the_end_of_interrupt_is_one_interrupt() -> None:
    board = redirected(LEVEL | 0x51)
    board.io_apic.set_line(GSI, True)
    board.take()
    for asserted in (False, True, False):
        board.io_apic.set_line(GSI, asserted)
    board.end_of_interrupt()
    assert board.take() is None


def test_a_level_that_was_masked_interrupts_when_unmasked() -> None:
    board = redirected(MASKED | LEVEL | 0x51)
    board.io_apic.set_line(GSI, True)
    assert board.take() is None
    board.redirect(GSI, LEVEL | 0x51)
    assert board.take() == 0x51


def test_a_handler_may_mask_a_level_before_its_end_of_interrupt() -> None:
    board = redirected(LEVEL | 0x51)
    board.io_apic.set_line(GSI, True)
    board.take()
    board.redirect(GSI, MASKED | LEVEL | 0x51)
    board.end_of_interrupt()
    assert board.take() is None
    board.redirect(GSI, LEVEL | 0x51)
    assert board.take() == 0x51


def test_a_handler_may_redirect_its_own_level() -> None:
    board = redirected(LEVEL | 0x51, vcpus=2)
    board.io_apic.set_line(GSI, True)
    board.take()
    board.io_apic.set_line(GSI, False)
    write(board, 0x11 + 2 * GSI, 1 << 24)
    board.end_of_interrupt()
    assert not board.redirection(GSI) & REMOTE_IRR


def test_switching_to_edge_forgets_the_level_in_service() -> None:
    board = redirected(LEVEL | 0x51)
    board.io_apic.set_line(GSI, True)
    board.redirect(GSI, MASKED | 0x51)
    assert board.redirection(GSI) == MASKED | 0x51


def test_the_trigger_mode_register_shows_how_a_vector_came() -> None:
    board = redirected(LEVEL | 0x51)
    board.io_apic.set_line(GSI, True)
    assert board.read(0x1A0) == 1 << 0x51 - 0x40
    board.io_apic.set_line(GSI, False)
    board.redirect(GSI, 0x51)
    board.io_apic.set_line(GSI, True)
    assert board.read(0x1A0) == 0


def test_either_polarity_means_asserted() -> None:
    board = redirected(1 << 13 | LEVEL | 0x51)
    assert board.take() is None
    board.io_apic.set_line(GSI, True)
    assert board.take() == 0x51


def test_a_physical_destination_is_an_apic_id() -> None:
    board = redirected(0x51, high=2 << 24, vcpus=3)
    board.io_apic.set_line(GSI, True)
    assert board.pending() == [None, None, 0x51]


def test_a_logical_destination_is_a_set_of_processors() -> None:
    board = redirected(1 << 11 | 0x51, high=0b110 << 24, vcpus=3)
    for vcpu in range(3):
        board.write(LOGICAL_DESTINATION, 1 << 24 + vcpu, vcpu)
    board.io_apic.set_line(GSI, True)
    assert board.pending() == [None, 0x51, 0x51]


def test_lowest_priority_goes_to_one_of_the_destinations() -> None:
    board = redirected(1 << 8 | 0x51, high=0xFF << 24, vcpus=3)
    board.apics.write_cr8(0, 2)
    board.io_apic.set_line(GSI, True)
    assert board.pending() == [None, 0x51, None]


@pytest.mark.parametrize("trigger", [0, LEVEL])
def test_an_nmi_is_an_edge_whatever_is_programmed(trigger: int) -> None:
    board = redirected(trigger | 4 << 8, high=1 << 24, vcpus=2)
    board.io_apic.set_line(GSI, True)
    board.io_apic.set_line(GSI, False)
    board.io_apic.set_line(GSI, True)
    assert board.processors.told("nmi") == [(1, None)] * 2


def test_a_level_that_nobody_takes_stays_due() -> None:
    board = Board(enabled=False)
    board.write(SPURIOUS, 0xFF)
    board.redirect(GSI, LEVEL | 0x51)
    board.io_apic.set_line(GSI, True)
    assert not board.redirection(GSI) & REMOTE_IRR
    board.write(SPURIOUS, 0x1FF)
    board.redirect(GSI, LEVEL | 0x51)
    assert board.take() == 0x51
