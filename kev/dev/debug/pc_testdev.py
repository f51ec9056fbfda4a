"""QEMU's "pc-testdev", which kvm-unit-tests drive: a latch, interrupt lines to pull, and a page of device memory."""

from collections.abc import Sequence
from typing import Final

from kev.addressing import KIB, Gpa
from kev.dev.base import InterruptLine

IRQ_LINES: Final = 24

_LATCH: Final = range(0xE0, 0xE4)
_FLUSH: Final = range(0xE4, 0xE8)
_LATCH_BYTES: Final = (range(0xE8, 0xE9), range(0xEA, 0xEC))
"""0xe9, between them, is the debug console's."""
_LINES: Final = range(0x2000, 0x2000 + IRQ_LINES)


class PcTestDevice:
    """A `PortDevice`. A write of v to port 0x2000 + n sets the level of interrupt line n to v."""

    ports: Final = (_LATCH, _FLUSH, *_LATCH_BYTES, _LINES)
    wide_ports: Final = ports

    __slots__ = ("_latch", "_lines")

    def __init__(self, lines: Sequence[InterruptLine | None]) -> None:
        """`lines` by number; None for one that cannot be pulled."""
        self._lines = tuple(lines)
        self._latch = 0

    def read_port(self, port: int, size: int) -> int:
        return 0 if port in _FLUSH or port in _LINES else self._latch & (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        if port in _LINES:
            line = self._lines[port - _LINES.start]
            if line is not None:
                line(bool(value))
        elif port not in _FLUSH:
            self._latch = value


class PcTestMemory:
    """An `MmioDevice` of 64 KiB that keeps what is stored."""

    gpa: Final = Gpa(0xFF00_0000)
    length: Final = 64 * KIB

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = bytearray(self.length)

    def load(self, vcpu: int, offset: int, size: int) -> int:
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def store(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self._bytes[offset : offset + size] = value.to_bytes(size, "little")
