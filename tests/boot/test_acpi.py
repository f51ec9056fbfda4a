import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.boot.acpi import acpi_tables
from kev.boot.base import VirtioTransport
from kev.dev.chipset.poweroff import AcpiPowerOff
from kev.dev.interrupts.irq import SOURCE_OVERRIDES
from tests.boot.images import elf, multiboot1_header
from tests.boot.machine import Booted

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


def tables(vcpus: int = 1, virtio: tuple[VirtioTransport, ...] = ()) -> Tables:
    return Tables(acpi_tables(Gpa(BASE), vcpus, virtio))


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
    device = AcpiPowerOff(ended.append)
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


def test_without_devices_none_is_listed() -> None:
    block = Aml(tables().dsdt[36:])
    block.soft_off()
    assert not block


@given(st.lists(st.tuples(st.integers(1, 0xFFFFE), st.integers(5, 23)), min_size=1, max_size=12))
def test_every_virtio_device_is_listed_with_its_registers_and_its_interrupt(places: list[tuple[int, int]]) -> None:
    devices = tuple(VirtioTransport(range(page << 12, (page + 1) << 12), interrupt) for page, interrupt in places)
    found = tables(2, devices)
    block = Aml(found.dsdt[36:])
    block.soft_off()
    block.expect(b"\x10")
    scope = block.package()
    assert not block
    scope.expect(b"\\_SB_")
    names = set()
    for device in devices:
        scope.expect(b"\x5b\x82")
        contents = scope.package()
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
    assert not scope
    assert len(names) == len(devices)
    assert [entry for kind, entry in found.madt_entries() if kind == 0] == [struct.pack("<BBI", apic, apic, 1) for apic in (0, 1)]


def test_a_kernel_finds_its_virtio_disk_in_the_tables() -> None:
    booted = Booted(elf(multiboot1_header()), virtio=(VIRTIO,))
    assert b"LNRO0005" in Tables(booted.read(BASE, 0x2000)).dsdt
