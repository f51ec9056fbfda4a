"""The BIOS data area, in which a BIOS keeps all its state (IBM PC/AT technical reference, "BIOS data area")."""

from typing import Final

from kev.addressing import Gpa
from kev.dev.base import GuestMemory


class Address:
    """Guest-physical addresses. Sizes are in bytes where it is not one."""

    EQUIPMENT: Final = 0x410
    """2."""
    BASE_MEMORY: Final = 0x413
    """2: in KiB."""
    SHIFT_STATE: Final = 0x417
    KEYBOARD_HEAD: Final = 0x41A
    """2: the offset of the next key, from 0x400 on."""
    KEYBOARD_TAIL: Final = 0x41C
    """2."""
    DISKETTE_STATUS: Final = 0x441
    VIDEO_MODE: Final = 0x449
    COLUMNS: Final = 0x44A
    """2."""
    CURSOR: Final = 0x450
    """2 for each page: column and row."""
    CURSOR_SHAPE: Final = 0x460
    """2: last and first line."""
    TICKS: Final = 0x46C
    """4: of the timer, since the start."""
    DAY_PASSED: Final = 0x470
    DISK_STATUS: Final = 0x474
    LAST_ROW: Final = 0x484
    CHARACTER_HEIGHT: Final = 0x485
    """2: lines."""
    KEYBOARD_STATE: Final = 0x496


class DataArea:
    """Its numbers, little-endian. Reading and writing raise what `GuestMemory` does."""

    __slots__ = ("_memory",)

    def __init__(self, memory: GuestMemory) -> None:
        self._memory: Final = memory

    def read(self, address: int, size: int = 1) -> int:
        return int.from_bytes(self._memory.read(Gpa(address), size), "little")

    def write(self, address: int, value: int, size: int = 1) -> None:
        self._memory.write(Gpa(address), value.to_bytes(size, "little"))
