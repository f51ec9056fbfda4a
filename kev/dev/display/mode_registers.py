"""The registers of Bochs' display, by which a driver or a BIOS tells the machine what its display shows (Bochs, "VBE display API").

With the enable bit of ENABLE, a picture of the mode of the other registers is shown, else what the VGA shows. They are behind two
ports, and in memory of a PCI function (`kev.dev.display.bochs_display`).
"""

from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.display.framebuffer import DEPTHS, INDEXED
from kev.dev.surroundings import Display, Picture, Surroundings
from kev.pager.ram import FRAMEBUFFER
from kev.state import FLAG, Fields, State, bits, listed

INDEX: Final = 0x1CE
DATA: Final = 0x1CF
_ALIGNED_DATA: Final = 0x1D0

IDENTITY, WIDTH, HEIGHT, DEPTH, ENABLE, BANK = range(6)
VIRTUAL_WIDTH, VIRTUAL_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY_SIZE = range(6, 11)
NUMBER: Final = 15
"""Registers, of 16 bits. The last one is not Bochs': it keeps what a BIOS calls the mode."""
REGISTERS: Final = 16
_IDENTITIES: Final = range(0xB0C0, 0xB0C6)
"""Of interfaces that have more and more of these registers. The last one is what a machine begins with."""

ENABLED: Final = 1 << 0
_SAYS_MOST: Final = 1 << 1
"""WIDTH, HEIGHT and DEPTH say what is the most."""
LINEAR: Final = 1 << 6
"""The framebuffer is not in banks at 0xa0000."""
KEEPS: Final = 1 << 7
"""What was drawn stays."""

_MOST: Final = {WIDTH: 16_000, HEIGHT: 12_000, DEPTH: 32}
_MULTIPLE: Final = 8
"""Of pixels: widths are this many times something."""
_BANK_SIZE: Final = 1 << 16
_SHOWS: Final = frozenset((WIDTH, HEIGHT, DEPTH, ENABLE, VIRTUAL_WIDTH, X_OFFSET, Y_OFFSET, BANK))


class ModeRegisters(PlainDevice):
    """What cannot be is made what can: sizes are cut to what the memory holds."""

    name: Final = "display mode"
    ports: Final = (range(INDEX, _ALIGNED_DATA + 1),)
    wide_ports: Final = ports

    FIELDS = Fields({"_index": bits(16), "_registers": listed(bits(16), REGISTERS), "_is_used": FLAG})

    __slots__ = ("_display", "_index", "_is_used", "_registers")

    def __init__(self, display: Display) -> None:
        self._display: Final = display
        self._switch_on()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.display)

    def _switch_on(self) -> None:
        self._index = 0
        self._registers = [0] * REGISTERS
        self._registers[IDENTITY] = _IDENTITIES[-1]
        self._is_used = False
        """A boot loader's framebuffer is no longer what is shown."""

    def reset(self) -> None:
        shows = self._is_used
        self._switch_on()
        if shows:
            self._show()

    def load(self, state: State) -> None:
        super().load(state)
        if self._is_used:
            self._show()

    def read_port(self, port: int, size: int) -> int:
        value = self._index if port == INDEX else self.read(self._index)
        return value & (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == INDEX:
            self._index = value & 0xFFFF
        else:
            self.write(self._index, value & 0xFFFF)

    def read(self, register: int) -> int:
        """0 of one that does not exist."""
        if register in _MOST and self._registers[ENABLE] & _SAYS_MOST:
            return _MOST[register]
        if register == MEMORY_SIZE:
            return len(FRAMEBUFFER) // _BANK_SIZE
        return self._registers[register] if register < REGISTERS else 0

    def write(self, register: int, value: int) -> None:
        if register >= REGISTERS or register in (MEMORY_SIZE, VIRTUAL_HEIGHT):
            return
        if register == IDENTITY and value not in _IDENTITIES:
            return
        begins = register == ENABLE and value & ENABLED and not self._registers[ENABLE] & ENABLED
        self._registers[register] = value
        if begins:
            self._registers[VIRTUAL_WIDTH] = self._registers[X_OFFSET] = self._registers[Y_OFFSET] = self._registers[BANK] = 0
        self._is_used |= register == ENABLE
        if register in _SHOWS:
            self._fit()
            if self._is_used:
                self._show()
        if begins and not value & KEEPS:
            self._display.clear_framebuffer()

    def _fit(self) -> None:
        """Lets the registers hold a mode that there can be, if one is shown."""
        registers = self._registers
        if not registers[ENABLE] & ENABLED:
            return
        if registers[DEPTH] not in DEPTHS:
            registers[DEPTH] = INDEXED
        width = registers[WIDTH] = min(max(registers[WIDTH] // _MULTIPLE * _MULTIPLE, _MULTIPLE), _MOST[WIDTH])
        virtual = registers[VIRTUAL_WIDTH] // _MULTIPLE * _MULTIPLE
        registers[VIRTUAL_WIDTH] = min(max(virtual, width), _MOST[WIDTH])
        rows = min(len(FRAMEBUFFER) // self._pitch, _MOST[HEIGHT])
        registers[HEIGHT] = min(max(registers[HEIGHT], 1), rows)
        registers[VIRTUAL_HEIGHT] = rows
        if registers[BANK] * _BANK_SIZE >= len(FRAMEBUFFER):
            registers[BANK] = 0
        if self._start + registers[HEIGHT] * self._pitch > len(FRAMEBUFFER):
            registers[X_OFFSET] = registers[Y_OFFSET] = 0

    @property
    def _pixel_size(self) -> int:
        """Bytes."""
        return (self._registers[DEPTH] + 7) // 8

    @property
    def _pitch(self) -> int:
        return self._registers[VIRTUAL_WIDTH] * self._pixel_size

    @property
    def _start(self) -> int:
        return self._registers[Y_OFFSET] * self._pitch + self._registers[X_OFFSET] * self._pixel_size

    def _show(self) -> None:
        width, height, depth, enable, bank = self._registers[WIDTH : BANK + 1]
        is_shown = enable & ENABLED
        self._display.show(Picture(width, height, depth, self._pitch, self._start) if is_shown else None)
        self._display.show_bank(bank * _BANK_SIZE if is_shown and not enable & LINEAR else None)
