"""INT 13h: disks by cylinder, head and sector (IBM PC/AT technical reference) and by logical block (Phoenix Enhanced Disk Drive
Specification 3.0); CDs (Phoenix and IBM, "El Torito" Bootable CD-ROM Format Specification 1.0).
"""

import struct
from collections.abc import Mapping
from typing import Final

from kev.bios.call import BiosCall, Service
from kev.bios.data_area import Address, DataArea
from kev.bios.drives import CATALOG_ENTRY, FIRST_HARD_DISK, Drive
from kev.bios.rom import DISKETTE_PARAMETERS, SEGMENT
from kev.errors import KevError


class Status:
    """What AH says in the end."""

    DONE: Final = 0x00
    INVALID: Final = 0x01
    WRITE_PROTECTED: Final = 0x03
    SECTOR_NOT_FOUND: Final = 0x04
    FAILED: Final = 0x20
    WRITE_FAULT: Final = 0xCC


class DiskFailure(Exception):
    """The function ends with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


_HARD_DISK_THERE: Final = 3
_DISKETTE_THERE: Final = 1
_DISKETTE_1440_KIB: Final = 4

_EXTENSIONS_ASKED: Final = 0x55AA
_EXTENSIONS_THERE: Final = 0xAA55
_EXTENSIONS_VERSION: Final = 0x21
"""1.1."""
_FIXED_DISK_ACCESS: Final = 1 << 0

_PACKET: Final = struct.Struct("<BxHHHQ")
"""Size, number of sectors, offset and segment of the buffer, first sector."""
_PACKET_COUNT: Final = 2
_FLAT_ADDRESS: Final = 16
_FLAT_BUFFER: Final = 0xFFFF
_FLAT_PACKET_SIZE: Final = 24

_PARAMETERS: Final = struct.Struct("<HHIIIQH")
"""Size, flags, cylinders, heads, sectors per track, sectors, bytes per sector."""
_GEOMETRY_IS_VALID: Final = 1 << 1
_REMOVABLE: Final = 1 << 2

_SPECIFICATION: Final = struct.Struct("<BBBBIHHHHBBB")
"""Of an emulated disk: size, media type, drive number, controller, boot image's sector, device, buffer, load segment, sectors,
cylinder, sector, head."""


class DiskServices:
    """A call changes nothing but the caller's registers and buffer, the disk, and the last status in the BIOS data area."""

    def __init__(self, drives: Mapping[int, Drive], data: DataArea) -> None:
        self._drives: Final = drives
        self._data: Final = data
        self._functions: Final[dict[int, Service]] = {
            0x00: self._do_nothing,  # reset
            0x01: self._last_status,
            0x02: self._read,
            0x03: self._write,
            0x04: self._verify,
            0x08: self._parameters,
            0x09: self._do_nothing,  # set parameters
            0x0C: self._do_nothing,  # seek
            0x0D: self._do_nothing,  # reset
            0x10: self._do_nothing,  # is it ready?
            0x11: self._do_nothing,  # recalibrate
            0x14: self._do_nothing,  # diagnose
            0x15: self._kind,
            0x16: self._do_nothing,  # has the disk been changed?
            0x41: self._extensions,
            0x42: self._read_extended,
            0x43: self._write_extended,
            0x44: self._verify_extended,
            0x47: self._do_nothing,  # seek
            0x48: self._parameters_extended,
            0x4B: self._emulation,
        }
        self.functions: Final[dict[int, Service]] = dict.fromkeys(self._functions, self._serve)
        """By AH."""

    def _serve(self, call: BiosCall) -> None:
        function = call.ah
        try:
            self._functions[function](call)
        except DiskFailure as failure:
            status = failure.status
        else:
            status = Status.DONE
        address = Address.DISK_STATUS if call.dl >= FIRST_HARD_DISK else Address.DISKETTE_STATUS
        if function != 0x01:
            self._data.write(address, status)
            if function not in (0x15, 0x41) or status:
                call.ah = status
        call.set_carry(bool(status))

    def _find(self, call: BiosCall) -> Drive:
        drive = self._drives.get(call.dl)
        if drive is None:
            raise DiskFailure(Status.INVALID)
        return drive

    def _do_nothing(self, call: BiosCall) -> None:
        """To a drive that is there."""
        self._find(call)

    def _last_status(self, call: BiosCall) -> None:
        call.ah = self._data.read(Address.DISK_STATUS if call.dl >= FIRST_HARD_DISK else Address.DISKETTE_STATUS)
        if call.ah:
            raise DiskFailure(call.ah)

    # By cylinder, head and sector

    def _sectors(self, call: BiosCall) -> tuple[Drive, range]:
        """The sectors that the registers name."""
        drive = self._find(call)
        geometry = drive.geometry
        cylinder, sector, count = call.ch | (call.cl & 0xC0) << 2, call.cl & 0x3F, call.al
        if not 1 <= sector <= geometry.sectors_per_track or call.dh >= geometry.heads or not count:
            raise DiskFailure(Status.INVALID)
        first = (cylinder * geometry.heads + call.dh) * geometry.sectors_per_track + sector - 1
        return drive, _existing(drive, first, count)

    def _read(self, call: BiosCall) -> None:
        drive, sectors = self._sectors(call)
        call.write("es", call.bx, _contents(drive, sectors))

    def _write(self, call: BiosCall) -> None:
        drive, sectors = self._sectors(call)
        _store(drive, sectors, call.read("es", call.bx, len(sectors) * drive.sector_size))

    def _verify(self, call: BiosCall) -> None:
        self._sectors(call)

    def _parameters(self, call: BiosCall) -> None:
        drive = self._find(call)
        geometry = drive.geometry
        last = geometry.cylinders - 1
        is_diskette = drive.number < FIRST_HARD_DISK
        call.ch, call.cl = last & 0xFF, (last >> 8) << 6 | geometry.sectors_per_track
        call.dh = geometry.heads - 1
        call.dl = sum(number < FIRST_HARD_DISK for number in self._drives) if is_diskette else self._hard_disks
        call.ax, call.bx = 0, call.bx & 0xFF00
        if is_diskette:
            call.bl = _DISKETTE_1440_KIB
            call.point("es", "di", SEGMENT, DISKETTE_PARAMETERS)

    @property
    def _hard_disks(self) -> int:
        return sum(FIRST_HARD_DISK <= number < FIRST_HARD_DISK + len(self._drives) for number in self._drives)

    def _kind(self, call: BiosCall) -> None:
        drive = self._drives.get(call.dl)
        if drive is None:
            call.ah = 0
        elif drive.number < FIRST_HARD_DISK:
            call.ah = _DISKETTE_THERE
        else:
            call.ah, call.cx, call.dx = _HARD_DISK_THERE, drive.sectors >> 16, drive.sectors

    # By number of the sector

    def _extensions(self, call: BiosCall) -> None:
        drive = self._find(call)
        if call.bx != _EXTENSIONS_ASKED or not drive.has_extensions:
            raise DiskFailure(Status.INVALID)
        call.bx, call.ah, call.cx = _EXTENSIONS_THERE, _EXTENSIONS_VERSION, _FIXED_DISK_ACCESS

    def _packet(self, call: BiosCall) -> tuple[Drive, range, int]:
        """The drive, the sectors, and the linear address of the buffer, in the packet at DS:SI."""
        drive = self._find(call)
        size, count, offset, segment, first = _PACKET.unpack(call.read("ds", call.si, _PACKET.size))
        if size < _PACKET.size or not drive.has_extensions:
            raise DiskFailure(Status.INVALID)
        buffer = (segment << 4) + offset
        if offset == segment == _FLAT_BUFFER and size >= _FLAT_PACKET_SIZE:
            buffer = int.from_bytes(call.read("ds", call.si + _FLAT_ADDRESS, 8), "little")
        try:
            return drive, _existing(drive, first, count), buffer
        except DiskFailure:
            call.write("ds", call.si + _PACKET_COUNT, bytes(2))
            raise

    def _read_extended(self, call: BiosCall) -> None:
        drive, sectors, buffer = self._packet(call)
        call.write_at(buffer, _contents(drive, sectors))

    def _write_extended(self, call: BiosCall) -> None:
        drive, sectors, buffer = self._packet(call)
        _store(drive, sectors, call.read_at(buffer, len(sectors) * drive.sector_size))

    def _verify_extended(self, call: BiosCall) -> None:
        self._packet(call)

    def _parameters_extended(self, call: BiosCall) -> None:
        drive = self._find(call)
        size = int.from_bytes(call.read("ds", call.si, 2), "little")
        if size < _PARAMETERS.size or not drive.has_extensions:
            raise DiskFailure(Status.INVALID)
        geometry = drive.geometry
        flags = _REMOVABLE if drive.boot_catalog else _GEOMETRY_IS_VALID
        call.write("ds", call.si, _PARAMETERS.pack(_PARAMETERS.size, flags, *geometry, drive.sectors, drive.sector_size))

    # CDs

    def _emulation(self, call: BiosCall) -> None:
        """AL = 00h or 01h: what was booted; it was no emulated disk, so that there is nothing to end."""
        drive = self._find(call)
        if call.al > 1 or not drive.boot_catalog:
            raise DiskFailure(Status.INVALID)
        _, media, segment, _, count, first = CATALOG_ENTRY.unpack_from(drive.boot_catalog)
        specification = (_SPECIFICATION.size, media & 0x0F, drive.number, 0, first, 0, 0, segment, count, 0, 0, 0)
        call.write("ds", call.si, _SPECIFICATION.pack(*specification))


def _existing(drive: Drive, first: int, count: int) -> range:
    if first + count > drive.sectors:
        raise DiskFailure(Status.SECTOR_NOT_FOUND)
    return range(first, first + count)


def _contents(drive: Drive, sectors: range) -> bytes:
    data = bytearray(len(sectors) * drive.sector_size)
    start = sectors.start * drive.sector_size
    there = min(len(data), max(drive.disk.size - start, 0))  # the rest is that of a diskette whose image is shorter
    try:
        if there:
            drive.disk.read_into(start, memoryview(data)[:there])
    except KevError:
        raise DiskFailure(Status.FAILED) from None
    return bytes(data)


def _store(drive: Drive, sectors: range, data: bytes) -> None:
    if not drive.disk.writable or drive.boot_catalog:
        raise DiskFailure(Status.WRITE_PROTECTED)
    if sectors.stop * drive.sector_size > drive.disk.size:
        raise DiskFailure(Status.WRITE_FAULT)
    try:
        drive.disk.write(sectors.start * drive.sector_size, data)
    except KevError:
        raise DiskFailure(Status.WRITE_FAULT) from None
