"""What a guest shows on a VGA (IBM VGA technical reference): the registers that say what that is, and the text.

Text is memory from 0xb8000 on, 80 or 40 columns by 25 rows if the guest does not want others. What pictures are made of is said by
`kev.dev.display.vga_picture`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from kev.addressing import KIB, Gpa
from kev.pager.kernel import KernelVmPager

if TYPE_CHECKING:
    from kev.dev.display.planes import Planes

TEXT_MEMORY: Final = range(0xB8000, 0xC0000)
"""Guest-physical addresses. Each character is followed by its colours."""
COLUMNS: Final = 80
"""Those of mode 3."""
ROWS: Final = 25
BYTES_PER_ROW: Final = 2 * COLUMNS
MOST_ROWS: Final = 60
GRAPHICS_MEMORY: Final = range(0xA0000, 0xB0000)
"""Guest-physical addresses of what is neither text nor a picture of a CGA."""
CGA_SIZE: Final = 16 * KIB
"""Bytes of such a picture, at the beginning of the text memory. A BIOS keeps the characters that it has drawn behind it."""

CRT_INDEX: Final = 0x3D4
"""The port of the CRT controller's index, in its colour position. That of the contents is behind it, as with these:"""
SEQUENCER_INDEX: Final = 0x3C4
GRAPHICS_INDEX: Final = 0x3CE
ATTRIBUTE_INDEX: Final = 0x3C0
"""Takes an index and its contents in turn."""
INPUT_STATUS_1: Final = 0x3DA
"""Reading it makes the attribute controller take an index."""
MISCELLANEOUS_OUTPUT: Final = 0x3C2
"""Where it is written."""
SEQUENCER_MODE_3: Final = bytes.fromhex("0300030002")
CRT_MODE_3: Final = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
GRAPHICS_MODE_3: Final = bytes.fromhex("0000000000100e0fff")
ATTRIBUTES_MODE_3: Final = bytes.fromhex("000102030405140738393a3b3c3d3e3f0c000f0800")
"""What the registers hold when a BIOS has started a machine: 80 columns by 25 rows."""

_40_COLUMNS: Final = 40
_MOST_COLUMNS: Final = 132
_ROW_OFFSET: Final = 0x13
_MAP_MASK: Final = 2
_SEQUENTIAL: Final = 1 << 2
_ODD_EVEN: Final = 1 << 4
_PLANE_0: Final = 1 << 0
"""The one of a picture of 640 pixels as of a CGA."""
_LAST_COLUMN, _OVERFLOW, _CELL_HEIGHT, _START, _LAST_LINE = 0x01, 0x07, 0x09, 0x0C, 0x12
_MEMORY_MODE: Final = 4
_CHAIN_4: Final = 1 << 3
_MODE, _MISCELLANEOUS = 5, 6
_256_COLOURS: Final = 1 << 6
_GRAPHICS: Final = 1 << 0
_AT_A0000: Final = (0, 1)
"""The map of the miscellaneous register: 128 or 64 KiB there."""

_BLOCK: Final = 4 * KIB
_CONTROLS: Final = dict(enumerate(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼")) | {0x7F: "⌂"}
"""What code page 437 shows where Python's codec of that name has control characters; nothing where memory is zero."""


def as_shown(characters: bytes) -> str:
    """What the screen shows of characters in its memory."""
    return characters.decode("cp437").translate(_CONTROLS)


class PlanarMemory(Protocol):
    """See `kev.dev.display.video_memory.VideoMemory`."""

    @property
    def planes(self) -> "Planes": ...

    def arrange(self) -> None: ...

    def clear(self) -> None: ...

    def load_font(self, rows: bytes, height: int, first: int = 0, block: int = 0) -> None: ...

    def font(self, block: int) -> bytes: ...


class VgaScreen:
    """See `kev.dev.surroundings.Screen`. Nothing is loaded to look at it: what the guest never touched is empty."""

    __slots__ = (
        "_pager",
        "attribute_controller",
        "bank",
        "crt_controller",
        "graphics_controller",
        "make_video_memory",
        "palette",
        "printed",
        "sequencer",
        "video_memory",
    )

    def __init__(self, pager: KernelVmPager) -> None:
        self._pager: Final = pager
        self.sequencer: bytes | bytearray = SEQUENCER_MODE_3
        self.crt_controller: bytes | bytearray = CRT_MODE_3
        self.graphics_controller: bytes | bytearray = GRAPHICS_MODE_3
        self.attribute_controller: bytes | bytearray = ATTRIBUTES_MODE_3
        self.palette: bytes | bytearray = b""
        self.video_memory: PlanarMemory | None = None
        """The four planes; None if the guest has never looked for them."""
        self.make_video_memory: Callable[[], object] | None = None
        """Makes it."""
        self.bank: int | None = None
        """What 64 KiB of a framebuffer are where the planes would be, if they are not in front of it in one piece."""
        self.printed = bytearray()
        """What a BIOS has written to the beginning of the text, and printed as well."""

    def arrange(self) -> None:
        """See `kev.dev.surroundings.Screen`."""
        wanted = self.reaches_planes or self.reaches_planes_as_text or self.bank is not None
        if self.video_memory is None and wanted and self.make_video_memory is not None:
            self.make_video_memory()
        if self.video_memory is not None:
            self.video_memory.arrange()

    # What the registers say

    @property
    def in_graphics_mode(self) -> bool:
        """No text is shown."""
        return bool(self.graphics_controller[_MISCELLANEOUS] & _GRAPHICS)

    @property
    def has_256_colours(self) -> bool:
        """A byte of the picture is a pixel."""
        return bool(self.graphics_controller[_MODE] & _256_COLOURS)

    @property
    def is_chained(self) -> bool:
        """The bytes of the four planes lie one behind the other."""
        return bool(self.sequencer[_MEMORY_MODE] & _CHAIN_4)

    @property
    def is_at_a0000(self) -> bool:
        """The guest finds the memory of the VGA there, and not where text is."""
        return self.graphics_controller[_MISCELLANEOUS] >> 2 & 3 in _AT_A0000

    @property
    def reaches_planes(self) -> bool:
        """What the guest does there is done to four planes at once."""
        return self.is_at_a0000 and not self.is_chained

    @property
    def reaches_planes_as_text(self) -> bool:
        """The same where text is: so fonts are loaded."""
        return (
            not self.is_at_a0000
            and self.sequencer[_MEMORY_MODE] & (_CHAIN_4 | _SEQUENTIAL) == _SEQUENTIAL
            and not self.graphics_controller[_MODE] & _ODD_EVEN
            and self.sequencer[_MAP_MASK] & 0xF != _PLANE_0
        )

    @property
    def start(self) -> int:
        """The character at the upper left corner, from the beginning of the memory: guests scroll by it."""
        return int.from_bytes(self.crt_controller[_START : _START + 2], "big")

    @property
    def columns(self) -> int:
        """Characters in a row of text; in a picture, of those that a BIOS draws."""
        columns = self.crt_controller[_LAST_COLUMN] + 1
        if self.in_graphics_mode:
            return _40_COLUMNS if columns == _40_COLUMNS or self.has_256_colours else COLUMNS
        return columns if _40_COLUMNS <= columns <= _MOST_COLUMNS else COLUMNS

    @property
    def _row_size(self) -> int:
        """Bytes from one row of text to the next."""
        return 2 * self.columns if self.in_graphics_mode else 4 * self.crt_controller[_ROW_OFFSET]

    @property
    def cell_height(self) -> int:
        """Lines of a character."""
        return (self.crt_controller[_CELL_HEIGHT] & 0x1F) + 1

    @property
    def lines(self) -> int:
        """Those that are displayed."""
        crt = self.crt_controller
        return (crt[_LAST_LINE] | (crt[_OVERFLOW] & 0x02) << 7 | (crt[_OVERFLOW] & 0x40) << 3) + 1

    @property
    def rows(self) -> int:
        """Of characters; in a picture, of those that a BIOS draws."""
        if self.in_graphics_mode:
            return 30 if self.lines > 400 else ROWS
        return max(1, min(self.lines // self.cell_height, MOST_ROWS))

    # Text

    @property
    def text(self) -> str:
        """The rows, one below the other, without what is empty to their right and below them."""
        return self._text(self._all_cells)

    @property
    def is_news(self) -> bool:
        """There is text that has not been printed."""
        text = self.text
        return bool(text) and text != self._text(bytes(self.printed[: self._size]))

    def cells(self, row: int) -> bytes:
        """The characters of a row, each followed by its colours."""
        return self._all_cells[2 * row * self.columns : 2 * (row + 1) * self.columns]

    @property
    def text_memory(self) -> bytes:
        """All of it."""
        return self.memory(TEXT_MEMORY)

    def memory(self, addresses: range) -> bytes:
        """Guest memory, in whole pages. Zeros where it is not loaded."""
        return b"".join(self._block(gpa) for gpa in addresses[::_BLOCK])

    @property
    def text_offset(self) -> int:
        """Where a BIOS keeps the characters of the screen, from the beginning of the text memory, in bytes."""
        return CGA_SIZE if self.in_graphics_mode and not self.is_at_a0000 else 0

    @property
    def _size(self) -> int:
        """Of the text, in bytes."""
        return 2 * self.rows * self.columns

    @property
    def _all_cells(self) -> bytes:
        memory, width, pitch = self.text_memory, 2 * self.columns, self._row_size
        first = self.text_offset if self.in_graphics_mode else 2 * self.start
        starts = ((first + row * pitch) % len(memory) for row in range(self.rows))
        return b"".join((memory[start : start + width] + memory)[:width] for start in starts)

    def _block(self, gpa: int) -> bytes:
        hpa = self._pager.gpa2hpa(Gpa(gpa))
        return bytes(_BLOCK) if hpa is None else bytes(self._pager.memory.page(hpa))

    def _text(self, cells: bytes) -> str:
        characters, columns = as_shown(cells[::2]), self.columns
        rows = (characters[row : row + columns].rstrip() for row in range(0, len(characters), columns))
        return "\n".join(rows).rstrip("\n")
