"""MSI-X: interrupts as messages, each vector with an address and data of its own (PCI Local Bus Specification 3.0, section 6.8.2).

What a message does is Intel's (SDM vol. 3, "Message Signalled Interrupts").
"""

from collections.abc import Callable
from typing import Final

from kev.addressing import PAGE_SIZE
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.dev.pci.function import PciFunction, WritableRegister
from kev.state import Fields, State, bits, listed

_CAPABILITY: Final = 0x11
_ENABLE: Final = 1 << 31
_MASK_ALL: Final = 1 << 30
"""In the register whose upper half is the message control."""
_PENDING: Final = 0x800
"""Where the pending bits are, behind the table."""
_ENTRY_WORDS: Final = 4
_LOW_ADDRESS, _HIGH_ADDRESS, _DATA, _CONTROL = range(_ENTRY_WORDS)
_MASKED: Final = 1 << 0
_WORD: Final = 0xFFFF_FFFF

_LOCAL_APICS: Final = 0xFEE
"""Bits 20 to 31 of the address of a message for them."""
_LOGICAL: Final = 1 << 2
_LEVEL: Final = 1 << 15
_MODES: Final = tuple(DeliveryMode)


def msix_capability(vectors: int, index: int) -> bytes:
    """The capability of a function whose table, of so many vectors, is at base address register `index`."""
    link = 0
    return bytes((_CAPABILITY, link)) + b"".join(
        field.to_bytes(size, "little") for field, size in ((vectors - 1, 2), (index, 4), (_PENDING | index, 4))
    )


class Msix:
    """The table and the pending bits of one function, in a page of their own."""

    length: Final = PAGE_SIZE

    __slots__ = ("_control", "_function", "_pending", "_send", "_table", "vectors")

    def __init__(self, vectors: int, function: PciFunction, capability: int, send: Callable[[InterruptMessage], object]) -> None:
        """`capability` is where it lies in the configuration space. `send` delivers a message to the local APICs."""
        self.vectors: Final = vectors
        self._function: Final = function
        self._send: Final = send
        self._control = 0
        self._clear()
        function.add_register(WritableRegister(capability, _ENABLE | _MASK_ALL, self._set_control))

    @property
    def _fields(self) -> Fields:
        return Fields({"_table": listed(bits(32), self.vectors * _ENTRY_WORDS), "_pending": bits(self.vectors)})

    def _clear(self) -> None:
        self._table = [0, 0, 0, _MASKED] * self.vectors
        self._pending = 0

    def reset(self) -> None:
        self._clear()

    def save(self) -> State:
        return self._fields.save(self)

    def load(self, called: str, state: State) -> None:
        self._fields.load(self, called, state)

    @property
    def enabled(self) -> bool:
        return bool(self._control & _ENABLE)

    def signal(self, vector: int) -> None:
        """Something has happened that this vector is for; one that there is not says nothing."""
        if vector >= self.vectors:
            return
        entry = self._table[vector * _ENTRY_WORDS : (vector + 1) * _ENTRY_WORDS]
        if self._control & _MASK_ALL or entry[_CONTROL] & _MASKED:
            self._pending |= 1 << vector
            return
        self._pending &= ~(1 << vector)
        address, data = entry[_LOW_ADDRESS], entry[_DATA]
        if address >> 20 == _LOCAL_APICS and not entry[_HIGH_ADDRESS]:
            self._send(
                InterruptMessage(
                    mode=_MODES[data >> 8 & 7],
                    vector=data & 0xFF,
                    destination=address >> 12 & 0xFF,
                    logical=bool(address & _LOGICAL),
                    level_triggered=bool(data & _LEVEL),
                )
            )

    def _set_control(self, control: int) -> None:
        self._control = control & (_ENABLE | _MASK_ALL)
        self._function.use_messages(self.enabled)
        self._send_pending()

    def _send_pending(self) -> None:
        if not self.enabled:
            return
        for vector in range(self.vectors):
            if self._pending & 1 << vector:
                self.signal(vector)

    # What lies in memory

    def read(self, offset: int, size: int) -> int:
        words = self._table if offset < _PENDING else [self._pending]
        index = (offset % _PENDING) >> 2
        value = sum(word << 32 * number for number, word in enumerate(words[index : index + 2]))
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Words of 32 or 64 bits; drivers must not access the table in any other size."""
        if offset % 4 or size < 4:
            return
        for index in range(offset >> 2, (offset + size) >> 2):
            if index < len(self._table):
                self._table[index] = value & _WORD
            value >>= 32
        self._send_pending()
