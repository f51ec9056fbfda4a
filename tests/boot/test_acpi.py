import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.boot.acpi import acpi_tables
from kev.boot.base import PciRoot, VirtioTransport
from kev.clock import VirtualClock
from kev.dev.chipset.poweroff import AcpiPowerManagement
from kev.dev.clocks.hpet import Hpet
from kev.dev.interrupts.irq import SOURCE_OVERRIDES
from tests.boot.images import elf, multiboot1_header
from tests.boot.machine import Booted
from tests.dev.rig import Rig

BASE = 0xF2000
VIRTIO = VirtioTransport(range(0xD0000000, 0xD0001000), 10)


class Tables:
    """Tables found from the RSDP on, as chapter 5 of the specification lays them out; every checksum is tested on the way."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        rsdp = data[:36]
        assert rsdp[:8] == b"RSD PTR "
        assert sum(rsdp[:20]) % 256 == 0
        assert sum(rsdp) % 256 == 0
        revision, rsdt, length, xsdt = struct.unpack_from("<BIIQ", rsdp, 15)
        assert (revision, length) == (2, 36)
        by_rsdt = [pointer for (pointer,) in struct.iter_unpack("<I", self.table(rsdt, b"RSDT")[36:])]
        by_xsdt = [pointer for (pointer,) in struct.iter_unpack("<Q", self.table(xsdt, b"XSDT")[36:])]
        assert by_rsdt == by_xsdt
        self.addresses = {self.at(pointer, 4): pointer for pointer in by_xsdt}

    def at(self, address: int, length: int) -> bytes:
        return self.data[address - BASE : address - BASE + length]

    def table(self, address: int, signature: bytes) -> bytes:
        assert self.at(address, 4) == signature
        table = self.at(address, int.from_bytes(self.at(address + 4, 4), "little"))
        assert sum(table) % 256 == 0
        return table

    @property
    def fadt(self) -> bytes:
        return self.table(self.addresses[b"FACP"], b"FACP")

    @property
    def madt(self) -> bytes:
        return self.table(self.addresses[b"APIC"], b"APIC")

    @property
    def dsdt(self) -> bytes:
        return self.table(struct.unpack_from("<I", self.fadt, 40)[0], b"DSDT")

    def madt_entries(self) -> Iterator[tuple[int, bytes]]:
        """Type and what follows type and length."""
        position = 44
        while position < len(self.madt):
            kind, length = self.madt[position : position + 2]
            yield kind, self.madt[position + 2 : position + length]
            position += length
        assert position == len(self.madt)


class Aml:
    """What a definition block says, read from its beginning (ACPI Specification 6.5, chapter 20)."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __bool__(self) -> bool:
        return bool(self.data)

    def take(self, length: int) -> bytes:
        taken, self.data = self.data[:length], self.data[length:]
        assert len(taken) == length
        return taken

    def expect(self, wanted: bytes) -> None:
        assert self.take(len(wanted)) == wanted

    def package(self) -> "Aml":
        """What a package length is the length of."""
        (lead,) = self.take(1)
        following = lead >> 6
        length = lead & 0x3F
        if following:
            length = lead & 0xF | int.from_bytes(self.take(following), "little") << 4
        return Aml(self.take(length - 1 - following))

    def string(self) -> str:
        self.expect(b"\x0d")
        return self.take(self.data.index(b"\0") + 1)[:-1].decode()

    def buffer(self) -> bytes:
        self.expect(b"\x11")
        contents = self.package()
        contents.expect(b"\x0a")
        (size,) = contents.take(1)
        assert size == len(contents.data)
        return contents.data

    def soft_off(self) -> bytes:
        self.expect(b"\x08_S5_\x12")
        return self.package().data

    def devices(self) -> list["Aml"]:
        """What is in each device of the scope \\_SB, from its name on, behind the soft-off package."""
        self.soft_off()
        self.expect(b"\x10")
        scope = self.package()
        assert not self
        scope.expect(b"\\_SB_")
        found = []
        while scope:
            scope.expect(b"\x5b\x82")
            found.append(scope.package())
        return found


def tables(vcpus: int = 1, virtio: tuple[VirtioTransport, ...] = (), pci: PciRoot | None = None) -> Tables:
    return Tables(acpi_tables(Gpa(BASE), vcpus, virtio, pci))


def eisa_id(vendor: str, product: int) -> bytes:
    letters = [ord(letter) - 0x40 for letter in vendor]
    return struct.pack(">HH", letters[0] << 10 | letters[1] << 5 | letters[2], product)


@given(st.integers(1, 400))
def test_every_processor_is_listed_as_what_its_id_needs(vcpus: int) -> None:
    local_apics, x2apics = [], []
    for kind, entry in tables(vcpus).madt_entries():
        if kind == 0:
            local_apics.append(struct.unpack("<BBI", entry))
        if kind == 9:
            x2apics.append(struct.unpack("<HIII", entry))
    assert local_apics == [(apic, apic, 1) for apic in range(min(vcpus, 255))]
    assert x2apics == [(0, apic, 1, apic) for apic in range(255, vcpus)]


def test_the_controllers_are_where_the_machine_has_them() -> None:
    found = tables(2)
    local_apic, flags = struct.unpack_from("<II", found.madt, 36)
    assert (local_apic, flags) == (0xFEE00000, 1)
    assert [struct.unpack("<BBII", entry) for kind, entry in found.madt_entries() if kind == 1] == [(0, 0, 0xFEC00000, 0)]


def test_isa_interrupts_with_another_number_are_listed() -> None:
    overrides = [struct.unpack("<BBIH", entry) for kind, entry in tables().madt_entries() if kind == 2]
    assert overrides == [(0, irq, gsi, 0) for irq, gsi in SOURCE_OVERRIDES.items()]


@pytest.mark.parametrize(("vcpus", "kinds"), [(255, [4]), (256, [4, 10])])
def test_nmi_is_lint1_of_all_processors(vcpus: int, kinds: list[int]) -> None:
    entries = {kind: entry for kind, entry in tables(vcpus).madt_entries() if kind in (4, 10)}
    assert list(entries) == kinds
    assert struct.unpack("<BHB", entries[4]) == (0xFF, 0, 1)
    if 10 in entries:
        assert struct.unpack("<HIB3x", entries[10]) == (0, 0xFFFFFFFF, 1)


def test_the_fadt_points_to_dsdt_and_facs() -> None:
    found = tables()
    facs, dsdt = struct.unpack_from("<II", found.fadt, 36)
    (dsdt_64,) = struct.unpack_from("<Q", found.fadt, 140)
    assert dsdt == dsdt_64
    found.table(dsdt, b"DSDT")
    assert found.at(facs, 8) == b"FACS" + (64).to_bytes(4, "little")
    assert facs % 64 == 0


def test_a_guest_that_follows_the_tables_switches_the_machine_off() -> None:
    found = tables()
    elements, sleep_type, *_ = Aml(found.dsdt[36:]).soft_off()
    assert elements == 4
    assert sleep_type in (0, 1), "ZeroOp and OneOp are the numbers they stand for"
    (port,) = struct.unpack_from("<I", found.fadt, 64)
    assert struct.unpack_from("<BBBBQ", found.fadt, 172) == (1, 16, 0, 2, port)
    ended: list[int] = []
    device = AcpiPowerManagement(ended.append, VirtualClock())
    assert any(port in ports for ports in device.ports)
    device.write_port(port, 2, sleep_type << 10 | 1 << 13)
    assert ended == [0]


def test_acpi_mode_is_on_from_the_start() -> None:
    assert struct.unpack_from("<I", tables().fadt, 48) == (0,), "no SMI command port"


@pytest.mark.parametrize("vcpus", [1, 64, 255])
def test_a_kernel_finds_the_tables_in_the_bios_area(vcpus: int) -> None:
    booted = Booted(elf(multiboot1_header()), vcpus=vcpus)
    assert not booted.is_loaded(BASE)
    kinds = [kind for kind, _ in Tables(booted.read(BASE, 0x2000)).madt_entries()]
    assert kinds.count(0) == vcpus


def test_what_every_pc_has_is_listed_with_its_ports_and_interrupts() -> None:
    found = {}
    for device in Aml(tables().dsdt[36:]).devices():
        name = device.take(4).decode()
        device.expect(b"\x08_HID\x0c")
        identity = device.take(4)
        device.expect(b"\x08_CRS")
        found[name] = identity, device.buffer()
        assert not device
    end = b"\x79\0"
    assert found == {
        "KBD_": (eisa_id("PNP", 0x0303), bytes.fromhex("47 01 6000 6000 01 01 47 01 6400 6400 01 01 22 0200") + end),
        "MOU_": (eisa_id("PNP", 0x0F13), bytes.fromhex("22 0010") + end),
        "RTC_": (eisa_id("PNP", 0x0B00), bytes.fromhex("47 01 7000 7000 01 02 22 0001") + end),
        "COM1": (eisa_id("PNP", 0x0501), bytes.fromhex("47 01 f803 f803 01 08 22 1000") + end),
    }


def test_the_pci_bus_is_listed_with_what_it_forwards_and_where_its_interrupts_go() -> None:
    device = next(device for device in Aml(tables(pci=PciRoot(11)).dsdt[36:]).devices() if device.data.startswith(b"PCI0"))
    device.expect(b"PCI0\x08_HID\x0c" + eisa_id("PNP", 0x0A03) + b"\x08_UID\0\x08_CRS")
    resources = device.buffer()
    ranges = [
        struct.unpack_from("<5H", resources, at + 6) for at in range(len(resources)) if resources[at : at + 3] == b"\x88\x0d\0"
    ]
    assert [(low, high, length) for _, low, high, _, length in ranges] == [(0, 0, 1), (0, 0xCF7, 0xCF8), (0xD00, 0xFFFF, 0xF300)]
    spaces = [
        struct.unpack_from("<5I", resources, at + 6) for at in range(len(resources)) if resources[at : at + 3] == b"\x87\x17\0"
    ]
    assert [(low, high) for _, low, high, _, _ in spaces] == [(0xA0000, 0xBFFFF), (0xE0000000, 0xFEBFFFFF)]
    assert bytes.fromhex("47 01 f80c f80c 01 08") in resources
    device.expect(b"\x08_PRT\x12")
    routes = device.package()
    assert not device
    assert routes.take(1) == bytes([32])
    for number in range(32):
        routes.expect(b"\x12")
        address = b"\x0b\xff\xff" if number == 0 else b"\x0c" + struct.pack("<HH", 0xFFFF, number)
        assert routes.package().data == b"\x04" + address + b"\0\0\x0a\x0b"
    assert not routes


def test_the_timer_is_where_the_machine_has_it() -> None:
    fadt = tables().fadt
    assert (struct.unpack_from("<I", fadt, 76), fadt[91]) == ((0x608,), 4)
    assert struct.unpack_from("<BBBBQ", fadt, 208) == (1, 32, 0, 3, 0x608)
    assert not struct.unpack_from("<I", fadt, 112)[0] & 1 << 8, "it has 24 bits"


@given(st.lists(st.tuples(st.integers(1, 0xFFFFE), st.integers(5, 23)), min_size=1, max_size=12))
def test_every_virtio_device_is_listed_with_its_registers_and_its_interrupt(places: list[tuple[int, int]]) -> None:
    devices = tuple(VirtioTransport(range(page << 12, (page + 1) << 12), interrupt) for page, interrupt in places)
    found = tables(2, devices)
    names = set()
    listed = Aml(found.dsdt[36:]).devices()[-len(devices) :]
    for device, contents in zip(devices, listed, strict=True):
        path = contents.take(4)
        contents.expect(b"\x08_HID")
        assert contents.string() == "LNRO0005"
        contents.expect(b"\x08_UID")
        names.add((path, contents.string()))
        contents.expect(b"\x08_CRS")
        resources = contents.buffer()
        assert not contents
        # Memory32Fixed (ReadWrite), Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive), and the end.
        assert struct.unpack_from("<BHBII", resources) == (0x86, 9, 1, device.registers.start, 0x1000)
        assert struct.unpack_from("<BHBBI", resources, 12) == (0x89, 6, 1, 1, device.interrupt)
        assert resources[21:] == b"\x79\0"
    assert len(names) == len(devices)
    assert [entry for kind, entry in found.madt_entries() if kind == 0] == [struct.pack("<BBI", apic, apic, 1) for apic in (0, 1)]


def test_a_kernel_finds_its_virtio_disk_in_the_tables() -> None:
    booted = Booted(elf(multiboot1_header()), virtio=(VIRTIO,))
    assert b"LNRO0005" in Tables(booted.read(BASE, 0x2000)).dsdt


def test_the_event_timer_is_where_its_table_says() -> None:
    found = tables()
    block, space, width, address, minimum = struct.unpack_from("<IBBxxQxH", found.table(found.addresses[b"HPET"], b"HPET"), 36)
    assert (space, width) == (0, 64)
    hpet = Hpet.built_for(Rig(lambda rig: []).machine)
    assert address == hpet.gpa
    capabilities = hpet.read_mmio(0, 0, 8)
    assert block == capabilities & 0xFFFF_FFFF
    assert minimum * (capabilities >> 32) <= 10**15 // 1000, "at most a millisecond"
