"""A VGA's graphics controller (IBM VGA technical reference): its registers, which tell whether text is shown.

No picture comes of the graphics modes.
"""

from typing import Final, Self

from kev.dev.surroundings import Screen, Surroundings
from kev.state import Fields, State, bits, octets

_INDEX: Final = 0x3CE
_DATA: Final = 0x3CF
_REGISTERS: Final = 9
_MISCELLANEOUS: Final = 6
_GRAPHICS: Final = 1 << 0
_FIELDS: Final = Fields({"_index": bits(8), "_registers": octets(_REGISTERS)})


class GraphicsController:
    """Registers that read back what was written."""

    name: Final = "graphics controller"
    ports: Final = (range(_INDEX, _DATA + 1),)

    __slots__ = ("_index", "_registers", "_screen")

    def __init__(self, screen: Screen) -> None:
        self._screen: Final = screen
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.screen)

    def reset(self) -> None:
        self._index = 0
        self._registers = bytearray(_REGISTERS)
        self._look()

    def save(self) -> State:
        return _FIELDS.save(self)

    def load(self, state: State) -> None:
        _FIELDS.load(self, self.name, state)
        self._look()

    def _look(self) -> None:
        self._screen.in_graphics_mode = bool(self._registers[_MISCELLANEOUS] & _GRAPHICS)

    def read_port(self, port: int, size: int) -> int:
        if port == _INDEX:
            return self._index
        return self._registers[self._index] if self._index < _REGISTERS else 0

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == _INDEX:
            self._index = value
        elif self._index < _REGISTERS:
            self._registers[self._index] = value
            self._look()
