"""Bus-master DMA of the IDE channels, and the PCI function that it belongs to (Intel 82371SB, PIIX3, datasheet; SFF-8038i)."""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from kev.addressing import Gpa
from kev.dev.base import DeviceError, GuestMemory
from kev.dev.buses.ports import PortBus
from kev.dev.pci.function import BaseAddress, PciFunction, PciIdentity, WritableRegister
from kev.dev.pci.ports import PciPorts
from kev.state import FLAG, PART, Fields, State, bits, listed

_IDENTITY: Final = PciIdentity(0x8086, 0x7010, 0x01_0180)
"""An IDE controller that masters the bus, both of whose channels are where they always were."""
_TIMING: Final = 0x40
_CHANNELS_ENABLED: Final = 0x8000_8000
_ALL_BITS: Final = 0xFFFF_FFFF
_BASE_ADDRESS: Final = 4

_COMMAND, _STATUS, _TABLE = 0, 2, 4
"""Offsets of a channel's registers."""
_REGISTERS: Final = 8
"""Bytes of them."""
_START: Final = 1 << 0
_TO_MEMORY: Final = 1 << 3
_ACTIVE: Final = 1 << 0
_ERROR: Final = 1 << 1
_INTERRUPT: Final = 1 << 2
_DRIVES_CAPABLE: Final = 3 << 5
"""Bits that drivers set and read back."""
_DESCRIPTOR: Final = struct.Struct("<IHH")
_END_OF_TABLE: Final = 1 << 15
_MOST_DESCRIPTORS: Final = 8192
"""As many as 64 KiB hold."""


class DmaDisk(Protocol):
    """The IDE channel, as DMA moves its data."""

    @property
    def dma_length(self) -> int:
        """The bytes that the command under way waits to move; 0 if none does."""

    @property
    def dma_writes(self) -> bool:
        """They go to the disk."""

    def read_dma(self) -> bytes | None:
        """The bytes that the command reads; None if the disk fails."""

    def finish_dma(self, data: bytes | None, *, failed: bool = False) -> None:
        """The data is moved, and with `data` written to the disk; or it cannot be."""


class BusMaster:
    """The registers of one channel.

    A transfer takes no time: it is done as soon as the command and the start bit are there, in whichever order.
    """

    __slots__ = ("_active", "_command", "_disk", "_interrupted", "_may_access_memory", "_memory", "_settings", "_table")

    _FIELDS: Final = Fields(
        {"_active": FLAG, "_command": bits(8), "_interrupted": bits(8), "_settings": bits(8), "_table": bits(32)}
    )

    def __init__(self, disk: DmaDisk, memory: GuestMemory, may_access_memory: Callable[[], bool]) -> None:
        self._disk: Final = disk
        self._memory: Final = memory
        self._may_access_memory: Final = may_access_memory
        self.reset()

    def reset(self) -> None:
        self._active = False
        self._command = 0
        self._interrupted = 0
        """The interrupt and error bits of the status."""
        self._settings = 0
        self._table = 0

    def save(self) -> State:
        return self._FIELDS.save(self)

    def load(self, called: str, state: State) -> None:
        self._FIELDS.load(self, called, state)

    def interrupted(self) -> None:
        """The channel interrupts."""
        self._interrupted |= _INTERRUPT

    def transfer(self) -> None:
        """Moves the data, if the channel waits for that and the driver has started it."""
        disk, length = self._disk, self._disk.dma_length
        if not length or not self._active or not self._may_access_memory():
            return
        try:
            regions = list(self._regions(length))
            data = b"".join(self._memory.read(gpa, size) for gpa, size in regions) if disk.dma_writes else disk.read_dma()
            if data is not None and not disk.dma_writes:
                self._write(regions, data)
        except DeviceError:
            data = None
        self._active = False
        if data is None or sum(size for _, size in regions) < length:
            self._interrupted |= _ERROR
            disk.finish_dma(None, failed=True)
        else:
            disk.finish_dma(data if disk.dma_writes else None)

    def _regions(self, length: int) -> Iterator[tuple[Gpa, int]]:
        """The parts of memory that the table of descriptors lists, as far as `length` bytes reach."""
        for index in range(_MOST_DESCRIPTORS):
            entry = self._memory.read(Gpa((self._table & ~3) + index * _DESCRIPTOR.size), _DESCRIPTOR.size)
            gpa, count, flags = _DESCRIPTOR.unpack(entry)
            size = min(count & ~1 or 0x1_0000, length)
            yield Gpa(gpa & ~1), size
            length -= size
            if flags & _END_OF_TABLE or not length:
                return

    def _write(self, regions: list[tuple[Gpa, int]], data: bytes) -> None:
        done = 0
        for gpa, size in regions:
            self._memory.write(gpa, data[done : done + size])
            done += size

    # Ports

    def read(self, offset: int, size: int) -> int:
        contents = struct.pack("<BxBxI", self._command, self._status, self._table)
        return int.from_bytes(contents[offset : offset + size], "little")

    @property
    def _status(self) -> int:
        return self._settings | self._interrupted | (_ACTIVE if self._active else 0)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == _COMMAND:
            self._write_command(value & (_START | _TO_MEMORY))
        elif offset == _STATUS:
            self._settings = value & _DRIVES_CAPABLE
            self._interrupted &= ~value
        elif _TABLE <= offset < _TABLE + 4:
            shift = 8 * (offset - _TABLE)
            mask = (1 << 8 * size) - 1 << shift & _ALL_BITS
            self._table = self._table & ~mask | value << shift & mask

    def _write_command(self, command: int) -> None:
        before, was_active = self._command, self._active
        self._command = command
        if not command & _START:
            self._active = False
        elif not before & _START:
            self._active = True
            try:
                self.transfer()
            except BaseException:
                self._command, self._active = before, was_active  # a page is absent: the access is repeated
                raise


class BusMasters:
    """Those of both channels, one behind the other."""

    length: Final = 2 * _REGISTERS

    __slots__ = ("_channels",)

    _FIELDS: Final = Fields({}, channels=listed(PART, 2))

    def __init__(self, channels: Sequence[BusMaster]) -> None:
        self._channels: Final = channels

    def reset(self) -> None:
        for channel in self._channels:
            channel.reset()

    def save(self) -> State:
        return self._FIELDS.save(self, channels=[channel.save() for channel in self._channels])

    def load(self, called: str, state: State) -> None:
        parts = self._FIELDS.load(self, called, state)
        for number, (channel, saved) in enumerate(zip(self._channels, parts["channels"], strict=True)):
            channel.load(f"{called}, channel {number}", saved)

    def read(self, offset: int, size: int) -> int:
        return self._channels[offset // _REGISTERS].read(offset % _REGISTERS, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self._channels[offset // _REGISTERS].write(offset % _REGISTERS, size, value)


def ide_function(
    name: str, channels: Sequence[DmaDisk], memory: GuestMemory, ports: PortBus, base: int
) -> tuple[PciFunction, Sequence[BusMaster]]:
    """The PCI function of an IDE controller with two `channels`, and their bus masters, whose ports are at `base` until the guest
    moves them.
    """
    function = PciFunction(name, _IDENTITY)
    masters = [BusMaster(channel, memory, lambda: function.is_bus_master) for channel in channels]
    function.map(BaseAddress(_BASE_ADDRESS, base, PciPorts(f"{name}, bus master", ports, BusMasters(masters)), is_ports=True))
    function.add_register(WritableRegister(_TIMING, _ALL_BITS, lambda _: None), _CHANNELS_ENABLED)
    return function, masters
