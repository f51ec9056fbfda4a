"""INT 16h and INT 09h: the keyboard (IBM PC/AT technical reference, "Keyboard").

Keys come from the keyboard controller, and from COM1, where the machine's input goes: whoever asks for a key gets what a serial
terminal has sent, too.
"""

from typing import Final

from kev.bios import keys
from kev.bios.call import BiosCall, Service
from kev.bios.data_area import Address, DataArea
from kev.bios.rom import VMCALL, WAIT_FOR_KEY
from kev.dev.buses.ports import PortBus

_BUFFER_FIELD: Final = 0x400
_BUFFER_START: Final = 0x1E
_BUFFER_END: Final = 0x3E
"""Offsets from 0x400 on, as those that the data area has in it."""

_CONTROLLER_DATA: Final = 0x60
_CONTROLLER_STATUS: Final = 0x64
_OUTPUT_FULL: Final = 1 << 0
_COM1_DATA: Final = 0x3F8
_COM1_STATUS: Final = 0x3FD
_DATA_READY: Final = 1 << 0

_RELEASED: Final = 0x80
_EXTENDED: Final = 0xE0
_CTRL: Final = 1 << 2
_ALT: Final = 1 << 3
_SHIFTS: Final = 0b11
_CAPS_LOCK: Final = 1 << 6
_HELD: Final = {0x36: 1 << 0, 0x2A: 1 << 1, 0x1D: _CTRL, 0x38: _ALT}
"""Bits of the shift state by scan code: they are set while the key is down."""
_TOGGLED: Final = {0x46: 1 << 4, 0x45: 1 << 5, 0x3A: _CAPS_LOCK}
_LAST_WAS_EXTENDED: Final = 1 << 1
"""In the keyboard state, with E0h before the next byte."""
_NO_CHARACTER: Final = frozenset({*range(0x3B, 0x45), *range(0x47, 0x54), 0x57, 0x58})
"""Function keys and the block of cursor keys."""


class KeyboardServices:
    """Keys wait in the BIOS data area, 15 of them at most."""

    def __init__(self, data: DataArea, ports: PortBus) -> None:
        self._data: Final = data
        self._ports: Final = ports
        self.functions: Final[dict[int, Service]] = {
            0x00: self._take,
            0x01: self._look,
            0x02: self._shift_state,
            0x03: self._do_nothing,  # repetition
            0x05: self._push,
            0x10: self._take,
            0x11: self._look,
            0x12: self._shift_state,
        }
        """By AH, of INT 16h."""

    def _take(self, call: BiosCall) -> None:
        """Waits until there is a key."""
        key = self._next()
        if key is None:
            call.go_to(WAIT_FOR_KEY, len(VMCALL))
            return
        following = self._following(self._data.read(Address.KEYBOARD_HEAD, 2))
        self._data.write(Address.KEYBOARD_HEAD, following, 2)
        call.ax = key

    def _look(self, call: BiosCall) -> None:
        key = self._next()
        call.set_zero(key is None)
        call.ax = key or 0

    def _shift_state(self, call: BiosCall) -> None:
        call.ax = self._data.read(Address.SHIFT_STATE)

    def _do_nothing(self, call: BiosCall) -> None:
        pass

    def _push(self, call: BiosCall) -> None:
        call.al = 0 if self._append(call.cx) else 1

    # Where keys come from

    def interrupted(self) -> None:
        """INT 09h: the keyboard controller has a byte."""
        self._data.read(Address.KEYBOARD_HEAD, 2)  # what needs a page first, does
        if self._ports.read(_CONTROLLER_STATUS, 1) & _OUTPUT_FULL:
            self._scanned(self._ports.read(_CONTROLLER_DATA, 1))

    def _scanned(self, code: int) -> None:
        state = self._data.read(Address.KEYBOARD_STATE)
        if code == _EXTENDED:
            self._data.write(Address.KEYBOARD_STATE, state | _LAST_WAS_EXTENDED)
            return
        self._data.write(Address.KEYBOARD_STATE, state & ~_LAST_WAS_EXTENDED)
        scan, shifts = code & ~_RELEASED, self._data.read(Address.SHIFT_STATE)
        if scan in _HELD:
            shifts = shifts & ~_HELD[scan] if code & _RELEASED else shifts | _HELD[scan]
        elif not code & _RELEASED:
            shifts ^= _TOGGLED.get(scan, 0)
            key = _key_of(scan, shifts)
            if key is not None:
                self._append(key)
        self._data.write(Address.SHIFT_STATE, shifts)

    def _receive(self) -> None:
        """Takes what has come over the serial line."""
        received = bytearray()
        while self._ports.read(_COM1_STATUS, 1) & _DATA_READY:
            received.append(self._ports.read(_COM1_DATA, 1))
        for key in keys.keys_of(bytes(received)):
            self._append(key)

    # The buffer

    def _next(self) -> int | None:
        head, tail = self._data.read(Address.KEYBOARD_HEAD, 2), self._data.read(Address.KEYBOARD_TAIL, 2)
        if head == tail:
            self._receive()
            tail = self._data.read(Address.KEYBOARD_TAIL, 2)
        return None if head == tail else self._data.read(_BUFFER_FIELD + head, 2)

    def _append(self, key: int) -> bool:
        """False if the buffer is full."""
        tail = self._data.read(Address.KEYBOARD_TAIL, 2)
        following = self._following(tail)
        if following == self._data.read(Address.KEYBOARD_HEAD, 2):
            return False
        self._data.write(_BUFFER_FIELD + tail, key, 2)
        self._data.write(Address.KEYBOARD_TAIL, following, 2)
        return True

    def _following(self, offset: int) -> int:
        return offset + 2 if _BUFFER_START <= offset < _BUFFER_END - 2 else _BUFFER_START


def _key_of(scan: int, shifts: int) -> int | None:
    """A key that has been pressed; None if it is none that INT 16h knows."""
    if scan in keys.CONTROLS:
        return keys.CONTROLS[scan]
    if scan in _NO_CHARACTER:
        return scan << 8
    character = keys.PLAIN.get(scan)
    if character is None:
        return None
    if shifts & _ALT:
        return scan << 8
    if shifts & _CTRL:
        return scan << 8 | ord(character) & 0x1F
    upper = bool(shifts & _SHIFTS) != (character.isalpha() and bool(shifts & _CAPS_LOCK))
    return scan << 8 | ord(keys.SHIFTED[scan] if upper else character)
