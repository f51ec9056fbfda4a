"""The virtio block device behind PCI, driven as KeOS and Linux do: by what the configuration space says, and nothing else."""

import struct
from collections.abc import Callable

import pytest

from kev.addressing import Gpa
from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.ports import PortBus, UnhandledPort
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.dev.pci.bus import PciBus
from kev.dev.pci.function import InterruptPin, PciFunction
from kev.dev.storage.virtio import VirtioBlock
from kev.dev.storage.virtio.pci import VirtioPciPlaces, virtio_pci_function
from tests.dev.ram import Ram, TestDisk

SLOT = 4
BASE, VECTORS, PORTS = 0xFE00_0000, 0xFE10_0000, 0xC100
COMMON, NOTIFICATION, INTERRUPT_STATUS, DEVICE = range(1, 5)
IO, MEMORY, BUS_MASTER, INTERRUPT_DISABLE = 1, 2, 4, 1 << 10
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64
DESCRIPTORS, AVAILABLE, USED, HEADER, STATUS, DATA = 0x10000, 0x11000, 0x12000, 0x20000, 0x21000, 0x30000


class Machine:
    """A device on a PCI bus, whose memory is on a bus too, with RAM and an interrupt line."""

    def __init__(self) -> None:
        self.disk = TestDisk()
        self.ram = Ram()
        self.mmio = MmioBus()
        self.ports = PortBus(strict=True)
        self.pci = PciBus()
        self.interrupt = False
        self.messages: list[InterruptMessage] = []
        self.pci.attach(SLOT, self.function("disk", self.disk, VirtioPciPlaces(Gpa(BASE), Gpa(VECTORS), PORTS)))

    def function(self, name: str, disk: TestDisk, places: VirtioPciPlaces) -> PciFunction:
        pin = InterruptPin(11, self._set_interrupt)
        return virtio_pci_function(name, VirtioBlock(disk.disk), self.ram, self, places, pin, self.messages.append)

    def _set_interrupt(self, asserted: bool) -> None:
        self.interrupt = asserted

    def configuration(self, register: int, size: int = 4) -> int:
        self.pci.write_port(0xCF8, 4, 0x8000_0000 | SLOT << 11 | register & ~3)
        return self.pci.read_port(0xCFC + (register & 3), size)

    def configure(self, register: int, value: int, size: int = 4) -> None:
        self.pci.write_port(0xCF8, 4, 0x8000_0000 | SLOT << 11 | register & ~3)
        self.pci.write_port(0xCFC + (register & 3), size, value)

    def peek(self, gpa: int, length: int) -> bytes:
        return bytes(self.ram.bytes[gpa : gpa + length])

    def poke(self, gpa: int, data: bytes) -> None:
        self.ram.bytes[gpa : gpa + len(data)] = data


def read_sector(machine: Machine, sector: int, *, made: int, available: int, notify: Callable[[], None]) -> bytes:
    """Makes the request that follows `made` others; what the device has put into the buffer and its status behind it, if it has."""
    poke = machine.poke
    poke(HEADER, struct.pack("<IIQ", 0, 0, sector))
    poke(DATA, bytes(512))
    poke(STATUS, b"\xff")
    for index, descriptor in enumerate(((HEADER, 16, 1, 1), (DATA, 512, 3, 2), (STATUS, 1, 2, 0))):
        poke(DESCRIPTORS + 16 * index, struct.pack("<QIHH", *descriptor))
    poke(available + 4 + 2 * made, bytes(2))
    poke(available + 2, struct.pack("<H", made + 1))
    notify()
    return machine.peek(DATA, 512) + machine.peek(STATUS, 1)


class BlockDriver:
    """Finds the structures, negotiates, sets up queue 0 and makes requests of one sector."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.made = 0
        self.structures: dict[int, tuple[int, int]] = {}
        """Base address register and offset."""
        offset = machine.configuration(0x34, 1)
        while offset:
            if machine.configuration(offset, 1) == 9:
                kind, register = machine.configuration(offset + 3, 1), machine.configuration(offset + 4, 1)
                self.structures[kind] = (register, machine.configuration(offset + 8))
                if kind == NOTIFICATION:
                    self.distance = machine.configuration(offset + 16)
            offset = machine.configuration(offset + 1, 1)

    def at(self, structure: int, offset: int = 0) -> Gpa:
        register, start = self.structures[structure]
        return Gpa((self.machine.configuration(0x10 + 4 * register) & ~0xF) + start + offset)

    def read(self, structure: int, offset: int, size: int) -> int:
        return self.machine.mmio.load(0, self.at(structure, offset), size)

    def write(self, offset: int, size: int, value: int) -> None:
        self.machine.mmio.store(0, self.at(COMMON, offset), size, value)

    def negotiate(self) -> None:
        self.write(20, 1, 0)
        self.write(20, 1, ACKNOWLEDGE | DRIVER)
        for select, features in ((0, 0), (1, 1)):
            self.write(8, 4, select)
            self.write(12, 4, features)
        self.write(20, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK)

    def set_up(self, address_size: int = 8) -> None:
        self.negotiate()
        self.write(22, 2, 0)
        for field, gpa in ((32, DESCRIPTORS), (40, AVAILABLE), (48, USED)):
            for half in range(0, 8, address_size):
                self.write(field + half, address_size, gpa >> 8 * half)
        self.write(28, 2, 1)
        self.write(20, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)

    def read_sector(self, sector: int) -> bytes:
        self.made += 1
        return read_sector(self.machine, sector, made=self.made - 1, available=AVAILABLE, notify=self._notify)

    def _notify(self) -> None:
        self.machine.mmio.store(0, self.at(NOTIFICATION, self.read(COMMON, 30, 2) * self.distance), 2, 0)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def driver(machine: Machine) -> BlockDriver:
    driver = BlockDriver(machine)
    driver.set_up()
    return driver


# The configuration space


def test_a_scan_finds_a_transitional_block_device_and_nothing_else(machine: Machine) -> None:
    found = []
    for bus, device, function in [(0, device, 0) for device in range(32)] + [(0, SLOT, 1), (1, SLOT, 0)]:
        machine.pci.write_port(0xCF8, 4, 0x8000_0000 | bus << 16 | device << 11 | function << 8)
        if machine.pci.read_port(0xCFC, 4) != 0xFFFF_FFFF:
            found.append((bus, device, function))
    assert found == [(0, SLOT, 0)]
    assert machine.configuration(0x00) == 0x1001_1AF4
    assert machine.configuration(0x08) == 0x0100_0000
    assert machine.configuration(0x2C) == 0x0002_1AF4
    assert machine.configuration(0x0E, 1) == 0


def test_an_address_that_is_not_enabled_reaches_no_device(machine: Machine) -> None:
    machine.pci.write_port(0xCF8, 4, SLOT << 11)
    assert machine.pci.read_port(0xCFC, 4) == 0xFFFF_FFFF


def test_registers_are_read_at_every_width_and_beyond_them_there_are_ones(machine: Machine) -> None:
    assert machine.configuration(0x02, 2) == 0x1001
    assert machine.configuration(0x01, 1) == 0x1A
    assert machine.configuration(0x02, 4) == 0xFFFF_1001


def test_ids_cannot_be_written_and_the_interrupt_line_can(machine: Machine) -> None:
    machine.configure(0x00, 0)
    machine.configure(0x3C, 0x0A, size=1)
    machine.configure(0x3D, 0x02, size=1)
    assert machine.configuration(0x00) == 0x1001_1AF4
    assert machine.configuration(0x3C) == 0x010A


def test_there_are_the_four_structures_in_one_memory_of_the_right_size(machine: Machine) -> None:
    structures = BlockDriver(machine).structures
    assert set(structures) == {COMMON, NOTIFICATION, INTERRUPT_STATUS, DEVICE}
    assert {register for register, _ in structures.values()} == {4}
    assert machine.configuration(0x20) == BASE
    machine.configure(0x20, 0xFFFF_FFFF)
    assert machine.configuration(0x20) == 0xFFFF_C000
    machine.configure(0x20, BASE)
    machine.configure(0x18, 0xFFFF_FFFF)
    assert machine.configuration(0x18) == 0, "there is no such base address register"


def test_a_driver_can_move_the_memory(machine: Machine, driver: BlockDriver) -> None:
    machine.configure(0x20, 0xE000_0000)
    assert driver.at(COMMON) == 0xE000_0000
    assert machine.mmio.device_at(Gpa(BASE)) is None
    assert driver.read_sector(3) == machine.disk.sector(3) + b"\0"


def test_memory_that_is_moved_over_ram_or_another_device_does_not_respond_until_it_is_moved_again(machine: Machine) -> None:
    other = machine.function("other", TestDisk(), VirtioPciPlaces(Gpa(0xE000_0000), Gpa(0xE010_0000), 0xD000))
    machine.pci.attach(5, other)
    owner = machine.mmio.device_at(Gpa(0xE000_0000))
    machine.configure(0x20, 0x0010_0000)
    assert machine.mmio.device_at(Gpa(0x10_0000)) is None
    machine.configure(0x20, 0xE000_0000)
    assert machine.mmio.device_at(Gpa(0xE000_0000)) is owner
    machine.configure(0x20, BASE)
    assert machine.mmio.device_at(Gpa(BASE)) is not None


def test_memory_responds_only_while_the_command_register_says_so(machine: Machine) -> None:
    assert machine.configuration(0x04, 2) == IO | MEMORY | BUS_MASTER
    machine.configure(0x04, 0, size=2)
    assert machine.mmio.device_at(Gpa(BASE)) is None
    machine.configure(0x04, MEMORY, size=2)
    assert machine.mmio.device_at(Gpa(BASE)) is not None


# The device


def test_the_configuration_has_the_size_of_the_disk_and_of_a_sector(machine: Machine) -> None:
    driver = BlockDriver(machine)
    assert driver.read(DEVICE, 0, 8) == 64
    assert driver.read(DEVICE, 20, 2) == 512


def test_the_device_offers_version_1_and_takes_nothing_it_did_not_offer(machine: Machine) -> None:
    driver = BlockDriver(machine)
    driver.write(0, 4, 1)
    assert driver.read(COMMON, 4, 4) == 1
    driver.negotiate()
    assert driver.read(COMMON, 20, 1) == ACKNOWLEDGE | DRIVER | FEATURES_OK
    assert driver.read(COMMON, 12, 4) == 1
    driver.write(20, 1, 0)
    driver.write(12, 4, 1 << 28)
    driver.write(20, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert driver.read(COMMON, 20, 1) == ACKNOWLEDGE | DRIVER


def test_there_is_one_queue_and_a_vector_that_there_is_not_cannot_be_had(machine: Machine) -> None:
    driver = BlockDriver(machine)
    assert driver.read(COMMON, 18, 2) == 1
    assert driver.read(COMMON, 24, 2) == 128
    driver.write(16, 2, 2)
    driver.write(26, 2, 2)
    assert (driver.read(COMMON, 16, 2), driver.read(COMMON, 26, 2)) == (0xFFFF, 0xFFFF)
    driver.write(22, 2, 1)
    assert driver.read(COMMON, 24, 2) == 0


@pytest.mark.parametrize("address_size", [4, 8])
def test_a_driver_that_polls_reads_the_disk(machine: Machine, address_size: int) -> None:
    driver = BlockDriver(machine)
    driver.set_up(address_size)
    assert driver.read(COMMON, 48, 8) == USED
    assert driver.read_sector(5) == machine.disk.sector(5) + b"\0"
    assert driver.read_sector(9) == machine.disk.sector(9) + b"\0"


def test_a_queue_that_is_enabled_does_not_change(machine: Machine, driver: BlockDriver) -> None:
    driver.write(24, 2, 4)
    driver.write(32, 4, 0)
    driver.write(28, 2, 0)
    assert [driver.read(COMMON, field, 2) for field in (24, 28)] == [128, 1]
    assert driver.read_sector(1) == machine.disk.sector(1) + b"\0"


def test_a_queue_of_an_impossible_size_needs_a_reset(machine: Machine) -> None:
    driver = BlockDriver(machine)
    driver.negotiate()
    driver.write(24, 2, 100)
    driver.write(28, 2, 1)
    assert driver.read(COMMON, 20, 1) & NEEDS_RESET
    driver.write(20, 1, 0)
    assert driver.read(COMMON, 20, 1) == 0


def test_a_field_that_is_written_in_another_size_keeps_its_value(driver: BlockDriver) -> None:
    driver.write(20, 2, 0)
    driver.write(20, 8, 0)
    assert driver.read(COMMON, 20, 1) & DRIVER_OK


def test_nothing_is_served_while_the_function_is_no_bus_master(machine: Machine, driver: BlockDriver) -> None:
    machine.configure(0x04, MEMORY, size=2)
    assert driver.read_sector(1) == bytes(512) + b"\xff"
    machine.configure(0x04, MEMORY | BUS_MASTER, size=2)
    assert driver.read_sector(1) == machine.disk.sector(1) + b"\0"


# Interrupts


def test_a_used_buffer_interrupts_until_the_interrupt_status_is_read(machine: Machine, driver: BlockDriver) -> None:
    driver.read_sector(0)
    assert machine.interrupt
    assert machine.configuration(0x06, 2) & 8
    assert driver.read(INTERRUPT_STATUS, 0, 1) == 1
    assert not machine.interrupt
    assert not machine.configuration(0x06, 2) & 8
    assert driver.read(INTERRUPT_STATUS, 0, 1) == 0


def test_an_interrupt_that_is_disabled_waits(machine: Machine, driver: BlockDriver) -> None:
    machine.configure(0x04, MEMORY | BUS_MASTER | INTERRUPT_DISABLE, size=2)
    driver.read_sector(0)
    assert not machine.interrupt
    assert machine.configuration(0x06, 2) & 8
    machine.configure(0x04, MEMORY | BUS_MASTER, size=2)
    assert machine.interrupt


# Messages


def msix(machine: Machine) -> int:
    """Where the capability is."""
    offset = machine.configuration(0x34, 1)
    while machine.configuration(offset, 1) != 0x11:
        offset = machine.configuration(offset + 1, 1)
    return offset


def set_vector(machine: Machine, vector: int, address: int, data: int, *, masked: bool = False) -> None:
    for index, word in enumerate((address, 0, data, int(masked))):
        machine.mmio.store(0, Gpa(VECTORS + 16 * vector + 4 * index), 4, word)


def enable_messages(machine: Machine, *, masked: bool = False) -> None:
    machine.configure(msix(machine) + 2, 0x8000 | masked << 14, size=2)


def test_the_table_of_vectors_is_where_the_capability_says(machine: Machine) -> None:
    capability = msix(machine)
    assert machine.configuration(capability + 2, 2) & 0x7FF == 1, "one less than there are"
    assert machine.configuration(capability + 4) == 1
    assert machine.configuration(capability + 8) == 0x801
    assert machine.configuration(0x14) == VECTORS
    assert machine.mmio.load(0, Gpa(VECTORS + 12), 4) == 1, "masked at first"
    set_vector(machine, 1, 0xFEE0_1000, 0x4041)
    assert [machine.mmio.load(0, Gpa(VECTORS + 16 + 4 * index), 4) for index in range(4)] == [0xFEE0_1000, 0, 0x4041, 0]
    assert machine.mmio.load(0, Gpa(VECTORS + 16), 8) == 0xFEE0_1000


def test_a_used_buffer_sends_the_message_of_its_queue_and_no_other_interrupt(machine: Machine, driver: BlockDriver) -> None:
    set_vector(machine, 1, 0xFEE0_3000, 0x41)
    enable_messages(machine)
    driver.write(22, 2, 0)
    driver.write(26, 2, 1)
    assert driver.read(COMMON, 26, 2) == 1
    driver.read_sector(0)
    driver.read_sector(1)
    assert machine.messages == [InterruptMessage(DeliveryMode.FIXED, 0x41, 3)] * 2
    assert not machine.interrupt
    assert driver.read(INTERRUPT_STATUS, 0, 1) == 0


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_masked_message_is_pending_until_it_is_not(machine: Machine, driver: BlockDriver, all_of_them: bool) -> None:
    set_vector(machine, 0, 0xFEE0_0004, 0x0150, masked=not all_of_them)
    enable_messages(machine, masked=all_of_them)
    driver.write(26, 2, 0)
    driver.read_sector(0)
    assert machine.messages == []
    assert machine.mmio.load(0, Gpa(VECTORS + 0x800), 8) == 1
    set_vector(machine, 0, 0xFEE0_0004, 0x0150)
    enable_messages(machine)
    assert machine.messages == [InterruptMessage(DeliveryMode.LOWEST_PRIORITY, 0x50, 0, logical=True)]
    assert machine.mmio.load(0, Gpa(VECTORS + 0x800), 8) == 0


def test_a_queue_without_a_vector_sends_nothing(machine: Machine, driver: BlockDriver) -> None:
    set_vector(machine, 0, 0xFEE0_0000, 0x50)
    enable_messages(machine)
    driver.read_sector(0)
    assert (machine.messages, machine.interrupt) == ([], False)


def test_without_messages_the_pin_interrupts_again(machine: Machine, driver: BlockDriver) -> None:
    enable_messages(machine)
    machine.configure(msix(machine) + 2, 0, size=2)
    driver.read_sector(0)
    assert machine.interrupt


# The legacy interface


class LegacyDriver:
    """Negotiates and sets up queue 0 in I/O space, as before version 1.0."""

    def __init__(self, machine: Machine, base: int = PORTS) -> None:
        self.machine, self.base = machine, base
        self.made = 0

    def read(self, offset: int, size: int) -> int:
        return self.machine.ports.read(self.base + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self.machine.ports.write(self.base + offset, size, value)

    def set_up(self) -> None:
        self.write(18, 1, 0)
        self.write(18, 1, ACKNOWLEDGE)
        self.write(18, 1, ACKNOWLEDGE | DRIVER)
        self.write(4, 4, self.read(0, 4))
        self.write(14, 2, 0)
        self.write(8, 4, DESCRIPTORS >> 12)
        self.write(18, 1, ACKNOWLEDGE | DRIVER | DRIVER_OK)

    def read_sector(self, sector: int) -> bytes:
        self.made += 1
        available = DESCRIPTORS + 16 * self.read(12, 2)
        return read_sector(self.machine, sector, made=self.made - 1, available=available, notify=lambda: self.write(16, 2, 0))

    @property
    def used(self) -> int:
        """The index of the used ring: from the page boundary behind the available ring on."""
        size = self.read(12, 2)
        return int.from_bytes(self.machine.peek((DESCRIPTORS + 18 * size + 6 + 0xFFF & ~0xFFF) + 2, 2), "little")


def test_a_legacy_driver_reads_the_disk_through_ports(machine: Machine) -> None:
    assert machine.configuration(0x10) == PORTS | 1
    driver = LegacyDriver(machine)
    driver.set_up()
    assert driver.read(18, 1) == ACKNOWLEDGE | DRIVER | DRIVER_OK
    assert driver.read(8, 4) == DESCRIPTORS >> 12
    assert driver.read_sector(5) == machine.disk.sector(5) + b"\0"
    assert driver.used == 1
    assert machine.interrupt
    assert driver.read(19, 1) == 1
    assert (machine.interrupt, driver.read(19, 1)) == (False, 0)
    assert driver.read_sector(9) == machine.disk.sector(9) + b"\0"


def test_the_disks_size_follows_the_legacy_registers_and_their_vectors_if_there_are_some(machine: Machine) -> None:
    driver = LegacyDriver(machine)
    assert (driver.read(20, 4), driver.read(24, 4)) == (64, 0)
    enable_messages(machine)
    assert (driver.read(20, 2), driver.read(22, 2), driver.read(24, 4)) == (0xFFFF, 0xFFFF, 64)
    driver.set_up()
    set_vector(machine, 1, 0xFEE0_0000, 0x33)
    driver.write(22, 2, 1)
    driver.write(20, 2, 7)
    assert (driver.read(20, 2), driver.read(22, 2)) == (0xFFFF, 1)
    driver.read_sector(1)
    assert machine.messages == [InterruptMessage(DeliveryMode.FIXED, 0x33, 0)]


def test_a_legacy_driver_cannot_take_what_it_was_not_offered(machine: Machine) -> None:
    driver = LegacyDriver(machine)
    driver.write(18, 1, ACKNOWLEDGE | DRIVER)
    driver.write(4, 4, 1 << 24)
    driver.write(18, 1, ACKNOWLEDGE | DRIVER | DRIVER_OK)
    assert driver.read(18, 1) == ACKNOWLEDGE | DRIVER


def test_a_modern_driver_comes_after_a_legacy_one(machine: Machine) -> None:
    legacy = LegacyDriver(machine)
    legacy.set_up()
    legacy.read_sector(1)
    driver = BlockDriver(machine)
    driver.set_up()
    assert driver.read_sector(2) == machine.disk.sector(2) + b"\0"


def test_ports_are_sized_and_moved_and_respond_only_while_enabled(machine: Machine) -> None:
    machine.configure(0x10, 0xFFFF_FFFF)
    assert machine.configuration(0x10) == 0xFFFF_FFC1
    machine.configure(0x10, 0xD000)
    assert LegacyDriver(machine, 0xD000).read(12, 2) == 128
    machine.configure(0x04, MEMORY | BUS_MASTER, size=2)
    with pytest.raises(UnhandledPort):
        LegacyDriver(machine, 0xD000).read(12, 2)
    machine.configure(0x04, IO | MEMORY | BUS_MASTER, size=2)
    assert LegacyDriver(machine, 0xD000).read(12, 2) == 128


def test_ports_that_are_moved_onto_another_devices_do_not_respond_until_they_are_moved_again(machine: Machine) -> None:
    machine.pci.attach(5, machine.function("other", TestDisk(8), VirtioPciPlaces(Gpa(0xE000_0000), Gpa(0xE010_0000), 0xD000)))
    machine.configure(0x10, 0xD000)
    assert LegacyDriver(machine, 0xD000).read(20, 4) == 8
    machine.configure(0x10, 0xD040)
    assert LegacyDriver(machine, 0xD040).read(20, 4) == 64
