"""The IDE channel, driven as small kernels drive it."""

import struct
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.dev.base import PageAbsent
from kev.dev.buses.ports import PortBus
from kev.dev.pci.bus import PciBus
from kev.dev.storage.ide import IdeChannel, SecondaryIdeChannel
from kev.dev.storage.ide_dma import ide_function
from tests.dev.ram import BrokenFile, Ram, ReadOnlyFile, TestDisk

READ, WRITE, READ_MULTIPLE, WRITE_MULTIPLE, SET_MULTIPLE = 0x20, 0x30, 0xC4, 0xC5, 0xC6
IDENTIFY, FLUSH, VERIFY, DIAGNOSE, DIAGNOSE_UNKNOWN = 0xEC, 0xE7, 0x40, 0x90, 0x77
READY, REQUEST, ERROR = 0x50, 0x08, 0x01
ABORTED, NOT_FOUND, UNCORRECTABLE = 0x04, 0x10, 0x40


class Channel:
    """Two disks, the second much smaller, behind a port bus."""

    def __init__(self, first: TestDisk | None = None) -> None:
        self.first = first or TestDisk(600)
        self.second = TestDisk(2)
        self.interrupt = False
        self.edges = 0
        self.bus = PortBus()
        self.bus.attach(IdeChannel([self.first.disk, self.second.disk], self._set_interrupt))

    def _set_interrupt(self, asserted: bool) -> None:
        self.edges += asserted and not self.interrupt
        self.interrupt = asserted

    def command(self, command: int, lba: int = 0, count: int = 1, device: int = 0) -> int:
        """Writes a command with its parameters; returns the status, which acknowledges nothing."""
        self.bus.write(0x1F2, 1, count & 0xFF)
        self.bus.write(0x1F3, 1, lba & 0xFF)
        self.bus.write(0x1F4, 1, lba >> 8 & 0xFF)
        self.bus.write(0x1F5, 1, lba >> 16 & 0xFF)
        self.bus.write(0x1F6, 1, 0xE0 | device << 4 | lba >> 24 & 0xF)
        self.bus.write(0x1F7, 1, command)
        return self.bus.read(0x3F6, 1)

    def acknowledge(self) -> int:
        return self.bus.read(0x1F7, 1)

    def read_data(self, length: int, size: int = 4) -> bytes:
        return b"".join(self.bus.read(0x1F0, size).to_bytes(size, "little") for _ in range(length // size))

    def write_data(self, data: bytes, size: int = 4) -> None:
        for start in range(0, len(data), size):
            self.bus.write(0x1F0, size, int.from_bytes(data[start : start + size], "little"))

    @property
    def error(self) -> int:
        return self.bus.read(0x1F1, 1)


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.mark.parametrize("size", [2, 4])
def test_a_sector_is_read_by_words_and_by_dwords(channel: Channel, size: int) -> None:
    assert channel.command(READ, lba=5) == READY | REQUEST
    assert channel.interrupt
    assert channel.acknowledge() == READY | REQUEST
    assert not channel.interrupt
    assert channel.read_data(512, size) == channel.first.sector(5)
    assert channel.acknowledge() == READY
    assert not channel.interrupt


def test_the_alternate_status_does_not_acknowledge(channel: Channel) -> None:
    channel.command(READ)
    assert channel.bus.read(0x3F6, 1) == READY | REQUEST
    assert channel.interrupt


def test_several_sectors_are_read_with_an_interrupt_for_each(channel: Channel) -> None:
    channel.command(READ, lba=10, count=3)
    for sector in (10, 11, 12):
        assert channel.interrupt
        channel.acknowledge()
        assert channel.read_data(512) == channel.first.sector(sector)
    assert channel.acknowledge() == READY
    assert channel.edges == 3


def test_a_sector_count_of_0_is_256(channel: Channel) -> None:
    channel.command(READ, lba=100, count=0)
    assert channel.read_data(256 * 512) == channel.first.contents[100 * 512 : 356 * 512]
    assert channel.acknowledge() == READY


@pytest.mark.parametrize("size", [2, 4])
def test_a_sector_is_on_the_disk_when_its_interrupt_comes(channel: Channel, size: int) -> None:
    assert channel.command(WRITE, lba=7, count=2) == READY | REQUEST
    assert not channel.interrupt, "a disk that waits for its first data does not interrupt"
    channel.write_data(b"1" * 512, size)
    assert channel.interrupt
    assert channel.first.sector(7) == b"1" * 512
    assert channel.acknowledge() == READY | REQUEST
    channel.write_data(b"2" * 512, size)
    assert channel.interrupt
    assert channel.acknowledge() == READY
    assert channel.first.contents[7 * 512 : 9 * 512] == b"1" * 512 + b"2" * 512
    assert (
        channel.first.sector(6) + channel.first.sector(9)
        == channel.first.original[6 * 512 : 7 * 512] + (channel.first.original[9 * 512 : 10 * 512])
    )


def test_a_sector_ends_within_an_access_that_crosses_its_end(channel: Channel) -> None:
    channel.command(WRITE, lba=7)
    channel.bus.write(0x1F0, 1, ord("x"))
    channel.write_data(b"y" * 512)
    assert channel.first.sector(7) == b"x" + b"y" * 511
    assert channel.acknowledge() == READY


def test_multiple_sectors_share_an_interrupt(channel: Channel) -> None:
    assert channel.command(SET_MULTIPLE, count=4) == READY
    channel.acknowledge()
    channel.command(READ_MULTIPLE, lba=20, count=6)
    channel.acknowledge()
    assert channel.read_data(6 * 512) == channel.first.contents[20 * 512 : 26 * 512]
    assert channel.edges == 3  # SET MULTIPLE, a block of 4 and one of 2
    channel.acknowledge()
    channel.command(WRITE_MULTIPLE, lba=30, count=6)
    channel.write_data(b"multiple" * 384)
    assert channel.first.contents[30 * 512 : 36 * 512] == b"multiple" * 384


@pytest.mark.parametrize("count", [3, 32, 255])
def test_a_block_count_that_the_disk_cannot_do_is_aborted(channel: Channel, count: int) -> None:
    assert channel.command(SET_MULTIPLE, count=count) == READY | ERROR
    assert channel.error == ABORTED


def test_multiple_has_a_block_count_from_the_beginning(channel: Channel) -> None:
    assert channel.command(READ_MULTIPLE, lba=20, count=3) == READY | REQUEST
    assert channel.read_data(3 * 512) == b"".join(channel.first.sector(lba) for lba in (20, 21, 22))
    assert channel.edges == 1


def test_the_block_count_is_each_disks_own(channel: Channel) -> None:
    channel.command(SET_MULTIPLE, count=0)
    assert channel.command(READ_MULTIPLE, device=1) == READY | REQUEST


def test_multiple_without_a_block_count_is_aborted(channel: Channel) -> None:
    channel.command(SET_MULTIPLE, count=0)
    assert channel.command(READ_MULTIPLE) == READY | ERROR
    assert channel.error == ABORTED


def test_each_disk_has_its_own_sectors(channel: Channel) -> None:
    channel.command(WRITE, lba=1, device=1)
    channel.write_data(b"second" + bytes(506))
    assert channel.second.sector(1) == b"second" + bytes(506)
    assert channel.first.contents == channel.first.original


def test_identify_tells_size_and_name(channel: Channel) -> None:
    assert channel.command(IDENTIFY) == READY | REQUEST
    data = channel.read_data(512, 2)
    words = [int.from_bytes(data[i : i + 2], "little") for i in range(0, 512, 2)]
    assert words[60] | words[61] << 16 == 600
    assert words[49] & 0x200, "LBA"
    assert words[47] == 0x8010
    assert words[59] == 0x110
    name = b"".join(data[i + 1 : i + 2] + data[i : i + 1] for i in range(54, 94, 2))
    assert name.strip() == b"kev disk"
    assert channel.acknowledge() == READY
    channel.command(SET_MULTIPLE, count=8)
    channel.command(IDENTIFY)
    assert channel.read_data(512)[118:120] == b"\x08\x01"


def test_a_large_disk_shows_what_28_bits_reach() -> None:
    class Large:
        size = 1 << 40
        writable = True

        def read_into(self, offset: int, buffer: memoryview) -> None:
            buffer[:8] = (offset // 512).to_bytes(8, "little")

        def write(self, offset: int, data: bytes | bytearray | memoryview) -> None: ...

        def flush(self) -> None: ...

    channel = Channel()
    channel.bus = PortBus()
    channel.bus.attach(IdeChannel([Large()], channel._set_interrupt))
    channel.command(IDENTIFY)
    assert channel.read_data(512)[120:124] == (0x0FFFFFFF).to_bytes(4, "little")
    channel.command(READ, lba=0x0FFFFFFE)
    assert channel.read_data(512)[:8] == (0x0FFFFFFE).to_bytes(8, "little")
    assert channel.command(READ, lba=0x0FFFFFFF) == READY | ERROR


def test_a_second_disk_that_is_not_there_reads_as_0_and_takes_no_commands() -> None:
    channel = Channel()
    channel.bus = PortBus()
    channel.bus.attach(IdeChannel([channel.first.disk, None], channel._set_interrupt))
    assert channel.command(READ, device=1) == 0
    assert not channel.interrupt
    assert channel.command(READ, lba=1) == READY | REQUEST
    assert channel.read_data(512) == channel.first.sector(1)


def test_a_second_disk_answers_for_a_first_one_that_is_not_there() -> None:
    """xv6 and JOS wait for the first disk to be ready before they look for the second one."""
    channel = Channel()
    channel.bus = PortBus()
    channel.bus.attach(IdeChannel([None, channel.second.disk], channel._set_interrupt))
    assert channel.acknowledge() == READY
    assert channel.command(READ) == READY | ERROR
    assert channel.interrupt
    assert channel.error == ABORTED
    assert channel.command(READ, lba=1, device=1) == READY | REQUEST
    assert channel.read_data(512) == channel.second.sector(1)


def test_a_diagnosis_leaves_the_signature_of_a_disk(channel: Channel) -> None:
    assert channel.command(DIAGNOSE, lba=5, count=9) == READY
    assert [channel.bus.read(0x1F1 + register, 1) for register in range(5)] == [1, 1, 1, 0, 0]
    assert channel.interrupt


def test_selecting_another_disk_during_a_transfer_does_not_divert_it(channel: Channel) -> None:
    channel.command(WRITE, lba=0, count=2)
    channel.write_data(b"A" * 512)
    channel.bus.write(0x1F6, 1, 0xF0)
    channel.write_data(b"B" * 512)
    assert channel.first.contents[:1024] == b"A" * 512 + b"B" * 512
    assert channel.second.contents == channel.second.original


@pytest.mark.parametrize("command", [READ, WRITE, VERIFY])
@pytest.mark.parametrize(("lba", "count"), [(600, 1), (599, 2), (0x0FFFFFFF, 1), (400, 0)])
def test_sectors_beyond_the_disk_are_not_found(channel: Channel, command: int, lba: int, count: int) -> None:
    assert channel.command(command, lba, count) == READY | ERROR
    assert channel.error == NOT_FOUND
    assert channel.interrupt


def test_an_unknown_command_is_aborted_and_the_next_one_works(channel: Channel) -> None:
    assert channel.command(DIAGNOSE_UNKNOWN) == READY | ERROR
    assert channel.error == ABORTED
    assert channel.command(READ, lba=3) == READY | REQUEST
    assert channel.read_data(512) == channel.first.sector(3)


def read_at(channel: Channel, cylinder: int, head: int, sector: int) -> int:
    """READ SECTORS by cylinder, head and sector; returns the status."""
    for register, value in ((0x1F2, 1), (0x1F3, sector), (0x1F4, cylinder & 0xFF), (0x1F5, cylinder >> 8), (0x1F6, 0xA0 | head)):
        channel.bus.write(register, 1, value)
    channel.bus.write(0x1F7, 1, READ)
    return channel.acknowledge()


def set_geometry(channel: Channel, heads: int, sectors_per_track: int) -> int:
    channel.bus.write(0x1F2, 1, sectors_per_track)
    channel.bus.write(0x1F6, 1, 0xA0 | heads - 1)
    channel.bus.write(0x1F7, 1, 0x91)
    return channel.acknowledge()


def test_sectors_have_addresses_by_cylinder_head_and_sector_too(channel: Channel) -> None:
    assert read_at(channel, cylinder=0, head=9, sector=30) == READY | REQUEST
    assert channel.read_data(512) == channel.first.sector(9 * 63 + 29)
    assert set_geometry(channel, heads=2, sectors_per_track=8) == READY
    assert read_at(channel, cylinder=30, head=1, sector=8) == READY | REQUEST
    assert channel.read_data(512) == channel.first.sector(30 * 16 + 15)
    channel.command(IDENTIFY)
    assert channel.read_data(512)[108:118] == b"".join(number.to_bytes(2, "little") for number in (37, 2, 8, 37 * 16, 0))


@pytest.mark.parametrize(("cylinder", "head", "sector"), [(0, 0, 0), (0, 0, 9), (0, 2, 1), (37, 1, 1)])
def test_a_sector_that_the_geometry_does_not_have_is_not_found(channel: Channel, cylinder: int, head: int, sector: int) -> None:
    set_geometry(channel, heads=2, sectors_per_track=8)
    assert read_at(channel, cylinder, head, sector) == READY | ERROR
    assert channel.error == NOT_FOUND


def test_a_geometry_without_sectors_is_aborted(channel: Channel) -> None:
    assert set_geometry(channel, heads=16, sectors_per_track=0) == READY | ERROR
    assert channel.error == ABORTED


def test_the_disk_is_never_asleep(channel: Channel) -> None:
    assert channel.command(0xE5) == READY
    assert channel.bus.read(0x1F2, 1) == 0xFF


@pytest.mark.parametrize("command", [VERIFY, FLUSH, 0x10, 0x91, 0xE0, 0xE1, 0xE2, 0xE3, 0xE6, 0xEF])
def test_commands_without_data_succeed_with_an_interrupt(channel: Channel, command: int) -> None:
    assert channel.command(command) == READY
    assert channel.interrupt


def test_a_read_only_disk_aborts_writes() -> None:
    channel = Channel(TestDisk(8, ReadOnlyFile))
    assert channel.command(WRITE) == READY | ERROR
    assert channel.error == ABORTED
    assert channel.command(READ) == READY | REQUEST


def test_a_disk_that_fails_reports_it() -> None:
    channel = Channel(TestDisk(8, BrokenFile))
    assert channel.command(READ) == READY | ERROR
    assert channel.error == UNCORRECTABLE
    channel.command(WRITE)
    channel.write_data(bytes(512))
    assert channel.acknowledge() == READY | ERROR
    assert channel.error == ABORTED


def test_interrupts_can_be_turned_off_and_wait_until_they_are_on_again(channel: Channel) -> None:
    channel.bus.write(0x3F6, 1, 2)
    channel.command(READ)
    assert not channel.interrupt
    channel.bus.write(0x3F6, 1, 0)
    assert channel.interrupt


def test_a_software_reset_ends_the_transfer_and_leaves_the_signature_of_a_disk(channel: Channel) -> None:
    channel.command(READ, lba=3, count=2)
    channel.bus.write(0x3F6, 1, 4)
    channel.bus.write(0x3F6, 1, 0)
    assert [channel.bus.read(port, 1) for port in range(0x1F1, 0x1F8)] == [1, 1, 1, 0, 0, 0, READY]
    assert not channel.interrupt
    assert channel.read_data(4) == bytes(4)


def test_data_that_nobody_asked_for_is_ignored(channel: Channel) -> None:
    channel.write_data(b"noise")
    assert channel.read_data(4) == bytes(4)
    channel.command(READ, lba=1)
    channel.write_data(b"noise")
    assert channel.read_data(512) == channel.first.sector(1)
    assert channel.first.contents == channel.first.original


accesses = st.tuples(st.sampled_from([*range(0x1F0, 0x1F8), 0x3F6]), st.sampled_from([1, 2, 4]), st.integers(0, (1 << 32) - 1))


@given(st.lists(st.one_of(accesses, st.just((0x1F7, 1, WRITE)), st.just((0x1F6, 1, 0xE0))), max_size=60), st.integers(0, 600))
def test_whatever_a_guest_writes_the_disks_keep_their_size_and_the_channel_works(
    writes: list[tuple[int, int, int]], data_accesses: int
) -> None:
    channel = Channel()
    for port, size, value in writes:
        channel.bus.write(port, size, value & (1 << 8 * size) - 1)
        channel.bus.read(port, size)
    for _ in range(data_accesses):
        channel.bus.write(0x1F0, 4, 0)
        channel.bus.read(0x1F0, 4)
    assert len(channel.first.contents) == len(channel.first.original)
    assert len(channel.second.contents) == len(channel.second.original)
    channel.bus.write(0x3F6, 1, 4)
    channel.bus.write(0x3F6, 1, 0)
    channel.command(READ, lba=3)
    assert channel.read_data(512) == channel.first.sector(3)


def test_a_channel_without_disks_has_no_status_and_no_signature() -> None:
    bus = PortBus(strict=True)
    bus.attach(IdeChannel([None, None], lambda asserted: None))
    bus.attach(SecondaryIdeChannel([], lambda asserted: None))
    for registers, control in ((0x1F0, 0x3F6), (0x170, 0x376)):
        bus.write(control, 1, 0x04)
        bus.write(control, 1, 0x00)
        for device in (0xA0, 0xB0):
            bus.write(registers + 6, 1, device)
            bus.write(registers + 7, 1, IDENTIFY)
            assert bus.read(registers, 2) == 0
            assert [bus.read(port, 1) for port in (*range(registers + 1, registers + 8), control)] == [0] * 8


# Addresses of 48 bits

READ_EXT, WRITE_EXT, VERIFY_EXT, FLUSH_EXT = 0x24, 0x34, 0x42, 0xEA


def wide_command(channel: Channel, command: int, lba: int, count: int = 1) -> int:
    for shift in (24, 0):
        channel.bus.write(0x1F2, 1, count >> (8 if shift else 0) & 0xFF)
        for place in range(3):
            channel.bus.write(0x1F3 + place, 1, lba >> shift + 8 * place & 0xFF)
    channel.bus.write(0x1F6, 1, 0xE0)
    channel.bus.write(0x1F7, 1, command)
    return channel.bus.read(0x3F6, 1)


def test_sectors_are_read_and_written_by_48_bits(channel: Channel) -> None:
    assert wide_command(channel, READ_EXT, 0x1FF, count=2) == READY | REQUEST
    assert channel.read_data(1024) == channel.first.sector(0x1FF) + channel.first.sector(0x200)
    assert wide_command(channel, WRITE_EXT, 0x101) == READY | REQUEST
    channel.write_data(b"w" * 512)
    assert channel.first.sector(0x101) == b"w" * 512
    assert wide_command(channel, FLUSH_EXT, 0) == READY


@pytest.mark.parametrize(("lba", "count"), [(600, 1), (599, 2), (1 << 24, 1), (1 << 40, 1), (0, 0)])
def test_sectors_beyond_the_disk_are_not_found_by_48_bits(channel: Channel, lba: int, count: int) -> None:
    for command in (READ_EXT, WRITE_EXT, VERIFY_EXT):
        assert wide_command(channel, command, lba, count) == READY | ERROR
        assert channel.error == NOT_FOUND


def test_what_a_register_had_before_is_read_as_its_high_half(channel: Channel) -> None:
    wide_command(channel, VERIFY_EXT, 0x0000_AB12_0000_0034 & 0xFFFF_FFFF_FFFF, count=0x0102)
    channel.bus.write(0x3F6, 1, 0x80)
    assert channel.bus.read(0x1F2, 1) == 0x01
    channel.bus.write(0x3F6, 1, 0)
    assert [channel.bus.read(port, 1) for port in (0x1F2, 0x1F3)] == [0x02, 0x34]
    channel.bus.write(0x3F6, 1, 0x80)
    channel.bus.write(0x1F6, 1, 0xE0)
    assert channel.bus.read(0x1F2, 1) == 0x02, "any write shows the low half again"


# Two channels


def test_each_channel_has_disks_and_an_interrupt_of_its_own() -> None:
    bus, levels = PortBus(), [False, False]
    disks = [TestDisk(8), TestDisk(9)]
    bus.attach(IdeChannel([disks[0].disk], partial(levels.__setitem__, 0)))
    bus.attach(SecondaryIdeChannel([disks[1].disk], partial(levels.__setitem__, 1)))
    bus.write(0x172, 1, 1)
    bus.write(0x173, 1, 8)
    bus.write(0x176, 1, 0xE0)
    bus.write(0x177, 1, READ)
    assert levels == [False, True]
    data = b"".join(bus.read(0x170, 2).to_bytes(2, "little") for _ in range(256))
    assert data == disks[1].sector(8)
    assert bus.read(0x376, 1) == READY
    bus.read(0x177, 1)
    assert levels == [False, False]


# DMA, behind PCI

READ_DMA, WRITE_DMA = 0xC8, 0xCA
BUS_MASTER = 0xC000
START, TO_MEMORY = 1, 8
ACTIVE, DMA_ERROR, DMA_INTERRUPT = 1, 2, 4
TABLE, BUFFER = 0x1000, 0x8000


class DmaChannel(Channel):
    """The same behind the PCI function of a PIIX3, with RAM."""

    def __init__(self, ram: Ram | None = None) -> None:
        super().__init__()
        self.bus = PortBus()
        self.pci = PciBus()
        self.ram = ram or Ram()
        channel = IdeChannel([self.first.disk, self.second.disk], self._set_interrupt)
        self.bus.attach(channel)
        secondary = SecondaryIdeChannel([], lambda asserted: None)
        self.function, (channel.dma, secondary.dma) = ide_function("IDE", [channel, secondary], self.ram, self.bus, BUS_MASTER)
        self.pci.attach(1, self.function)

    def describe(self, *regions: tuple[int, int], end: bool = True) -> None:
        """The table of descriptors: address and length of each."""
        for index, (gpa, length) in enumerate(regions):
            last = end and index == len(regions) - 1
            self.ram.bytes[TABLE + 8 * index : TABLE + 8 * index + 8] = struct.pack("<IHH", gpa, length & 0xFFFF, last << 15)
        self.bus.write(BUS_MASTER + 4, 4, TABLE)

    def start(self, direction: int = TO_MEMORY) -> int:
        """Starts the bus master; returns its status."""
        self.bus.write(BUS_MASTER, 1, direction | START)
        return self.dma_status

    @property
    def dma_status(self) -> int:
        return self.bus.read(BUS_MASTER + 2, 1)

    def configure(self, register: int, value: int, size: int) -> None:
        self.pci.write_port(0xCF8, 4, 0x8000_0800 | register & ~3)
        self.pci.write_port(0xCFC + (register & 3), size, value)

    def configuration(self, register: int) -> int:
        self.pci.write_port(0xCF8, 4, 0x8000_0800 | register)
        return self.pci.read_port(0xCFC, 4)


def test_a_controller_that_masters_the_bus_is_found() -> None:
    channel = DmaChannel()
    assert channel.configuration(0x00) == 0x7010_8086
    assert channel.configuration(0x08) >> 8 == 0x01_0180
    assert channel.configuration(0x20) == BUS_MASTER | 1
    assert channel.configuration(0x40) == 0x8000_8000, "both channels are enabled"
    channel.configure(0x40, 0xA307, 2)
    assert channel.configuration(0x40) == 0x8000_A307
    channel.command(IDENTIFY)
    words = struct.unpack("<256H", channel.read_data(512))
    assert words[49] & 1 << 8
    assert words[53] & 1 << 1
    assert words[63] == 0x0407


def test_without_a_bus_master_there_is_no_dma(channel: Channel) -> None:
    assert channel.command(READ_DMA) == READY | ERROR
    assert channel.error == ABORTED
    channel.command(IDENTIFY)
    assert not struct.unpack("<256H", channel.read_data(512))[49] & 1 << 8


@pytest.mark.parametrize("started_first", [False, True])
def test_sectors_are_read_into_the_memory_that_the_table_lists(started_first: bool) -> None:
    channel = DmaChannel()
    channel.describe((BUFFER, 512), (BUFFER + 0x1000, 1024))
    if started_first:
        assert channel.start() == ACTIVE
        channel.command(READ_DMA, lba=7, count=3)
    else:
        assert channel.command(READ_DMA, lba=7, count=3) == READY | REQUEST
        assert not channel.interrupt
        channel.start()
    assert channel.dma_status == DMA_INTERRUPT
    assert channel.interrupt
    assert channel.acknowledge() == READY
    assert bytes(channel.ram.bytes[BUFFER : BUFFER + 512]) == channel.first.sector(7)
    rest = bytes(channel.ram.bytes[BUFFER + 0x1000 : BUFFER + 0x1400])
    assert rest == channel.first.sector(8) + channel.first.sector(9)
    channel.bus.write(BUS_MASTER, 1, 0)
    channel.bus.write(BUS_MASTER + 2, 1, DMA_INTERRUPT)
    assert channel.dma_status == 0


def test_sectors_are_written_from_memory() -> None:
    channel = DmaChannel()
    data = bytes(range(256)) * 4
    channel.ram.bytes[BUFFER : BUFFER + 1024] = data
    channel.describe((BUFFER, 1024))
    channel.command(WRITE_DMA, lba=3, count=2)
    assert channel.start(direction=0) == DMA_INTERRUPT
    assert channel.first.sector(3) + channel.first.sector(4) == data


def test_a_count_of_0_is_64_kib() -> None:
    channel = DmaChannel()
    channel.describe((BUFFER, 0x10000))
    channel.command(READ_DMA, lba=0, count=128)
    assert channel.start() == DMA_INTERRUPT
    assert bytes(channel.ram.bytes[BUFFER + 0xFE00 : BUFFER + 0x10000]) == channel.first.sector(127)


@pytest.mark.parametrize("regions", [[(BUFFER, 512)], [(0x7000_0000, 1024)]], ids=["too short", "not memory"])
def test_a_table_that_does_not_do_is_an_error(regions: list[tuple[int, int]]) -> None:
    channel = DmaChannel()
    channel.describe(*regions)
    channel.command(READ_DMA, count=2)
    assert channel.start() == DMA_ERROR | DMA_INTERRUPT
    assert channel.acknowledge() == READY | ERROR
    assert channel.error == ABORTED


def test_dma_beyond_the_disk_is_refused_before_anything_moves() -> None:
    channel = DmaChannel()
    assert channel.command(READ_DMA, lba=600) == READY | ERROR
    assert channel.error == NOT_FOUND
    assert channel.start() == ACTIVE | DMA_INTERRUPT


def test_nothing_moves_while_the_function_is_no_bus_master() -> None:
    channel = DmaChannel()
    channel.configure(0x04, 1, 2)
    channel.describe((BUFFER, 512))
    channel.command(READ_DMA)
    assert channel.start() == ACTIVE
    assert not channel.interrupt


@pytest.mark.parametrize("started_first", [False, True])
def test_a_page_that_is_absent_is_awaited_and_the_access_repeated(started_first: bool) -> None:
    channel = DmaChannel(Ram())
    channel.describe((BUFFER, 512), (BUFFER + 0x1000, 512))
    channel.ram.absent = {BUFFER + 0x1000}
    if started_first:
        channel.start()
        with pytest.raises(PageAbsent):
            channel.command(READ_DMA, lba=1, count=2)
        channel.ram.absent.clear()
        channel.bus.write(0x1F7, 1, READ_DMA)
    else:
        channel.command(READ_DMA, lba=1, count=2)
        with pytest.raises(PageAbsent):
            channel.start()
        channel.ram.absent.clear()
        channel.start()
    assert channel.dma_status == DMA_INTERRUPT
    assert bytes(channel.ram.bytes[BUFFER + 0x1000 : BUFFER + 0x1200]) == channel.first.sector(2)
