"""A VGA's graphics controller (IBM VGA technical reference): what an access does to the planes, and what is shown."""

from typing import Final

from kev.dev.display.indexed_registers import IndexedRegisters
from kev.dev.display.screen import GRAPHICS_INDEX, GRAPHICS_MODE_3
from kev.state import Fields, bits, octets


class GraphicsController(IndexedRegisters):
    name: Final = "graphics controller"
    ports: Final = (range(GRAPHICS_INDEX, GRAPHICS_INDEX + 2),)
    INDEX = GRAPHICS_INDEX
    AT_FIRST = GRAPHICS_MODE_3
    ARRANGES = True
    FIELDS = Fields({"_index": bits(8), "_registers": octets(len(AT_FIRST))})

    __slots__ = ()

    def _look(self) -> None:
        self._screen.graphics_controller = self._registers
