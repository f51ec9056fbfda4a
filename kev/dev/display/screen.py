"""What a guest shows on a VGA (IBM VGA technical reference).

Text is 80 or 40 columns by 25 rows of memory from 0xb8000 on; a picture is 320 by 200 pixels in 256 colours, a byte each, from
0xa0000 on.
"""

from typing import Final

from kev.addressing import KIB, Gpa
from kev.pager.kernel import KernelVmPager

TEXT_MEMORY: Final = range(0xB8000, 0xC0000)
"""Guest-physical addresses. Each character is followed by its colours."""
COLUMNS: Final = 80
"""Those of mode 3."""
ROWS: Final = 25
BYTES_PER_ROW: Final = 2 * COLUMNS
GRAPHICS_MEMORY: Final = range(0xA0000, 0xB0000)
"""Guest-physical addresses, of which a picture takes the first 64,000."""
GRAPHICS_WIDTH: Final = 320
GRAPHICS_HEIGHT: Final = 200
"""Pixels."""

_BLOCK: Final = 4 * KIB
_CONTROLS: Final = dict(enumerate(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼")) | {0x7F: "⌂"}
"""What code page 437 shows where Python's codec of that name has control characters; nothing where memory is zero."""


def as_shown(characters: bytes) -> str:
    """What the screen shows of characters in its memory."""
    return characters.decode("cp437").translate(_CONTROLS)


class TextScreen:
    """Looks at the memory of a screen. Nothing is loaded on the way: what the guest never touched is empty."""

    __slots__ = ("_pager", "columns", "has_256_colours", "in_graphics_mode", "is_chained", "palette", "printed", "start")

    def __init__(self, pager: KernelVmPager) -> None:
        self._pager: Final = pager
        self.start = 0
        """The character at the upper left corner, from the beginning of the memory: guests scroll by it."""
        self.columns = COLUMNS
        self.in_graphics_mode = False
        self.has_256_colours = False
        self.is_chained = False
        self.palette: bytes | bytearray = b""
        """As in `kev.dev.surroundings.Screen`; empty if nobody has looked for one."""
        self.printed = bytearray()
        """What a BIOS has written to the beginning of the memory, and printed as well."""

    @property
    def text(self) -> str:
        """The rows, one below the other, without what is empty to their right and below them."""
        return self._text(self._all_cells)

    @property
    def shows_picture(self) -> bool:
        """`pixels` are shown."""
        return self.in_graphics_mode and self.has_256_colours and self.is_chained

    @property
    def pixels(self) -> bytes:
        """The numbers of the colours of a picture, row by row."""
        memory = b"".join(self._block(gpa) for gpa in GRAPHICS_MEMORY[::_BLOCK])
        first = 4 * self.start % len(memory)
        return (memory + memory)[first : first + GRAPHICS_WIDTH * GRAPHICS_HEIGHT]

    @property
    def is_news(self) -> bool:
        """There is text that has not been printed."""
        text = self.text
        return bool(text) and text != self._text(bytes(self.printed[: self._size]))

    def cells(self, row: int) -> bytes:
        """The characters of a row, each followed by its colours."""
        return self._all_cells[2 * row * self.columns : 2 * (row + 1) * self.columns]

    @property
    def _size(self) -> int:
        """Of the text, in bytes."""
        return 2 * ROWS * self.columns

    @property
    def _all_cells(self) -> bytes:
        memory = b"".join(self._block(gpa) for gpa in TEXT_MEMORY[::_BLOCK])
        first = 2 * self.start % len(memory)
        return (memory + memory)[first : first + self._size]

    def _block(self, gpa: int) -> bytes:
        hpa = self._pager.gpa2hpa(Gpa(gpa))
        return bytes(_BLOCK) if hpa is None else bytes(self._pager.memory.page(hpa))

    def _text(self, cells: bytes) -> str:
        characters, columns = as_shown(cells[::2]), self.columns
        rows = (characters[row : row + columns].rstrip() for row in range(0, len(characters), columns))
        return "\n".join(rows).rstrip("\n")
