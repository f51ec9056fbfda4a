"""Split virtqueues, seen from the device (VIRTIO 1.2, section 2.7)."""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from kev.addressing import Gpa, page_ceil
from kev.dev.base import DeviceError, GuestMemory
from kev.state import FLAG, Fields, State, StateError, bits

_DESCRIPTOR: Final = struct.Struct("<QIHH")
_DESCRIPTOR_NEXT: Final = 1 << 0
_DESCRIPTOR_WRITE: Final = 1 << 1
_DESCRIPTOR_INDIRECT: Final = 1 << 2

_AVAILABLE_NO_INTERRUPT: Final = 1 << 0
_INDEX_OFFSET: Final = 2
_RING_OFFSET: Final = 4
_USED_ELEMENT: Final = struct.Struct("<II")

_EVENT_SIZE: Final = 2
"""Behind either ring."""

_INDICES: Final = 0x10000
_LOW_HALF: Final = 0xFFFF_FFFF


class QueueError(DeviceError):
    """The driver has built a queue that the specification forbids."""


Buffer: TypeAlias = tuple[Gpa, int]
"""A part of guest memory that one descriptor describes: where it is, and its length in bytes."""


class DescriptorChain(NamedTuple):
    """One request: buffers that the device reads, and after them those that it writes."""

    head: int
    """The index of the first descriptor: the request's name."""
    readable: Sequence[Buffer]
    writable: Sequence[Buffer]
    bytes_readable: int
    """Of all those buffers together."""
    bytes_writable: int


class SplitQueue:
    """One virtqueue. The driver sets its size and the addresses of its parts before it makes it ready."""

    __slots__ = ("_memory", "_next_available", "_next_used", "available", "descriptors", "largest", "ready", "size", "used")

    _FIELDS: Final = Fields(
        {
            "size": bits(32),
            "descriptors": bits(64),
            "available": bits(64),
            "used": bits(64),
            "ready": FLAG,
            "_next_available": bits(16),
            "_next_used": bits(16),
        }
    )

    def __init__(self, memory: GuestMemory, largest: int) -> None:
        """`largest`: how many descriptors the queue may have, a power of 2 up to 32768."""
        self._memory = memory
        self.largest: Final = largest
        self.reset()

    def reset(self) -> None:
        self.size = self.largest
        self.descriptors = Gpa(0)
        self.available = Gpa(0)
        """The driver area."""
        self.used = Gpa(0)
        """The device area."""
        self.ready = False
        self._next_available = 0
        self._next_used = 0

    def save(self) -> State:
        return self._FIELDS.save(self)

    def load(self, called: str, state: State) -> None:
        self._FIELDS.load(self, called, state)
        if self.ready:
            try:
                self._check()
            except QueueError as error:
                raise StateError(called, "ready", True, f"False: {error}") from error

    def lay_out(self, base: Gpa) -> None:
        """Its parts, of the largest size, one behind the other, the last from a page boundary on, as before version 1.0."""
        self.size = self.largest
        self.descriptors = base
        self.available = Gpa(base + _DESCRIPTOR.size * self.size)
        behind = self.available + _RING_OFFSET + 2 * self.size + _EVENT_SIZE
        self.used = Gpa(page_ceil(behind))

    def start(self) -> None:
        """Makes the queue ready. QueueError if its size or the alignment of its parts is wrong."""
        self._check()
        self.ready = True

    def _check(self) -> None:
        if not 0 < self.size <= self.largest or self.size & (self.size - 1):
            raise QueueError(f"virtqueue: {self.size} descriptors are not a power of 2 up to {self.largest}")
        if self.descriptors % 16 or self.available % 2 or self.used % 4:
            raise QueueError(
                f"virtqueue: parts at {self.descriptors:#x}, {self.available:#x} and {self.used:#x} are not aligned to 16, 2 and 4"
            )

    def next_chain(self) -> DescriptorChain | None:
        """The oldest request that is not complete, or None. QueueError if there is no sense in it."""
        size = self.size
        ring = self._memory.read(self.available, _RING_OFFSET + 2 * size)
        next_available = self._next_available
        waiting = (int.from_bytes(ring[_INDEX_OFFSET:_RING_OFFSET], "little") - next_available) % _INDICES
        if waiting > size:
            raise QueueError(f"virtqueue: {waiting} requests are available in a queue of {size}")
        if not waiting:
            return None
        entry = _RING_OFFSET + 2 * (next_available % size)
        return self._chain(int.from_bytes(ring[entry : entry + 2], "little"))

    def complete(self, chain: DescriptorChain, written: int) -> bool:
        """Hands `chain`, the oldest request, back with `written` bytes in it; says whether the driver wants an interrupt."""
        memory = self._memory
        slot = self.used + _RING_OFFSET + _USED_ELEMENT.size * (self._next_used % self.size)
        following = (self._next_used + 1) % _INDICES
        memory.write(Gpa(slot), _USED_ELEMENT.pack(chain.head, written))
        memory.write(Gpa(self.used + _INDEX_OFFSET), following.to_bytes(2, "little"))
        wants_interrupt = not memory.read(self.available, 1)[0] & _AVAILABLE_NO_INTERRUPT
        self._next_used = following
        self._next_available = (self._next_available + 1) % _INDICES
        return wants_interrupt

    def _chain(self, head: int) -> DescriptorChain:
        size, readable, writable = self.size, list[Buffer](), list[Buffer]()
        bytes_readable = bytes_writable = 0
        table = self._memory.read(self.descriptors, _DESCRIPTOR.size * size)
        index = head
        # A chain that is longer than the table has descriptors is a loop.
        for _ in range(size):
            if index >= size:
                raise QueueError(f"virtqueue: descriptor {index} of {size}")
            gpa, length, flags, index_of_next = _DESCRIPTOR.unpack_from(table, _DESCRIPTOR.size * index)
            if flags & _DESCRIPTOR_INDIRECT:
                raise QueueError(f"virtqueue: descriptor {index} is indirect, which was not negotiated")
            if flags & _DESCRIPTOR_WRITE:
                writable.append((gpa, length))
                bytes_writable += length
            elif writable:
                raise QueueError(f"virtqueue: descriptor {index} is for reading and follows one for writing")
            else:
                readable.append((gpa, length))
                bytes_readable += length
            if not flags & _DESCRIPTOR_NEXT:
                return DescriptorChain(head, readable, writable, bytes_readable, bytes_writable)
            index = index_of_next
        raise QueueError(f"virtqueue: the chain at descriptor {head} is a loop")


def with_half(address: Gpa, register: int, value: int) -> Gpa:
    """The address with its low half replaced, or its high half, whose register is the next one."""
    return Gpa(address & _LOW_HALF | value << 32) if register & 4 else Gpa(address & ~_LOW_HALF | value)
