"""A VGA's CRT controller in its colour position (IBM VGA technical reference): what is displayed of the memory, and how often."""

from typing import Final

from kev.dev.display.indexed_registers import IndexedRegisters
from kev.dev.display.screen import CRT_INDEX, CRT_MODE_3
from kev.state import Fields, bits, octets

_PROTECTED: Final = 8
"""The registers before this one can be protected against writes."""
_OVERFLOW: Final = 0x07
_LINE_COMPARE: Final = 1 << 4
"""The bit of the overflow register that never is."""
_RETRACE_END: Final = 0x11
_PROTECTS: Final = 1 << 7


class CrtController(IndexedRegisters):
    """Registers that read back what was written, the cursor's position (0x0e, 0x0f) among them."""

    name: Final = "CRT controller"
    ports: Final = (range(CRT_INDEX, CRT_INDEX + 2),)
    INDEX = CRT_INDEX
    AT_FIRST = CRT_MODE_3
    FIELDS = Fields({"_index": bits(8), "_registers": octets(len(AT_FIRST))})

    __slots__ = ()

    def _look(self) -> None:
        self._screen.crt_controller = self._registers

    def write_port(self, port: int, size: int, value: int) -> None:
        if port != self.INDEX and self._index < _PROTECTED and self._registers[_RETRACE_END] & _PROTECTS:
            if self._index != _OVERFLOW:
                return
            value = self._registers[_OVERFLOW] & ~_LINE_COMPARE | value & _LINE_COMPARE
        super().write_port(port, size, value)
