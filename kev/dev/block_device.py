"""The disk behind a block device."""

from typing import Final, Protocol

SECTOR_SIZE: Final = 512
"""In bytes."""


class BlockBackend(Protocol):
    """512-byte sectors of which a range of bytes is read and written at once; `kev.fs.disk.Disk` is one. It raises KevError."""

    @property
    def size(self) -> int:
        """In bytes. Only svirtb has a use for what is beyond the last whole sector."""

    @property
    def writable(self) -> bool: ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` from byte `offset` on, all of it within the disk."""

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Writes bytes from byte `offset` on, all of them within the disk."""

    def flush(self) -> None:
        """Waits until everything written is on stable storage."""
