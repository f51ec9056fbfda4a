"""A VGA's CRT controller in its colour position (IBM VGA technical reference), as far as text consoles use it.

The text itself, at 0xb8000, is ordinary memory: see `kev.dev.display.screen`.
"""

from typing import Final

from kev.dev.display.indexed_registers import IndexedRegisters
from kev.dev.display.screen import COLUMNS
from kev.state import Fields, bits, octets

_INDEX: Final = 0x3D4
_INPUT_STATUS_1: Final = 0x3DA
_REGISTERS: Final = 25
_LAST_COLUMN: Final = 0x01
_START_ADDRESS: Final = 0x0C
_MODE_3: Final = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
"""What a BIOS writes to them for 80 columns by 25 rows."""
_40_COLUMNS: Final = 40

_DISPLAY_DISABLED: Final = 1 << 0
_VERTICAL_RETRACE: Final = 1 << 3


class CrtController(IndexedRegisters):
    """Registers that read back what was written, the cursor's position (0x0e, 0x0f) among them.

    The start address (0x0c, 0x0d) says where the screen begins, and the end of a displayed line (0x01) whether it has 40 columns.
    """

    name: Final = "CRT controller"
    ports: Final = (range(_INDEX, _INDEX + 2), range(_INPUT_STATUS_1, _INPUT_STATUS_1 + 1))
    INDEX = _INDEX
    COUNT = _REGISTERS
    FIELDS = Fields({"_index": bits(8), "_registers": octets(_REGISTERS), "_retrace": bits(8)})

    __slots__ = ("_retrace",)

    def reset(self) -> None:
        super().reset()
        self._registers = bytearray(_MODE_3)
        self._look()
        self._retrace = 0

    def _look(self) -> None:
        columns = self._registers[_LAST_COLUMN] + 1
        self._screen.columns = columns if columns == _40_COLUMNS else COLUMNS
        self._screen.start = int.from_bytes(self._registers[_START_ADDRESS : _START_ADDRESS + 2], "big")

    def read_port(self, port: int, size: int) -> int:
        if port == _INPUT_STATUS_1:
            # Guests wait for the retrace to begin or to end: half of the reads find them there.
            self._retrace ^= _VERTICAL_RETRACE | _DISPLAY_DISABLED
            return self._retrace
        return super().read_port(port, size)

    def write_port(self, port: int, size: int, value: int) -> None:
        if port != _INPUT_STATUS_1:
            super().write_port(port, size, value)
