"""INT 10h, AH = 4Fh: graphics with a linear framebuffer (VESA BIOS Extension Core Functions Standard 3.0)."""

import struct
from collections.abc import Callable
from typing import Final

from kev.bios.call import BiosCall, Service
from kev.dev.buses.ports import PortBus
from kev.dev.display.framebuffer import INDEXED, VideoMode
from kev.dev.display.mode_registers import DATA, DEPTH, ENABLE, ENABLED, HEIGHT, INDEX, KEEPS, NUMBER, WIDTH, Y_OFFSET
from kev.dev.display.mode_registers import LINEAR as LINEAR_FRAMEBUFFER
from kev.dev.display.palette import DATA as COLOURS
from kev.dev.display.palette import READ_INDEX, WRITE_INDEX, colours_256
from kev.pager.ram import FRAMEBUFFER

_SUPPORTED: Final = 0x4F
_DONE, _FAILED = 0x00, 0x01

_SIZES: Final = {
    0x140: (320, 200),
    0x141: (640, 400),
    0x142: (640, 480),
    0x143: (800, 600),
    0x144: (1024, 768),
    0x145: (1280, 1024),
    0x147: (1600, 1200),
    0x18C: (1920, 1200),
    0x190: (1280, 720),
    0x193: (1920, 1080),
}
"""Of modes with 32 bits per pixel, by their numbers; those below 200h with other depths are VESA's own."""
_INDEXED_SIZES: Final = {0x100: (640, 400), 0x101: (640, 480), 0x103: (800, 600), 0x105: (1024, 768), 0x107: (1280, 1024)}
"""Of modes with 8 bits per pixel."""
MODES: Final = {
    **{number: VideoMode(*size, 32) for number, size in _SIZES.items()},
    **{number: VideoMode(*size, INDEXED) for number, size in _INDEXED_SIZES.items()},
    **{
        first + place: VideoMode(*size, depth)
        for first, size in ((0x111, (640, 480)), (0x114, (800, 600)), (0x117, (1024, 768)), (0x11A, (1280, 1024)))
        for place, depth in enumerate((16, 24))
    },
}
"""By number."""
_TEXT_MODE: Final = 3

_MODE_NUMBER: Final = 0x1FF
_LINEAR: Final = 1 << 14
_KEEPS_MEMORY: Final = 1 << 15

_AT_RETRACE: Final = 1 << 7
"""Of BL, for the display's start."""

_VERSION: Final = 0x0300
_BLOCK_SIZE: Final = 256
_LONG_BLOCK_SIZE: Final = 512
_WANTS_LONG_BLOCK: Final = b"VBE2"
_UNIT: Final = 0x1_0000
_MODE_LIST: Final = 0x22
"""Offset in the block, which has room for it."""
_NAME: Final = 0xC0
_END_OF_LIST: Final = 0xFFFF
_OEM: Final = b"kev\0"
_ATTRIBUTES: Final = 0x00FB
"""Supported, in colour, graphics, without the registers of a VGA, without windows, with a linear framebuffer."""
_PACKED_PIXELS: Final = 4
_DIRECT_COLOUR: Final = 6
_COLOUR_BITS: Final = 6
_COLOURS: Final = 256
_CHARACTER: Final = (8, 16)
"""Pixels."""
_FASTEST_PIXEL_CLOCK: Final = 200_000_000


class Vbe:
    """The functions by AL. What the display shows is in its registers."""

    def __init__(self, ports: PortBus, show_text: Service) -> None:
        """`show_text` sets the text mode."""
        self._ports: Final = ports
        self._show_text: Final = show_text
        self._functions: Final[dict[int, Callable[[BiosCall], bool]]] = {
            0x00: self._describe_controller,
            0x01: self._describe_mode,
            0x02: self._set_mode,
            0x03: self._read_mode,
            0x06: self._scan_line_length,
            0x07: self._display_start,
            0x08: self._colour_width,
            0x09: self._colours,
        }

    def serve(self, call: BiosCall) -> None:
        """A function that there is not leaves AL other than 4Fh."""
        function = self._functions.get(call.al)
        call.ax = 0x0100 if function is None else _SUPPORTED | (_DONE if function(call) else _FAILED) << 8

    def leave(self) -> None:
        """The text screen is shown."""
        self._write(NUMBER, 0)
        self._write(ENABLE, 0)

    def _describe_controller(self, call: BiosCall) -> bool:
        size = _LONG_BLOCK_SIZE if call.read("es", call.di, 4) == _WANTS_LONG_BLOCK else _BLOCK_SIZE
        segment = call.vcpu.segment("es").selector
        numbers = struct.pack(f"<{len(MODES) + 1}H", *sorted(MODES), _END_OF_LIST)
        name, listed = (segment << 16 | (call.di + offset & 0xFFFF) for offset in (_NAME, _MODE_LIST))
        block = bytearray(size)
        struct.pack_into(
            "<4sHIIIHHIII", block, 0, b"VESA", _VERSION, name, 0, listed, len(FRAMEBUFFER) // _UNIT, 0, name, name, name
        )
        block[_MODE_LIST : _MODE_LIST + len(numbers)] = numbers
        block[_NAME : _NAME + len(_OEM)] = _OEM
        call.write("es", call.di, bytes(block))
        return True

    def _describe_mode(self, call: BiosCall) -> bool:
        mode = MODES.get(call.cx & _MODE_NUMBER)
        if mode is None:
            return False
        call.write("es", call.di, _mode_information(mode))
        return True

    def _set_mode(self, call: BiosCall) -> bool:
        number = call.bx & _MODE_NUMBER
        if number == _TEXT_MODE:
            call.ax = _TEXT_MODE
            self._show_text(call)
            return True
        mode = MODES.get(number)
        if mode is None or not call.bx & _LINEAR:
            return False
        self._write(ENABLE, 0)
        for register, value in (
            (WIDTH, mode.width),
            (HEIGHT, mode.height),
            (DEPTH, mode.depth),
            (NUMBER, number | _LINEAR),
        ):
            self._write(register, value)
        self._write(ENABLE, ENABLED | LINEAR_FRAMEBUFFER | (KEEPS if call.bx & _KEEPS_MEMORY else 0))
        if mode.depth == INDEXED:
            self._store_colours(0, colours_256())
        return True

    def _read_mode(self, call: BiosCall) -> bool:
        call.bx = self._read(NUMBER) or _TEXT_MODE
        return True

    def _current(self) -> VideoMode | None:
        return MODES.get(self._read(NUMBER) & _MODE_NUMBER)

    def _scan_line_length(self, call: BiosCall) -> bool:
        """There is one; it can be asked for."""
        mode = self._current()
        if mode is None:
            return False
        wanted = {0x00: (call.cx, mode.width), 0x02: (call.cx, mode.pitch)}.get(call.bl)
        if wanted is not None and wanted[0] > wanted[1]:
            return False
        call.bx, call.cx, call.dx = mode.pitch, mode.width, min(len(FRAMEBUFFER) // mode.pitch, 0xFFFF)
        return True

    def _display_start(self, call: BiosCall) -> bool:
        """Rows, not columns, can be at the upper left corner: enough for two pictures that take turns."""
        mode = self._current()
        if mode is None:
            return False
        if call.bl & _AT_RETRACE - 1 == 1:
            call.bh, call.cx, call.dx = 0, 0, self._read(Y_OFFSET)
            return True
        if call.bl & _AT_RETRACE - 1 or call.cx or (call.dx + mode.height) * mode.pitch > len(FRAMEBUFFER):
            return False
        self._write(Y_OFFSET, call.dx)
        return True

    # Colours, of modes with numbers of them

    def _colour_width(self, call: BiosCall) -> bool:
        """6 bits of each of red, green and blue, whatever is asked for."""
        call.bh = _COLOUR_BITS
        return True

    def _colours(self, call: BiosCall) -> bool:
        """CX of them from DX on, at ES:DI: blue, green, red and nothing."""
        count = min(call.cx, _COLOURS - call.dx)
        if count < 0:
            return False
        if call.bl & ~_AT_RETRACE == 0:
            table = call.read("es", call.di, 4 * count)
            self._store_colours(call.dx, b"".join(table[place : place + 3][::-1] for place in range(0, len(table), 4)))
        elif call.bl == 1:
            self._ports.write(READ_INDEX, 1, call.dx)
            levels = [bytes(self._ports.read(COLOURS, 1) for _ in range(3)) for _ in range(count)]
            call.write("es", call.di, b"".join(level[::-1] + b"\0" for level in levels))
        else:
            return False
        return True

    def _store_colours(self, first: int, levels: bytes) -> None:
        self._ports.write(WRITE_INDEX, 1, first)
        for level in levels:
            self._ports.write(COLOURS, 1, level)

    # The display's registers

    def _write(self, register: int, value: int) -> None:
        self._ports.write(INDEX, 2, register)
        self._ports.write(DATA, 2, value)

    def _read(self, register: int) -> int:
        self._ports.write(INDEX, 2, register)
        return self._ports.read(DATA, 2)


def _mode_information(mode: VideoMode) -> bytes:
    """What there is to say of a mode (section 4.4)."""
    is_indexed = mode.depth == INDEXED
    masks = bytes(8) if is_indexed else _masks(mode)
    pages = len(FRAMEBUFFER) // mode.size - 1
    block = bytearray(_BLOCK_SIZE)
    model = _PACKED_PIXELS if is_indexed else _DIRECT_COLOUR
    struct.pack_into("<H", block, 0x00, _ATTRIBUTES)
    sizes = mode.pitch, mode.width, mode.height, *_CHARACTER
    struct.pack_into("<HHHBBBBBBBBB", block, 0x10, *sizes, 1, mode.depth, 1, model, 0, pages, 1)
    struct.pack_into("<8sBI", block, 0x1F, masks, 0, FRAMEBUFFER.start)
    struct.pack_into("<HBB8sI", block, 0x32, mode.pitch, 0, pages, masks, _FASTEST_PIXEL_CLOCK)
    return bytes(block)


def _masks(mode: VideoMode) -> bytes:
    """Size and lowest bit of red, green, blue and what is left."""
    rest = mode.depth - sum(size for _, size in mode.channels)
    return bytes(number for low, size in mode.channels for number in (size, low)) + bytes((rest, mode.depth - rest if rest else 0))
