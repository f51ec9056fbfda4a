"""The zero page: what a Linux kernel is told, and what lies beside it (Linux, Documentation/arch/x86/boot.rst, zero-page.rst)."""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from kev.addressing import PAGE_SIZE, Gpa
from kev.boot.entry import flat_descriptor
from kev.boot.information import InformationWriter
from kev.boot.linux_header import HEADER_OFFSET
from kev.dev.display.screen import COLUMNS, ROWS
from kev.engine.registers import DescriptorTable
from kev.pager.memory_region import MemoryRegion
from kev.x86 import CODE_32, CODE_64, DATA_32

CODE_SELECTOR: Final = 0x10
DATA_SELECTOR: Final = 0x18

_SCREEN: Final = struct.Struct("<2xH2xBB6xBBH")
"""screen_info: ext_mem_k; from 6 on orig_video_mode, _cols; from 0xe on _lines, _isVGA and _points."""
_VIDEO_MODE: Final = 3
_IS_VGA: Final = 1
_CHARACTER_HEIGHT: Final = 16
_RSDP: Final = 0x70
_ALT_MEMORY: Final = 0x1E0
_REGION_COUNT: Final = 0x1E8
_REGIONS: Final = 0x2D0
_REGION: Final = struct.Struct("<QQI")
_MOST_REGIONS: Final = 128
_MOST_EXTENDED_MEMORY: Final = 0xFFFF

_LOADER: Final = (0x210, "<B", 0xFF)
"""type_of_loader: one that has no number."""
_CODE32_START: Final = 0x214
_INITRD: Final = 0x218
_COMMAND_LINE: Final = 0x228
_SETUP_DATA: Final = 0x250
_NODE: Final = struct.Struct("<QII")
"""setup_data: next, type and len."""
_E820_EXTENSION: Final = 1
_RNG_SEED: Final = 9

_PRESENT_WRITABLE: Final = 0b11
_LARGE: Final = 1 << 7
_LARGE_PAGE: Final = 2 << 20
_ENTRIES: Final = PAGE_SIZE // 8
_DIRECTORIES: Final = 4
_TABLE: Final = struct.Struct(f"<{_ENTRIES}Q")


class LinuxInformation(NamedTuple):
    """What the kernel is told. Addresses are guest-physical."""

    header: bytes
    """The setup header."""
    load_address: int
    command_line: str
    initrd: range
    """Where it lies; empty if there is none."""
    regions: Sequence[MemoryRegion]
    upper_memory_kib: int
    rsdp: int
    entropy: bytes
    """For the kernel's random number generator; none if empty."""
    long_mode: bool
    """The kernel is entered in it."""


class Placed(NamedTuple):
    """Where things are in what `boot_information` has built."""

    page_tables: Gpa
    """An identity map of the first 4 GiB, in pages of 2 MiB; meaningless if the kernel is not entered in long mode."""
    gdt: DescriptorTable


def boot_information(base: Gpa, information: LinuxInformation) -> tuple[bytes, Placed]:
    """The zero page, at `base`, and behind it whatever it points to, the GDT and the page tables. `base` is a page's address."""
    writer = InformationWriter(base, PAGE_SIZE)
    tables = Gpa(writer.add(_identity_map(Gpa(base + PAGE_SIZE))) if information.long_mode else 0)
    gdt = _gdt(information.long_mode)
    placed = Placed(tables, DescriptorTable(writer.add(gdt), len(gdt) - 1))
    page = _zero_page(information)
    _pack(page, _COMMAND_LINE, "<I", writer.add_string(information.command_line))
    _pack(page, _SETUP_DATA, "<Q", _add_nodes(writer, information))
    return writer.finish(bytes(page)), placed


def _zero_page(information: LinuxInformation) -> bytearray:
    page = bytearray(PAGE_SIZE)
    page[HEADER_OFFSET : HEADER_OFFSET + len(information.header)] = information.header
    extended = min(information.upper_memory_kib, _MOST_EXTENDED_MEMORY)
    _SCREEN.pack_into(page, 0, extended, _VIDEO_MODE, COLUMNS, ROWS, _IS_VGA, _CHARACTER_HEIGHT)
    _pack(page, _RSDP, "<Q", information.rsdp)
    _pack(page, _ALT_MEMORY, "<I", information.upper_memory_kib)
    _pack(page, *_LOADER)
    _pack(page, _CODE32_START, "<I", information.load_address)
    if information.initrd:
        _pack(page, _INITRD, "<II", information.initrd.start, len(information.initrd))
    regions = information.regions[:_MOST_REGIONS]
    page[_REGION_COUNT] = len(regions)
    table = _pack_regions(regions)
    page[_REGIONS : _REGIONS + len(table)] = table
    return page


def _pack(page: bytearray, offset: int, layout: str, *values: int) -> None:
    struct.pack_into(layout, page, offset, *values)


def _pack_regions(regions: Sequence[MemoryRegion]) -> bytes:
    return b"".join(_REGION.pack(region.base, region.length, region.type) for region in regions)


def _add_nodes(writer: InformationWriter, information: LinuxInformation) -> int:
    """Adds a list of what does not fit into the zero page; returns the address of its first node, or 0."""
    nodes = ((_RNG_SEED, information.entropy), (_E820_EXTENSION, _pack_regions(information.regions[_MOST_REGIONS:])))
    following = 0
    for kind, data in nodes:
        if data:
            following = writer.add(_NODE.pack(following, kind, len(data)) + data)
    return following


def _gdt(long_mode: bool) -> bytes:
    """Nothing at selectors 0 and 8, then code and data."""
    return bytes(CODE_SELECTOR) + flat_descriptor(CODE_64 if long_mode else CODE_32) + flat_descriptor(DATA_32)


def _identity_map(base: Gpa) -> bytes:
    """Page tables at `base` (Intel SDM vol. 3, "4-level paging"): of each level one, but a page directory for each GiB."""
    tables = [base + PAGE_SIZE * index | _PRESENT_WRITABLE for index in range(2 + _DIRECTORIES)]
    pages = range(0, _DIRECTORIES * _ENTRIES * _LARGE_PAGE, _LARGE_PAGE)
    entries = struct.pack(f"<{len(pages)}Q", *(page | _LARGE | _PRESENT_WRITABLE for page in pages))
    return _table(tables[1:2]) + _table(tables[2:]) + entries


def _table(entries: Sequence[int]) -> bytes:
    return _TABLE.pack(*entries, *[0] * (_ENTRIES - len(entries)))
