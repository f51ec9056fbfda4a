"""INT 14h and INT 17h: serial lines and printers (IBM PC/AT technical reference)."""

from typing import Final

from kev.bios.call import BiosCall, Service
from kev.dev.buses.ports import PortBus

_COM1: Final = 0x3F8
_LINE_STATUS: Final = _COM1 + 5
_MODEM_STATUS: Final = _COM1 + 6
_DATA_READY: Final = 1 << 0
_TIME_OUT: Final = 0x80
_PRINTER_TIME_OUT: Final = 0x01


class LineServices:
    """COM1 is the one line there is. It is as fast as the host, whatever it is told. Printers are out of paper, time and again."""

    def __init__(self, ports: PortBus) -> None:
        self._ports: Final = ports
        self.serial: Final[dict[int, Service]] = {
            0x00: self._status,  # initialise
            0x01: self._send,
            0x02: self._receive,
            0x03: self._status,
        }
        """By AH, of INT 14h."""
        self.printer: Final[dict[int, Service]] = dict.fromkeys((0x00, 0x01, 0x02), self._no_printer)
        """Of INT 17h."""

    def _status(self, call: BiosCall) -> None:
        if self._is_there(call):
            call.ah, call.al = self._ports.read(_LINE_STATUS, 1), self._ports.read(_MODEM_STATUS, 1)

    def _send(self, call: BiosCall) -> None:
        if self._is_there(call):
            self._ports.write(_COM1, 1, call.al)
            call.ah = self._ports.read(_LINE_STATUS, 1)

    def _receive(self, call: BiosCall) -> None:
        if not self._is_there(call):
            return
        if self._ports.read(_LINE_STATUS, 1) & _DATA_READY:
            call.ah, call.al = 0, self._ports.read(_COM1, 1)
        else:
            call.ah = _TIME_OUT

    def _is_there(self, call: BiosCall) -> bool:
        if call.dx:
            call.ah = _TIME_OUT
        return not call.dx

    def _no_printer(self, call: BiosCall) -> None:
        call.ah = _PRINTER_TIME_OUT
