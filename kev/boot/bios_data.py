"""What a PC's BIOS is in memory: its interrupt vectors, its data areas and its ROM, made when a guest looks for them."""

import struct
from collections.abc import Callable
from typing import Final

from kev.addressing import KIB, Gpa
from kev.boot.generated import place_generated, reaches_into
from kev.boot.memory_map import EBDA, lower_memory_kib
from kev.dev.display.screen import COLUMNS, CRT_INDEX, ROWS
from kev.pager.kernel import KernelVmPager

_VECTORS: Final = range(0x400)
_DATA_AREA: Final = range(0x400, 0x500)
FONTS: Final = range(0xFC000, 0xFE000)
"""Guest-physical addresses of the characters that INT 10h knows, in front of the ROM."""
_ROM: Final = range(0xFE000, 0x100000)
"""`kev.bios.rom.ROM`, whose module is imported when a guest looks there."""

# Offsets in the data area (IBM PC/AT technical reference, "BIOS data area").
_PORTS: Final = 0x00
"""COM1's; at 0x08, LPT1's; at 0x0e, the real-mode segment of the EBDA; at 0x10, the equipment; at 0x13, KiB of base memory."""
_WORDS: Final = struct.Struct("<H6xH4xHHxH")
_COM1: Final = 0x3F8
_LPT1: Final = 0x378
_EQUIPMENT: Final = 0x4222
"""A floating-point unit, a colour screen of 80 columns, one serial port, one printer; no mouse that a BIOS drives."""
_DISKETTE: Final = 1 << 0
"""There is one."""

_NEXT_KEY: Final = 0x1A
"""Head and tail of the keys that wait."""
_KEYS: Final = range(0x1E, 0x3E)
"""Where they wait."""
_KEY_OFFSETS: Final = struct.Struct("<HH")

_VIDEO_MODE: Final = 0x49
"""At 0x4a, its columns; at 0x4c, bytes of a page; at 0x60, the cursor's last and first line; at 0x63, the CRT controller's port."""
_VIDEO: Final = struct.Struct("<BHH18xHxH")
_TEXT_MODE: Final = 3
_PAGE_OF_TEXT: Final = 0x1000
_CURSOR: Final = 0x0607

_HARD_DISKS: Final = 0x75
_KEY_BOUNDS: Final = 0x80
_LAST_ROW: Final = 0x84
"""At 0x85, the lines of a character; at 0x87, 256 KiB of video memory; at 0x88, switches of an enhanced colour display."""
_CHARACTERS: Final = struct.Struct("<BHBB")
_CHARACTER_LINES: Final = 16
_VIDEO_MEMORY: Final = 0x60
_DISPLAY_SWITCHES: Final = 0x09
_KEYBOARD_STATE: Final = 0x96
_101_KEYS: Final = 0x10


def install_bios_data(pager: KernelVmPager, hard_disks: int = 0, *, has_diskette: bool = False) -> None:
    """Registers the interrupt vectors, the BIOS data area, the ROM, and the first byte of the extended data area, its size in KiB.

    INT 13h knows so many `hard_disks`, and perhaps a diskette. What the kernel's own image occupies is left to it.
    """
    _install(pager, _VECTORS, _vector_table)
    equipment = _EQUIPMENT | _DISKETTE if has_diskette else _EQUIPMENT
    _install(pager, _DATA_AREA, lambda: _data_area(lower_memory_kib(pager.ram), hard_disks, equipment))
    _install(pager, range(EBDA.start, EBDA.start + 1), lambda: bytes([len(EBDA) // KIB]))
    _install(pager, _ROM, _rom)
    _install(pager, FONTS, _fonts)


def _data_area(base_memory_kib: int, hard_disks: int, equipment: int) -> bytes:
    area = bytearray(len(_DATA_AREA))
    _WORDS.pack_into(area, _PORTS, _COM1, _LPT1, EBDA.start >> 4, equipment, base_memory_kib)
    _KEY_OFFSETS.pack_into(area, _NEXT_KEY, _KEYS.start, _KEYS.start)
    _VIDEO.pack_into(area, _VIDEO_MODE, _TEXT_MODE, COLUMNS, _PAGE_OF_TEXT, _CURSOR, CRT_INDEX)
    area[_HARD_DISKS] = hard_disks
    _KEY_OFFSETS.pack_into(area, _KEY_BOUNDS, _KEYS.start, _KEYS.stop)
    _CHARACTERS.pack_into(area, _LAST_ROW, ROWS - 1, _CHARACTER_LINES, _VIDEO_MEMORY, _DISPLAY_SWITCHES)
    area[_KEYBOARD_STATE] = _101_KEYS
    return bytes(area)


def _vector_table() -> bytes:
    from kev.bios.rom import vector_table

    return vector_table()


def _rom() -> bytes:
    from kev.bios.rom import contents

    return contents()


def _fonts() -> bytes:
    from kev.bios.fonts import contents

    return contents()


def _install(pager: KernelVmPager, addresses: range, generate: Callable[[], bytes]) -> None:
    if not any(reaches_into(segment, addresses) for segment in pager.image.segments):
        place_generated(pager, Gpa(addresses.start), len(addresses), generate)
