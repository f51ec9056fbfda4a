"""A CD-ROM drive, as drivers talk to it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.dev.base import PageAbsent
from kev.dev.buses.ports import PortBus
from kev.dev.pci.bus import PciBus
from kev.dev.storage.atapi import CdRom
from kev.dev.storage.ide import IdeChannel, SecondaryIdeChannel
from kev.dev.storage.ide_dma import ide_function
from tests.dev.ram import BrokenFile, Ram, TestDisk

READY, REQUEST, ERROR = 0x50, 0x08, 0x01
IDENTIFY, IDENTIFY_PACKET, PACKET, DEVICE_RESET = 0xEC, 0xA1, 0xA0, 0x08
COMMAND, DATA, FINISHED = 1, 2, 3
"""Why it interrupts."""
NOT_READY, MEDIUM_ERROR, ILLEGAL_REQUEST = 2, 3, 5
SECTORS = 40
"""Of 2,048 bytes."""
BUS_MASTER, TABLE, BUFFER = 0xC000, 0x1000, 0x8000


def packet(*values: int) -> bytes:
    return bytes(values).ljust(12, b"\0")


def read10(sector: int, count: int = 1) -> bytes:
    return struct.pack(">BxIxHxxx", 0x28, sector, count)


class Drive:
    """The only one of the secondary channel, behind PCI."""

    def __init__(self, disk: TestDisk | None = None, ram: Ram | None = None) -> None:
        self.disk = disk or TestDisk(4 * SECTORS)
        self.ram = ram or Ram()
        self.interrupt = False
        self.bus = PortBus()
        primary = IdeChannel([], lambda asserted: None)
        self.channel = SecondaryIdeChannel([CdRom(self.disk.disk)], self._set_interrupt)
        for channel in (primary, self.channel):
            self.bus.attach(channel)
        function, (primary.dma, self.channel.dma) = ide_function("IDE", [primary, self.channel], self.ram, self.bus, BUS_MASTER)
        pci = PciBus()
        pci.attach(1, function)
        pci.write_port(0xCF8, 4, 0x8000_0804)
        pci.write_port(0xCFC, 2, 5)
        self.write(6, 0xA0)

    def _set_interrupt(self, asserted: bool) -> None:
        self.interrupt = asserted

    def read(self, register: int) -> int:
        return self.bus.read(0x170 + register, 1)

    def write(self, register: int, value: int) -> None:
        self.bus.write(0x170 + register, 1, value)

    @property
    def status(self) -> int:
        return self.bus.read(0x376, 1)

    def data(self, length: int) -> bytes:
        return b"".join(self.bus.read(0x170, 2).to_bytes(2, "little") for _ in range(-(-length // 2)))[:length]

    def send(self, command: bytes, limit: int = 2048, features: int = 0) -> int:
        """Sends a packet, and returns the status after it."""
        self.write(1, features)
        self.write(4, limit & 0xFF)
        self.write(5, limit >> 8)
        self.write(7, PACKET)
        assert (self.status, self.read(2), self.interrupt) == (READY | REQUEST, COMMAND, False)
        for (word,) in struct.iter_unpack("<H", command):
            self.bus.write(0x170, 2, word)
        return self.status

    def ask(self, command: bytes, limit: int = 2048) -> bytes:
        """What a packet is answered, block by block."""
        answer = b""
        status = self.send(command, limit)
        while status & REQUEST:
            assert self.interrupt
            assert self.read(2) == DATA
            self.read(7)
            assert not self.interrupt
            length = self.read(4) | self.read(5) << 8
            assert 0 < length <= (limit or 0xFFFE)
            answer += self.data(length)
            status = self.status
        assert self.interrupt
        assert (status, self.read(2)) == (READY, FINISHED)
        return answer

    @property
    def sense(self) -> tuple[int, int]:
        """Key and code."""
        answer = self.ask(packet(3, 0, 0, 0, 18))
        assert answer[0] == 0x70
        return answer[2], answer[12]


def test_it_is_told_from_a_disk_by_its_signature() -> None:
    drive = Drive()
    drive.bus.write(0x376, 1, 4)
    drive.bus.write(0x376, 1, 0)
    assert [drive.read(register) for register in (2, 3, 4, 5)] == [1, 1, 0x14, 0xEB]
    drive.write(4, 0)
    drive.write(5, 0)
    drive.write(7, IDENTIFY)
    assert drive.status == READY | ERROR
    assert (drive.read(4), drive.read(5)) == (0x14, 0xEB)
    drive.write(4, 0)
    drive.write(7, DEVICE_RESET)
    assert (drive.read(4), drive.read(5)) == (0x14, 0xEB)


def test_a_disk_and_a_cd_show_their_own_signatures() -> None:
    bus = PortBus()
    bus.attach(IdeChannel([TestDisk(8).disk, CdRom(TestDisk(8).disk)], lambda asserted: None))
    bus.write(0x3F6, 1, 4)
    bus.write(0x3F6, 1, 0)
    for device, signature in ((0xA0, (0, 0)), (0xB0, (0x14, 0xEB)), (0xA0, (0, 0))):
        bus.write(0x1F6, 1, device)
        assert (bus.read(0x1F4, 1), bus.read(0x1F5, 1)) == signature


def test_it_says_what_it_is() -> None:
    drive = Drive()
    drive.write(7, IDENTIFY_PACKET)
    assert drive.interrupt
    words = struct.unpack("<256H", drive.data(512))
    assert words[0] >> 14 == 2
    assert words[0] >> 8 & 0x1F == 5
    assert not words[0] & 3, "packets of 12 bytes"
    assert words[49] & 1 << 8
    assert drive.status == READY
    inquiry = drive.ask(packet(0x12, 0, 0, 0, 36))
    assert (inquiry[0], inquiry[1] >> 7, len(inquiry)) == (5, 1, 36)
    assert drive.ask(packet(0x12, 0, 0, 0, 5)) == inquiry[:5]


def test_capacity_and_table_of_contents_tell_its_size() -> None:
    drive = Drive()
    assert struct.unpack(">II", drive.ask(packet(0x25))) == (SECTORS - 1, 2048)
    contents = drive.ask(packet(0x43, 0, 0, 0, 0, 0, 0, 0, 100))
    assert struct.unpack_from(">HBB", contents) == (len(contents) - 2, 1, 1)
    assert [struct.unpack_from(">xxBxI", contents, at) for at in (4, 12)] == [(1, 0), (0xAA, SECTORS)]
    as_time = drive.ask(packet(0x43, 2, 0, 0, 0, 0, 0, 0, 100))
    assert as_time[8:12] == bytes((0, 0, 2, 0))
    assert drive.ask(packet(0x43, 0, 1, 0, 0, 0, 0, 0, 100))[-4:] == bytes(4), "where the last session begins"


@pytest.mark.parametrize("limit", [2048, 4096, 0xFFFE, 0xFFFF, 0, 512, 2050, 100])
def test_sectors_are_handed_out_in_blocks_of_what_the_driver_wants(limit: int) -> None:
    drive = Drive()
    assert drive.ask(read10(3, 5), limit) == drive.disk.contents[3 * 2048 : 8 * 2048]
    assert drive.ask(struct.pack(">BxIIxx", 0xA8, 9, 2), limit) == drive.disk.contents[9 * 2048 : 11 * 2048]


def test_a_read_of_nothing_is_done_at_once() -> None:
    assert Drive().ask(read10(0, 0)) == b""


@pytest.mark.parametrize(
    ("command", "sense"),
    [
        (read10(SECTORS), (ILLEGAL_REQUEST, 0x21)),
        (read10(SECTORS - 1, 2), (ILLEGAL_REQUEST, 0x21)),
        (struct.pack(">BxIIxx", 0xA8, 0, 1 << 31), (ILLEGAL_REQUEST, 0x24)),
        (packet(0x2A), (ILLEGAL_REQUEST, 0x20)),
        (packet(0xFF), (ILLEGAL_REQUEST, 0x20)),
        (packet(0x5A, 0, 0x3A, 0, 0, 0, 0, 0, 8), (ILLEGAL_REQUEST, 0x24)),
    ],
)
def test_what_it_cannot_do_fails_with_a_sense_that_is_asked_for_once(command: bytes, sense: tuple[int, int]) -> None:
    drive = Drive()
    assert drive.send(command) == READY | ERROR
    assert drive.interrupt
    assert drive.read(2) == FINISHED
    assert drive.read(1) >> 4 == sense[0]
    assert drive.sense == sense
    assert drive.sense == (0, 0)
    assert drive.ask(packet(0)) == b"", "the unit is ready"


def test_a_disc_that_cannot_be_read_is_a_medium_error() -> None:
    drive = Drive(TestDisk(4 * SECTORS, BrokenFile))
    assert drive.send(read10(0)) == READY | ERROR
    assert drive.sense == (MEDIUM_ERROR, 0x11)


@pytest.mark.parametrize("opcode", [0x23, 0x42, 0x46, 0x4A, 0x51, 0x5A])
def test_what_drivers_ask_besides_is_answered_as_long_as_it_says(opcode: int) -> None:
    command = bytearray(packet(opcode, 1, 0x3F, 0, 0x10, 0, 0, 2))
    answer = Drive().ask(bytes(command))
    said = {0x23: answer[3] + 4 if len(answer) > 3 else 0, 0x42: 4, 0x46: int.from_bytes(answer[:4], "big") + 4}
    assert len(answer) == said.get(opcode, int.from_bytes(answer[:2], "big") + 2)


def describe(ram: Ram, *regions: tuple[int, int]) -> None:
    for index, (gpa, length) in enumerate(regions):
        last = index == len(regions) - 1
        ram.bytes[TABLE + 8 * index : TABLE + 8 * index + 8] = struct.pack("<IHH", gpa, length, last << 15)


@pytest.mark.parametrize("started_first", [False, True])
def test_sectors_come_by_dma(started_first: bool) -> None:
    drive = Drive()
    describe(drive.ram, (BUFFER, 2048), (BUFFER + 0x1000, 4096))
    drive.bus.write(BUS_MASTER + 12, 4, TABLE)
    if started_first:
        drive.bus.write(BUS_MASTER + 8, 1, 9)
    drive.send(read10(2, 3), features=1)
    if not started_first:
        assert not drive.interrupt
        drive.bus.write(BUS_MASTER + 8, 1, 9)
    assert drive.interrupt
    assert (drive.status, drive.read(2)) == (READY, FINISHED)
    assert drive.bus.read(BUS_MASTER + 10, 1) & 7 == 4
    assert drive.ram.bytes[BUFFER : BUFFER + 2048] == drive.disk.contents[2 * 2048 : 3 * 2048]
    assert drive.ram.bytes[BUFFER + 0x1000 : BUFFER + 0x2000] == drive.disk.contents[3 * 2048 : 5 * 2048]
    assert drive.ask(read10(0)) == drive.disk.contents[:2048], "the next one needs no DMA"


@pytest.mark.parametrize("started_first", [False, True])
def test_a_page_that_is_absent_is_awaited_and_the_access_repeated(started_first: bool) -> None:
    ram = Ram()
    drive = Drive(ram=ram)
    describe(ram, (BUFFER, 2048))
    drive.bus.write(BUS_MASTER + 12, 4, TABLE)
    if started_first:
        drive.bus.write(BUS_MASTER + 8, 1, 9)
    ram.absent.add(BUFFER)
    command = read10(7)
    drive.write(1, 1)
    drive.write(7, PACKET)
    for (word,) in struct.iter_unpack("<H", command[:10]):
        drive.bus.write(0x170, 2, word)
    last = int.from_bytes(command[10:], "little")
    if started_first:
        with pytest.raises(PageAbsent):
            drive.bus.write(0x170, 2, last)
        ram.absent.clear()
        drive.bus.write(0x170, 2, last)
    else:
        drive.bus.write(0x170, 2, last)
        with pytest.raises(PageAbsent):
            drive.bus.write(BUS_MASTER + 8, 1, 9)
        ram.absent.clear()
        drive.bus.write(BUS_MASTER + 8, 1, 9)
    assert ram.bytes[BUFFER : BUFFER + 2048] == drive.disk.contents[7 * 2048 : 8 * 2048]
    assert (drive.status, drive.interrupt) == (READY, True)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 255)), max_size=60), st.binary(min_size=12, max_size=12))
def test_whatever_a_guest_writes_the_drive_works_after_a_reset(writes: list[tuple[int, int]], command: bytes) -> None:
    drive = Drive()
    for register, value in writes:
        drive.write(register, value)
    drive.write(6, 0xA0)
    drive.write(7, PACKET)
    for (word,) in struct.iter_unpack("<H", command):
        drive.bus.write(0x170, 2, word)
    drive.bus.write(0x376, 1, 4)
    drive.bus.write(0x376, 1, 0)
    drive.write(6, 0xA0)
    assert drive.ask(read10(1)) == drive.disk.contents[2048:4096]
