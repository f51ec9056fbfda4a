"""Packets of the remote serial protocol, without any I/O (GDB manual, appendix "GDB Remote Serial Protocol", "Overview").

A packet is `$`, its data, `#` and a checksum of two hexadecimal digits. Its receiver answers `+`, or `-` if the checksum is wrong:
then the packet is sent again. In between, the byte 3 interrupts what runs. After QStartNoAckMode nothing is acknowledged.
"""

import re
from enum import Enum, auto
from typing import Final, TypeAlias

MAX_PACKET: Final = 0x4000
"""Bytes of the data of a packet, as they are on the wire."""

_START: Final = ord("$")
_END: Final = ord("#")
_ESCAPE: Final = ord("}")
_ESCAPE_XOR: Final = 0x20
_ACK: Final = b"+"
_NAK: Final = b"-"
_INTERRUPT: Final = 3
_SPECIAL: Final = re.compile(rb"[$#}*]")
_ESCAPED: Final = re.compile(rb"}(.)", re.DOTALL)


class Interrupt(Enum):
    """The byte 3: what runs is to stop."""

    INTERRUPT = auto()


Received: TypeAlias = bytes | Interrupt
"""The data of a packet, or the byte 3."""


def frame(data: bytes) -> bytes:
    """A packet of `data`, in which `$`, `#`, `}` and `*` are escaped already: see `escape`."""
    return b"$%b#%02x" % (data, sum(data) & 0xFF)


def escape(binary: bytes) -> bytes:
    """Bytes of any value as they are put into a packet."""
    return _SPECIAL.sub(lambda found: bytes((_ESCAPE, found[0][0] ^ _ESCAPE_XOR)), binary)


def unescape(data: bytes) -> bytes:
    """What `escape` was given."""
    return _ESCAPED.sub(lambda found: bytes((found[1][0] ^ _ESCAPE_XOR,)), data)


class _State(Enum):
    """What the next byte is."""

    BETWEEN = auto()
    DATA = auto()
    FIRST_DIGIT = auto()
    SECOND_DIGIT = auto()


class Endpoint:
    """The stub's end of a connection."""

    __slots__ = ("_acknowledging", "_data", "_digits", "_last_sent", "_outgoing", "_state", "_too_long")

    def __init__(self) -> None:
        self._acknowledging = True
        self._state = _State.BETWEEN
        self._data = bytearray()
        self._digits = bytearray()
        self._too_long = False
        self._outgoing = bytearray()
        self._last_sent = b""

    def receive(self, data: bytes) -> list[Received]:
        """What the bytes that came complete. Damaged packets, and those longer than MAX_PACKET, are asked for again."""
        received: list[Received] = []
        for byte in data:
            found = self._take(byte)
            if found is not None:
                received.append(found)
        return received

    def send(self, data: bytes) -> None:
        """Sends a packet; see `frame`."""
        self._last_sent = frame(data)
        self._outgoing += self._last_sent

    def stop_acknowledging(self) -> None:
        """The other end has asked for QStartNoAckMode, and was told that it is so."""
        self._acknowledging = False

    def data_to_send(self) -> bytes:
        """The bytes to write to the connection now; each is returned once."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def _take(self, byte: int) -> Received | None:
        state = self._state
        if state is _State.BETWEEN:
            return self._take_between(byte)
        if state is _State.DATA:
            self._take_data(byte)
            return None
        self._digits.append(byte)
        if state is _State.FIRST_DIGIT:
            self._state = _State.SECOND_DIGIT
            return None
        self._state = _State.BETWEEN
        return self._take_packet()

    def _take_between(self, byte: int) -> Received | None:
        if byte == _START:
            self._begin()
        elif byte == _INTERRUPT:
            return Interrupt.INTERRUPT
        elif byte == _NAK[0] and self._acknowledging:
            self._outgoing += self._last_sent
        return None

    def _begin(self) -> None:
        self._data.clear()
        self._digits.clear()
        self._too_long = False
        self._state = _State.DATA

    def _take_data(self, byte: int) -> None:
        if byte == _END:
            self._state = _State.FIRST_DIGIT
        elif byte == _START:
            self._begin()  # the end of the packet before was lost
        elif len(self._data) < MAX_PACKET:
            self._data.append(byte)
        else:
            self._too_long = True

    def _take_packet(self) -> bytes | None:
        if not self._acknowledging:
            return bytes(self._data)
        if self._too_long or bytes(self._digits).lower() != b"%02x" % (sum(self._data) & 0xFF):
            self._outgoing += _NAK
            return None
        self._outgoing += _ACK
        return bytes(self._data)
