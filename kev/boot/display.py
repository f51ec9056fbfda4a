"""The display as boot information describes it (Multiboot Specification 0.6.96, section 3.3, framebuffer_*)."""

import struct
from typing import Final

from kev.dev.display.framebuffer import VideoMode, install_framebuffer
from kev.dev.display.screen import BYTES_PER_ROW, COLUMNS, ROWS, TEXT_MEMORY
from kev.pager.kernel import KernelVmPager
from kev.pager.ram import FRAMEBUFFER

_LAYOUT: Final = struct.Struct("<QIIIBB")
_BITS_PER_CHARACTER: Final = 16
_DIRECT_COLOUR: Final = 1
_EGA_TEXT: Final = 2
_TEXT_MODE: Final = _LAYOUT.pack(TEXT_MEMORY.start, BYTES_PER_ROW, COLUMNS, ROWS, _BITS_PER_CHARACTER, _EGA_TEXT)

COLOUR_FIELDS: Final = 6
"""Bytes of `colour_fields`."""


def prepare_display(pager: KernelVmPager, mode: VideoMode | None) -> bytes:
    """Sets up a framebuffer, or text mode without a `mode`; describes it.

    Address, pitch in bytes, width and height in pixels or characters, bits of each, and type; the same in Multiboot2.
    """
    if mode is None:
        return _TEXT_MODE
    install_framebuffer(pager)
    return _LAYOUT.pack(FRAMEBUFFER.start, mode.pitch, mode.width, mode.height, mode.depth, _DIRECT_COLOUR)


def colour_fields(mode: VideoMode | None) -> bytes:
    """What follows for colours: position and size of red, green and blue in a pixel. Nothing for text."""
    return b"" if mode is None else bytes(number for channel in mode.channels for number in channel)
