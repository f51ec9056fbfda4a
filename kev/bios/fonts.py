"""The characters of INT 10h's fonts, in memory: where a guest that draws on its own copies them from."""

from typing import Final

from kev.bios.call import BiosCall, NotServed
from kev.dev.display.glyphs import HEIGHT, glyph, small_glyph

_SEGMENT: Final = 0xFC00
"""Of `kev.boot.bios_data.FONTS`."""
_CHARACTERS: Final = 0x100
_SMALL: Final = _CHARACTERS * HEIGHT
"""Offset of the characters that are 8 pixels high, behind those of 16."""
_SMALL_HEIGHT: Final = HEIGHT // 2
_LAST_ROW: Final = 24

_ADDRESSES: Final = {
    0x00: _SMALL + _SMALL_HEIGHT * _CHARACTERS // 2,  # what vector 1Fh points to: the upper half
    0x01: 0,  # what vector 43h points to
    0x03: _SMALL,
    0x04: _SMALL + _SMALL_HEIGHT * _CHARACTERS // 2,
    0x06: 0,
}
"""Offsets by BH."""


def contents() -> bytes:
    """All bytes: a row of pixels each, the leftmost one in the highest bit."""
    fonts = (bytes(rows(character)) for rows in (glyph, small_glyph) for character in range(_CHARACTERS))
    return b"".join(fonts)


def describe(call: BiosCall) -> None:
    """INT 10h, AX = 1130h: ES:BP points to a font, CX is the height of the screen's characters, DL their last row."""
    address = _ADDRESSES.get(call.bh)
    if address is None:
        raise NotServed(f"font {call.bh:02x}h")
    call.point("es", "bp", _SEGMENT, address)
    call.cx, call.dl = HEIGHT, _LAST_ROW
