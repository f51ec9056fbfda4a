"""The keys of a PC keyboard with the US layout: what INT 16h says of each (IBM PC/AT technical reference, "Keyboard")."""

from collections.abc import Sequence
from typing import Final

from kev.dev.chipset.keys import ROWS

_ROWS: Final = (*((scan, plain.decode(), shifted.decode()) for scan, plain, shifted in ROWS), (0x39, " ", " "))
_ESC: Final = 0x1B
_DEL: Final = 0x7F
_ESCAPE_KEY: Final = 0x011B
_BACKSPACE_KEY: Final = 0x0E08
_TAB_KEY: Final = 0x0F09
_ENTER_KEY: Final = 0x1C0D

PLAIN: Final = {scan + index: character for scan, plain, _ in _ROWS for index, character in enumerate(plain)}
"""Characters by scan code."""
SHIFTED: Final = {scan + index: character for scan, _, shifted in _ROWS for index, character in enumerate(shifted)}
_BY_CHARACTER: Final = {ord(character): scan for keys in (SHIFTED, PLAIN) for scan, character in keys.items()}
CONTROLS: Final = {0x01: _ESCAPE_KEY, 0x0E: _BACKSPACE_KEY, 0x0F: _TAB_KEY, 0x1C: _ENTER_KEY}
"""Keys without a printable character, by scan code."""
_BY_CONTROL: Final = {0x08: _BACKSPACE_KEY, _DEL: _BACKSPACE_KEY, 0x09: _TAB_KEY, 0x0A: _ENTER_KEY, 0x0D: _ENTER_KEY}
_BY_SEQUENCE: Final = {
    b"A": 0x4800, b"B": 0x5000, b"C": 0x4D00, b"D": 0x4B00, b"H": 0x4700, b"F": 0x4F00,
    b"1~": 0x4700, b"2~": 0x5200, b"3~": 0x5300, b"4~": 0x4F00, b"5~": 0x4900, b"6~": 0x5100,
}  # fmt: skip
"""Behind ESC [ (ECMA-48; XTerm control sequences, "PC-style function keys"): cursor keys, Home, End, Insert, Delete, Page."""


def keys_of(data: bytes) -> Sequence[int]:
    """The keys that a terminal's bytes stand for: scan code in the high byte, character in the low one."""
    keys = []
    rest = data
    while rest:
        key, length = _first_key(rest)
        keys.append(key)
        rest = rest[length:]
    return keys


def _first_key(data: bytes) -> tuple[int, int]:
    """And how many bytes it takes."""
    if data[:2] == b"\x1b[":
        for length in (1, 2):
            key = _BY_SEQUENCE.get(data[2 : 2 + length])
            if key is not None:
                return key, 2 + length
    byte = data[0]
    if byte == _ESC:
        return _ESCAPE_KEY, 1
    if byte in _BY_CONTROL:
        return _BY_CONTROL[byte], 1
    if byte < 0x20:
        return _BY_CHARACTER.get(byte | 0x60, 0) << 8 | byte, 1
    return _BY_CHARACTER.get(byte, 0) << 8 | byte, 1
