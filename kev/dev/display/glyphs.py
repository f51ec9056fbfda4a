"""A font for pictures of text screens: characters of code page 437, 8 pixels wide and 16 high, drawn by strokes.

ASCII, lines, blocks and shades are there; double lines look like single ones, and every other character is an empty box.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Final

WIDTH: Final = 8
HEIGHT: Final = 16

_STROKES: Final = {
    "!": "20 24,26 26", '"': "10 12,30 32", "#": "10 16,30 36,02 42,04 44", "$": "41 01 03 43 45 05,20 26",
    "%": "40 06,00 10 11 01 00,35 45 46 36 35", "&": "46 11 20 31 04 05 16 26 44", "'": "20 22", "(": "30 12 14 36",
    ")": "10 32 34 16", "*": "21 25,02 44,04 42", "+": "21 25,03 43", ",": "25 26 17", "-": "03 43", ".": "25 26", "/": "40 06",
    "0": "10 30 41 45 36 16 05 01 10,05 41", "1": "11 20 26,16 36", "2": "01 10 30 41 42 06 46", "3": "00 40 22 32 43 45 36 16 05",
    "4": "36 30 04 44", "5": "40 00 02 32 43 45 36 16 05", "6": "30 20 02 05 16 36 45 44 33 03", "7": "00 40 41 24 26",
    "8": "10 30 41 42 33 13 02 01 10,13 04 05 16 36 45 44 33", "9": "43 13 02 01 10 30 41 44 26 16", ":": "22 22,25 26",
    ";": "21 22,25 26 17", "<": "41 03 45", "=": "02 42,04 44", ">": "01 43 05", "?": "01 10 30 41 42 24,26 26",
    "@": "34 24 23 33 35 44 41 30 10 01 05 16 46", "A": "06 02 20 42 46,04 44", "B": "00 06 36 45 44 33 03,33 42 41 30 00",
    "C": "41 30 10 01 05 16 36 45", "D": "00 06 26 44 42 20 00", "E": "40 00 06 46,03 33", "F": "40 00 06,03 33",
    "G": "41 30 10 01 05 16 36 45 43 23", "H": "00 06,40 46,03 43", "I": "10 30,20 26,16 36", "J": "20 40,30 35 26 16 05",
    "K": "00 06,40 03 46", "L": "00 06 46", "M": "06 00 22 40 46", "N": "06 00 46 40", "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03", "Q": "10 30 41 45 36 16 05 01 10,24 46", "R": "06 00 30 41 42 33 03,23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05", "T": "00 40,20 26", "U": "00 05 16 36 45 40", "V": "00 03 26 43 40",
    "W": "00 06 24 46 40", "X": "00 46,40 06", "Y": "00 23 40,23 26", "Z": "00 40 06 46", "[": "30 10 16 36", "\\": "00 46",
    "]": "10 30 36 16", "^": "02 20 42", "_": "07 47", "`": "10 21", "a": "12 32 43 46 16 05 14 44", "b": "00 06 36 45 43 32 02",
    "c": "42 12 03 05 16 46", "d": "40 46 16 05 03 12 42", "e": "04 44 43 32 12 03 05 16 46", "f": "40 20 11 16,03 33",
    "g": "42 12 03 05 16 46,42 47 38 08", "h": "00 06,03 12 32 43 46", "i": "20 20,12 22 26,16 36", "j": "30 30,22 32 37 28 08",
    "k": "00 06,42 04,14 46", "l": "10 20 26,16 36", "m": "06 02 12 23 26,23 32 43 46", "n": "02 06,03 12 32 43 46",
    "o": "12 32 43 45 36 16 05 03 12", "p": "08 02 32 43 45 36 06", "q": "48 42 12 03 05 16 46", "r": "02 06,04 22 42",
    "s": "42 12 03 14 34 45 36 06", "t": "10 15 26 46,02 42", "u": "02 05 16 36 45 42,45 46", "v": "02 26 42",
    "w": "02 06 24 46 42", "x": "02 46,42 06", "y": "02 05 16 46,42 47 38 08", "z": "02 42 06 46", "{": "40 30 22 13 24 36 46",
    "|": "20 27", "}": "00 10 22 33 24 16 06", "~": "03 12 34 43",
}  # fmt: skip
"""Lines from point to point, each a column (0 to 4) and a row (0 to 8); capitals stand on row 6."""
_BLOCKS: Final = {
    "█": (0, 0, 8, 16),
    "▄": (0, 8, 8, 16),
    "▌": (0, 0, 4, 16),
    "▐": (4, 0, 8, 16),
    "▀": (0, 0, 8, 8),
    "■": (1, 5, 7, 11),
}
"""Left, top, right and bottom."""
_SHADES: Final = {"░": 1, "▒": 2, "▓": 3}
"""How many of four pixels are set."""
_SHADE_ORDER: Final = ((0, 2), (3, 1))
_MIDDLE: Final = (WIDTH // 2, HEIGHT // 2)
_ARMS: Final = {
    "UP": ((_MIDDLE[0], 0),),
    "DOWN": ((_MIDDLE[0], HEIGHT - 1),),
    "LEFT": ((0, _MIDDLE[1]),),
    "RIGHT": ((WIDTH - 1, _MIDDLE[1]),),
    "VERTICAL": ((_MIDDLE[0], 0), (_MIDDLE[0], HEIGHT - 1)),
    "HORIZONTAL": ((0, _MIDDLE[1]), (WIDTH - 1, _MIDDLE[1])),
}
"""Where lines lead from the middle, by the words of a character's name."""
_EMPTY_BOX: Final = "00 40 46 06 00"
_BLANK: Final = frozenset((0x00, 0x20, 0xFF))


@cache
def glyph(code: int) -> tuple[int, ...]:
    """The rows of a character of code page 437, from the top; the highest of 8 bits is the left pixel."""
    rows = [0] * HEIGHT
    for column, row in _points(code):
        rows[row] |= 0x80 >> column
    return tuple(rows)


@cache
def small_glyph(character: int) -> tuple[int, ...]:
    """The same, half as high."""
    rows = glyph(character)
    return tuple(upper | lower for upper, lower in zip(rows[::2], rows[1::2], strict=True))


def _points(code: int) -> Iterator[tuple[int, int]]:
    if code in _BLANK:
        return
    character = bytes((code,)).decode("cp437")
    if character in _BLOCKS:
        left, top, right, bottom = _BLOCKS[character]
        yield from ((column, row) for row in range(top, bottom) for column in range(left, right))
    elif character in _SHADES:
        for row in range(HEIGHT):
            for column in range(WIDTH):
                if _SHADE_ORDER[row % 2][column % 2] < _SHADES[character]:
                    yield column, row
    elif unicodedata.name(character, "").startswith("BOX DRAWINGS"):
        for word in unicodedata.name(character).split():
            for end in _ARMS.get(word, ()):
                yield from _line(_MIDDLE, end)
    else:
        for stroke in _STROKES.get(character, _EMPTY_BOX).split(","):
            corners = [(1 + int(point[0]) * 5 // 4, 2 + int(point[1]) * 3 // 2) for point in stroke.split()]
            for begin, end in pairwise(corners):
                yield from _line(begin, end)


def _line(begin: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The pixels from one point to another."""
    (x, y), (width, height) = begin, (end[0] - begin[0], end[1] - begin[1])
    steps = max(abs(width), abs(height), 1)
    for step in range(steps + 1):
        yield x + round(width * step / steps), y + round(height * step / steps)
