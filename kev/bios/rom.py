"""The ROM: what the interrupt vectors point to, and where a processor starts.

A handler is VMCALL, which exits, and IRET: `kev.bios.services` does the rest. Only what a processor has to do itself is code: the
timer is started before the boot sector is entered, INT 1Ch is raised behind every tick, and whoever waits halts.
"""

import struct
from typing import Final

ROM: Final = range(0xFE000, 0x100000)
"""Guest-physical addresses: the last two pages of the first MiB."""
SEGMENT: Final = 0xF000
"""The real-mode segment that the ROM is addressed by."""

BOOT_SECTOR: Final = 0x7C00
"""Where a boot sector is in memory."""

VECTORS: Final = 0x100
_VECTOR_TABLE_ENTRY: Final = struct.Struct("<HH")

_SEGMENT_START: Final = SEGMENT << 4
_ROM_OFFSET: Final = ROM.start - _SEGMENT_START
_HANDLER_SIZE: Final = 8
_HANDLERS: Final = 0xF000
"""Offsets are in the segment. Handler n begins n times 8 bytes behind."""

COLD_START: Final = 0xE05B
"""Where IBM's BIOS has its power-on self-test: what is not there to be tested, and so goes on to INT 19h."""
FIRST_START: Final = 0xF800
"""Enters the boot sector that is in memory already, at BX:SI."""
START: Final = 0xF820
"""Enters the boot sector that INT 19h has loaded. DL is set."""
WAIT_FOR_KEY: Final = 0xF840
"""Halts for the next interrupt, and asks INT 16h again."""
WAIT_FOR_TIME: Final = 0xF848
"""Asks INT 15h again."""
CONFIGURATION: Final = 0xE6F5
"""The table that INT 15h, AH = C0h points to."""
DISKETTE_PARAMETERS: Final = 0xEFC7
"""The table that vector 1Eh points to."""
_RESET: Final = 0xFFF0

VMCALL: Final = b"\x0f\x01\xc1"
_IRET: Final = b"\xcf"
_INT: Final = 0xCD
_JMP_FAR: Final = struct.Struct("<BHH")
_JMP_FAR_OPCODE: Final = 0xEA
_STI: Final = b"\xfb"
_HLT: Final = b"\xf4"
_SPIN: Final = b"\x51\xb9\x00\x10\xe2\xfe\x59"
"""PUSH CX; MOV CX, 1000h; LOOP to itself; POP CX: some microseconds."""
_START_TIMER: Final = b"\xb0\x36\xe6\x43\x30\xc0\xe6\x40\xe6\x40"
"""MOV AL, 36h; OUT 43h, AL; XOR AL, AL; OUT 40h, AL; OUT 40h, AL: a square wave of 18.2 Hz."""
_RETURN_TO_BX_SI: Final = b"\x53\x56\xcb"
"""PUSH BX; PUSH SI; RETF."""
_STACK_AT_BOOT_SECTOR: Final = b"\xfa\x31\xc0\x8e\xd0\xbc\x00\x7c\x8e\xd8\x8e\xc0"
"""CLI; XOR AX, AX; MOV SS, AX; MOV SP, 7C00h; MOV DS, AX; MOV ES, AX."""

_TICK: Final = 0x08
_USER_TICK: Final = 0x1C
_TIME_SERVICES: Final = 0x15
_KEYBOARD: Final = 0x16
_BOOTSTRAP: Final = 0x19
_DISKETTE_TABLE_VECTOR: Final = 0x1E
_POINTERS: Final = (0x1D, 0x1F, 0x41, 0x43, 0x46)
"""Vectors that point to tables, and to none here."""

_AT_MODEL: Final = b"\xfc\x00\x01"
"""Model, submodel and revision: a PC/AT."""
_CONFIGURATION_TABLE: Final = struct.pack("<H3s5s", 8, _AT_MODEL, b"\x64\0\0\0\0")
"""Features: a second 8259A, a real-time clock, an extended BIOS data area."""
_DISKETTE_TABLE: Final = b"\xaf\x02\x25\x02\x12\x1b\xff\x6c\xf6\x0f\x08"
"""Of a 1.44 MB drive."""
_DATE: Final = b"01/01/00"


def vector_table() -> bytes:
    """What the ROM puts at guest-physical 0: where the handlers of all interrupts are."""
    entries = [(handler(vector), SEGMENT) for vector in range(VECTORS)]
    for vector in _POINTERS:
        entries[vector] = (0, 0)
    entries[_DISKETTE_TABLE_VECTOR] = (DISKETTE_PARAMETERS, SEGMENT)
    return b"".join(_VECTOR_TABLE_ENTRY.pack(*entry) for entry in entries)


def handler(vector: int) -> int:
    """The offset of an interrupt's handler, which begins with its VMCALL."""
    return _HANDLERS + _HANDLER_SIZE * vector


def vector_at(linear: int) -> int | None:
    """Whose handler's VMCALL is at this linear address; None if it is none of them."""
    vector, rest = divmod(linear - _SEGMENT_START - _HANDLERS, _HANDLER_SIZE)
    return vector if not rest and 0 <= vector < VECTORS else None


def contents() -> bytes:
    """All bytes of `ROM`."""
    rom = bytearray(len(ROM))
    for vector in range(VECTORS):
        _put(rom, handler(vector), VMCALL + _IRET)
    _put(rom, handler(_TICK), VMCALL + bytes((_INT, _USER_TICK)) + _IRET)
    _put(rom, FIRST_START, _START_TIMER + _STI + _RETURN_TO_BX_SI)
    _put(rom, START, _STACK_AT_BOOT_SECTOR + _START_TIMER + _STI + _jump(BOOT_SECTOR, 0))
    _put(rom, COLD_START, _STACK_AT_BOOT_SECTOR + bytes((_INT, _BOOTSTRAP)))
    _put(rom, WAIT_FOR_KEY, _STI + _HLT + _jump(handler(_KEYBOARD), SEGMENT))
    _put(rom, WAIT_FOR_TIME, _STI + _SPIN + _jump(handler(_TIME_SERVICES), SEGMENT))
    _put(rom, CONFIGURATION, _CONFIGURATION_TABLE)
    _put(rom, DISKETTE_PARAMETERS, _DISKETTE_TABLE)
    _put(rom, _RESET, _jump(COLD_START, SEGMENT) + _DATE + b"\0" + _AT_MODEL[:1])
    return bytes(rom)


def _put(rom: bytearray, offset: int, code: bytes) -> None:
    start = offset - _ROM_OFFSET
    rom[start : start + len(code)] = code


def _jump(offset: int, segment: int) -> bytes:
    return _JMP_FAR.pack(_JMP_FAR_OPCODE, offset, segment)
