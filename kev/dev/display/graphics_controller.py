"""A VGA's graphics controller (IBM VGA technical reference): its registers, which tell whether text is shown.

No picture comes of the graphics modes.
"""

from typing import Final

from kev.dev.display.indexed_registers import IndexedRegisters
from kev.state import Fields, bits, octets

_INDEX: Final = 0x3CE
_REGISTERS: Final = 9
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
        self._screen.in_graphics_mode = bool(self._registers[_MISCELLANEOUS] & _GRAPHICS)
