"""What a VGA shows in its graphics modes, whatever they are called: as its registers say (IBM VGA technical reference).

A picture has the pixels that the guest sees, and not those of a monitor: rows that are displayed twice are there once.
"""

from functools import cache
from typing import Final, NamedTuple

from kev.dev.display.screen import CGA_SIZE, GRAPHICS_MEMORY, VgaScreen

_DOTS: Final = 8
"""Pixels of a character clock."""
_LAST_COLUMN, _OVERFLOW, _CELL_HEIGHT, _ROW_OFFSET, _MODE_CONTROL, _LINE_COMPARE = 0x01, 0x07, 0x09, 0x13, 0x17, 0x18
_DOUBLE_SCAN: Final = 1 << 7
_ROW_SCAN_BIT_0: Final = 1 << 0
"""Of the mode control register, if it is 0: bit 13 of addresses is that of the row scan counter."""
_BYTE_MODE: Final = 1 << 6
_MODE: Final = 5
_SHIFT: Final = 5
"""Bits 5 and 6 of it: how planes become pixels."""
_PAIRS: Final = 1
_PALETTE_BITS: Final = 1 << 7
"""Of the attribute mode control: bits 4 and 5 of a colour are those of the colour select register."""
_ATTRIBUTE_MODE, _PLANE_ENABLE, _PANNING, _COLOUR_SELECT = 0x10, 0x12, 0x13, 0x14


class VgaPicture(NamedTuple):
    """Pixels as numbers of the palette's colours, row by row."""

    width: int
    height: int
    pixels: bytes


class _Rows(NamedTuple):
    """Where the rows of a picture begin in memory."""

    starts: list[int]
    """In units of addresses, four bytes of the planes each."""
    scans: list[int]
    """Which of the interleaved parts of the memory each is in: rows of a CGA's picture alternate."""


def vga_picture(screen: VgaScreen) -> VgaPicture:
    """What is shown in a graphics mode."""
    shift = screen.graphics_controller[_MODE] >> _SHIFT & 3
    if not screen.is_at_a0000:
        return _cga(screen, pairs=shift == _PAIRS)
    rows, clocks = _rows(screen), screen.crt_controller[_LAST_COLUMN] + 1
    memory = _memory(screen)
    panning = screen.attribute_controller[_PANNING] & 7
    if shift > _PAIRS:
        width, panning = clocks * _DOTS // 2, panning >> 1
        lines = [_wrapped(memory, 4 * start, width + _DOTS)[panning : panning + width] for start in rows.starts]
        return VgaPicture(width, len(lines), b"".join(lines))
    width = clocks * _DOTS
    enabled = screen.attribute_controller[_PLANE_ENABLE]
    cells = [_wrapped(memory, 4 * start, 4 * (clocks + 1)) for start in rows.starts]
    pixels = _combined(b"".join(cells), enabled)
    length = width + _DOTS
    lines = [pixels[start + panning : start + panning + width] for start in range(0, len(pixels), length)]
    return VgaPicture(width, len(lines), b"".join(lines).translate(attributes(screen)))


def _memory(screen: VgaScreen) -> bytes:
    """The planes; chained, those of their bytes that a guest finds."""
    if screen.video_memory is None or screen.is_chained:
        return screen.memory(GRAPHICS_MEMORY)
    return bytes(screen.video_memory.planes.contents)


def _rows(screen: VgaScreen) -> _Rows:
    crt = screen.crt_controller
    repeats = 2 if crt[_CELL_HEIGHT] & _DOUBLE_SCAN else 1
    split = crt[_LINE_COMPARE] | (crt[_OVERFLOW] & 0x10) << 4 | (crt[_CELL_HEIGHT] & 0x40) << 3
    interleaves = not crt[_MODE_CONTROL] & _ROW_SCAN_BIT_0
    scans_each = screen.cell_height if interleaves else 1
    if not interleaves:
        repeats *= screen.cell_height
    height = -(-screen.lines // repeats)
    split = min(split // repeats + 1, height)
    offset = 2 * crt[_ROW_OFFSET]
    top = [screen.start + row // scans_each * offset for row in range(split)]
    below = [row // scans_each * offset for row in range(height - split)]
    scans = [row % scans_each for part in (top, below) for row in range(len(part))]
    return _Rows(top + below, scans)


def _cga(screen: VgaScreen, *, pairs: bool) -> VgaPicture:
    """A picture as of a CGA, at 0xb8000: rows alternate between two halves of the memory; two bits are a pixel, or one is."""
    memory, rows = screen.text_memory[:CGA_SIZE], _rows(screen)
    clocks = screen.crt_controller[_LAST_COLUMN] + 1
    unit = 1 if screen.crt_controller[_MODE_CONTROL] & _BYTE_MODE else 2
    half = CGA_SIZE // 2
    found = [
        memory[(scan & 1) * half :][:half][start * unit % half :][: clocks * unit].ljust(clocks * unit, b"\0")
        for start, scan in zip(rows.starts, rows.scans, strict=True)
    ]
    expand = _quarters if pairs else _bits
    pixels = b"".join(expand(byte) for byte in b"".join(found))
    width = clocks * unit * len(expand(0))
    return VgaPicture(width, len(found), pixels.translate(attributes(screen)))


@cache
def _quarters(byte: int) -> bytes:
    return bytes(byte >> shift & 3 for shift in (6, 4, 2, 0))


@cache
def _bits(byte: int) -> bytes:
    return bytes(byte >> shift & 1 for shift in range(7, -1, -1))


def _wrapped(memory: bytes, start: int, length: int) -> bytes:
    start %= len(memory)
    part = memory[start : start + length]
    return part if len(part) == length else part + memory[: length - len(part)]


def _combined(cells: bytes, enabled: int) -> bytes:
    """Numbers of attributes: each has a bit of each plane."""
    number = 0
    for plane in range(4):
        if enabled >> plane & 1:
            number |= int.from_bytes(b"".join(map(_bits, cells[plane::4])), "little") << plane
    return number.to_bytes(2 * len(cells), "little")


def attributes(screen: VgaScreen) -> bytes:
    """A table of 256 bytes: the colours of the palette that attributes are shown in."""
    registers = screen.attribute_controller
    select = registers[_COLOUR_SELECT]
    if registers[_ATTRIBUTE_MODE] & _PALETTE_BITS:
        colours = [(select & 0xF) << 4 | number & 0xF for number in registers[:16]]
    else:
        colours = [(select & 0xC) << 4 | number & 0x3F for number in registers[:16]]
    return bytes(colours * 16)
