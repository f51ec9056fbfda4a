"""INT 10h, AH = 11h: the characters of the text screen, and where a guest that draws on its own copies them from."""

from collections.abc import Callable, Sequence
from typing import Final

from kev.bios.call import BiosCall, NotServed
from kev.bios.data_area import Address, DataArea
from kev.dev.buses.ports import PortBus
from kev.dev.display.glyphs import HEIGHT, glyph, small_glyph
from kev.dev.display.screen import CRT_INDEX, MOST_ROWS, SEQUENCER_INDEX, VgaScreen

_SEGMENT: Final = 0xFC00
"""Of `kev.boot.bios_data.FONTS`."""
_CHARACTERS: Final = 0x100
_SMALL: Final = _CHARACTERS * HEIGHT
"""Offset of the characters that are 8 pixels high, behind those of 16."""
_SMALL_HEIGHT: Final = HEIGHT // 2
_MEDIUM: Final = slice(1, 15)
"""The rows of a character of 16 that one of 14 has."""

_ADDRESSES: Final = {
    0x00: _SMALL + _SMALL_HEIGHT * _CHARACTERS // 2,  # what vector 1Fh points to: the upper half
    0x01: 0,  # what vector 43h points to
    0x03: _SMALL,
    0x04: _SMALL + _SMALL_HEIGHT * _CHARACTERS // 2,
    0x06: 0,
}
"""Offsets by BH."""

_LOADS_GUESTS: Final = 0x00
_OWN: Final[dict[int, Callable[[int], Sequence[int]]]] = {
    0x01: lambda code: glyph(code)[_MEDIUM],
    0x02: small_glyph,
    0x04: glyph,
}
"""Characters of 14, 8 and 16 lines, by AL."""
_RECALCULATES: Final = 0x10
"""Of AL: the screen then has as many rows as fit."""
_CHOOSES: Final = 0x03
_DESCRIBES: Final = 0x30
_MOST_LINES: Final = 32

_CHARACTER_MAP: Final = 3
_CELL_HEIGHT, _LAST_LINE = 0x09, 0x12


def contents() -> bytes:
    """All bytes: a row of pixels each, the leftmost one in the highest bit."""
    fonts = (bytes(rows(character)) for rows in (glyph, small_glyph) for character in range(_CHARACTERS))
    return b"".join(fonts)


class Fonts:
    def __init__(self, data: DataArea, ports: PortBus, screen: VgaScreen) -> None:
        self._data: Final = data
        self._ports: Final = ports
        self._screen: Final = screen

    def serve(self, call: BiosCall) -> None:
        """Function AL. What is for pictures is ignored: their characters are the BIOS's own."""
        function = call.al & ~_RECALCULATES
        if call.al == _DESCRIBES:
            self._describe(call)
        elif call.al > _DESCRIBES or self._screen.in_graphics_mode:
            return
        elif call.al == _CHOOSES:
            self._ports.write(SEQUENCER_INDEX, 1, _CHARACTER_MAP)
            self._ports.write(SEQUENCER_INDEX + 1, 1, call.bl)
        elif function == _LOADS_GUESTS:
            height = call.bh
            if not 0 < height <= _MOST_LINES:
                raise NotServed(f"characters of {height} lines")
            count = min(call.cx, _CHARACTERS - min(call.dx, _CHARACTERS))
            self._load(call, call.read("es", call.bp, height * count), height, call.dx & 0xFF)
        elif function in _OWN:
            rows = _OWN[function]
            self._load(call, b"".join(bytes(rows(code)) for code in range(_CHARACTERS)), len(rows(0)))

    def _load(self, call: BiosCall, rows: bytes, height: int, first: int = 0) -> None:
        screen = self._screen
        if screen.video_memory is None and screen.make_video_memory is not None:
            screen.make_video_memory()
        if screen.video_memory is not None:
            screen.video_memory.load_font(rows, height, first, call.bl)
        if call.al & _RECALCULATES:
            count = min(screen.lines // height, MOST_ROWS)
            self._write_crt(_CELL_HEIGHT, screen.crt_controller[_CELL_HEIGHT] & ~0x1F | height - 1)
            self._write_crt(_LAST_LINE, count * height - 1 & 0xFF)
            self._data.write(Address.LAST_ROW, count - 1)
            self._data.write(Address.CHARACTER_HEIGHT, height, 2)

    def _write_crt(self, register: int, value: int) -> None:
        self._ports.write(CRT_INDEX, 1, register)
        self._ports.write(CRT_INDEX + 1, 1, value)

    def _describe(self, call: BiosCall) -> None:
        """ES:BP points to a font, CX is the height of the screen's characters, DL their last row."""
        address = _ADDRESSES.get(call.bh)
        if address is None:
            raise NotServed(f"font {call.bh:02x}h")
        call.point("es", "bp", _SEGMENT, address)
        call.cx, call.dl = self._data.read(Address.CHARACTER_HEIGHT, 2), self._data.read(Address.LAST_ROW)
