"""A VGA's graphics controller (IBM VGA technical reference): its registers, which tell what is shown."""

from typing import Final

from kev.dev.display.indexed_registers import IndexedRegisters
from kev.state import Fields, bits, octets

_INDEX: Final = 0x3CE
_REGISTERS: Final = 9
_MODE: Final = 5
_256_COLOURS: Final = 1 << 6
_MISCELLANEOUS: Final = 6
_GRAPHICS: Final = 1 << 0


class GraphicsController(IndexedRegisters):
    """Registers that read back what was written."""

    name: Final = "graphics controller"
    ports: Final = (range(_INDEX, _INDEX + 2),)
    INDEX = _INDEX
    COUNT = _REGISTERS
    FIELDS = Fields({"_index": bits(8), "_registers": octets(_REGISTERS)})

    __slots__ = ()

    def _look(self) -> None:
        self._screen.has_256_colours = bool(self._registers[_MODE] & _256_COLOURS)
        self._screen.in_graphics_mode = bool(self._registers[_MISCELLANEOUS] & _GRAPHICS)
