"""Guest memory and disks for the device tests."""

import io

from kev.addressing import PAGE_SIZE, Gpa, page_floor
from kev.dev.base import DeviceError, PageAbsent
from kev.fs.disk import Disk


class Ram:
    """Guest memory of which some pages are absent at first: the first touch of each is a PageAbsent and brings it in."""

    def __init__(self, size: int = 1 << 20, absent: bool = False) -> None:
        self.bytes = bytearray(size)
        self.absent = set(range(0, size, PAGE_SIZE)) if absent else set[int]()

    def read(self, gpa: Gpa, length: int) -> bytes:
        self._touch(gpa, length)
        return bytes(self.bytes[gpa : gpa + length])

    def write(self, gpa: Gpa, data: bytes) -> None:
        self._touch(gpa, len(data))
        self.bytes[gpa : gpa + len(data)] = data

    def _touch(self, gpa: int, length: int) -> None:
        if not 0 <= gpa <= gpa + length <= len(self.bytes):
            raise DeviceError(f"{length} bytes at gpa {gpa:#x} are not memory")
        for page in range(page_floor(gpa), gpa + length, PAGE_SIZE):
            if page in self.absent:
                self.absent.remove(page)
                raise PageAbsent(Gpa(page))


class ReadOnlyFile(io.BytesIO):
    def writable(self) -> bool:
        return False


class BrokenFile(io.BytesIO):
    """Fails whatever is read or written."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")

    def write(self, data: object, /) -> int:
        raise OSError(5, "Input/output error")


def numbered_sectors(count: int) -> bytes:
    """Sectors that are all different: each consists of its number plus 1, in 16 bits."""
    return b"".join((sector + 1).to_bytes(2, "little") * 256 for sector in range(count))


class TestDisk:
    """A disk of numbered sectors and the file behind it."""

    __test__ = False

    def __init__(self, sectors: int = 64, file: type[io.BytesIO] = io.BytesIO, rest: int = 0) -> None:
        """`rest`: bytes beyond the last whole sector."""
        self.original = numbered_sectors(sectors) + b"\xfe" * rest
        self.file = file(self.original)
        self.disk = Disk(self.file, "disk", any_size=bool(rest))

    @property
    def contents(self) -> bytes:
        return self.file.getvalue()

    def sector(self, number: int) -> bytes:
        return self.contents[512 * number : 512 * (number + 1)]
