"""What a guest shows, as pixels: its framebuffer, or else what its VGA shows (colours: IBM VGA technical reference)."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kev.dev.display.framebuffer import INDEXED, Framebuffer
from kev.dev.display.glyphs import HEIGHT, WIDTH, glyph
from kev.dev.display.palette import TEXT_COLOURS
from kev.dev.display.screen import COLUMNS, VgaScreen

_ATTRIBUTE_MODE: Final = 0x10
_BLINKS: Final = 1 << 3
_CHARACTER_MAP: Final = 3
"""The sequencer's register that chooses two fonts, by bit 3 of the colours."""


class Picture(NamedTuple):
    """Pixels, row by row: red, green and blue, a byte each."""

    width: int
    height: int
    pixels: bytes


def take_picture(screen: VgaScreen, framebuffer: Framebuffer | None) -> Picture:
    """Of the framebuffer, if the guest has one and has touched it; else of the screen, whose 40 columns are twice as wide as 80."""
    if framebuffer is not None and framebuffer.is_drawn_on:
        width, height, depth = framebuffer.mode
        pixels = _coloured(framebuffer.contents(), screen) if depth == INDEXED else framebuffer.pixels()
        return Picture(width, height, pixels)
    if screen.in_graphics_mode:
        from kev.dev.display.vga_picture import vga_picture

        shown = vga_picture(screen)
        return Picture(shown.width, shown.height, _coloured(shown.pixels, screen))
    return _TextPicture(screen).picture()


def _coloured(pixels: bytes, screen: VgaScreen) -> bytes:
    """Of pixels that are numbers of the screen's colours."""
    palette = screen.palette or TEXT_COLOURS
    picture = bytearray(3 * len(pixels))
    for channel in range(3):
        picture[channel::3] = pixels.translate(bytes(level << 2 | level >> 4 for level in palette[channel::3]))
    return bytes(picture)


class _TextPicture:
    """Characters in the screen's fonts, in what its attributes say are their colours. Nothing blinks."""

    def __init__(self, screen: VgaScreen) -> None:
        from kev.dev.display.vga_picture import attributes

        self._screen: Final = screen
        self._stretch: Final = 2 if 2 * screen.columns <= COLUMNS else 1
        self._width: Final = screen.columns * self._stretch * WIDTH
        self._height: Final = screen.cell_height
        sixteen = _coloured(attributes(screen)[:16], screen)
        self._colours: Final = [sixteen[3 * number : 3 * number + 3] for number in range(16)]
        self._papers: Final = 7 if screen.attribute_controller[_ATTRIBUTE_MODE] & _BLINKS else 15
        self._fonts: Final = self._find_fonts()
        self._lines: Final[dict[tuple[int, int], bytes]] = {}

    def _find_fonts(self) -> Sequence[Callable[[int], Sequence[int]]]:
        """What gives the rows of a character, without and with bit 3 of its colours."""
        memory = self._screen.video_memory
        if memory is None:
            return (glyph, glyph)
        chosen = self._screen.sequencer[_CHARACTER_MAP]
        blocks = (chosen & 3 | chosen >> 2 & 4, chosen >> 2 & 3 | chosen >> 3 & 4)
        fonts = [memory.font(block) for block in blocks]
        return [lambda code, font=font: font[32 * code : 32 * code + 32] for font in fonts]  # type: ignore[misc]

    def picture(self) -> Picture:
        rows = [self._screen.cells(row) for row in range(self._screen.rows)]
        drawn = {cells: self._row(cells) for cells in set(rows)}  # most are empty, and so the same
        return Picture(self._width, len(rows) * self._height, b"".join(drawn[cells] for cells in rows))

    def _row(self, cells: bytes) -> bytes:
        """The rows of pixels of a row of characters, each with its colours."""
        characters = [(self._fonts[colours >> 3 & 1](code), colours) for code, colours in zip(cells[::2], cells[1::2], strict=True)]
        lines = range(min(self._height, HEIGHT if self._screen.video_memory is None else 32))
        drawn = [b"".join(self._line(rows[line], colours) for rows, colours in characters) for line in lines]
        return b"".join(drawn).ljust(3 * self._width * self._height, b"\0")

    def _line(self, row: int, colours: int) -> bytes:
        """A row of pixels of one character."""
        line = self._lines.get((row, colours))
        if line is None:
            ink, paper = self._colours[colours & 0xF], self._colours[colours >> 4 & self._papers]
            line = b"".join((ink if row & 0x80 >> column else paper) * self._stretch for column in range(WIDTH))
            self._lines[row, colours] = line
        return line
