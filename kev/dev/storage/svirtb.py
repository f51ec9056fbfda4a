"""svirtb, KeV's simple virtio-like block device.

The driver finds six 32-bit registers in a page that it can read without an exit. It announces itself by writing DRIVER_OK, then
the ring's address and size in entries, then READY. The ring's entries are requests of 32 bytes; writing the index after the last
one to the head register has them served before the next instruction, and the tail follows.
"""

import struct
from typing import Final

from kev import log
from kev.addressing import MIB, PAGE_SIZE, Gpa
from kev.dev.base import DeviceError, GuestMemory
from kev.dev.block_device import SECTOR_SIZE, BlockBackend
from kev.errors import KevError
from kev.state import Fields, State, octets

SVIRTB_GPA: Final = Gpa(0xCAFE_0000)

STATUS, QUEUE_SIZE, QUEUE_ADDRESS_HIGH, QUEUE_ADDRESS_LOW, QUEUE_HEAD, QUEUE_TAIL = range(0, 24, 4)
_REGISTERS: Final = range(0, 24, 4)

MAGIC: Final = 0x7472_6976
"""What the status register reads after a reset: "virt"."""
DRIVER_OK: Final = 0
READY: Final = 1
RESET: Final = 2
"""Written by the driver, it resets the device; read, it says that the device needs that."""

READ: Final = 0
WRITE: Final = 1

_REGISTER: Final = struct.Struct("<I")
_ALL_REGISTERS: Final = struct.Struct("<6I")
_REQUEST: Final = struct.Struct("<QQQI4x")
_READY_BYTES: Final = _REGISTER.pack(READY)
_LARGEST_QUEUE: Final = 1 << 16
_MOST_BYTES: Final = 64 * MIB
"""What one write to the head register may transfer: the guest cannot keep the machine busy with one instruction."""


class SimpleVirtioBlock:
    """The device. A request that makes no sense puts its status to RESET, and it serves nothing until the driver resets it."""

    _FIELDS: Final = Fields({}, registers=octets(len(_REGISTERS) * _REGISTER.size))

    name: Final = "svirtb"
    gpa: Final = SVIRTB_GPA
    length: Final = PAGE_SIZE

    __slots__ = ("_disk", "_memory", "page")

    def __init__(self, page: memoryview, disk: BlockBackend, memory: GuestMemory) -> None:
        """`page` is the 4 KiB of host memory that the guest maps at `gpa`, readable and executable."""
        self.page: Final = page
        self._disk = disk
        self._memory = memory
        self.reset()

    def reset(self) -> None:
        self.page[:] = bytes(PAGE_SIZE)
        self._set(STATUS, MAGIC)

    def save(self) -> State:
        return self._FIELDS.save(self, registers=self.page[: _REGISTERS.stop])

    def load(self, state: State) -> None:
        self.page[: _REGISTERS.stop] = self._FIELDS.load(self, self.name, state)["registers"]

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return int.from_bytes(self.page[offset : offset + size], "little")

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        if size != 4 or offset not in _REGISTERS:
            raise DeviceError(f"svirtb: the guest writes {value:#x}, {size} bytes at offset {offset:#x}: no register")
        if offset == STATUS and value == RESET:
            self.reset()
        elif offset == QUEUE_HEAD and self.page[: _REGISTER.size] == _READY_BYTES:
            self._ring(value)
        elif offset != QUEUE_TAIL:
            self._set(offset, value)

    def _set(self, register: int, value: int) -> None:
        _REGISTER.pack_into(self.page, register, value)

    def _ring(self, head: int) -> None:
        """The driver writes the head register: whatever it asks for is served, or it is told to reset the device."""
        try:
            self._serve_until(head)
        except KevError as error:
            log.warning("svirtb needs a reset", reason=str(error))
            self._set(STATUS, RESET)

    def _serve_until(self, head: int) -> None:
        """Serves the requests from the tail up to `head`. KevError if there is no sense in one, or the disk fails.

        The tail follows every one of them, so that the access can be repeated when a page is absent: what was served stays served.
        """
        _, size, queue_high, queue_low, _, tail = _ALL_REGISTERS.unpack_from(self.page)
        if head >= size or size > _LARGEST_QUEUE:
            raise DeviceError(f"the head moves to {head} in a queue of {size} entries; the limit is {_LARGEST_QUEUE}")
        left = _MOST_BYTES
        while tail != head:
            left -= self._serve(tail, queue_high << 32 | queue_low, left)
            tail = (tail + 1) % size
            _REGISTER.pack_into(self.page, QUEUE_TAIL, tail)
        _REGISTER.pack_into(self.page, QUEUE_HEAD, head)

    def _serve(self, index: int, queue: int, most: int) -> int:
        """Serves one request of the ring at `queue`; returns how many bytes it was about, of `most` that it may be."""
        entry = self._memory.read(Gpa(queue + index * _REQUEST.size), _REQUEST.size)
        gpa, length, sector, command = _REQUEST.unpack(entry)
        offset = sector * SECTOR_SIZE
        # A request may pass the end of the disk; what lies beyond is left alone.
        transferred: int = max(0, min(length, self._disk.size - offset))
        if command not in (READ, WRITE) or transferred > most:
            raise DeviceError(f"request {index} is command {command} for {transferred} bytes; {most} are left of {_MOST_BYTES}")
        if not transferred:
            return 0
        if command == READ:
            buffer = bytearray(transferred)
            self._disk.read_into(offset, memoryview(buffer))
            self._memory.write(Gpa(gpa), bytes(buffer))
        else:
            self._disk.write(offset, self._memory.read(Gpa(gpa), transferred))
        return transferred
