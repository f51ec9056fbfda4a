"""What a guest shows, as pixels: its framebuffer, or else what its VGA shows (colours: IBM VGA technical reference)."""

from functools import cache
from typing import Final, NamedTuple

from kev.dev.display.framebuffer import INDEXED, Framebuffer
from kev.dev.display.glyphs import HEIGHT, WIDTH, glyph
from kev.dev.display.palette import TEXT_COLOURS
from kev.dev.display.screen import COLUMNS, GRAPHICS_HEIGHT, GRAPHICS_WIDTH, ROWS, TextScreen

_LEVELS: Final = (0x00, 0xAA)
_BRIGHT: Final = (0x55, 0xFF)
_BROWN: Final = 6


class Picture(NamedTuple):
    """Pixels, row by row: red, green and blue, a byte each."""

    width: int
    height: int
    pixels: bytes


def _colour(number: int) -> bytes:
    """One of the sixteen: blue, green and red are its lowest bits, in this order, and bit 3 makes it bright."""
    levels = _BRIGHT if number & 8 else _LEVELS
    red, green, blue = (levels[number >> bit & 1] for bit in (2, 1, 0))
    return bytes((red, green // 2 if number == _BROWN else green, blue))


_COLOURS: Final = tuple(map(_colour, range(16)))


def take_picture(screen: TextScreen, framebuffer: Framebuffer | None) -> Picture:
    """Of the framebuffer, if the guest has one and has touched it; else of the screen, whose 40 columns are twice as wide as 80."""
    if framebuffer is not None and framebuffer.is_drawn_on:
        width, height, depth = framebuffer.mode
        pixels = _coloured(framebuffer.contents(), screen) if depth == INDEXED else framebuffer.pixels()
        return Picture(width, height, pixels)
    if screen.shows_picture:
        return Picture(GRAPHICS_WIDTH, GRAPHICS_HEIGHT, _coloured(screen.pixels, screen))
    rows, stretch = [screen.cells(row) for row in range(ROWS)], COLUMNS // screen.columns
    drawn = {cells: _text_row(cells, stretch) for cells in set(rows)}  # most are empty, and so the same
    return Picture(COLUMNS * WIDTH, ROWS * HEIGHT, b"".join(drawn[cells] for cells in rows))


def _coloured(pixels: bytes, screen: TextScreen) -> bytes:
    """Of pixels that are numbers of the screen's colours."""
    palette = screen.palette or TEXT_COLOURS
    picture = bytearray(3 * len(pixels))
    for channel in range(3):
        picture[channel::3] = pixels.translate(bytes(level << 2 | level >> 4 for level in palette[channel::3]))
    return bytes(picture)


def _text_row(cells: bytes, stretch: int) -> bytes:
    """The rows of pixels of a row of characters, each with its colours, and `stretch` times as wide as it is."""
    characters = [(glyph(code), colours) for code, colours in zip(cells[::2], cells[1::2], strict=True)]
    return b"".join(_line(rows[line], colours, stretch) for line in range(HEIGHT) for rows, colours in characters)


@cache
def _line(row: int, colours: int, stretch: int) -> bytes:
    """A row of pixels of one character."""
    ink, paper = _COLOURS[colours & 0xF], _COLOURS[colours >> 4 & 7]
    return b"".join((ink if row & 0x80 >> column else paper) * stretch for column in range(WIDTH))
