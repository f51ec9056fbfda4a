"""The display as boot information describes it (Multiboot Specification 0.6.96, section 3.3, framebuffer_*)."""

import struct
from typing import Final

from kev.dev.display.screen import BYTES_PER_ROW, COLUMNS, ROWS, TEXT_MEMORY

_BITS_PER_CHARACTER: Final = 16
_EGA_TEXT: Final = 2

TEXT_MODE: Final = struct.pack("<QIIIBB", TEXT_MEMORY.start, BYTES_PER_ROW, COLUMNS, ROWS, _BITS_PER_CHARACTER, _EGA_TEXT)
"""Address, pitch in bytes, width and height in characters, bits of each, and type; the same in Multiboot2."""
