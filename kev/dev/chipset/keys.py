"""The keys of a keyboard with 101 keys and United States layout, as what is typed on a terminal presses them.

Scan codes are those of set 1, which the controller translates to: a byte when a key is pressed, the same with bit 7 when it is
released, and 0xe0 before either for some keys (IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard").
"""

from collections.abc import Iterator
from typing import Final

_EXTENDED: Final = 0xE0
_RELEASED: Final = 0x80
_SET_2_RELEASED: Final = 0xF0
_SHIFT: Final = 0x2A
_CONTROL: Final = 0x1D
_ALT: Final = 0x38
_DELETE: Final = 0x53
"""Behind 0xe0."""
_ESCAPE: Final = 0x01
_ESCAPE_CHARACTER: Final = 0x1B
_CONTROL_Z: Final = 0x1A

ROWS: Final = (
    (0x02, b"1234567890-=", b"!@#$%^&*()_+"),
    (0x10, b"qwertyuiop[]", b"QWERTYUIOP{}"),
    (0x1E, b"asdfghjkl;'`", b'ASDFGHJKL:"~'),
    (0x2B, b"\\zxcvbnm,./", b"|ZXCVBNM<>?"),
)
"""The code of the first key of each row, and what the keys from there on stand for, without and with Shift."""
_PLAIN: Final = {
    **{character: first + index for first, row, _ in ROWS for index, character in enumerate(row)},
    ord(" "): 0x39,
    ord("\n"): 0x1C,
    ord("\r"): 0x1C,
    ord("\t"): 0x0F,
    0x08: 0x0E,
    0x7F: 0x0E,
    _ESCAPE_CHARACTER: _ESCAPE,
}
_SHIFTED: Final = {character: first + index for first, _, row in ROWS for index, character in enumerate(row)}
_SEQUENCES: Final = {
    b"[A": 0x48, b"[B": 0x50, b"[C": 0x4D, b"[D": 0x4B, b"[H": 0x47, b"[F": 0x4F,
    b"[2~": 0x52, b"[3~": 0x53, b"[5~": 0x49, b"[6~": 0x51,
}  # fmt: skip
"""What terminals send behind an escape character for keys with extended codes (ECMA-48 and DEC VT220)."""
_SET_2: Final = bytes.fromhex(
    "0076161e26252e363d3e46454e55660d" "151d242d2c353c43444d545b5a141c1b" "232b34333b424b4c520e125d1a22212a"
    "32313a41494a597c1129580506040c03" "0b830a0109777e6c757d7b6b73747969" "727a7071000000780700000000000000"
)  # fmt: skip
"""The codes of set 2, by those of set 1 below 0x60."""
CONTROL_ALT_DELETE: Final = (
    _CONTROL,
    _ALT,
    _EXTENDED,
    _DELETE,
    _EXTENDED,
    _DELETE | _RELEASED,
    _ALT | _RELEASED,
    _CONTROL | _RELEASED,
)
"""The three keys, pressed together: kernels shut down, or restart."""


def strokes(data: bytes) -> Iterator[int]:
    """The scan codes of the keys that are pressed and released for what a terminal has sent. Other characters have no keys."""
    position = 0
    while position < len(data):
        sequence = _sequence_at(data, position + 1) if data[position] == _ESCAPE_CHARACTER else b""
        if sequence:
            yield from (_EXTENDED, _SEQUENCES[sequence], _EXTENDED, _SEQUENCES[sequence] | _RELEASED)
        else:
            yield from _character(data[position])
        position += 1 + len(sequence)


def _sequence_at(data: bytes, start: int) -> bytes:
    return next((sequence for sequence in _SEQUENCES if data.startswith(sequence, start)), b"")


def _character(character: int) -> Iterator[int]:
    if character in _PLAIN:
        yield from _pressed(_PLAIN[character])
    elif character in _SHIFTED:
        yield from _held(_SHIFT, _SHIFTED[character])
    elif 0 < character <= _CONTROL_Z:
        yield from _held(_CONTROL, _PLAIN[character | 0x60])


def _pressed(code: int) -> Iterator[int]:
    yield from (code, code | _RELEASED)


def _held(modifier: int, code: int) -> Iterator[int]:
    yield modifier
    yield from _pressed(code)
    yield modifier | _RELEASED


def in_set_2(code: int) -> tuple[int, ...]:
    """What a keyboard sends in scan code set 2 for one byte of set 1."""
    if code == _EXTENDED:
        return (code,)
    code_2 = _SET_2[code & ~_RELEASED]
    return (_SET_2_RELEASED, code_2) if code & _RELEASED else (code_2,)
