"""The video modes of a VGA's BIOS, and what it writes to the registers for each (IBM VGA technical reference)."""

from enum import Enum
from functools import cache
from typing import Final, NamedTuple

from kev.dev.buses.ports import PortBus
from kev.dev.display.palette import DATA, SIZE, TEXT_COLOURS, WRITE_INDEX, cga_colours, colours_256
from kev.dev.display.screen import (
    ATTRIBUTE_INDEX,
    ATTRIBUTES_MODE_3,
    COLUMNS,
    CRT_INDEX,
    CRT_MODE_3,
    GRAPHICS_INDEX,
    GRAPHICS_MODE_3,
    INPUT_STATUS_1,
    MISCELLANEOUS_OUTPUT,
    SEQUENCER_INDEX,
    SEQUENCER_MODE_3,
    VgaScreen,
)

_RETRACE_END: Final = 0x11
_PROTECTS: Final = 1 << 7
_SHOWS: Final = 0x20
"""For the attribute controller, behind its registers."""


class Pixels(Enum):
    """How a mode's pixels are in memory."""

    NONE = 0
    """Text."""
    PAIRS = 1
    """Two bits each, at 0xb8000, rows in two halves."""
    BITS = 2
    """One bit each, likewise."""
    PLANES = 3
    """A bit in each of four planes."""
    BYTES = 4


class Mode(NamedTuple):
    pixels: Pixels
    columns: int
    """Of characters."""
    rows: int
    height: int
    """Lines of a character."""
    miscellaneous: int
    sequencer: bytes
    crt: bytes
    graphics: bytes
    attributes: bytes
    colours: bytes

    @property
    def is_graphics(self) -> bool:
        return self.pixels is not Pixels.NONE

    @property
    def width(self) -> int:
        """Pixels."""
        return 8 * self.columns

    @property
    def lines(self) -> int:
        return self.rows * self.height


_CRT_200: Final = "{}80bf1f00c{}0000000000009c8e8f{}0096b9{}ff"
"""Modes of 200 lines, each twice."""
_NARROW, _WIDE = "2d2728902b", "5f4f508254"
_CRT_350: Final = "5f4f50825480bf1f004000000000000083855d280f63bae3ff"
_CRT_480: Final = "5f4f508254800b3e0040000000000000ea8cdf2800e704e3ff"
_CRT_40_COLUMNS: Final = "2d2728902ba0bf1f004f0d0e000000009c8e8f141f96b9a3ff"
_TWO_COLOURS: Final = 0x06


def _graphics(
    pixels: Pixels,
    size: tuple[int, int, int],
    miscellaneous: int,
    sequencer: str,
    crt: str,
    graphics: str,
    attributes: bytes,
    colours: bytes,
) -> Mode:
    columns, rows, height = size
    read = bytes.fromhex
    return Mode(pixels, columns, rows, height, miscellaneous, read(sequencer), read(crt), read(graphics), attributes, colours)


def _text(columns: int) -> Mode:
    crt = CRT_MODE_3 if columns == COLUMNS else bytes.fromhex(_CRT_40_COLUMNS)
    sequencer = SEQUENCER_MODE_3 if columns == COLUMNS else bytes.fromhex("0308030002")
    return Mode(Pixels.NONE, columns, 25, 16, 0x67, sequencer, crt, GRAPHICS_MODE_3, ATTRIBUTES_MODE_3, TEXT_COLOURS)


def _cga(number: int) -> Mode:
    if number == _TWO_COLOURS:
        return _graphics(
            Pixels.BITS, (80, 25, 8), 0x63, "0301010006", _CRT_200.format(_WIDE, 1, "28", "c2"), "0000000000000d0fff",
            bytes((0, *[0x17] * 15)) + bytes.fromhex("0100010000"), cga_colours(),
        )  # fmt: skip
    return _graphics(
        Pixels.PAIRS, (40, 25, 8), 0x63, "0309030002", _CRT_200.format(_NARROW, 1, "14", "a2"), "0000000000300f0fff",
        bytes.fromhex("001315170204060710111213141516170100030000"), cga_colours(),
    )  # fmt: skip


def _planes(number: int) -> Mode:
    end, graphics = bytes.fromhex("01000f0000"), "000000000000050fff"
    cga_palette = bytes((*range(8), *range(0x10, 0x18))) + end
    size, miscellaneous, sequencer, crt, attributes, colours = {
        0x0D: ((40, 25, 8), 0x63, "03090f0006", _CRT_200.format(_NARROW, 0, "14", "e3"), cga_palette, cga_colours()),
        0x0E: ((80, 25, 8), 0x63, "03010f0006", _CRT_200.format(_WIDE, 0, "28", "e3"), cga_palette, cga_colours()),
        0x10: ((80, 25, 14), 0xA3, "03010f0006", _CRT_350, ATTRIBUTES_MODE_3[:16] + end, TEXT_COLOURS),
        0x11: ((80, 30, 16), 0xE3, "03010f0006", _CRT_480, bytes((0, 0x3F)) * 8 + end, TEXT_COLOURS),
        0x12: ((80, 30, 16), 0xE3, "03010f0006", _CRT_480, ATTRIBUTES_MODE_3[:16] + end, TEXT_COLOURS),
    }[number]
    return _graphics(Pixels.PLANES, size, miscellaneous, sequencer, crt, graphics, attributes, colours)


def _256_colours() -> Mode:
    return _graphics(
        Pixels.BYTES, (40, 25, 8), 0x63, "03010f000e", "5f4f50825480bf1f00410000000000009c8e8f284096b9a3ff", "000000000040050fff",
        bytes(range(16)) + bytes.fromhex("41000f0000"), colours_256(),
    )  # fmt: skip


@cache
def find_mode(number: int) -> Mode | None:
    """The mode of this number, if there is one. All text is in colour."""
    if number in (0x00, 0x01):
        return _text(40)
    if number in (0x02, 0x03, 0x07):
        return _text(COLUMNS)
    if number in (0x04, 0x05, _TWO_COLOURS):
        return _cga(number)
    if number in (0x0D, 0x0E, 0x10, 0x11, 0x12):
        return _planes(number)
    return _256_colours() if number == 0x13 else None


def program(mode: Mode, ports: PortBus, screen: VgaScreen) -> None:
    """Writes what is different from what the registers hold."""
    _write_indexed(ports, SEQUENCER_INDEX, screen.sequencer, mode.sequencer)
    if screen.crt_controller != mode.crt:
        _write(ports, CRT_INDEX, _RETRACE_END, mode.crt[_RETRACE_END] & ~_PROTECTS)
        order = sorted(range(len(mode.crt)), key=lambda register: register == _RETRACE_END)  # which protects others
        _write_indexed(ports, CRT_INDEX, screen.crt_controller, mode.crt, order)
    _write_indexed(ports, GRAPHICS_INDEX, screen.graphics_controller, mode.graphics)
    if screen.attribute_controller != mode.attributes:
        ports.write(MISCELLANEOUS_OUTPUT, 1, mode.miscellaneous)
        for register, value in enumerate(mode.attributes):
            write_attribute(ports, screen, register, value)
    if (screen.palette or TEXT_COLOURS) != mode.colours:
        assert len(mode.colours) == SIZE
        ports.write(WRITE_INDEX, 1, 0)
        for level in mode.colours:
            ports.write(DATA, 1, level)


def write_attribute(ports: PortBus, screen: VgaScreen, register: int, value: int) -> None:
    """Unless the attribute controller holds it."""
    if screen.attribute_controller[register] != value:
        ports.read(INPUT_STATUS_1, 1)
        for byte in (register, value, _SHOWS):
            ports.write(ATTRIBUTE_INDEX, 1, byte)


def _write_indexed(ports: PortBus, index: int, found: bytes | bytearray, wanted: bytes, order: list[int] | None = None) -> None:
    for register in range(len(wanted)) if order is None else order:
        if found[register] != wanted[register]:
            _write(ports, index, register, wanted[register])


def _write(ports: PortBus, index: int, register: int, value: int) -> None:
    ports.write(index, 1, register)
    ports.write(index + 1, 1, value)
