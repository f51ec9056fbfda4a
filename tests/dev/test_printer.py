"""The memory-mapped printer."""

import pytest

from kev.addressing import Gpa
from kev.dev.base import DeviceError, PageAbsent
from kev.dev.buses.mmio import MmioBus
from kev.dev.debug.printer import PRINTER_GPA, Printer
from tests.dev.ram import Ram


def printer(ram: Ram) -> tuple[MmioBus, bytearray]:
    printed = bytearray()
    bus = MmioBus()
    bus.attach(Printer(ram, printed.extend))
    return bus, printed


def test_the_doorbell_prints_the_buffer() -> None:
    ram = Ram()
    ram.bytes[0x3000:0x300D] = b"Hello, world\n"
    bus, printed = printer(ram)
    bus.store(0, PRINTER_GPA, 8, 0x3000)
    bus.store(0, Gpa(PRINTER_GPA + 8), 8, 13)
    assert printed == b""
    bus.store(0, Gpa(PRINTER_GPA + 16), 1, 0)
    bus.store(0, Gpa(PRINTER_GPA + 16), 8, 0xFFFF)
    assert printed == b"Hello, world\n" * 2


def test_registers_written_in_halves_read_back_whole() -> None:
    bus, _ = printer(Ram())
    bus.store(0, PRINTER_GPA, 4, 0x89ABCDEF)
    bus.store(0, Gpa(PRINTER_GPA + 4), 4, 0x01234567)
    assert bus.load(0, PRINTER_GPA, 8) == 0x0123456789ABCDEF
    assert bus.load(0, Gpa(PRINTER_GPA + 2), 2) == 0x89AB


def test_a_page_that_is_absent_prints_nothing_until_the_access_is_repeated() -> None:
    ram = Ram(absent=True)
    ram.bytes[0x2FFE:0x3002] = b"abcd"
    bus, printed = printer(ram)
    bus.store(0, PRINTER_GPA, 8, 0x2FFE)
    bus.store(0, Gpa(PRINTER_GPA + 8), 8, 4)
    for page in (0x2000, 0x3000):
        with pytest.raises(PageAbsent) as absent:
            bus.store(0, Gpa(PRINTER_GPA + 16), 4, 1)
        assert absent.value.gpa == page
    assert printed == b""
    bus.store(0, Gpa(PRINTER_GPA + 16), 4, 1)
    assert printed == b"abcd"


def test_a_length_beyond_reason_is_refused_with_its_limit() -> None:
    bus, _ = printer(Ram())
    bus.store(0, Gpa(PRINTER_GPA + 8), 8, 1 << 60)
    with pytest.raises(DeviceError, match=f"printer: the guest prints {1 << 60} bytes at 0x0; the limit is 1048576"):
        bus.store(0, Gpa(PRINTER_GPA + 16), 4, 1)
