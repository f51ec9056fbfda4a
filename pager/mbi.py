"""The Multiboot2 boot information (Multiboot2 Specification 2.0, "Boot information format"): what a boot loader tells a kernel."""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Self

from kev.errors import KevError
from kev.pager.memory_region import MemoryRegion

_TOTAL: Final = struct.Struct("<II")
_TAG: Final = struct.Struct("<II")
_TAG_ALIGNMENT: Final = 8
_MEMORY_MAP: Final = struct.Struct("<II")
_MEMORY_MAP_ENTRY: Final = struct.Struct("<QQII")
_ENTRY_VERSION: Final = 0
_RSDP_1_SIZE: Final = 20
_NO_PARTITION: Final = 0xFFFF_FFFF


class TagType(IntEnum):
    """The types of tags that can be written."""

    END = 0
    COMMAND_LINE = 1
    BOOT_LOADER_NAME = 2
    MODULE = 3
    BASIC_MEMORY = 4
    BOOT_DEVICE = 5
    MEMORY_MAP = 6
    FRAMEBUFFER = 8
    ELF_SECTIONS = 9
    ACPI_OLD_RSDP = 14
    ACPI_NEW_RSDP = 15
    LOAD_BASE = 21


class MbiError(KevError):
    """The boot information cannot be written as asked."""


class MbiWriter:
    """Writes tags one behind the other; each method adds one and returns the writer."""

    __slots__ = ("_tags",)

    def __init__(self) -> None:
        self._tags: Final = bytearray()

    def command_line(self, text: str) -> Self:
        return self._add(TagType.COMMAND_LINE, _string(text))

    def boot_loader_name(self, name: str) -> Self:
        return self._add(TagType.BOOT_LOADER_NAME, _string(name))

    def module(self, start: int, end: int, text: str) -> Self:
        """A module at the guest-physical addresses [start, end), below 4 GiB, and the text that belongs to it."""
        return self._add(TagType.MODULE, struct.pack("<II", start, end) + _string(text))

    def basic_memory(self, lower_kib: int, upper_kib: int) -> Self:
        """The KiB of RAM from 0 on, 640 at most, and from 1 MiB on up to the first hole."""
        return self._add(TagType.BASIC_MEMORY, struct.pack("<II", lower_kib, upper_kib))

    def memory_map(self, regions: Sequence[MemoryRegion]) -> Self:
        """MbiError unless the regions are in order, without overlap, and none is empty."""
        end = 0
        for region in regions:
            if region.base < end or region.length <= 0:
                raise MbiError(
                    f"memory map: the region of {region.length:#x} bytes at {region.base:#x} is empty or begins below {end:#x}"
                )
            end = region.end
        entries = (_MEMORY_MAP_ENTRY.pack(region.base, region.length, region.type, 0) for region in regions)
        return self._add(TagType.MEMORY_MAP, _MEMORY_MAP.pack(_MEMORY_MAP_ENTRY.size, _ENTRY_VERSION) + b"".join(entries))

    def boot_device(self, number: int) -> Self:
        """The disk that the kernel comes from, by the BIOS's number; no partition of it."""
        return self._add(TagType.BOOT_DEVICE, struct.pack("<III", number, _NO_PARTITION, _NO_PARTITION))

    def framebuffer(self, description: bytes, colours: bytes = b"") -> Self:
        """The display: address, pitch, width, height, bits per pixel and type, as the specification packs them.

        `colours`: position and size of red, green and blue in a pixel.
        """
        return self._add(TagType.FRAMEBUFFER, description + bytes(2) + colours)

    def elf_sections(self, count: int, entry_size: int, names: int, headers: bytes) -> Self:
        """The kernel's section headers: their number, the size of each, and the index of the one with their names."""
        return self._add(TagType.ELF_SECTIONS, struct.pack("<III", count, entry_size, names) + headers)

    def rsdp(self, copy: bytes) -> Self:
        """A copy of the ACPI root system description pointer: 20 bytes of ACPI 1.0, or more of a later version."""
        return self._add(TagType.ACPI_OLD_RSDP if len(copy) == _RSDP_1_SIZE else TagType.ACPI_NEW_RSDP, copy)

    def load_base(self, address: int) -> Self:
        """Where a relocatable kernel was loaded."""
        return self._add(TagType.LOAD_BASE, struct.pack("<I", address))

    def finish(self) -> bytes:
        """The whole structure, with its end tag. It must be placed at a multiple of 8."""
        end = _TAG.pack(TagType.END, _TAG.size)
        return _TOTAL.pack(_TOTAL.size + len(self._tags) + len(end), 0) + self._tags + end

    def _add(self, tag: TagType, payload: bytes) -> Self:
        size = _TAG.size + len(payload)
        self._tags.extend(_TAG.pack(tag, size) + payload + bytes(-size % _TAG_ALIGNMENT))
        return self


def _string(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise MbiError(f"the string {text!r} contains a zero byte, which would end it")
    return encoded + b"\0"
