"""A bootable CD (Phoenix and IBM, "El Torito" Bootable CD-ROM Format Specification 1.0; ISO 9660)."""

import struct
from typing import Final, NamedTuple, Self

from kev.addressing import Gpa, Gva
from kev.bios.drives import CATALOG_ENTRY, CD_ROM, CD_SECTOR_SIZE, BootDrive
from kev.bios.rom import BOOT_SECTOR
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.bios_data import install_bios_data
from kev.boot.entry import boot_sector
from kev.boot.firmware_tables import install_tables
from kev.boot.kernel_file import SECTOR_SIZE, KernelFile
from kev.engine.base import EntryState
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.source import SynchronousSource

_BOOT_RECORD: Final = 17 * CD_SECTOR_SIZE
_BOOT_RECORD_MAGIC: Final = b"\0CD001\1EL TORITO SPECIFICATION".ljust(39, b"\0")
_CATALOG_POINTER: Final = struct.Struct("<71xI")
"""Of the boot record: the sector that the boot catalog is in."""

_VALIDATION: Final = struct.Struct("<BB28xBB")
"""Header, platform, and the two key bytes at the end."""
_VALIDATION_HEADER: Final = 1
_VALIDATION_KEYS: Final = (0x55, 0xAA)
_X86: Final = 0
_BOOTABLE: Final = 0x88
_MEDIA: Final = 0x0F
_EMULATED: Final = {1: "a 1.2 MB diskette", 2: "a 1.44 MB diskette", 3: "a 2.88 MB diskette", 4: "a hard disk"}

_BOOT_CODE: Final = 440
"""Bytes of a master boot record in front of its table of partitions."""
_RWX: Final = 7


class _Catalog(NamedTuple):
    """What is booted."""

    segment: int
    sectors: int
    """Of 512 bytes."""
    first: int
    """The first sector of 2,048 bytes."""
    entry: bytes


class ElTorito(BootProtocol):
    """The boot image that the CD's catalog names, in real mode at its own address, 07c0:0000 if it has none; DL is the CD.

    The CD is in a drive at the secondary IDE channel, too. A hybrid one, with code in its first sector, is booted as a hard disk
    (`kev.boot.real_mode`), unless it is said to be a CD.
    """

    name = "el_torito"
    passes_modules = False
    passes_command_line = False
    mode = 16

    def __init__(self, image: KernelImage, disk: SynchronousSource, catalog: _Catalog) -> None:
        super().__init__(image)
        self.boot_disk = disk
        self.booted = BootDrive(CD_ROM, catalog.entry)

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        has_boot_code = file.is_boot_disk and any(file.head[:_BOOT_CODE])
        found = not has_boot_code and _has_boot_record(file)
        return f"an El Torito boot record at offset {_BOOT_RECORD:#x}" if found else None

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if there is no boot catalog, or if it names nothing that a PC without emulated disks can boot."""
        catalog = _read_catalog(file)
        start, size = Gpa(catalog.segment << 4), catalog.sectors * SECTOR_SIZE
        offset = catalog.first * CD_SECTOR_SIZE
        size = min(size, max(file.source.size - offset, 0))
        segment = Segment(start, Gva(start), offset, size, size, _RWX)
        return cls(KernelImage.from_segments(file.source, [segment], start), file.source, catalog)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        install_bios_data(pager, options.hard_disks)
        install_tables(pager, options)
        return boot_sector(CD_ROM, self.image.entry >> 4, 0)


def _has_boot_record(file: KernelFile) -> bool:
    return file.bytes_at(_BOOT_RECORD, len(_BOOT_RECORD_MAGIC)) == _BOOT_RECORD_MAGIC


def _read_catalog(file: KernelFile) -> _Catalog:
    if not _has_boot_record(file):
        raise BootError(f"{file.name}: no bootable CD: there is no El Torito boot record at offset {_BOOT_RECORD:#x}")
    (sector,) = _CATALOG_POINTER.unpack(file.read(_BOOT_RECORD, _CATALOG_POINTER.size, "its boot record"))
    data = file.read(sector * CD_SECTOR_SIZE, _VALIDATION.size + CATALOG_ENTRY.size + 20, "its boot catalog")
    header, platform, *keys = _VALIDATION.unpack_from(data)
    if header != _VALIDATION_HEADER or tuple(keys) != _VALIDATION_KEYS:
        raise BootError(f"{file.name}: the boot catalog in sector {sector} does not begin with a validation entry")
    if platform != _X86:
        raise BootError(f"{file.name}: its boot image is for platform {platform:#x}, not for a PC's BIOS ({_X86:#x})")
    bootable, media, segment, _, sectors, first = CATALOG_ENTRY.unpack_from(data, _VALIDATION.size)
    if bootable != _BOOTABLE:
        raise BootError(f"{file.name}: the boot catalog's first entry is not bootable: {bootable:#x}, not {_BOOTABLE:#x}")
    if media & _MEDIA:
        emulated = _EMULATED.get(media & _MEDIA, f"medium {media & _MEDIA}")
        raise BootError(f"{file.name}: it is booted as {emulated}, which there is no emulation of")
    entry = data[_VALIDATION.size : _VALIDATION.size + CATALOG_ENTRY.size]
    return _Catalog(segment or BOOT_SECTOR >> 4, sectors or 1, first, entry)
