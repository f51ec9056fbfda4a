"""The virtio block device, driven by a model of a driver that knows the specification and nothing of the device."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.dev.base import PageAbsent
from kev.dev.buses.mmio import MmioBus
from kev.dev.storage.virtio import VirtioBlock, VirtioMmio
from tests.dev.ram import BrokenFile, Ram, ReadOnlyFile, TestDisk
from tests.examples import examples

BASE = 0xD000_0000
QUEUE_SIZE = 16
DESCRIPTORS, AVAILABLE, USED = 0x10000, 0x11000, 0x12000
HEADERS, STATUSES, DATA = 0x20000, 0x21000, 0x30000

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64
VERSION_1, FLUSH, READ_ONLY = 1 << 32, 1 << 9, 1 << 5
NEXT, WRITE, INDIRECT = 1, 2, 4
IN, OUT, FLUSH_REQUEST, GET_ID = 0, 1, 4, 8


class Machine:
    """A device on a bus with memory and an interrupt line."""

    def __init__(self, disk: TestDisk | None = None, absent: bool = False) -> None:
        self.disk = disk or TestDisk()
        self.ram = Ram(absent=absent)
        self.interrupt = False
        self.loads = 0
        self.bus = MmioBus()
        self.bus.attach(VirtioMmio(Gpa(BASE), VirtioBlock(self.disk.disk), self.ram, self._set_interrupt))

    def _set_interrupt(self, asserted: bool) -> None:
        self.interrupt = asserted

    def read(self, register: int, size: int = 4) -> int:
        return self.bus.load(0, Gpa(BASE + register), size)

    def write(self, register: int, value: int, size: int = 4) -> None:
        """A write, which the machine repeats until no page is absent."""
        while True:
            try:
                self.bus.store(0, Gpa(BASE + register), size, value)
            except PageAbsent:
                self.loads += 1
            else:
                return

    def poke(self, gpa: int, data: bytes) -> None:
        """The guest's own store: no device is involved."""
        self.ram.bytes[gpa : gpa + len(data)] = data

    def peek(self, gpa: int, length: int) -> bytes:
        return bytes(self.ram.bytes[gpa : gpa + length])


class BlockDriver:
    """Negotiates, sets up queue 0 and makes requests."""

    def __init__(self, machine: Machine, wanted: int = VERSION_1 | FLUSH | READ_ONLY) -> None:
        self.machine = machine
        self.made = 0
        self.seen = 0
        machine.write(0x70, 0)
        machine.write(0x70, ACKNOWLEDGE)
        machine.write(0x70, ACKNOWLEDGE | DRIVER)
        self.features = self.offered() & wanted
        self.accept(self.features)
        machine.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        assert machine.read(0x70) == ACKNOWLEDGE | DRIVER | FEATURES_OK
        self.set_up_queue()
        machine.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)

    def offered(self) -> int:
        halves = []
        for select in (0, 1):
            self.machine.write(0x14, select)
            halves.append(self.machine.read(0x10))
        return halves[0] | halves[1] << 32

    def accept(self, features: int) -> None:
        for select in (0, 1):
            self.machine.write(0x24, select)
            self.machine.write(0x20, features >> 32 * select & 0xFFFFFFFF)

    def set_up_queue(self) -> None:
        machine = self.machine
        machine.write(0x30, 0)
        assert machine.read(0x44) == 0
        assert machine.read(0x34) >= QUEUE_SIZE
        machine.write(0x38, QUEUE_SIZE)
        for register, gpa in ((0x80, DESCRIPTORS), (0x90, AVAILABLE), (0xA0, USED)):
            machine.write(register, gpa)
            machine.write(register + 4, 0)
        machine.write(0x44, 1)

    @property
    def status(self) -> int:
        return self.machine.read(0x70)

    def describe(self, index: int, gpa: int, length: int, flags: int, following: int = 0) -> None:
        self.machine.poke(DESCRIPTORS + 16 * index, struct.pack("<QIHH", gpa, length, flags, following))

    def chain(self, *pieces: tuple[int, int, int], first: int = 0) -> None:
        """Descriptors from `first` on, in order, each (gpa, length, flags)."""
        for index, (gpa, length, flags) in enumerate(pieces, start=first):
            last = index == first + len(pieces) - 1
            self.describe(index, gpa, length, flags | (0 if last else NEXT), index + 1)

    def offer(self, head: int) -> None:
        """Puts a chain into the available ring."""
        self.machine.poke(AVAILABLE + 4 + 2 * (self.made % QUEUE_SIZE), struct.pack("<H", head))
        self.made += 1
        self.machine.poke(AVAILABLE + 2, struct.pack("<H", self.made & 0xFFFF))

    def notify(self) -> None:
        self.machine.write(0x50, 0)

    def used(self) -> list[tuple[int, int]]:
        """What has come back since the last time: (head, bytes written)."""
        (index,) = struct.unpack("<H", self.machine.peek(USED + 2, 2))
        fresh = []
        while self.seen & 0xFFFF != index:
            fresh.append(struct.unpack("<II", self.machine.peek(USED + 4 + 8 * (self.seen % QUEUE_SIZE), 8)))
            self.seen += 1
        return fresh

    def header(self, kind: int, sector: int, slot: int = 0) -> int:
        self.machine.poke(HEADERS + 16 * slot, struct.pack("<IIQ", kind, 0, sector))
        self.machine.poke(STATUSES + slot, b"\xff")
        return HEADERS + 16 * slot

    def request(self, kind: int, sector: int, *pieces: tuple[int, int, int]) -> int:
        """Makes one request in the usual layout and returns its status."""
        self.chain((self.header(kind, sector), 16, 0), *pieces, (STATUSES, 1, WRITE))
        self.offer(0)
        self.notify()
        return self.machine.peek(STATUSES, 1)[0]

    def read(self, sector: int, length: int) -> tuple[int, bytes]:
        status = self.request(IN, sector, (DATA, length, WRITE))
        return status, self.machine.peek(DATA, length)

    def write(self, sector: int, data: bytes) -> int:
        self.machine.poke(DATA, data)
        return self.request(OUT, sector, (DATA, len(data), 0))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def driver(machine: Machine) -> BlockDriver:
    return BlockDriver(machine)


# Finding and negotiating


def test_the_device_is_found_and_is_a_block_device(machine: Machine) -> None:
    assert [machine.read(register) for register in (0x0, 0x4, 0x8)] == [0x74726976, 2, 2]


def test_the_configuration_says_how_many_sectors_there_are_at_every_width(machine: Machine) -> None:
    assert machine.read(0x100, 8) == 64
    assert (machine.read(0x100), machine.read(0x104)) == (64, 0)
    assert machine.read(0x100, 1) == 64
    assert machine.read(0xFC) == 0


def test_a_request_may_have_as_many_segments_as_the_configuration_says(machine: Machine) -> None:
    assert machine.read(0x10C) == machine.read(0x34) - 2


def test_registers_that_do_not_exist_read_as_0_and_shared_memory_has_no_length(machine: Machine) -> None:
    assert [machine.read(register) for register in (0x28, 0x40, 0x50, 0x200, 0xFF8)] == [0] * 5
    assert [machine.read(register) for register in (0xB0, 0xB4)] == [0xFFFFFFFF] * 2


def test_accesses_of_other_sizes_to_registers_do_nothing(machine: Machine) -> None:
    machine.write(0x70, 1, size=1)
    assert machine.read(0x70) == 0
    assert machine.read(0x0, size=2) == 0


def test_a_driver_that_does_not_speak_version_1_is_not_accepted(machine: Machine) -> None:
    machine.write(0x24, 0)
    machine.write(0x20, FLUSH)
    machine.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert machine.read(0x70) == ACKNOWLEDGE | DRIVER


def test_a_feature_that_was_not_offered_is_not_accepted(machine: Machine) -> None:
    driver = BlockDriver(machine)
    machine.write(0x70, 0)
    driver.accept(VERSION_1 | 1 << 28)
    machine.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert machine.read(0x70) == ACKNOWLEDGE | DRIVER


def test_features_cannot_change_once_they_are_agreed_on(driver: BlockDriver) -> None:
    driver.accept(1 << 28)
    driver.machine.write(0x70, driver.status)
    assert driver.status & FEATURES_OK


def test_a_feature_word_that_does_not_exist_is_empty(machine: Machine) -> None:
    machine.write(0x14, 2)
    assert machine.read(0x10) == 0
    machine.write(0x24, 0xFFFFFFFF)
    machine.write(0x20, 0xFFFFFFFF)
    assert BlockDriver(machine).status & FEATURES_OK


def test_a_read_only_disk_says_so() -> None:
    assert BlockDriver(Machine(TestDisk(file=ReadOnlyFile))).features & READ_ONLY
    assert not BlockDriver(Machine()).features & READ_ONLY


def test_there_is_one_queue(machine: Machine) -> None:
    machine.write(0x30, 1)
    assert machine.read(0x34) == 0
    machine.write(0x44, 1)
    assert machine.read(0x44) == 0


# Requests


def test_a_read_returns_the_sectors(driver: BlockDriver) -> None:
    status, data = driver.read(5, 1024)
    assert status == 0
    assert data == driver.machine.disk.contents[5 * 512 : 7 * 512]
    assert driver.used() == [(0, 1025)]


def test_a_write_reaches_the_disk(driver: BlockDriver) -> None:
    assert driver.write(3, b"new!" * 256) == 0
    disk = driver.machine.disk
    assert disk.contents == disk.original[: 3 * 512] + b"new!" * 256 + disk.original[5 * 512 :]
    assert driver.used() == [(0, 1)]


def test_a_request_may_be_in_pieces_of_any_size(driver: BlockDriver) -> None:
    header = driver.header(IN, 9)
    driver.chain(
        (header, 3, 0),
        (header + 3, 13, 0),
        (DATA, 500, WRITE),
        (DATA + 0x1000, 0, WRITE),
        (DATA + 0x2000, 13, WRITE),  # 12 bytes of data and the status
    )
    driver.offer(0)
    driver.notify()
    data = driver.machine.peek(DATA, 500) + driver.machine.peek(DATA + 0x2000, 12)
    assert data == driver.machine.disk.sector(9)
    assert driver.machine.peek(DATA + 0x200C, 1) == b"\0"


def test_a_header_and_its_data_may_share_a_buffer(driver: BlockDriver) -> None:
    driver.machine.poke(DATA, struct.pack("<IIQ", OUT, 0, 4) + b"joined!!" * 64)
    driver.chain((DATA, 528, 0), (STATUSES, 1, WRITE))
    driver.offer(0)
    driver.notify()
    assert driver.machine.disk.sector(4) == b"joined!!" * 64


def test_one_notification_serves_every_request_in_order(driver: BlockDriver) -> None:
    machine = driver.machine
    machine.poke(DATA, b"A" * 512)
    driver.chain((driver.header(OUT, 1, slot=0), 16, 0), (DATA, 512, 0), (STATUSES, 1, WRITE), first=0)
    driver.chain((driver.header(IN, 1, slot=1), 16, 0), (DATA + 0x1000, 512, WRITE), (STATUSES + 1, 1, WRITE), first=3)
    driver.offer(0)
    driver.offer(3)
    driver.notify()
    assert machine.peek(STATUSES, 2) == b"\0\0"
    assert machine.peek(DATA + 0x1000, 512) == b"A" * 512
    assert driver.used() == [(0, 1), (3, 513)]


def test_the_rings_wrap_and_so_do_their_indices(driver: BlockDriver) -> None:
    driver.chain((driver.header(IN, 2), 16, 0), (DATA, 512, WRITE), (STATUSES, 1, WRITE))
    for _ in range(0x10000 // QUEUE_SIZE + 1):
        for _ in range(QUEUE_SIZE):
            driver.offer(0)
        driver.notify()
        assert driver.used() == [(0, 513)] * QUEUE_SIZE


def test_a_flush_is_answered(driver: BlockDriver) -> None:
    assert driver.request(FLUSH_REQUEST, 0) == 0


def test_the_device_tells_its_name(driver: BlockDriver) -> None:
    assert driver.request(GET_ID, 0, (DATA, 20, WRITE)) == 0
    assert driver.machine.peek(DATA, 20) == b"kev-virtio-blk".ljust(20, b"\0")


def test_an_unknown_request_is_not_supported(driver: BlockDriver) -> None:
    assert driver.request(99, 0) == 2


@pytest.mark.parametrize(
    ("sector", "length"), [(64, 512), (63, 1024), (1 << 55, 512), ((1 << 64) - 1, 512), (0, 100)], ids=lambda value: f"{value:#x}"
)
def test_an_access_beyond_the_disk_is_an_error_and_changes_nothing(driver: BlockDriver, sector: int, length: int) -> None:
    driver.machine.poke(DATA, b"\xee" * length)
    assert driver.read(sector, length) == (1, b"\xee" * length)
    assert driver.used() == [(0, 0)], "nothing was written at the start of the request"
    assert driver.write(sector, b"\xee" * length) == 1
    assert driver.machine.disk.contents == driver.machine.disk.original


def test_a_request_of_more_data_than_a_request_may_have_is_an_error(driver: BlockDriver) -> None:
    assert driver.request(IN, 0, *[(DATA, 3 << 20, WRITE)] * 6) == 1
    assert driver.request(OUT, 0, *[(DATA, 0xFFFFFFFF, 0)] * 6) == 1
    assert driver.status & NEEDS_RESET == 0


def test_a_write_to_a_read_only_disk_is_an_error() -> None:
    driver = BlockDriver(Machine(TestDisk(file=ReadOnlyFile)))
    assert driver.write(0, bytes(512)) == 1
    assert driver.read(1, 512) == (0, driver.machine.disk.sector(1))


def test_a_disk_that_fails_is_an_error() -> None:
    driver = BlockDriver(Machine(TestDisk(file=BrokenFile)))
    assert driver.read(0, 512)[0] == 1
    assert driver.write(0, bytes(512)) == 1


def test_absent_pages_are_loaded_and_the_request_is_done_once() -> None:
    machine = Machine(absent=True)
    driver = BlockDriver(machine)
    driver.chain((driver.header(IN, 1), 16, 0), (DATA + 0xF00, 512, WRITE), (STATUSES, 1, WRITE), first=0)
    driver.chain((driver.header(OUT, 1, 1), 16, 0), (DATA + 0x3000, 512, 0), (STATUSES + 1, 1, WRITE), first=3)
    driver.chain((driver.header(IN, 2, 2), 16, 0), (DATA + 0x5000, 512, WRITE), (STATUSES + 2, 1, WRITE), first=6)
    machine.poke(DATA + 0x3000, b"B" * 512)
    for head in (0, 3, 6):
        driver.offer(head)
    driver.notify()
    assert machine.loads == 9
    assert machine.peek(DATA + 0xF00, 512) == machine.disk.original[512:1024]
    assert machine.disk.sector(1) == b"B" * 512
    assert driver.used() == [(0, 513), (3, 1), (6, 513)]
    assert driver.status & NEEDS_RESET == 0


# Interrupts


def test_a_used_buffer_interrupts_until_it_is_acknowledged(driver: BlockDriver) -> None:
    machine = driver.machine
    driver.read(0, 512)
    assert machine.interrupt
    assert machine.read(0x60) == 1
    machine.write(0x64, 2)
    assert machine.interrupt
    machine.write(0x64, 1)
    assert not machine.interrupt
    assert machine.read(0x60) == 0


def test_a_driver_that_polls_is_not_interrupted(driver: BlockDriver) -> None:
    driver.machine.poke(AVAILABLE, struct.pack("<H", 1))
    assert driver.read(0, 512)[0] == 0
    assert not driver.machine.interrupt


def test_a_notification_with_nothing_new_does_nothing(driver: BlockDriver) -> None:
    driver.notify()
    driver.machine.write(0x50, 7)
    assert not driver.machine.interrupt
    assert driver.used() == []


# Life cycle


def test_reset_forgets_queue_interrupt_and_features(driver: BlockDriver) -> None:
    machine = driver.machine
    driver.read(0, 512)
    machine.write(0x70, 0)
    assert (machine.read(0x70), machine.read(0x44), machine.read(0x60)) == (0, 0, 0)
    assert not machine.interrupt
    machine.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert machine.read(0x70) == ACKNOWLEDGE | DRIVER
    machine.poke(AVAILABLE, bytes(0x100))
    machine.poke(USED, bytes(0x100))
    again = BlockDriver(machine)
    assert again.read(3, 512) == (0, machine.disk.sector(3))


def test_nothing_is_served_before_the_driver_is_ready(driver: BlockDriver) -> None:
    driver.machine.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert driver.read(0, 512)[0] == 0xFF
    driver.machine.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
    driver.notify()
    assert driver.used() == [(0, 513)]


def test_a_queue_that_is_ready_does_not_move_and_one_that_is_not_is_not_served(driver: BlockDriver) -> None:
    machine = driver.machine
    machine.write(0x80, 0)
    assert driver.read(2, 512) == (0, machine.disk.sector(2))
    machine.write(0x44, 0)
    assert machine.read(0x44) == 0
    driver.machine.poke(DATA, bytes(512))
    assert driver.read(3, 512) == (0xFF, bytes(512))


# What drivers must not do


def needs_reset(driver: BlockDriver) -> bool:
    """The device has given up and said so, and another request changes nothing."""
    gave_up = driver.status & NEEDS_RESET != 0 and driver.machine.read(0x60) & 2 != 0 and driver.machine.interrupt
    before = len(driver.used())
    driver.read(0, 512)
    return gave_up and not before and driver.used() == []


def test_a_chain_that_is_a_loop(driver: BlockDriver) -> None:
    driver.describe(0, DATA, 16, NEXT, 1)
    driver.describe(1, DATA, 16, NEXT, 0)
    driver.offer(0)
    driver.notify()
    assert needs_reset(driver)


def test_a_descriptor_beyond_the_table(driver: BlockDriver) -> None:
    driver.describe(0, DATA, 16, NEXT, QUEUE_SIZE)
    driver.offer(0)
    driver.notify()
    assert needs_reset(driver)


def test_a_head_beyond_the_table(driver: BlockDriver) -> None:
    driver.offer(0xFFFF)
    driver.notify()
    assert needs_reset(driver)


def test_an_indirect_descriptor_that_was_not_negotiated(driver: BlockDriver) -> None:
    driver.describe(0, DATA, 32, INDIRECT)
    driver.offer(0)
    driver.notify()
    assert needs_reset(driver)


def test_a_buffer_to_read_after_one_to_write(driver: BlockDriver) -> None:
    driver.chain((STATUSES, 1, WRITE), (HEADERS, 16, 0))
    driver.offer(0)
    driver.notify()
    assert needs_reset(driver)


def test_a_request_without_a_whole_header(driver: BlockDriver) -> None:
    driver.chain((HEADERS, 15, 0), (STATUSES, 1, WRITE))
    driver.offer(0)
    driver.notify()
    assert needs_reset(driver)


def test_a_request_without_a_place_for_its_status(driver: BlockDriver) -> None:
    driver.chain((driver.header(OUT, 0), 16, 0), (DATA, 512, 0))
    driver.offer(0)
    driver.notify()
    assert needs_reset(driver)
    assert driver.machine.disk.contents == driver.machine.disk.original


@pytest.mark.parametrize("gpa", [1 << 20, (1 << 20) - 100, 1 << 52, (1 << 64) - 1])
def test_a_buffer_that_is_not_in_memory(driver: BlockDriver, gpa: int) -> None:
    driver.request(IN, 0, (gpa, 512, WRITE))
    assert needs_reset(driver)


def test_more_requests_than_the_queue_has_room_for(driver: BlockDriver) -> None:
    driver.chain((driver.header(IN, 0), 16, 0), (DATA, 512, WRITE), (STATUSES, 1, WRITE))
    driver.machine.poke(AVAILABLE + 2, struct.pack("<H", QUEUE_SIZE + 1))
    driver.notify()
    assert needs_reset(driver)


def test_requests_that_make_further_requests_do_not_go_on_for_ever(machine: Machine) -> None:
    driver = BlockDriver(machine)
    header = AVAILABLE + 0x40
    # Sector n, read over the available ring and the header, offers one more request: for sector n + 1.
    for sector in range(64):
        ring = struct.pack("<HH60xIIQ", 0, sector + 2, IN, 0, (sector + 1) % 64)
        machine.disk.disk.write(sector * 512, ring)
    machine.poke(header, struct.pack("<IIQ", IN, 0, 0))
    driver.chain((header, 16, 0), (AVAILABLE, 512, WRITE), (STATUSES, 1, WRITE))
    driver.offer(0)
    driver.notify()
    assert driver.used() == [(0, 513)] * QUEUE_SIZE


@pytest.mark.parametrize(
    ("register", "value"), [(0x38, 0), (0x38, 12), (0x38, 256), (0x38, 0xFFFFFFFF), (0x80, 8), (0x90, 1), (0xA0, 2)]
)
def test_a_queue_of_a_wrong_size_or_alignment_is_not_started(driver: BlockDriver, register: int, value: int) -> None:
    machine = driver.machine
    machine.write(0x44, 0)
    machine.write(0x38, QUEUE_SIZE)
    for part, gpa in ((0x80, DESCRIPTORS), (0x90, AVAILABLE), (0xA0, USED)):
        machine.write(part, gpa)
    machine.write(register, value)
    machine.write(0x44, 1)
    assert machine.read(0x44) == 0
    assert needs_reset(driver)


@pytest.mark.parametrize("register", [0x84, 0x94, 0xA4])
def test_parts_of_a_queue_that_are_not_in_memory(driver: BlockDriver, register: int) -> None:
    machine = driver.machine
    machine.write(0x44, 0)
    machine.write(0x38, QUEUE_SIZE)
    for part, gpa in ((0x80, DESCRIPTORS), (0x90, AVAILABLE), (0xA0, USED)):
        machine.write(part, gpa)
    machine.write(register, 0xFFFFFFFF)
    machine.write(0x44, 1)
    driver.read(0, 512)
    assert needs_reset(driver)


def test_after_a_reset_the_device_works_again(driver: BlockDriver) -> None:
    machine = driver.machine
    driver.offer(0xFFFF)
    driver.notify()
    assert needs_reset(driver)
    machine.poke(AVAILABLE, bytes(0x100))
    machine.poke(USED, bytes(0x100))
    again = BlockDriver(machine)
    assert again.read(1, 512) == (0, machine.disk.sector(1))


descriptors = st.tuples(
    st.one_of(st.integers(0x10000, 0x40000), st.integers(0, (1 << 64) - 1)),
    st.one_of(st.sampled_from([0, 1, 16, 512, 1024]), st.integers(0, (1 << 32) - 1)),
    st.one_of(st.integers(0, 3), st.integers(0, 0xFFFF)),
    st.one_of(st.integers(0, QUEUE_SIZE - 1), st.integers(0, 0xFFFF)),
)


@settings(max_examples=examples(300))
@given(
    table=st.lists(descriptors, min_size=1, max_size=QUEUE_SIZE),
    heads=st.lists(st.integers(0, QUEUE_SIZE), max_size=QUEUE_SIZE),
    available=st.integers(0, 20),
    kind=st.integers(0, 9),
    absent=st.booleans(),
)
def test_whatever_is_in_the_rings_the_device_answers_or_asks_for_a_reset(
    table: list[tuple[int, int, int, int]], heads: list[int], available: int, kind: int, absent: bool
) -> None:
    machine = Machine(absent=absent)
    driver = BlockDriver(machine)
    machine.poke(0x10000, struct.pack("<IIQ", kind, 0, 1) * 0x800)
    for index, descriptor in enumerate(table):
        driver.describe(index, *descriptor)
    machine.poke(AVAILABLE + 4, struct.pack(f"<{len(heads)}H", *heads))
    machine.poke(AVAILABLE + 2, struct.pack("<H", available))
    driver.notify()
    answered = int.from_bytes(machine.peek(USED + 2, 2), "little")
    assert len(machine.disk.contents) == len(machine.disk.original)
    # Requests may overwrite the rings themselves: then only the first part of this can be said.
    rings_are_safe = all(not flags & WRITE or gpa > USED + 0x1000 or gpa + length < DESCRIPTORS for gpa, length, flags, _ in table)
    if rings_are_safe:
        assert driver.status & NEEDS_RESET or answered == available


@given(st.lists(st.tuples(st.integers(0, 0x120), st.sampled_from([1, 2, 4, 8]), st.integers(0, (1 << 32) - 1)), max_size=30))
def test_whatever_is_written_to_the_registers_the_device_can_be_reset_and_used(writes: list[tuple[int, int, int]]) -> None:
    machine = Machine()
    for register, size, value in writes:
        machine.write(register, value & (1 << 8 * size) - 1, size)
        machine.read(register, size)
    assert BlockDriver(machine).read(7, 512) == (0, machine.disk.sector(7))
