"""INT 15h, AH = 53h: advanced power management in real mode, as far as switching the machine off needs it (APM 1.2)."""

from collections.abc import Callable
from typing import Final

from kev.bios.call import BiosCall
from kev.dev.buses.ports import PortBus
from kev.dev.chipset.poweroff import PM1A_CONTROL

_VERSION: Final = 0x0102
_SIGNATURE: Final = 0x504D
"""PM."""
_ALL_DEVICES: Final = 0x0001
_OFF: Final = 0x0003
_ON_LINE: Final = 0x01FF
"""On mains power, with a battery of which nothing is known."""
_UNKNOWN: Final = 0xFFFF

_NO_16_BIT_INTERFACE: Final = 0x06
_NO_32_BIT_INTERFACE: Final = 0x08
_UNRECOGNIZED_DEVICE: Final = 0x09
_CANNOT_ENTER_STATE: Final = 0x60
_NO_EVENT: Final = 0x80
_UNSUPPORTED: Final = 0x86

_SOFT_OFF: Final = 0x2000


class PowerServices:
    """There is the interface of real mode, and no other."""

    def __init__(self, ports: PortBus) -> None:
        self._ports: Final = ports
        self._functions: Final[dict[int, Callable[[BiosCall], int]]] = {
            0x00: self._describe,
            0x01: _succeed,  # connect
            0x02: lambda call: _NO_16_BIT_INTERFACE,
            0x03: lambda call: _NO_32_BIT_INTERFACE,
            0x04: _succeed,  # disconnect
            0x05: _succeed,  # idle
            0x06: _succeed,  # busy
            0x07: self._set_state,
            0x08: _succeed,  # power management on or off
            0x09: _succeed,  # defaults
            0x0A: self._status,
            0x0B: lambda call: _NO_EVENT,
            0x0D: _succeed,  # power management of a device on or off
            0x0E: self._agree_on_version,
            0x0F: _succeed,  # engage
        }
        """By AL; the result is AH, and 0 if all went well."""

    def serve(self, call: BiosCall) -> None:
        function = self._functions.get(call.al)
        error = _UNSUPPORTED if function is None else function(call)
        if error:
            call.ah = error
        call.set_carry(bool(error))

    def _describe(self, call: BiosCall) -> int:
        if call.bx:
            return _UNRECOGNIZED_DEVICE
        call.ax, call.bx, call.cx = _VERSION, _SIGNATURE, 0
        return 0

    def _set_state(self, call: BiosCall) -> int:
        """Off is the only state that a machine enters."""
        if call.bx != _ALL_DEVICES:
            return _UNRECOGNIZED_DEVICE
        if call.cx != _OFF:
            return _CANNOT_ENTER_STATE
        self._ports.write(PM1A_CONTROL, 2, _SOFT_OFF)
        return 0

    def _status(self, call: BiosCall) -> int:
        call.bx, call.cx, call.dx = _ON_LINE, _UNKNOWN, _UNKNOWN
        return 0

    def _agree_on_version(self, call: BiosCall) -> int:
        call.ax = min(call.cx, _VERSION)
        return 0


def _succeed(call: BiosCall) -> int:
    return 0
