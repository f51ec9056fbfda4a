"""Guest-physical memory as devices see it."""

import pytest

from kev.addressing import PAGE_SIZE, Gpa
from kev.dev.base import DeviceError
from kev.dev.buses.mmio import MmioBus
from kev.dev.storage.svirtb import SVIRTB_GPA, SimpleVirtioBlock
from kev.machine.guest_memory import PagedMemory
from kev.page_tables.mapping import Permissions
from kev.page_tables.table import PageTable
from tests.dev.ram import Ram, TestDisk
from tests.pager.machine import build_pager

RAM = 0x5000


class Machine:
    """A pager with svirtb's page, as the guest finds it."""

    def __init__(self) -> None:
        pager = build_pager()
        table = pager.table
        assert isinstance(table, PageTable)
        devices = MmioBus()
        page = pager.memory.allocate()
        devices.attach(SimpleVirtioBlock(pager.memory.page(page), TestDisk().disk, Ram()))
        pager.map_mmio_page(SVIRTB_GPA, page)
        self.written: list[int] = []
        self.narrowed: list[int] = []
        self.memory = PagedMemory(pager, devices, table, self.written.append, self.narrowed.append)


def test_what_a_device_writes_is_read_across_pages() -> None:
    memory = Machine().memory
    data = bytes(range(1, 201))
    memory.write(Gpa(RAM - 100), data)
    assert memory.read(Gpa(RAM - 101), 202) == b"\0" + data + b"\0"


def test_a_device_reads_the_page_that_another_shows_the_guest() -> None:
    assert Machine().memory.read(SVIRTB_GPA, 4) == b"virt"


def test_a_page_that_the_guest_may_not_write_can_be_written_by_devices_and_stays_so_when_it_comes_later() -> None:
    machine = Machine()
    memory, table = machine.memory, machine.memory.table
    memory.permit_writes(Gpa(RAM + 8), False)
    assert table.translate(RAM) is None
    memory.write(Gpa(RAM), b"device")
    assert memory.read(Gpa(RAM), 6) == b"device"
    assert table.translate(RAM) is not None
    assert table.translate(RAM, Permissions.WRITE) is None
    assert machine.narrowed == [RAM]
    memory.permit_writes(Gpa(RAM), True)
    assert table.translate(RAM, Permissions.WRITE) is not None
    memory.permit_writes(Gpa(RAM), True)
    memory.permit_writes(Gpa(RAM), False)
    assert table.translate(RAM, Permissions.WRITE) is None


@pytest.mark.parametrize("offset", [0, PAGE_SIZE - 1])
def test_a_device_told_to_write_to_a_device_is_refused_by_name(offset: int) -> None:
    memory = Machine().memory
    before = memory.read(SVIRTB_GPA, PAGE_SIZE)
    with pytest.raises(DeviceError, match=f"gpa {SVIRTB_GPA + offset:#x}, which is a device's page"):
        memory.write(Gpa(SVIRTB_GPA + offset), b"\xff")
    assert memory.read(SVIRTB_GPA, PAGE_SIZE) == before
