"""Minimal images that start in real mode, besides boot sectors."""

import struct

CD_SECTOR = 2048
BOOT_IMAGE_SECTOR = 20
_CATALOG_SECTOR = 19


def iso(
    contents: bytes = b"\xf4",
    *,
    bootable: int = 0x88,
    media: int = 0,
    segment: int = 0,
    sectors: int = 4,
    platform: int = 0,
    keys: bytes = b"\x55\xaa",
) -> bytes:
    """A CD with a primary volume descriptor, an El Torito boot record, and a boot image of `contents`."""
    primary = b"\1CD001\1".ljust(CD_SECTOR, b"\0")
    record = (b"\0CD001\1EL TORITO SPECIFICATION".ljust(71, b"\0") + struct.pack("<I", _CATALOG_SECTOR)).ljust(CD_SECTOR, b"\0")
    validation = struct.pack("<BB28x", 1, platform) + keys
    entry = struct.pack("<BBHBxHI20x", bootable, media, segment, 0, sectors, BOOT_IMAGE_SECTOR)
    catalog = (validation + entry).ljust(CD_SECTOR, b"\0")
    image = contents.ljust(-(-len(contents) // CD_SECTOR) * CD_SECTOR, b"\0")
    return bytes(16 * CD_SECTOR) + primary + record + bytes(CD_SECTOR) + catalog + image


def linux16_image(
    setup: bytes = b"\xf4",
    rest: bytes = b"rest of it",
    *,
    version: int = 0x203,
    load_flags: int = 1,
    code32_start: int = 0x10_0000,
    setup_sectors: int = 1,
) -> bytes:
    """A program in the form of a Linux kernel, with `setup` at its 16-bit entry behind the header."""
    boot = bytearray(512)
    boot[0x1F1] = setup_sectors
    boot[0x1FE:0x200] = b"\x55\xaa"
    header = bytearray(b"\xeb\x3e" + b"HdrS" + struct.pack("<H", version)).ljust(0x40, b"\0")
    header[0x11] = load_flags
    header[0x14:0x18] = struct.pack("<I", code32_start)
    return bytes(boot) + bytes(header + setup).ljust((setup_sectors or 4) * 512, b"\0") + rest
