"""svirtb, driven by a model of its driver."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.dev.base import DeviceError, PageAbsent
from kev.dev.buses.mmio import MmioBus, PageBackedDevice
from kev.dev.storage.svirtb import SVIRTB_GPA, SimpleVirtioBlock
from tests.dev.ram import BrokenFile, Ram, ReadOnlyFile, TestDisk

MAGIC = 0x74726976
QUEUE = 0x8000


class Driver:
    """What a driver does, step by step; the registers are read from the page, as the guest reads them."""

    def __init__(self, disk: TestDisk, ram: Ram, entries: int = 8) -> None:
        self.ram = ram
        self.entries = entries
        self.page = memoryview(bytearray(4096))
        self.device = SimpleVirtioBlock(self.page, disk.disk, ram)
        self.bus = MmioBus()
        self.bus.attach(self.device)
        self.absent_pages: list[Gpa] = []

    def register(self, index: int) -> int:
        return int(struct.unpack_from("<I", self.page, 4 * index)[0])

    @property
    def status(self) -> int:
        return self.register(0)

    @property
    def head(self) -> int:
        return self.register(4)

    @property
    def tail(self) -> int:
        return self.register(5)

    def write(self, index: int, value: int) -> None:
        """A write, which the machine repeats until no page is absent."""
        while True:
            try:
                self.bus.store(0, Gpa(SVIRTB_GPA + 4 * index), 4, value)
            except PageAbsent as absent:
                self.absent_pages.append(absent.gpa)
            else:
                return

    def start(self) -> None:
        assert self.status == MAGIC
        self.write(0, 0)
        assert self.status == 0
        self.write(2, QUEUE >> 32)
        self.write(3, QUEUE & 0xFFFFFFFF)
        self.write(1, self.entries)
        self.write(0, 1)
        assert self.status == 1

    def put(self, index: int, gpa: int, length: int, sector: int, command: int) -> None:
        entry = struct.pack("<QQQII", gpa, length, sector, command, 0xDEADBEEF)
        self.ram.bytes[QUEUE + 32 * index : QUEUE + 32 * index + 32] = entry

    def request(self, gpa: int, length: int, sector: int, command: int) -> None:
        head = self.head
        self.put(head, gpa, length, sector, command)
        self.write(4, (head + 1) % self.entries)


@pytest.fixture
def disk() -> TestDisk:
    return TestDisk()


@pytest.fixture
def driver(disk: TestDisk) -> Driver:
    driver = Driver(disk, Ram())
    driver.start()
    return driver


def test_the_device_keeps_its_registers_in_a_page_that_the_guest_reads_without_an_exit(driver: Driver) -> None:
    assert isinstance(driver.device, PageBackedDevice)
    assert driver.device.page is driver.page
    assert driver.bus.load(0, SVIRTB_GPA, 4) == driver.status == 1


def test_a_read_fills_the_buffer_before_the_next_instruction(driver: Driver, disk: TestDisk) -> None:
    driver.request(0x2000, 512, 5, 0)
    assert driver.ram.bytes[0x2000:0x2200] == disk.sector(5)
    assert (driver.status, driver.head, driver.tail) == (1, 1, 1)


def test_a_write_reaches_the_disk(driver: Driver, disk: TestDisk) -> None:
    driver.ram.bytes[0x2000:0x2400] = b"new!" * 256
    driver.request(0x2000, 1024, 7, 1)
    assert disk.contents[7 * 512 : 9 * 512] == b"new!" * 256
    assert disk.contents[: 7 * 512] == disk.original[: 7 * 512]
    assert disk.contents[9 * 512 :] == disk.original[9 * 512 :]


def test_one_write_to_the_head_serves_every_request_in_order(driver: Driver, disk: TestDisk) -> None:
    driver.put(0, 0x2000, 512, 1, 0)
    driver.put(1, 0x2000, 512, 2, 1)
    driver.put(2, 0x3000, 512, 2, 0)
    driver.write(4, 3)
    assert driver.ram.bytes[0x3000:0x3200] == disk.sector(2) == disk.original[512:1024]
    assert driver.tail == 3


def test_the_ring_wraps_after_as_many_entries_as_the_driver_said(driver: Driver, disk: TestDisk) -> None:
    for sector in range(2 * driver.entries + 1):
        driver.request(0x2000, 512, sector, 0)
        assert driver.ram.bytes[0x2000:0x2200] == disk.sector(sector)
    assert driver.tail == 1


def test_the_size_of_the_queue_counts_entries_and_not_bytes(disk: TestDisk) -> None:
    driver = Driver(disk, Ram(), entries=0x1000)
    driver.start()
    for index in range(200):
        driver.put(index, 0x2000, 512, index % 64, 0)
    driver.write(4, 200)
    assert driver.tail == 200
    assert driver.ram.bytes[0x2000:0x2200] == disk.sector(199 % 64)


def test_a_read_past_the_end_leaves_the_rest_of_the_buffer_alone(driver: Driver, disk: TestDisk) -> None:
    driver.ram.bytes[0x2000:0x2400] = b"\xee" * 1024
    driver.request(0x2000, 1024, 63, 0)
    assert driver.ram.bytes[0x2000:0x2400] == disk.sector(63) + b"\xee" * 512
    driver.request(0x2000, 1024, 1 << 60, 0)
    assert driver.ram.bytes[0x2000:0x2400] == disk.sector(63) + b"\xee" * 512
    assert (driver.status, driver.tail) == (1, 2)


def test_a_disk_may_end_in_the_middle_of_a_sector() -> None:
    """KeV's own has 1,074 bytes."""
    disk = TestDisk(2, rest=50)
    driver = Driver(disk, Ram())
    driver.start()
    driver.ram.bytes[0x2000:0x2600] = b"\xee" * 1536
    driver.request(0x2000, 1536, 0, 0)
    assert driver.ram.bytes[0x2000:0x2600] == disk.original + b"\xee" * (512 - 50)
    driver.ram.bytes[0x2000:0x2200] = b"new!" * 128
    driver.request(0x2000, 512, 2, 1)
    assert disk.contents == disk.original[:1024] + (b"new!" * 13)[:50]
    driver.request(0x2000, 512, 3, 0)
    assert driver.ram.bytes[0x2000:0x2200] == b"new!" * 128
    assert (driver.status, driver.tail) == (1, 3)


def test_a_write_past_the_end_does_not_grow_the_disk(driver: Driver, disk: TestDisk) -> None:
    driver.ram.bytes[0x2000:0x2400] = b"\xee" * 1024
    driver.request(0x2000, 1024, 63, 1)
    assert disk.contents == disk.original[:-512] + b"\xee" * 512


def test_absent_pages_are_loaded_and_nothing_is_done_twice() -> None:
    disk, ram = TestDisk(), Ram(absent=True)
    driver = Driver(disk, ram)
    driver.start()
    # If the requests were repeated from the first one, sector 1 would read what the second one has written.
    driver.put(0, 0x2000, 512, 1, 0)
    driver.put(1, 0x4000, 512, 1, 1)
    driver.put(2, 0x5F00, 512, 3, 0)
    ram.bytes[0x4000:0x4200] = b"B" * 512
    driver.write(4, 3)
    assert driver.absent_pages == [QUEUE, 0x2000, 0x4000, 0x5000, 0x6000]
    assert ram.bytes[0x2000:0x2200] == disk.original[512:1024]
    assert disk.sector(1) == b"B" * 512
    assert ram.bytes[0x5F00:0x6100] == disk.sector(3)
    assert (driver.status, driver.tail) == (1, 3)


def test_reset_brings_the_magic_back_and_forgets_the_queue(driver: Driver) -> None:
    driver.request(0x2000, 512, 0, 0)
    driver.write(0, 2)
    assert [driver.register(index) for index in range(6)] == [MAGIC, 0, 0, 0, 0, 0]
    driver.start()
    driver.request(0x2000, 512, 9, 0)
    assert driver.tail == 1


def test_nothing_is_served_before_the_driver_is_ready(disk: TestDisk) -> None:
    driver = Driver(disk, Ram())
    driver.write(0, 0)
    driver.write(1, 8)
    driver.write(3, QUEUE)
    driver.request(0x2000, 512, 0, 0)
    assert driver.tail == 0
    assert driver.ram.bytes[0x2000:0x2200] == bytes(512)


def test_the_driver_cannot_move_the_tail(driver: Driver) -> None:
    driver.write(5, 7)
    assert driver.tail == 0


@pytest.mark.parametrize(
    ("gpa", "length", "command"),
    [(0x2000, 512, 2), (1 << 40, 512, 0), (1 << 40, 512, 1), ((1 << 20) - 256, 512, 0), ((1 << 64) - 1, 512, 1)],
    ids=["unknown command", "read to no memory", "write from no memory", "past the end of memory", "end of the address space"],
)
def test_a_senseless_request_asks_the_driver_for_a_reset(driver: Driver, gpa: int, length: int, command: int) -> None:
    driver.request(gpa, length, 0, command)
    assert (driver.status, driver.tail) == (2, 0)
    driver.request(0x2000, 512, 0, 0)
    assert driver.tail == 0, "it serves nothing before that"
    driver.write(0, 2)
    assert driver.status == MAGIC


@pytest.mark.parametrize(("entries", "head"), [(8, 8), (8, 0xFFFFFFFF), (0, 1), (0x10001, 1), (0xFFFFFFFF, 5)])
def test_a_senseless_ring_asks_the_driver_for_a_reset(disk: TestDisk, entries: int, head: int) -> None:
    driver = Driver(disk, Ram(), entries)
    driver.start()
    driver.write(4, head)
    assert (driver.status, driver.tail) == (2, 0)


def test_more_data_than_one_write_may_move_asks_the_driver_for_a_reset() -> None:
    disk, ram = TestDisk(sectors=1 << 15), Ram(1 << 25)  # 16 MiB each
    driver = Driver(disk, ram)
    driver.start()
    for index in range(5):
        driver.put(index, 1 << 20, 1 << 24, 0, 0)
    driver.write(4, 5)
    assert (driver.status, driver.tail) == (2, 4)


@pytest.mark.parametrize(("file", "command"), [(ReadOnlyFile, 1), (BrokenFile, 0), (BrokenFile, 1)])
def test_a_disk_that_fails_asks_the_driver_for_a_reset(file: type[ReadOnlyFile | BrokenFile], command: int) -> None:
    driver = Driver(TestDisk(file=file), Ram())
    driver.start()
    driver.request(0x2000, 512, 0, command)
    assert (driver.status, driver.tail) == (2, 0)


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (0, 8), (2, 4), (24, 4), (0xFFC, 4)])
def test_a_write_to_no_register_is_an_error_that_names_it(driver: Driver, offset: int, size: int) -> None:
    with pytest.raises(DeviceError, match=f"svirtb: the guest writes 0x1, {size} bytes at offset {offset:#x}: no register"):
        driver.bus.store(0, Gpa(SVIRTB_GPA + offset), size, 1)


requests = st.tuples(
    st.one_of(st.integers(0, 1 << 16), st.integers(0, (1 << 64) - 1)),
    st.one_of(st.integers(0, 4096), st.integers(0, (1 << 64) - 1)),
    st.one_of(st.integers(0, 70), st.integers(0, (1 << 64) - 1)),
    st.integers(0, 3),
)


@given(st.lists(requests, max_size=8), st.integers(0, 9))
def test_whatever_a_guest_asks_for_the_disk_keeps_its_size_and_the_tail_its_range(
    asked: list[tuple[int, int, int, int]], head: int
) -> None:
    disk = TestDisk()
    driver = Driver(disk, Ram(1 << 16))
    driver.start()
    for index, request in enumerate(asked):
        driver.put(index, *request)
    driver.write(4, head)
    assert len(disk.contents) == len(disk.original)
    assert driver.tail < driver.entries
    assert driver.status in (1, 2)
    assert driver.status == 2 or driver.tail == head
