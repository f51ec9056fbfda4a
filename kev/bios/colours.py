"""INT 10h, AH = 10h: the colours of the VGA (IBM VGA technical reference)."""

from typing import Final

from kev.bios.call import BiosCall, NotServed
from kev.dev.buses.ports import PortBus
from kev.dev.display.palette import DATA, READ_INDEX, WRITE_INDEX

_SET, _SET_BLOCK, _READ, _READ_BLOCK = 0x10, 0x12, 0x15, 0x17
_IGNORED: Final = frozenset({0x00, 0x01, 0x02, 0x03, 0x13, 0x1B})
"""Which colours text modes use, the border, blinking, pages of colours, shades of grey."""
_COLOURS: Final = 256


class Colours:
    def __init__(self, ports: PortBus) -> None:
        self._ports: Final = ports

    def serve(self, call: BiosCall) -> None:
        """Function AL. Colours are red, green and blue, from 0 to 63."""
        if call.al == _SET:
            self._store(call.bx, bytes((call.dh, call.ch, call.cl)))
        elif call.al == _SET_BLOCK:
            self._store(call.bx, call.read("es", call.dx, 3 * min(call.cx, _COLOURS)))
        elif call.al == _READ:
            call.dh, call.ch, call.cl = self._load(call.bx, 1)
        elif call.al == _READ_BLOCK:
            call.write("es", call.dx, self._load(call.bx, min(call.cx, _COLOURS)))
        elif call.al not in _IGNORED:
            raise NotServed(f"AL = {call.al:02x}h")

    def _store(self, first: int, levels: bytes) -> None:
        self._ports.write(WRITE_INDEX, 1, first & 0xFF)
        for level in levels:
            self._ports.write(DATA, 1, level)

    def _load(self, first: int, count: int) -> bytes:
        self._ports.write(READ_INDEX, 1, first & 0xFF)
        return bytes(self._ports.read(DATA, 1) for _ in range(3 * count))
