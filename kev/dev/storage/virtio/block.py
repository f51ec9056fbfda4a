"""The virtio block device (VIRTIO 1.2, section 5.2)."""

import struct
from collections.abc import Sequence
from typing import Final

from kev.addressing import MIB, Gpa
from kev.dev.base import GuestMemory
from kev.dev.block_device import SECTOR_SIZE, BlockBackend
from kev.dev.storage.virtio.queue import Buffer, DescriptorChain, QueueError
from kev.errors import KevError

FEATURE_SEG_MAX: Final = 1 << 2
FEATURE_RO: Final = 1 << 5
FEATURE_BLOCK_SIZE: Final = 1 << 6
FEATURE_FLUSH: Final = 1 << 9


class RequestType:
    """What the header of a request asks for."""

    IN: Final = 0
    OUT: Final = 1
    FLUSH: Final = 4
    GET_ID: Final = 8


class RequestStatus:
    """What the last byte of a request answers."""

    OK: Final = 0
    IO_ERROR: Final = 1
    UNSUPPORTED: Final = 2


LARGEST_REQUEST: Final = 16 * MIB
"""The bytes of data that one request may carry; a larger one is an I/O error. A guest cannot make the machine allocate more."""

_QUEUE_SIZE: Final = 128
_HEADER: Final = struct.Struct("<I4xQ")
_ID: Final = b"kev-virtio-blk".ljust(20, b"\0")
_CONFIGURATION: Final = struct.Struct("<QII4xI")
"""capacity in sectors, size_max (not offered), seg_max, geometry (not offered), blk_size"""


class VirtioBlock:
    """Requests to a disk, in whatever pieces the driver puts them."""

    name: Final = "virtio-blk"
    device_id: Final = 2
    queue_sizes: Final = (_QUEUE_SIZE,)

    __slots__ = ("_disk", "configuration", "features")

    def __init__(self, disk: BlockBackend) -> None:
        self._disk = disk
        self.features: Final = FEATURE_SEG_MAX | FEATURE_BLOCK_SIZE | FEATURE_FLUSH | (0 if disk.writable else FEATURE_RO)
        # A request needs a descriptor for its header and one for its status.
        self.configuration: Final = _CONFIGURATION.pack(disk.size // SECTOR_SIZE, 0, _QUEUE_SIZE - 2, SECTOR_SIZE)

    def serve(self, chain: DescriptorChain, memory: GuestMemory) -> int:
        """Serves one request; returns how many bytes were written from its start on.

        QueueError if it has no header or no place for a status.
        """
        writable = chain.bytes_writable
        if chain.bytes_readable < _HEADER.size or not writable:
            raise QueueError(f"virtio-blk: a request of {chain.bytes_readable} bytes to read and {writable} to write is too small")
        if max(chain.bytes_readable, writable) > LARGEST_REQUEST + _HEADER.size:
            status, data = RequestStatus.IO_ERROR, b""
        else:
            status, data = self._execute(_gather(memory, chain.readable), writable - 1)
        _scatter(memory, chain.writable, 0, data)
        _scatter(memory, chain.writable, writable - 1, bytes((status,)))
        # The status does not count where there is a gap before it (section 2.7.8.2).
        return writable if len(data) == writable - 1 else len(data)

    def _execute(self, request: bytes, room: int) -> tuple[int, bytes]:
        """The status of a request, and the data it reads, at most `room` bytes."""
        kind, sector = _HEADER.unpack_from(request)
        try:
            match kind:
                case RequestType.IN:
                    return self._read(sector, room)
                case RequestType.OUT:
                    return self._write(sector, memoryview(request)[_HEADER.size :])
                case RequestType.FLUSH:
                    self._disk.flush()
                    return RequestStatus.OK, b""
                case RequestType.GET_ID:
                    return RequestStatus.OK, _ID[:room]
                case _:
                    return RequestStatus.UNSUPPORTED, b""
        except KevError:
            return RequestStatus.IO_ERROR, b""

    def _read(self, sector: int, length: int) -> tuple[int, bytes]:
        if length % SECTOR_SIZE or sector * SECTOR_SIZE + length > self._disk.size:
            return RequestStatus.IO_ERROR, b""
        buffer = bytearray(length)
        self._disk.read_into(sector * SECTOR_SIZE, memoryview(buffer))
        return RequestStatus.OK, bytes(buffer)

    def _write(self, sector: int, data: memoryview) -> tuple[int, bytes]:
        if len(data) % SECTOR_SIZE or sector * SECTOR_SIZE + len(data) > self._disk.size or not self._disk.writable:
            return RequestStatus.IO_ERROR, b""
        self._disk.write(sector * SECTOR_SIZE, data)
        return RequestStatus.OK, b""


def _gather(memory: GuestMemory, buffers: Sequence[Buffer]) -> bytes:
    if len(buffers) == 1:
        return memory.read(*buffers[0])
    return b"".join(memory.read(gpa, length) for gpa, length in buffers)


def _scatter(memory: GuestMemory, buffers: Sequence[Buffer], offset: int, data: bytes) -> None:
    """Writes `data` from byte `offset` of the buffers on, as if they were one."""
    start, end = 0, offset + len(data)  # `start`: where the buffer begins, counted from the first one
    for gpa, length in buffers:
        low, high = max(start, offset), min(start + length, end)
        if low < high:
            memory.write(Gpa(gpa + low - start), data[low - offset : high - offset])
        start += length
