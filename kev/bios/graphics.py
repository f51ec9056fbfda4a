"""INT 10h in graphics modes: pixels, and characters made of them (IBM VGA technical reference)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from kev.addressing import Gpa
from kev.bios.video_modes import Mode, Pixels
from kev.dev.base import GuestMemory
from kev.dev.display.glyphs import WIDTH, glyph, small_glyph
from kev.dev.display.planes import Planes
from kev.dev.display.screen import CGA_SIZE, GRAPHICS_MEMORY, TEXT_MEMORY, VgaScreen

_MEDIUM: Final = slice(1, 15)
"""The rows of a character of 16 lines that one of 14 has."""
_EXCLUSIVE_OR: Final = 1 << 7
"""Of a colour, where there are 16 or fewer: it is combined with that which is there."""


class Canvas(ABC):
    """The pixels of a mode, as numbers of colours."""

    most: int
    """The highest number."""

    @abstractmethod
    def load(self, x: int, y: int, count: int) -> bytes:
        """Pixels of a row from column `x` on: both are multiples of 8. PageAbsent."""

    @abstractmethod
    def store(self, x: int, y: int, pixels: bytes) -> None: ...

    def put(self, x: int, y: int, colour: int) -> None:
        """One pixel, in any column."""
        first = x - x % WIDTH
        pixels = bytearray(self.load(first, y, WIDTH))
        pixels[x % WIDTH] = colour
        self.store(first, y, bytes(pixels))

    def get(self, x: int, y: int) -> int:
        return self.load(x - x % WIDTH, y, WIDTH)[x % WIDTH]

    @abstractmethod
    def clear(self) -> None:
        """All are 0."""

    @abstractmethod
    def scroll(self, lines: int, of: int) -> None:
        """The first rows, `of` so many, move up by an even number of `lines`; the last ones are 0."""


class _Bytes(Canvas):
    most = 0xFF

    def __init__(self, mode: Mode, memory: GuestMemory) -> None:
        self._width: Final = mode.width
        self._size: Final = mode.width * mode.lines
        self._memory: Final = memory

    def load(self, x: int, y: int, count: int) -> bytes:
        return self._memory.read(Gpa(GRAPHICS_MEMORY.start + y * self._width + x), count)

    def store(self, x: int, y: int, pixels: bytes) -> None:
        self._memory.write(Gpa(GRAPHICS_MEMORY.start + y * self._width + x), pixels)

    def put(self, x: int, y: int, colour: int) -> None:
        self.store(x, y, bytes((colour,)))

    def get(self, x: int, y: int) -> int:
        return self.load(x, y, 1)[0]

    def clear(self) -> None:
        self._memory.write(Gpa(GRAPHICS_MEMORY.start), bytes(self._size))

    def scroll(self, lines: int, of: int) -> None:
        first, size = GRAPHICS_MEMORY.start, of * self._width
        moved = self._memory.read(Gpa(first + lines * self._width), size - lines * self._width)
        self._memory.write(Gpa(first), moved.ljust(size, b"\0"))


class _Planes(Canvas):
    most = 0xF

    def __init__(self, mode: Mode, planes: Planes) -> None:
        self._columns: Final = mode.columns
        self._contents: Final = planes.contents

    def _place(self, x: int, y: int) -> int:
        return 4 * (y * self._columns + x // WIDTH)

    def load(self, x: int, y: int, count: int) -> bytes:
        start = self._place(x, y)
        cells = self._contents[start : start + count // 2]
        return bytes(
            sum((cells[place + plane] >> bit & 1) << plane for plane in range(4))
            for place in range(0, len(cells), 4)
            for bit in range(7, -1, -1)
        )

    def store(self, x: int, y: int, pixels: bytes) -> None:
        start, cells = self._place(x, y), bytearray()
        for first in range(0, len(pixels), WIDTH):
            eight = pixels[first : first + WIDTH]
            cells += bytes(
                sum((pixel >> plane & 1) << bit for pixel, bit in zip(eight, range(7, -1, -1), strict=True)) for plane in range(4)
            )
        self._contents[start : start + len(cells)] = cells

    def put(self, x: int, y: int, colour: int) -> None:
        contents, place, bit = self._contents, self._place(x, y), 0x80 >> x % WIDTH
        for plane in range(4):
            byte = contents[place + plane]
            contents[place + plane] = byte | bit if colour >> plane & 1 else byte & ~bit

    def get(self, x: int, y: int) -> int:
        place, shift = self._place(x, y), 7 - x % WIDTH
        return sum((self._contents[place + plane] >> shift & 1) << plane for plane in range(4))

    def clear(self) -> None:
        self._contents[:] = bytes(len(self._contents))

    def scroll(self, lines: int, of: int) -> None:
        moved, size = self._place(0, lines), self._place(0, of)
        self._contents[:size] = bytes(self._contents[moved:size]).ljust(size, b"\0")


class _Cga(Canvas):
    def __init__(self, mode: Mode, memory: GuestMemory) -> None:
        self._bits: Final = 2 if mode.pixels is Pixels.PAIRS else 1
        self.most = (1 << self._bits) - 1
        self._each: Final = 8 // self._bits
        self._row: Final = mode.width // self._each
        self._memory: Final = memory

    def _place(self, x: int, y: int) -> Gpa:
        return Gpa(TEXT_MEMORY.start + (y & 1) * CGA_SIZE // 2 + (y >> 1) * self._row + x // self._each)

    def load(self, x: int, y: int, count: int) -> bytes:
        shifts = range(8 - self._bits, -1, -self._bits)
        found = self._memory.read(self._place(x, y), count // self._each)
        return bytes(byte >> shift & self.most for byte in found for shift in shifts)

    def store(self, x: int, y: int, pixels: bytes) -> None:
        packed = bytearray()
        for first in range(0, len(pixels), self._each):
            byte = 0
            for pixel in pixels[first : first + self._each]:
                byte = byte << self._bits | pixel & self.most
            packed.append(byte)
        self._memory.write(self._place(x, y), bytes(packed))

    def clear(self) -> None:
        self._memory.write(Gpa(TEXT_MEMORY.start), bytes(CGA_SIZE))

    def scroll(self, lines: int, of: int) -> None:
        size = of // 2 * self._row
        for half in range(2):
            moved = self._memory.read(self._place(0, lines + half), size - lines // 2 * self._row)
            self._memory.write(self._place(0, half), moved.ljust(size, b"\0"))


def canvas_of(mode: Mode, memory: GuestMemory, screen: VgaScreen) -> Canvas:
    """That of a mode which is set."""
    if mode.pixels is Pixels.PLANES and screen.video_memory is not None:
        return _Planes(mode, screen.video_memory.planes)
    return _Bytes(mode, memory) if mode.pixels is Pixels.BYTES else _Cga(mode, memory)


class Graphics:
    """A picture, and characters in it."""

    def __init__(self, mode: Mode, canvas: Canvas) -> None:
        self._mode: Final = mode
        self.canvas: Final = canvas

    def put_pixel(self, x: int, y: int, colour: int) -> None:
        """What is outside is nowhere."""
        if x >= self._mode.width or y >= self._mode.lines:
            return
        canvas = self.canvas
        if canvas.most < 0xFF and colour & _EXCLUSIVE_OR:
            colour ^= canvas.get(x, y)
        canvas.put(x, y, colour & canvas.most)

    def get_pixel(self, x: int, y: int) -> int:
        """0 outside."""
        if x >= self._mode.width or y >= self._mode.lines:
            return 0
        return self.canvas.get(x, y)

    def draw(self, row: int, column: int, cells: bytes) -> None:
        """Characters, each followed by its colour, from there on."""
        columns, height = self._mode.columns, self._mode.height
        first = row * columns + column
        while cells:
            row, column = divmod(first, columns)
            part = cells[: 2 * (columns - column)]
            cells, first = cells[len(part) :], first + len(part) // 2
            glyphs = [(self._glyph(code), colour) for code, colour in zip(part[::2], part[1::2], strict=True)]
            for line in range(height):
                pixels = b"".join(self._pixels(rows[line], colour) for rows, colour in glyphs)
                if self.canvas.most < 0xFF and any(colour & _EXCLUSIVE_OR for _, colour in glyphs):
                    pixels = self._combined(glyphs, pixels, WIDTH * column, row * height + line)
                self.canvas.store(WIDTH * column, row * height + line, pixels)

    def _combined(self, glyphs: Sequence[tuple[Sequence[int], int]], pixels: bytes, x: int, y: int) -> bytes:
        there = self.canvas.load(x, y, len(pixels))
        return bytes(
            old ^ new if glyphs[place // WIDTH][1] & _EXCLUSIVE_OR else new
            for place, (old, new) in enumerate(zip(there, pixels, strict=True))
        )

    def scroll(self, rows: int) -> None:
        """Everything moves up by a row of characters; `rows` is how many there are."""
        self.canvas.scroll(self._mode.height, rows * self._mode.height)

    def _glyph(self, code: int) -> Sequence[int]:
        height = self._mode.height
        if height == WIDTH:
            return small_glyph(code)
        return glyph(code) if height == 16 else glyph(code)[_MEDIUM]

    def _pixels(self, row: int, colour: int) -> bytes:
        colour &= self.canvas.most
        return bytes(colour if row & 0x80 >> column else 0 for column in range(WIDTH))
