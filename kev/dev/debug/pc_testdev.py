"""QEMU's "pc-testdev", which kvm-unit-tests drive: a latch, interrupt lines to pull, and a page of device memory."""

from collections.abc import Sequence
from typing import Final, Self

from kev.addressing import KIB, Gpa
from kev.dev.base import InterruptLine
from kev.dev.interrupts.irq import CASCADE_IRQ
from kev.dev.surroundings import Surroundings
from kev.state import BYTES, Fields, State, StateError, bits

IRQ_LINES: Final = 24

_LATCH: Final = range(0xE0, 0xE4)
_FLUSH: Final = range(0xE4, 0xE8)
_LATCH_BYTES: Final = (range(0xE8, 0xE9), range(0xEA, 0xEC))
"""0xe9, between them, is the debug console's."""
_LINES: Final = range(0x2000, 0x2000 + IRQ_LINES)
_DEVICE: Final = Fields({"_latch": bits(32), "_levels": bits(IRQ_LINES)})
_MEMORY: Final = Fields({}, contents=BYTES)


class PcTestDevice:
    """A `PortDevice`. A write of v to port 0x2000 + n sets the level of interrupt line n to v."""

    name: Final = "pc-testdev"
    ports: Final = (_LATCH, _FLUSH, *_LATCH_BYTES, _LINES)
    wide_ports: Final = ports

    __slots__ = ("_latch", "_levels", "_lines")

    def __init__(self, lines: Sequence[InterruptLine | None]) -> None:
        """`lines` by number; None for one that cannot be pulled."""
        self._lines = tuple(lines)
        self._latch = 0
        self._levels = 0
        """Of the lines, as bits."""

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls([None if irq == CASCADE_IRQ else machine.line(irq) for irq in range(IRQ_LINES)])

    def reset(self) -> None:
        self._latch = self._levels = 0
        self._drive()

    def save(self) -> State:
        return _DEVICE.save(self)

    def load(self, state: State) -> None:
        _DEVICE.load(self, self.name, state)
        self._drive()

    def _drive(self) -> None:
        for number, line in enumerate(self._lines):
            if line is not None:
                line(bool(self._levels >> number & 1))

    def read_port(self, port: int, size: int) -> int:
        return 0 if port in _FLUSH or port in _LINES else self._latch & (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        if port in _LINES:
            bit = 1 << port - _LINES.start
            self._levels = self._levels | bit if value else self._levels & ~bit
            line = self._lines[port - _LINES.start]
            if line is not None:
                line(bool(value))
        elif port not in _FLUSH:
            self._latch = value


class PcTestMemory:
    """An `MmioDevice` of 64 KiB that keeps what is stored."""

    name: Final = "pc-testdev memory"
    gpa: Final = Gpa(0xFF00_0000)
    length: Final = 64 * KIB

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._bytes = bytearray()  # up to the last one that is not 0

    def save(self) -> State:
        return _MEMORY.save(self, contents=self._bytes)

    def load(self, state: State) -> None:
        contents = _MEMORY.load(self, self.name, state)["contents"]
        if len(contents) > self.length:
            raise StateError(self.name, "contents", contents, f"at most {self.length} bytes")
        self._bytes = contents.rstrip(b"\0")

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        end = offset + size
        if end > len(self._bytes):
            self._bytes += bytes(end - len(self._bytes))
        self._bytes[offset:end] = value.to_bytes(size, "little")
        if end == len(self._bytes) and not self._bytes[-1]:
            self._bytes = self._bytes.rstrip(b"\0")
