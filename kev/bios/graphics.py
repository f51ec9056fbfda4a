"""INT 10h in mode 13h: 320 by 200 pixels in 256 colours, a byte each (IBM VGA technical reference)."""

from typing import Final

from kev.addressing import Gpa
from kev.bios.call import BiosCall
from kev.dev.base import GuestMemory
from kev.dev.buses.ports import PortBus
from kev.dev.display.glyphs import WIDTH, small_glyph
from kev.dev.display.graphics_controller import GraphicsController
from kev.dev.display.palette import DATA, TEXT_COLOURS, WRITE_INDEX, colours_256
from kev.dev.display.screen import GRAPHICS_HEIGHT, GRAPHICS_MEMORY, GRAPHICS_WIDTH
from kev.dev.display.sequencer import Sequencer
from kev.dev.display.vga import CrtController

_LINES: Final = 8
"""Of a character."""
_COLUMNS: Final = GRAPHICS_WIDTH // WIDTH

_MEMORY_MODE: Final = 0x04
_MODE, _MISCELLANEOUS = 0x05, 0x06
_LAST_COLUMN, _START_HIGH, _START_LOW = 0x01, 0x0C, 0x0D
_PICTURE: Final = (
    (Sequencer.INDEX, _MEMORY_MODE, 0x0E),
    (GraphicsController.INDEX, _MODE, 0x40),
    (GraphicsController.INDEX, _MISCELLANEOUS, 0x05),
    (CrtController.INDEX, _LAST_COLUMN, 0x4F),
)
_TEXT: Final = (
    (Sequencer.INDEX, _MEMORY_MODE, 0x02),
    (GraphicsController.INDEX, _MODE, 0x10),
    (GraphicsController.INDEX, _MISCELLANEOUS, 0x0E),
)
_FROM_THE_TOP: Final = ((CrtController.INDEX, _START_HIGH, 0), (CrtController.INDEX, _START_LOW, 0))


class Graphics:
    """The picture, and characters in it, of 8 by 8 pixels."""

    def __init__(self, memory: GuestMemory, ports: PortBus) -> None:
        self._memory: Final = memory
        self._ports: Final = ports

    def enter(self, *, clear: bool) -> None:
        if clear:
            self._memory.write(Gpa(GRAPHICS_MEMORY.start), bytes(GRAPHICS_WIDTH * GRAPHICS_HEIGHT))
        self._set((*_PICTURE, *_FROM_THE_TOP), colours_256())

    def leave(self, columns: int) -> None:
        """Text is shown, in so many columns."""
        self._set((*_TEXT, (CrtController.INDEX, _LAST_COLUMN, columns - 1), *_FROM_THE_TOP), TEXT_COLOURS)

    def _set(self, registers: tuple[tuple[int, int, int], ...], colours: bytes) -> None:
        for index, register, value in registers:
            self._ports.write(index, 1, register)
            self._ports.write(index + 1, 1, value)
        self._ports.write(WRITE_INDEX, 1, 0)
        for level in colours:
            self._ports.write(DATA, 1, level)

    def put_pixel(self, call: BiosCall) -> None:
        place = _place(call)
        if place is not None:
            self._memory.write(place, bytes((call.al,)))

    def get_pixel(self, call: BiosCall) -> None:
        place = _place(call)
        call.al = 0 if place is None else self._memory.read(place, 1)[0]

    def draw(self, row: int, column: int, cells: bytes) -> None:
        """Characters, each followed by its colour, from there on."""
        first = row * _COLUMNS + column
        while cells:
            row, column = divmod(first, _COLUMNS)
            part = cells[: 2 * (_COLUMNS - column)]
            cells, first = cells[len(part) :], first + len(part) // 2
            glyphs = [(small_glyph(code), colour) for code, colour in zip(part[::2], part[1::2], strict=True)]
            for line in range(_LINES):
                pixels = b"".join(_pixels(rows[line], colour) for rows, colour in glyphs)
                self._memory.write(Gpa(_row(row) + line * GRAPHICS_WIDTH + WIDTH * column), pixels)

    def scroll(self, rows: int) -> None:
        """Everything moves up by a row of characters; `rows` is how many there are."""
        moved = self._memory.read(Gpa(_row(1)), _row(rows) - _row(1))
        self._memory.write(Gpa(_row(0)), moved.ljust(_row(rows) - _row(0), b"\0"))


def _row(row: int) -> int:
    return GRAPHICS_MEMORY.start + row * _LINES * GRAPHICS_WIDTH


def _place(call: BiosCall) -> Gpa | None:
    """Where the pixel is in column CX and row DX; None outside of the picture."""
    is_inside = call.cx < GRAPHICS_WIDTH and call.dx < GRAPHICS_HEIGHT
    return Gpa(GRAPHICS_MEMORY.start + call.dx * GRAPHICS_WIDTH + call.cx) if is_inside else None


def _pixels(row: int, colour: int) -> bytes:
    return bytes(colour if row & 0x80 >> column else 0 for column in range(WIDTH))
