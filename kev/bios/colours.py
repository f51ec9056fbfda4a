"""INT 10h, AH = 0Bh and 10h: the colours of the VGA (IBM VGA technical reference)."""

from typing import Final

from kev.bios.call import BiosCall, NotServed
from kev.bios.video_modes import write_attribute
from kev.dev.buses.ports import PortBus
from kev.dev.display.palette import DATA, READ_INDEX, WRITE_INDEX
from kev.dev.display.screen import VgaScreen

_SET_ATTRIBUTE, _SET_BORDER, _SET_ATTRIBUTES, _SET_BLINKING, _READ_ATTRIBUTE, _READ_ATTRIBUTES = 0x00, 0x01, 0x02, 0x03, 0x07, 0x09
_SET, _SET_BLOCK, _SET_PAGE, _READ, _READ_BLOCK = 0x10, 0x12, 0x13, 0x15, 0x17
_IGNORED: Final = frozenset({0x1B})
"""Shades of grey."""
_COLOURS: Final = 256
_ATTRIBUTES: Final = 16
_MODE, _BORDER, _PAGE = 0x10, 0x11, 0x14
"""Registers of the attribute controller."""
_BLINKS: Final = 1 << 3
_PAGES_OF_16: Final = 1 << 7


class Colours:
    def __init__(self, ports: PortBus, screen: VgaScreen) -> None:
        self._ports: Final = ports
        self._screen: Final = screen

    def serve(self, call: BiosCall) -> None:
        """Function AL. Colours are red, green and blue, from 0 to 63; attributes are numbers of them."""
        if call.al == _SET:
            self._store(call.bx, bytes((call.dh, call.ch, call.cl)))
        elif call.al == _SET_BLOCK:
            self._store(call.bx, call.read("es", call.dx, 3 * min(call.cx, _COLOURS)))
        elif call.al == _READ:
            call.dh, call.ch, call.cl = self._load(call.bx, 1)
        elif call.al == _READ_BLOCK:
            call.write("es", call.dx, self._load(call.bx, min(call.cx, _COLOURS)))
        elif call.al not in _IGNORED and not self._serve_attributes(call):
            raise NotServed(f"AL = {call.al:02x}h")

    def _serve_attributes(self, call: BiosCall) -> bool:
        attributes = self._screen.attribute_controller
        if call.al == _SET_ATTRIBUTE:
            if call.bl < len(attributes):
                self._write(call.bl, call.bh)
        elif call.al == _SET_BORDER:
            self._write(_BORDER, call.bh)
        elif call.al == _SET_ATTRIBUTES:
            *sixteen, border = call.read("es", call.dx, _ATTRIBUTES + 1)
            for register, value in enumerate(sixteen):
                self._write(register, value)
            self._write(_BORDER, border)
        elif call.al == _SET_BLINKING:
            self._write(_MODE, attributes[_MODE] & ~_BLINKS | (_BLINKS if call.bl & 1 else 0))
        elif call.al == _SET_PAGE:
            self._set_page(call)
        elif call.al == _READ_ATTRIBUTE:
            call.bh = attributes[call.bl] if call.bl < len(attributes) else 0
        elif call.al == _READ_ATTRIBUTES:
            call.write("es", call.dx, bytes((*attributes[:_ATTRIBUTES], attributes[_BORDER])))
        else:
            return False
        return True

    def _set_page(self, call: BiosCall) -> None:
        """BL = 0: whether there are 4 pages of 64 colours, or 16 of 16; 1: which one is shown."""
        attributes = self._screen.attribute_controller
        if call.bl == 0:
            self._write(_MODE, attributes[_MODE] & ~_PAGES_OF_16 | (_PAGES_OF_16 if call.bh & 1 else 0))
        else:
            self._write(_PAGE, call.bh & 0xF if attributes[_MODE] & _PAGES_OF_16 else call.bh << 2 & 0xC)

    def set_cga(self, call: BiosCall) -> None:
        """AH = 0Bh. BH = 0: BL is the background and the border, and whether others are bright; 1: which three others there are."""
        attributes = self._screen.attribute_controller
        if call.bh == 0:
            colour = call.bl & 7 | call.bl << 1 & 0x10
            self._write(_BORDER, colour)
            if self._screen.in_graphics_mode:
                self._write(0, colour)
                for register in range(1, 4):
                    self._write(register, attributes[register] & ~0x10 | call.bl & 0x10)
        elif call.bh == 1:
            for register in range(1, 4):
                self._write(register, attributes[register] & ~1 | call.bl & 1)

    def _write(self, register: int, value: int) -> None:
        write_attribute(self._ports, self._screen, register, value)

    def _store(self, first: int, levels: bytes) -> None:
        self._ports.write(WRITE_INDEX, 1, first & 0xFF)
        for level in levels:
            self._ports.write(DATA, 1, level)

    def _load(self, first: int, count: int) -> bytes:
        self._ports.write(READ_INDEX, 1, first & 0xFF)
        return bytes(self._ports.read(DATA, 1) for _ in range(3 * count))
