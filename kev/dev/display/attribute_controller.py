"""A VGA's attribute controller, and the port that its index is reset by, input status 1 (IBM VGA technical reference)."""

from typing import Final

from kev.dev.display.screen import ATTRIBUTE_INDEX, ATTRIBUTES_MODE_3, INPUT_STATUS_1
from kev.dev.display.screen_device import ScreenDevice
from kev.state import FLAG, Fields, bits, octets

_CONTENTS: Final = ATTRIBUTE_INDEX + 1
"""Where they are read."""
_DISPLAY_DISABLED: Final = 1 << 0
_VERTICAL_RETRACE: Final = 1 << 3
_REGISTER: Final = 0x1F
"""The bits of the index that choose one. Bit 5 says that the picture is shown, and reads back."""


class AttributeController(ScreenDevice):
    name: Final = "attribute controller"
    ports: Final = (range(ATTRIBUTE_INDEX, _CONTENTS + 1), range(INPUT_STATUS_1, INPUT_STATUS_1 + 1))
    FIELDS = Fields({"_index": bits(8), "_takes_contents": FLAG, "_registers": octets(len(ATTRIBUTES_MODE_3)), "_retrace": bits(8)})

    __slots__ = ("_index", "_registers", "_retrace", "_takes_contents")

    def reset(self) -> None:
        self._index = 0x20
        self._takes_contents = False
        self._registers = bytearray(ATTRIBUTES_MODE_3)
        self._retrace = 0
        self._look()

    def _look(self) -> None:
        self._screen.attribute_controller = self._registers

    def read_port(self, port: int, size: int) -> int:
        if port == INPUT_STATUS_1:
            # Guests wait for the retrace to begin or to end: half of the reads find them there.
            self._takes_contents = False
            self._retrace ^= _VERTICAL_RETRACE | _DISPLAY_DISABLED
            return self._retrace
        if port == ATTRIBUTE_INDEX:
            return self._index
        register = self._index & _REGISTER
        return self._registers[register] if register < len(self._registers) else 0

    def write_port(self, port: int, size: int, value: int) -> None:
        if port != ATTRIBUTE_INDEX:
            return
        if not self._takes_contents:
            self._index = value
        elif self._index & _REGISTER < len(self._registers):
            self._registers[self._index & _REGISTER] = value
        self._takes_contents = not self._takes_contents
