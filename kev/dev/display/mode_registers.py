"""The registers by which a BIOS tells the machine what its display shows.

They are as in Bochs' display interface (Bochs, "VBE DISPI interface"), but for the identity, which is 0: there is no such device on
the PCI bus, where drivers look for its memory.
"""

from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Display, Surroundings
from kev.state import Fields, State, bits, integers, listed

INDEX: Final = 0x1CE
DATA: Final = 0x1CF

WIDTH, HEIGHT, DEPTH, ENABLED, FIRST_ROW, NUMBER = 1, 2, 3, 4, 9, 15
"""Registers, of 16 bits. The last one keeps what a BIOS calls the mode."""
REGISTERS: Final = 16
KEEPS: Final = 1 << 7
"""Of ENABLED: what was drawn stays."""


class ModeRegisters(PlainDevice):
    """With bit 0 of ENABLED, the mode of the other registers is shown, else the text screen. Writing ENABLED clears the picture."""

    name: Final = "display mode"
    ports: Final = (range(INDEX, DATA + 2),)
    wide_ports: Final = ports

    FIELDS = Fields({"_index": integers(0, REGISTERS - 1), "_registers": listed(bits(16), REGISTERS)})

    __slots__ = ("_display", "_index", "_registers")

    def __init__(self, display: Display) -> None:
        self._display: Final = display
        self._index = 0
        self._registers = [0] * REGISTERS

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.display)

    def reset(self) -> None:
        was_enabled = self._registers[ENABLED]
        self._index = 0
        self._registers = [0] * REGISTERS
        if was_enabled:
            self._show()

    def load(self, state: State) -> None:
        super().load(state)
        self._show()

    def read_port(self, port: int, size: int) -> int:
        return self._index if port == INDEX else self._registers[self._index] & (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == INDEX:
            self._index = value % REGISTERS
        elif port == DATA and self._index:
            self._registers[self._index] = value & 0xFFFF
            if self._index == ENABLED or self._registers[ENABLED] & 1:
                self._show()
            if self._index == ENABLED and not value & KEEPS:
                self._display.clear_framebuffer()

    def _show(self) -> None:
        width, height, depth, enabled = self._registers[WIDTH : ENABLED + 1]
        self._display.show((width, height, depth) if enabled & 1 else None, self._registers[FIRST_ROW])
