"""A VGA's CRT controller in its colour position (IBM VGA technical reference), as far as text consoles use it.

The text itself, at 0xb8000, is ordinary memory that nobody looks at.
"""

from typing import Final

_INDEX: Final = 0x3D4
_DATA: Final = 0x3D5
_INPUT_STATUS_1: Final = 0x3DA
_REGISTERS: Final = 25

_DISPLAY_DISABLED: Final = 1 << 0
_VERTICAL_RETRACE: Final = 1 << 3


class CrtController:
    """Registers that read back what was written, the cursor's position (0x0e, 0x0f) among them."""

    ports: Final = (range(_INDEX, _DATA + 1), range(_INPUT_STATUS_1, _INPUT_STATUS_1 + 1))

    __slots__ = ("_index", "_registers", "_retrace")

    def __init__(self) -> None:
        self._index = 0
        self._registers = bytearray(_REGISTERS)
        self._retrace = 0

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
