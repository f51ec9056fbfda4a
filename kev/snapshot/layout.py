"""What lies where in a snapshot. All numbers are little-endian, all offsets and lengths in bytes.

    header        4 KiB   magic, version, id, counts, and where each section is
    machine       CBOR    what machine it is, and what it is made of
    state         CBOR    what its parts save of themselves, memory aside
    index                 a bit for each 2 MiB of guest-physical memory: is there an entry in the directory?
    directory     4 KiB   for each of them, in the order of addresses: which of its 512 pages there are, where, and their checksums
    pages                 the pages that are stored, those of an entry one behind the other

Sections begin at multiples of 4 KiB, in this order, with zeros up to the next one's beginning. `docs/snapshots.md` has it in full.
"""

import struct
import zlib
from typing import Final, NamedTuple, Self

from kev.addressing import PAGE_SIZE, page_ceil
from kev.pager.frames import SLAB_PAGES, SLAB_SHIFT
from kev.snapshot.errors import SnapshotError
from kev.state import SNAPSHOT_MAGIC

VERSION: Final = 1
CHUNK_SHIFT: Final = SLAB_SHIFT
"""An entry of the directory is for 2 MiB of guest-physical memory, at a multiple of that."""
CHUNK_PAGES: Final = SLAB_PAGES
CLUSTER_PAGES: Final = 16
"""Pages that are compressed together: those that are stored of 16 in a row."""
CLUSTERS: Final = CHUNK_PAGES // CLUSTER_PAGES
SECTIONS: Final = ("machine", "state", "index", "directory", "pages")

_ZSTD: Final = 1
"""The flag of a snapshot whose pages are compressed."""
_HEADER: Final = struct.Struct("<8sII16sQQQQI")
_SECTION: Final = struct.Struct("<16sQQI4x")
_CHECKSUM: Final = struct.Struct("<I")
_CHECKSUM_AT: Final = PAGE_SIZE - _CHECKSUM.size
_BITMAP: Final = CHUNK_PAGES // 8
_ENTRY: Final = struct.Struct(f"<{4 * CHUNK_PAGES}sQQQ{_BITMAP}s{_BITMAP}s{_BITMAP}s{CLUSTERS}I")


class Section(NamedTuple):
    """Where a section is."""

    offset: int
    length: int
    checksum: int = 0
    """CRC-32 of the section and the zeros behind it, up to a multiple of 4 KiB; 0 where parts have their own."""

    @property
    def end(self) -> int:
        return self.offset + self.length


class Header(NamedTuple):
    """The first 4 KiB."""

    id: bytes
    """16 bytes: the beginning of the SHA-256 of the sections but for `pages`, whose checksums are in `directory`."""
    size: int
    """Of the whole file."""
    present: int
    """Pages that were present."""
    stored: int
    """Those of them that are in the file."""
    zero: int
    """Those of them that are zeros."""
    compressed: bool
    sections: dict[str, Section]

    def pack(self) -> bytes:
        flags = _ZSTD if self.compressed else 0
        counts = self.present, self.stored, self.zero
        parts = [_HEADER.pack(SNAPSHOT_MAGIC, VERSION, flags, self.id, self.size, *counts, len(self.sections))]
        parts += (_SECTION.pack(name.encode(), *section) for name, section in self.sections.items())
        return sealed(b"".join(parts))

    @classmethod
    def parse(cls, page: bytes, name: str, size: int) -> Self:
        """The header in the first 4 KiB of the file `name`, which has `size` bytes. SnapshotError if there is anything wrong."""
        if not page.startswith(SNAPSHOT_MAGIC):
            raise SnapshotError(f"{name}: is no snapshot: it begins with {page[: len(SNAPSHOT_MAGIC)].hex(' ') or 'nothing'}")
        if len(page) < PAGE_SIZE:
            raise SnapshotError(f"{name}: is cut short: its header has {PAGE_SIZE} bytes, and {len(page)} are there")
        _, version, flags, id, whole, present, stored, zero, count = _HEADER.unpack_from(page)
        if not is_sealed(page):
            raise SnapshotError(f"{name}: the header is damaged: its CRC-32 is not the one that it has at offset {_CHECKSUM_AT:#x}")
        if version != VERSION or flags & ~_ZSTD:
            raise SnapshotError(f"{name}: its format is version {version} with flags {flags:#x}: this kev reads version {VERSION}")
        if size != whole:
            what = (
                f"is cut short: {size:,} of {whole:,} bytes are there" if size < whole else f"has {size - whole:,} bytes too many"
            )
            raise SnapshotError(f"{name}: {what}")
        header = cls(id, whole, present, stored, zero, bool(flags & _ZSTD), _sections(page, count, name))
        header._check_sections(name)
        return header

    def _check_sections(self, name: str) -> None:
        offset = PAGE_SIZE
        for section_name, section in self.sections.items():
            if section.offset != offset:
                raise SnapshotError(f"{name}: section {section_name!r} begins at {section.offset:#x}, not at {offset:#x}")
            offset = page_ceil(section.end)
        if tuple(self.sections) != SECTIONS or self.sections["pages"].end != self.size:
            raise SnapshotError(
                f"{name}: its sections are {', '.join(self.sections)}: they must be {', '.join(SECTIONS)}, and no more"
            )


def _sections(page: bytes, count: int, name: str) -> dict[str, Section]:
    if count != len(SECTIONS):
        raise SnapshotError(f"{name}: it has {count} sections: a snapshot has {len(SECTIONS)}")
    sections = {}
    for number in range(count):
        section, *place = _SECTION.unpack_from(page, _HEADER.size + number * _SECTION.size)
        sections[section.rstrip(b"\0").decode("ascii", "replace")] = Section(*place)
    return sections


class Entry(NamedTuple):
    """What a snapshot has of the 512 pages of a chunk. Bit n of a bitmap stands for page n."""

    chunk: int
    """The number of the chunk: its address divided by 2 MiB."""
    offset: int
    """Where the first stored page is, or the first cluster."""
    length: int
    """Bytes of all that are stored."""
    present: int
    """Bitmap: pages that were there. Those that are neither stored nor zero are what the parent has, or else the image."""
    stored: int
    zero: int
    checksums: "memoryview | tuple[int, ...]"
    """The CRC-32 of each page that is present and not zero; else 0."""
    clusters: tuple[int, ...] = (0,) * CLUSTERS
    """Of a compressed snapshot: the bytes of each cluster. As many as its pages have: it is not compressed."""

    def pack(self) -> bytes:
        checksums = struct.pack(f"<{CHUNK_PAGES}I", *self.checksums)
        bitmaps = (bitmap.to_bytes(_BITMAP, "little") for bitmap in (self.present, self.stored, self.zero))
        return sealed(_ENTRY.pack(checksums, self.chunk << CHUNK_SHIFT, self.offset, self.length, *bitmaps, *self.clusters))

    @classmethod
    def parse(cls, page: bytes, chunk: int, name: str, pages: Section, compressed: bool) -> Self:
        """The entry of a chunk, in a file `name` with this section of pages. SnapshotError if it is damaged."""
        label = f"{name}: the directory entry of {chunk << CHUNK_SHIFT:#x}"
        if not is_sealed(page):
            raise SnapshotError(f"{label} is damaged: its CRC-32 is not the one that it has")
        checksums, gpa, offset, length, *rest = _ENTRY.unpack_from(page)
        present, stored, zero = (int.from_bytes(bitmap, "little") for bitmap in rest[:3])
        entry = cls(chunk, offset, length, present, stored, zero, memoryview(checksums).cast("I"), tuple(rest[3:]))
        if gpa != chunk << CHUNK_SHIFT or (stored | zero) & ~present or stored & zero:
            raise SnapshotError(f"{label} is one of {gpa:#x}, or does not agree with itself")
        expected = sum(entry.clusters) if compressed else PAGE_SIZE * stored.bit_count()
        if length != expected or offset < pages.offset or offset + length > pages.end:
            raise SnapshotError(
                f"{label} has {length:#x} bytes at {offset:#x}: not {expected:#x} in {pages.offset:#x}-{pages.end:#x}"
            )
        return entry

    def stored_before(self, number: int) -> int:
        """How many pages below page `number` are stored."""
        return (self.stored & (1 << number) - 1).bit_count()


def sealed(contents: bytes) -> bytes:
    """A page with `contents` and, at its end, its CRC-32."""
    page = contents.ljust(_CHECKSUM_AT, b"\0")
    return page + _CHECKSUM.pack(zlib.crc32(page))


def is_sealed(page: bytes) -> bool:
    (checksum,) = _CHECKSUM.unpack_from(page, _CHECKSUM_AT)
    return bool(checksum == zlib.crc32(page[:_CHECKSUM_AT]))
