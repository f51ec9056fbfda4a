"""A snapshot that is read: its header when it is opened, its directory where and when it is needed."""

import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from kev.addressing import KIB, PAGE_SIZE, page_ceil
from kev.pager.protocols import Rendezvous
from kev.pager.source import AsynchronousSource, SynchronousSource, blocking, read_bytes, read_exactly
from kev.snapshot.cbor import CborError, decode
from kev.snapshot.compression import decompressor
from kev.snapshot.errors import SnapshotError
from kev.snapshot.layout import CLUSTER_PAGES, Entry, Header, Section
from kev.state import Plain

Source: TypeAlias = SynchronousSource | AsynchronousSource
_BLOCK: Final = 64 * KIB
"""What is read of the directory at least, if it has to be awaited."""
_ENTRIES: Final = _BLOCK // PAGE_SIZE
_KEPT_CLUSTERS: Final = 16
_LONGEST: Final = 1 << 31
"""Bytes of a section that is read as a whole."""


class SnapshotFile:
    """One file. Everything in it is checked when it is read: what is damaged raises SnapshotError."""

    def __init__(self, source: Source, rendezvous: Callable[[], Rendezvous]) -> None:
        """Reads header and index. `rendezvous` makes what those who wait for the same block of the directory wait at."""
        self.source: Final = source
        self.name: Final = source.name
        self.waits: Final = isinstance(source, AsynchronousSource)
        self._at_once: Final[SynchronousSource] = blocking(source)
        head = read_bytes(self._at_once, 0, min(PAGE_SIZE, source.size))
        self.header: Final = Header.parse(head, source.name, source.size)
        self._pages: Final = self.header.sections["pages"]
        self._directory: Final = self.header.sections["directory"]
        self._bits: Final = self._section("index")
        self._index: Final = int.from_bytes(self._bits, "little")
        if self._directory.length != self._index.bit_count() * PAGE_SIZE:
            raise SnapshotError(
                f"{self.name}: its directory has {self._directory.length:#x} bytes for {self._index.bit_count()} entries"
            )
        self._chunks: list[int] | None = None
        self._entries: Final[dict[int, Entry]] = {}
        self._blocks_under_way: Final[dict[int, Rendezvous]] = {}
        self._rendezvous: Final = rendezvous
        self._clusters: Final[OrderedDict[tuple[int, int], bytes]] = OrderedDict()
        self._decompress: Final = decompressor(self.name) if self.header.compressed else None

    def machine(self) -> dict[str, Plain]:
        """The section that says what machine it is."""
        return self._dictionary("machine")

    def state(self) -> dict[str, Plain]:
        """The section with the state of its parts."""
        return self._dictionary("state")

    def chunks(self) -> list[int]:
        """The chunks that the directory has entries of, ascending."""
        if self._chunks is None:
            self._chunks = [8 * at + bit for at, byte in enumerate(self._bits) if byte for bit in range(8) if byte >> bit & 1]
        return self._chunks

    def holds(self, chunk: int) -> bool:
        return chunk >> 3 < len(self._bits) and bool(self._bits[chunk >> 3] >> (chunk & 7) & 1)

    def known_entry(self, chunk: int) -> Entry | None:
        """The entry of a chunk that the snapshot holds, unless it has to be awaited."""
        entry = self._entries.get(chunk)
        if entry is None and not self.waits:
            entry = self._keep(chunk, read_bytes(self._at_once, self._entry_offset(chunk), PAGE_SIZE))
        return entry

    async def entry(self, chunk: int) -> Entry:
        """The entry of a chunk that the snapshot holds."""
        while (entry := self.known_entry(chunk)) is None:
            block = self._number(chunk) // _ENTRIES
            if block in self._blocks_under_way:
                await self._blocks_under_way[block].wait()
            else:
                await self._read_block(block)
        return entry

    def read_run(self, entry: Entry, number: int, buffer: memoryview) -> bool | Awaitable[bool]:
        """Fills `buffer` with stored pages whose numbers follow each other from `number` on; not of a compressed snapshot."""
        return read_exactly(self.source, entry.offset + entry.stored_before(number) * PAGE_SIZE, buffer)

    def read_stored(self, entry: Entry, numbers: list[int], buffers: list[memoryview]) -> bool | Awaitable[bool]:
        """Fills a buffer for each of the stored pages with these numbers, which ascend: by one read, if they are not compressed."""
        if self._decompress is not None:
            return self._read_compressed(entry, numbers, buffers)
        first, last = entry.stored_before(numbers[0]), entry.stored_before(numbers[-1])
        offset = entry.offset + first * PAGE_SIZE
        data = memoryview(bytearray((last - first + 1) * PAGE_SIZE))
        places = [(entry.stored_before(number) - first) * PAGE_SIZE for number in numbers]
        filled = read_exactly(self.source, offset, data)
        return self._scattered(filled, data, places, buffers)

    def place(self, entry: Entry, number: int) -> int:
        """The offset of a stored page, or of its cluster."""
        if self._decompress is None:
            return entry.offset + entry.stored_before(number) * PAGE_SIZE
        return entry.offset + sum(entry.clusters[: number // CLUSTER_PAGES])

    # Sections that are read as a whole.

    def _dictionary(self, name: str) -> dict[str, Plain]:
        try:
            value = decode(self._section(name))
        except CborError as error:
            raise SnapshotError(f"{self.name}: section {name!r} is damaged: {error}") from error
        if type(value) is not dict:
            raise SnapshotError(f"{self.name}: section {name!r} is damaged: it is no dictionary")
        return value

    def _section(self, name: str) -> bytes:
        section: Section = self.header.sections[name]
        if section.length > _LONGEST:
            raise SnapshotError(f"{self.name}: section {name!r} has {section.length:,} bytes: the most are {_LONGEST:,}")
        padded = read_bytes(self._at_once, section.offset, page_ceil(section.length))
        if zlib.crc32(padded) != section.checksum:
            raise SnapshotError(f"{self.name}: section {name!r} is damaged: its CRC-32 is not the one in the header")
        return padded[: section.length]

    # The directory.

    def _number(self, chunk: int) -> int:
        """The place of the entry of a chunk among all."""
        return (self._index & (1 << chunk) - 1).bit_count()

    def _entry_offset(self, chunk: int) -> int:
        return self._directory.offset + self._number(chunk) * PAGE_SIZE

    def _keep(self, chunk: int, page: bytes) -> Entry:
        entry = self._entries[chunk] = Entry.parse(page, chunk, self.name, self._pages, self.header.compressed)
        return entry

    async def _read_block(self, block: int) -> None:
        arrived = self._blocks_under_way[block] = self._rendezvous()
        start = block * _BLOCK
        data = bytearray(min(_BLOCK, self._directory.length - start))
        try:
            filled = read_exactly(self.source, self._directory.offset + start, memoryview(data))
            if not isinstance(filled, bool):
                await filled
        finally:
            del self._blocks_under_way[block]
            arrived.set()
        chunks = self._chunks_from(block * _ENTRIES, len(data) // PAGE_SIZE)
        pages = (bytes(data[at : at + PAGE_SIZE]) for at in range(0, len(data), PAGE_SIZE))
        damaged: SnapshotError | None = None
        for chunk, page in zip(chunks, pages, strict=True):
            try:
                self._keep(chunk, page)
            except SnapshotError as error:
                damaged = damaged or error
        if damaged is not None:
            raise damaged

    def _chunks_from(self, number: int, count: int) -> list[int]:
        """The chunks of the entries from `number` on."""
        return self.chunks()[number : number + count]

    # Pages.

    def _scattered(
        self, filled: bool | Awaitable[bool], data: memoryview, places: list[int], buffers: list[memoryview]
    ) -> bool | Awaitable[bool]:
        if not isinstance(filled, bool):
            return self._await_and_scatter(filled, data, places, buffers)
        for place, buffer in zip(places, buffers, strict=True):
            buffer[:] = data[place : place + PAGE_SIZE]
        return filled

    async def _await_and_scatter(
        self, pending: Awaitable[bool], data: memoryview, places: list[int], buffers: list[memoryview]
    ) -> bool:
        filled = self._scattered(await pending, data, places, buffers)
        return filled if isinstance(filled, bool) else await filled

    def _read_compressed(self, entry: Entry, numbers: list[int], buffers: list[memoryview]) -> bool | Awaitable[bool]:
        needed = sorted({number // CLUSTER_PAGES for number in numbers})
        missing = [cluster for cluster in needed if (entry.chunk, cluster) not in self._clusters]
        kept = {cluster: self._kept(entry.chunk, cluster) for cluster in needed if cluster not in missing}
        if not missing:
            return self._copy(entry, numbers, buffers, kept)
        start = sum(entry.clusters[: missing[0]])
        data = bytearray(sum(entry.clusters[: missing[-1] + 1]) - start)
        filled = read_exactly(self.source, entry.offset + start, memoryview(data))
        if isinstance(filled, bool):
            self._expand(entry, missing, bytes(data), kept)
            return self._copy(entry, numbers, buffers, kept)
        return self._await_and_copy(filled, entry, missing, data, numbers, buffers, kept)

    async def _await_and_copy(
        self,
        pending: Awaitable[bool],
        entry: Entry,
        missing: list[int],
        data: bytearray,
        numbers: list[int],
        buffers: list[memoryview],
        kept: dict[int, bytes],
    ) -> bool:
        await pending
        self._expand(entry, missing, bytes(data), kept)
        return self._copy(entry, numbers, buffers, kept)

    def _expand(self, entry: Entry, missing: list[int], data: bytes, kept: dict[int, bytes]) -> None:
        """Puts the contents of clusters into `kept`; `data` is that of all from the first of them to the last."""
        assert self._decompress is not None
        start = sum(entry.clusters[: missing[0]])
        for cluster in missing:
            at = sum(entry.clusters[:cluster]) - start
            part = data[at : at + entry.clusters[cluster]]
            length = PAGE_SIZE * (entry.stored >> cluster * CLUSTER_PAGES & (1 << CLUSTER_PAGES) - 1).bit_count()
            kept[cluster] = part if len(part) == length else self._decompress(part, length)
            self._clusters[entry.chunk, cluster] = kept[cluster]
            if len(self._clusters) > _KEPT_CLUSTERS:
                self._clusters.popitem(last=False)

    def _kept(self, chunk: int, cluster: int) -> bytes:
        self._clusters.move_to_end((chunk, cluster))
        return self._clusters[chunk, cluster]

    def _copy(self, entry: Entry, numbers: list[int], buffers: list[memoryview], kept: dict[int, bytes]) -> bool:
        for number, buffer in zip(numbers, buffers, strict=True):
            cluster = number // CLUSTER_PAGES
            at = (entry.stored_before(number) - entry.stored_before(cluster * CLUSTER_PAGES)) * PAGE_SIZE
            buffer[:] = kept[cluster][at : at + PAGE_SIZE]
        return True
