"""What a page table says of a page: where it lies, how large it is, what may be done with it and how it is cached."""

from enum import IntEnum, IntFlag

from kev.addressing import GIB, KIB, MIB, Gpa, Hpa
from kev.named_tuple import NamedTuple


class Permissions(IntFlag):
    """What a guest may do with a page. The bits are those of `kev.exits.Access`: `access & ~permissions` is what is denied."""

    READ = 1
    WRITE = 2
    EXECUTE = 4
    RW = READ | WRITE
    RX = READ | EXECUTE
    RWX = READ | WRITE | EXECUTE

    def __str__(self) -> str:
        """Three letters, such as `R-X`."""
        return "".join(letter if self & 1 << bit else "-" for bit, letter in enumerate("RWX"))


class MemoryType(IntEnum):
    """How accesses to a page are cached, with Intel's encodings (SDM vol. 3, "Memory cache control", table 12-10)."""

    UC = 0
    """Uncacheable."""
    WC = 1
    """Write combining."""
    WT = 4
    """Write-through."""
    WP = 5
    """Write-protected."""
    WB = 6
    """Write-back: ordinary memory."""


class PageSize(IntEnum):
    """The sizes of page that an entry can map, in bytes."""

    SIZE_4K = 4 * KIB
    SIZE_2M = 2 * MIB
    SIZE_1G = GIB

    def __str__(self) -> str:
        return _SIZE_TEXT[self]

    @property
    def level(self) -> int:
        """The level of the table whose entries map pages of this size: 1 for 4 KiB, 2 for 2 MiB, 3 for 1 GiB."""
        return (self.bit_length() - 13) // 9 + 1

    @property
    def smaller(self) -> "PageSize":
        """The next smaller size. ValueError for 4 KiB."""
        return PageSize(self >> 9)


_SIZE_TEXT = {PageSize.SIZE_4K: "4 KiB", PageSize.SIZE_2M: "2 MiB", PageSize.SIZE_1G: "1 GiB"}


class Mapping(NamedTuple):
    """One page of a page table."""

    gpa: Gpa
    """Its first guest-physical address."""
    hpa: Hpa
    """Where that lies in host-physical memory."""
    size: PageSize
    permissions: Permissions
    """What every level on the way to the page permits."""
    memory_type: MemoryType

    @property
    def level(self) -> int:
        """The level of the table that its entry is in: 1 to 3."""
        return self.size.level

    def __str__(self) -> str:
        return f"{self.gpa:#018x} -> {self.hpa:#018x}  {self.size}  {self.permissions} {self.memory_type.name}"


class MappedRange(NamedTuple):
    """Consecutive pages of one size, with equal permissions and memory type, that lie as consecutively in host-physical memory."""

    gpa: Gpa
    hpa: Hpa
    length: int
    """In bytes."""
    page_size: PageSize
    permissions: Permissions = Permissions.RWX
    memory_type: MemoryType = MemoryType.WB

    @property
    def end(self) -> Gpa:
        """The first guest-physical address after the range."""
        return Gpa(self.gpa + self.length)

    def part(self, start: int, end: int) -> "MappedRange":
        """What the range says of the guest-physical addresses [start, end), which lie within it."""
        return self._replace(gpa=Gpa(start), hpa=Hpa(self.hpa + start - self.gpa), length=end - start)

    def __str__(self) -> str:
        return (
            f"{self.gpa:#018x}-{self.end - 1:#018x} -> {self.hpa:#018x}  "
            f"{-(-self.length // self.page_size)} x {self.page_size}  {self.permissions} {self.memory_type.name}"
        )
