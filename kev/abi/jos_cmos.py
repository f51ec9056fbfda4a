"""The CMOS memory that the JOS VMM shows its guests at ports 0x70 and 0x71: how much RAM there is, and nothing else."""

from typing import Final

from kev.addressing import KIB, MIB
from kev.dev.base import PlainDevice
from kev.exits import IoIn, IoOut
from kev.state import Fields, bits

_INDEX: Final = 0x70
_DATA: Final = 0x71
PORTS: Final = (_INDEX, _DATA)

_BASE_MEMORY_KIB: Final = 640
_BASE_LOW, _BASE_HIGH, _EXTENDED_LOW, _EXTENDED_HIGH = range(0x15, 0x19)

_QUALIFIES_IN: Final = 1 << 3
_QUALIFIES_PORT_SHIFT: Final = 16


class JosCmos(PlainDevice):
    """Registers 0x15 and 0x16 are the KiB below 640 KiB, 0x17 and 0x18 those above 1 MiB. Its ports are the ABI's."""

    name: Final = "CMOS memory of the JOS VMM"

    FIELDS = Fields({"index": bits(32)})

    __slots__ = ("_registers", "index")

    def __init__(self, phys_size: int) -> None:
        """`phys_size`: where RAM ends, in bytes."""
        extended = (phys_size - MIB) // KIB
        self._registers: Final = {
            _BASE_LOW: _BASE_MEMORY_KIB & 0xFF,
            _BASE_HIGH: _BASE_MEMORY_KIB >> 8,
            _EXTENDED_LOW: extended & 0xFF,
            _EXTENDED_HIGH: extended >> 8 & 0xFF,
        }
        self.reset()

    def reset(self) -> None:
        self.index = 0
        """What was last written to port 0x70."""

    def read(self, port: int) -> int | None:
        """None if nothing can be read there."""
        return self._registers.get(self.index) if port == _DATA else None

    def write(self, port: int, value: int) -> bool:
        """Whether it can be written."""
        if port == _INDEX:
            self.index = value
        return port == _INDEX

    def complaint(self, exit: IoIn | IoOut) -> bytes:
        """What the VMM prints of an access that it does not handle: the exit qualification, of one through DX, and the index.

        Intel SDM vol. 3, "Exit qualification for I/O instructions".
        """
        direction = _QUALIFIES_IN if isinstance(exit, IoIn) else 0
        return b"%x %x\n" % (exit.port << _QUALIFIES_PORT_SHIFT | direction | exit.size - 1, self.index)
