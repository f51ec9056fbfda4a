"""ACPI tables (ACPI Specification 6.5, chapter 5).

They list the processors, the interrupt controllers, what there is of an old PC, the event timer, the PCI bus and the virtio
devices, and say how to switch the machine off.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from kev.addressing import Gpa
from kev.boot import aml
from kev.boot.base import PciRoot, VirtioTransport
from kev.boot.checksum import with_checksum
from kev.dev.clocks.hpet import IDENTITY, SHORTEST_PERIOD, Hpet
from kev.dev.interrupts.io_apic import BASE_ADDRESS as IO_APIC_ADDRESS
from kev.dev.interrupts.irq import SOURCE_OVERRIDES
from kev.dev.interrupts.local_apic.apic import BASE_ADDRESS as LOCAL_APIC_ADDRESS

PM1A_EVENT: Final = 0x600
PM1A_CONTROL: Final = 0x604
PM_TIMER: Final = 0x608
"""Ports. A write of SLP_EN with sleep type 0 to the control register switches the machine off."""

_OEM: Final = b"KEV   "
_OEM_TABLE: Final = b"KEV     "
_CREATOR: Final = b"KEV "

_RSDP_1: Final = struct.Struct("<8sB6sBI")
_RSDP_CHECKSUM: Final = 8
_RSDP_2: Final = struct.Struct("<IQB3x")
"""What follows in ACPI 2.0 and later."""
_RSDP_EXTENDED_CHECKSUM: Final = 32
_RSDP_REVISION: Final = 2

_TABLE_HEADER: Final = struct.Struct("<4sIBB6s8sI4sI")
_TABLE_CHECKSUM: Final = 9

# Where each table lies, from the RSDP on. All but the last are of fixed size, and the MADT follows; a FACS is aligned to 64 bytes.
_RSDT: Final = 0x40
_XSDT: Final = 0x80
_FACS: Final = 0xC0
_FADT: Final = 0x100
_HPET: Final = 0x200
_DSDT: Final = 0x240
_ALIGNMENT: Final = 16

_ROOT_TABLES: Final = 3
"""That the RSDT and the XSDT name."""

ROOT_SIZE: Final = _RSDP_1.size + _RSDP_2.size
ROOT_POINTERS: Final = ((_RSDP_1.size - 4, 4), (_RSDP_1.size + 4, 8))
"""Offsets and sizes of the addresses in the RSDP: those of the RSDT and the XSDT."""
ROOT_CHECKSUMS: Final = ((_RSDP_CHECKSUM, 0, _RSDP_1.size), (_RSDP_EXTENDED_CHECKSUM, 0, ROOT_SIZE))
"""Offsets of its checksums, and the bytes that each is for: offset and length."""
POINTERS: Final = (
    *((_RSDT + _TABLE_HEADER.size + 4 * number, 4) for number in range(_ROOT_TABLES)),
    *((_XSDT + _TABLE_HEADER.size + 8 * number, 8) for number in range(_ROOT_TABLES)),
    *((_FADT + offset, size) for offset, size in ((36, 4), (40, 4), (140, 8))),
)
"""Those in the tables, from the RSDP on."""

_FACS_LAYOUT: Final = struct.Struct("<4sI24xB31x")
_FACS_VERSION: Final = 2

_FADT_REVISION: Final = 3
_FADT_SIZE: Final = 244
CHECKSUMS: Final = tuple(
    (table + _TABLE_CHECKSUM, table, size)
    for table, size in (
        (_RSDT, _TABLE_HEADER.size + 4 * _ROOT_TABLES),
        (_XSDT, _TABLE_HEADER.size + 8 * _ROOT_TABLES),
        (_FADT, _FADT_SIZE),
    )
)
"""Those of the tables that have addresses in them."""
_SCI: Final = 9
_LATENCY_OF_ABSENT_STATE: Final = 0xFFFF
_RTC_CENTURY: Final = 0x32
_LEGACY_DEVICES: Final = 1 << 0
_KEYBOARD_CONTROLLER: Final = 1 << 1
_WBINVD: Final = 1 << 0
_C1: Final = 1 << 2
_NO_POWER_BUTTON: Final = 1 << 4
_NO_SLEEP_BUTTON: Final = 1 << 5
_NO_RTC_WAKE_STATUS: Final = 1 << 6
_GENERIC_ADDRESS: Final = struct.Struct("<BBBBQ")
_SYSTEM_MEMORY, _SYSTEM_IO = 0, 1
_WORD_ACCESS, _DOUBLE_WORD_ACCESS = 2, 3

_SOFT_OFF: Final = (aml.ZERO,) * 4
"""The sleep types of PM1a and PM1b control, and two reserved elements."""
_DSDT_REVISION: Final = 2
_LEGACY: Final = (
    (b"KBD_", "PNP0303", aml.ports(0x60, 1) + aml.ports(0x64, 1) + aml.irq(1)),
    (b"MOU_", "PNP0F13", aml.irq(12)),
    (b"RTC_", "PNP0B00", aml.ports(0x70, 2) + aml.irq(8)),
    (b"COM1", "PNP0501", aml.ports(0x3F8, 8) + aml.irq(4)),
)
"""What is on the ISA bus of every PC: name, hardware id and resources."""
_PCI_ROOT: Final = "PNP0A03"
_CONFIGURATION_PORTS: Final = range(0xCF8, 0xD00)
_PCI_PORTS: Final = (range(_CONFIGURATION_PORTS.start), range(_CONFIGURATION_PORTS.stop, 0x10000))
_VIDEO_MEMORY: Final = range(0xA0000, 0xC0000)
_PCI_MEMORY: Final = range(0xE000_0000, 0xFEC0_0000)
"""What the host bridge forwards: below the interrupt controllers, and beside the devices that are not on the bus."""
_PCI_DEVICES: Final = 32
_PIN_A: Final = 0
_VIRTIO_MMIO: Final = "LNRO0005"
"""The hardware id by which drivers know virtio over MMIO."""

_MADT_REVISION: Final = 3
_PC_AT_COMPATIBLE: Final = 1 << 0
"""There is a pair of 8259s too."""
_ENABLED: Final = 1 << 0
_LOCAL_APIC: Final = struct.Struct("<BBBBI")
_IO_APIC: Final = struct.Struct("<BBBxII")
_SOURCE_OVERRIDE: Final = struct.Struct("<BBBBIH")
_LOCAL_APIC_NMI: Final = struct.Struct("<BBBHB")
_LOCAL_X2APIC: Final = struct.Struct("<BBxxIII")
_LOCAL_X2APIC_NMI: Final = struct.Struct("<BBHIB3x")
_LOCAL_APIC_ENTRY, _IO_APIC_ENTRY, _SOURCE_OVERRIDE_ENTRY = range(3)
_LOCAL_APIC_NMI_ENTRY: Final = 4
_LOCAL_X2APIC_ENTRY: Final = 9
_LOCAL_X2APIC_NMI_ENTRY: Final = 10
_LAST_APIC_ID: Final = 254
"""Processors with a higher id have x2APICs only."""
_ALL_PROCESSORS: Final = 0xFF
_ALL_X2APIC_PROCESSORS: Final = 0xFFFF_FFFF
_IO_APIC_ID: Final = 0
_ISA_BUS: Final = 0
_CONFORMS_TO_BUS: Final = 0
_LINT1: Final = 1


def acpi_tables(base: Gpa, vcpus: int, virtio: Sequence[VirtioTransport] = (), pci: PciRoot | None = None) -> bytes:
    """The RSDP, which lies at `base`, a multiple of 64, and all tables behind it."""
    dsdt = _table(b"DSDT", _DSDT_REVISION, _definition_block(virtio, pci))
    madt = -(-(_DSDT + len(dsdt)) // _ALIGNMENT) * _ALIGNMENT
    placed = {
        0: rsdp(base),
        _RSDT: _table(b"RSDT", 1, struct.pack("<3I", base + _FADT, base + madt, base + _HPET)),
        _XSDT: _table(b"XSDT", 1, struct.pack("<3Q", base + _FADT, base + madt, base + _HPET)),
        _FACS: _FACS_LAYOUT.pack(b"FACS", _FACS_LAYOUT.size, _FACS_VERSION),
        _FADT: _fadt(base),
        _HPET: _table(b"HPET", 1, _hpet()),
        _DSDT: dsdt,
        madt: _table(b"APIC", _MADT_REVISION, _madt(vcpus)),
    }
    tables = b""
    for offset, table in placed.items():
        tables = tables.ljust(offset, b"\0") + table
    return tables


def rsdp(base: Gpa) -> bytes:
    """The root system description pointer of the tables at `base`."""
    first = _rsdp_1(base, _RSDP_REVISION)
    return with_checksum(first + _RSDP_2.pack(len(first) + _RSDP_2.size, base + _XSDT, 0), _RSDP_EXTENDED_CHECKSUM)


def rsdp_1(base: Gpa) -> bytes:
    """The same as ACPI 1.0 had it, with 32-bit addresses only."""
    return _rsdp_1(base, 0)


def _rsdp_1(base: Gpa, revision: int) -> bytes:
    return with_checksum(_RSDP_1.pack(b"RSD PTR ", 0, _OEM, revision, base + _RSDT), _RSDP_CHECKSUM)


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    header = _TABLE_HEADER.pack(signature, _TABLE_HEADER.size + len(body), revision, 0, _OEM, _OEM_TABLE, 1, _CREATOR, 1)
    return with_checksum(header + body, _TABLE_CHECKSUM)


def _definition_block(virtio: Sequence[VirtioTransport], pci: PciRoot | None) -> bytes:
    """Name (\\_S5, Package (4) {0, 0, 0, 0}), and in \\_SB the devices."""
    devices = [_legacy_device(*device) for device in _LEGACY]
    if pci is not None:
        devices.append(_pci_root(pci))
    devices += map(_virtio_device, range(len(virtio)), virtio)
    return aml.name(b"_S5_", aml.package(*_SOFT_OFF)) + aml.scope(b"\\_SB_", *devices)


def _legacy_device(name: bytes, hardware_id: str, resources: bytes) -> bytes:
    return aml.device(name, aml.name(b"_HID", aml.eisa_id(hardware_id)), aml.name(b"_CRS", aml.resources(resources)))


def _pci_root(pci: PciRoot) -> bytes:
    """Bus 0, with one interrupt for pin A of every device (section 6.2.13, "_PRT")."""
    routes = (
        aml.package(aml.integer(device << 16 | 0xFFFF), aml.integer(_PIN_A), aml.ZERO, aml.integer(pci.interrupt))
        for device in range(_PCI_DEVICES)
    )
    resources = aml.resources(
        aml.bus_numbers(range(1)),
        aml.ports(_CONFIGURATION_PORTS.start, len(_CONFIGURATION_PORTS)),
        *map(aml.port_space, _PCI_PORTS),
        *map(aml.memory_space, (_VIDEO_MEMORY, _PCI_MEMORY)),
    )
    return aml.device(
        b"PCI0",
        aml.name(b"_HID", aml.eisa_id(_PCI_ROOT)),
        aml.name(b"_UID", aml.ZERO),
        aml.name(b"_CRS", resources),
        aml.name(b"_PRT", aml.package(*routes)),
    )


def _virtio_device(number: int, transport: VirtioTransport) -> bytes:
    return aml.device(
        b"VI%02d" % number,
        aml.name(b"_HID", aml.string(_VIRTIO_MMIO)),
        aml.name(b"_UID", aml.string(str(number))),
        aml.name(b"_CRS", aml.resources(aml.memory_32_fixed(transport.registers), aml.interrupt(transport.interrupt))),
    )


def _fadt(base: Gpa) -> bytes:
    """Named by the offsets of table 5.9, "FADT Format". A register block that is 0 does not exist."""
    table = bytearray(_FADT_SIZE)
    for layout, offset, value in (
        ("I", 36, base + _FACS),  # FIRMWARE_CTRL
        ("I", 40, base + _DSDT),  # DSDT
        ("H", 46, _SCI),  # SCI_INT
        ("I", 56, PM1A_EVENT),  # PM1a_EVT_BLK
        ("I", 64, PM1A_CONTROL),  # PM1a_CNT_BLK
        ("I", 76, PM_TIMER),  # PM_TMR_BLK
        ("B", 88, 4),  # PM1_EVT_LEN
        ("B", 89, 2),  # PM1_CNT_LEN
        ("B", 91, 4),  # PM_TMR_LEN
        ("H", 96, _LATENCY_OF_ABSENT_STATE),  # P_LVL2_LAT
        ("H", 98, _LATENCY_OF_ABSENT_STATE),  # P_LVL3_LAT
        ("B", 108, _RTC_CENTURY),  # CENTURY
        ("H", 109, _LEGACY_DEVICES | _KEYBOARD_CONTROLLER),  # IAPC_BOOT_ARCH
        ("I", 112, _WBINVD | _C1 | _NO_POWER_BUTTON | _NO_SLEEP_BUTTON | _NO_RTC_WAKE_STATUS),  # Flags
        ("Q", 140, base + _DSDT),  # X_DSDT
    ):
        struct.pack_into("<" + layout, table, offset, value)
    _GENERIC_ADDRESS.pack_into(table, 148, _SYSTEM_IO, 32, 0, _WORD_ACCESS, PM1A_EVENT)
    _GENERIC_ADDRESS.pack_into(table, 172, _SYSTEM_IO, 16, 0, _WORD_ACCESS, PM1A_CONTROL)
    _GENERIC_ADDRESS.pack_into(table, 208, _SYSTEM_IO, 32, 0, _DOUBLE_WORD_ACCESS, PM_TIMER)
    return _table(b"FACP", _FADT_REVISION, bytes(table[_TABLE_HEADER.size :]))


def _hpet() -> bytes:
    """What tells drivers of the event timer (IA-PC HPET Specification 1.0a, section 3.2.4)."""
    address = _GENERIC_ADDRESS.pack(_SYSTEM_MEMORY, 64, 0, 0, Hpet.gpa)
    return struct.pack("<I12sBHB", IDENTITY, address, 0, SHORTEST_PERIOD, 0)


def _madt(vcpus: int) -> bytes:
    return struct.pack("<II", LOCAL_APIC_ADDRESS, _PC_AT_COMPATIBLE) + b"".join(
        [
            *map(_local_apic, range(vcpus)),
            _IO_APIC.pack(_IO_APIC_ENTRY, _IO_APIC.size, _IO_APIC_ID, IO_APIC_ADDRESS, 0),
            *_source_overrides(),
            *_non_maskable_interrupts(vcpus),
        ]
    )


def _local_apic(apic_id: int) -> bytes:
    if apic_id > _LAST_APIC_ID:
        return _LOCAL_X2APIC.pack(_LOCAL_X2APIC_ENTRY, _LOCAL_X2APIC.size, apic_id, _ENABLED, apic_id)
    return _LOCAL_APIC.pack(_LOCAL_APIC_ENTRY, _LOCAL_APIC.size, apic_id, apic_id, _ENABLED)


def _source_overrides() -> Iterator[bytes]:
    for irq, gsi in SOURCE_OVERRIDES.items():
        yield _SOURCE_OVERRIDE.pack(_SOURCE_OVERRIDE_ENTRY, _SOURCE_OVERRIDE.size, _ISA_BUS, irq, gsi, _CONFORMS_TO_BUS)


def _non_maskable_interrupts(vcpus: int) -> Iterator[bytes]:
    yield _LOCAL_APIC_NMI.pack(_LOCAL_APIC_NMI_ENTRY, _LOCAL_APIC_NMI.size, _ALL_PROCESSORS, _CONFORMS_TO_BUS, _LINT1)
    if vcpus > _LAST_APIC_ID + 1:
        yield _LOCAL_X2APIC_NMI.pack(
            _LOCAL_X2APIC_NMI_ENTRY, _LOCAL_X2APIC_NMI.size, _CONFORMS_TO_BUS, _ALL_X2APIC_PROCESSORS, _LINT1
        )
