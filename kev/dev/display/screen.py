"""What a guest shows in a VGA's text mode 3: 80 columns by 25 rows of memory from 0xb8000 on (IBM VGA technical reference)."""

from typing import Final

from kev.addressing import KIB, Gpa
from kev.pager.kernel import KernelVmPager

TEXT_MEMORY: Final = range(0xB8000, 0xC0000)
"""Guest-physical addresses. Each character is followed by its colours."""
COLUMNS: Final = 80
ROWS: Final = 25
BYTES_PER_ROW: Final = 2 * COLUMNS

_BLOCK: Final = 4 * KIB
_CONTROLS: Final = dict(enumerate(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼")) | {0x7F: "⌂"}
"""What code page 437 shows where Python's codec of that name has control characters; nothing where memory is zero."""


def as_shown(characters: bytes) -> str:
    """What the screen shows of characters in its memory."""
    return characters.decode("cp437").translate(_CONTROLS)


class TextScreen:
    """Looks at the memory of a text screen. Nothing is loaded on the way: what the guest never touched is empty."""

    __slots__ = ("_pager", "in_graphics_mode", "printed", "start")

    def __init__(self, pager: KernelVmPager) -> None:
        self._pager: Final = pager
        self.start = 0
        """The character at the upper left corner, from the beginning of the memory: guests scroll by it."""
        self.in_graphics_mode = False
        """The guest has programmed the VGA for a mode that nothing makes a picture of."""
        self.printed = bytearray()
        """What a BIOS has written to the beginning of the memory, and printed as well."""

    @property
    def text(self) -> str:
        """The rows, one below the other, without what is empty to their right and below them."""
        return _text(self._all_cells)

    @property
    def is_news(self) -> bool:
        """There is text that has not been printed."""
        text = self.text
        return bool(text) and text != _text(bytes(self.printed))

    def cells(self, row: int) -> bytes:
        """The characters of a row, each followed by its colours."""
        return self._all_cells[row * BYTES_PER_ROW : (row + 1) * BYTES_PER_ROW]

    @property
    def _all_cells(self) -> bytes:
        memory = b"".join(self._block(gpa) for gpa in TEXT_MEMORY[::_BLOCK])
        first = 2 * self.start % len(memory)
        return (memory + memory)[first : first + ROWS * BYTES_PER_ROW]

    def _block(self, gpa: int) -> bytes:
        hpa = self._pager.gpa2hpa(Gpa(gpa))
        return bytes(_BLOCK) if hpa is None else bytes(self._pager.memory.page(hpa))


def _text(cells: bytes) -> str:
    characters = as_shown(cells[::2])
    rows = (characters[row : row + COLUMNS].rstrip() for row in range(0, len(characters), COLUMNS))
    return "\n".join(rows).rstrip("\n")
