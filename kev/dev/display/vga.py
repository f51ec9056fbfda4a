"""A VGA's CRT controller in its colour position (IBM VGA technical reference), as far as text consoles use it.

The text itself, at 0xb8000, is ordinary memory: see `kev.dev.display.screen`.
"""

from typing import Final, Self

from kev.dev.surroundings import Screen, Surroundings
from kev.state import Fields, State, bits, octets

_INDEX: Final = 0x3D4
_DATA: Final = 0x3D5
_INPUT_STATUS_1: Final = 0x3DA
_REGISTERS: Final = 25
_START_ADDRESS: Final = 0x0C

_DISPLAY_DISABLED: Final = 1 << 0
_VERTICAL_RETRACE: Final = 1 << 3
_FIELDS: Final = Fields({"_index": bits(8), "_registers": octets(_REGISTERS), "_retrace": bits(8)})


class CrtController:
    """Registers that read back what was written, the cursor's position (0x0e, 0x0f) among them.

    The start address (0x0c, 0x0d) says where the screen begins.
    """

    name: Final = "CRT controller"
    ports: Final = (range(_INDEX, _DATA + 1), range(_INPUT_STATUS_1, _INPUT_STATUS_1 + 1))

    __slots__ = ("_index", "_registers", "_retrace", "_screen")

    def __init__(self, screen: Screen) -> None:
        self._screen: Final = screen
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.screen)

    def reset(self) -> None:
        self._index = 0
        self._registers = bytearray(_REGISTERS)
        self._retrace = 0
        self._scroll()

    def save(self) -> State:
        return _FIELDS.save(self)

    def load(self, state: State) -> None:
        _FIELDS.load(self, self.name, state)
        self._scroll()

    def _scroll(self) -> None:
        self._screen.start = int.from_bytes(self._registers[_START_ADDRESS : _START_ADDRESS + 2], "big")

    def read_port(self, port: int, size: int) -> int:
        if port == _INPUT_STATUS_1:
            # Guests wait for the retrace to begin or to end: half of the reads find them there.
            self._retrace ^= _VERTICAL_RETRACE | _DISPLAY_DISABLED
            return self._retrace
        if port == _INDEX:
            return self._index
        return self._registers[self._index] if self._index < _REGISTERS else 0

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == _INDEX:
            self._index = value
        elif port == _DATA and self._index < _REGISTERS:
            self._registers[self._index] = value
            self._scroll()
