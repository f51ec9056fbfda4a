"""The memory of a machine that was saved: a snapshot, and in what it has not stored, those that it is a difference to."""

import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from kev.addressing import PAGE_SHIFT
from kev.pager.saved import Beneath
from kev.snapshot.errors import SnapshotError
from kev.snapshot.layout import CHUNK_PAGES, CHUNK_SHIFT, Entry
from kev.snapshot.reader import SnapshotFile

_Read: TypeAlias = Callable[[], bool | Awaitable[bool]]


class SnapshotMemory:
    """See `kev.pager.saved.SavedMemory`. Every page is compared with its checksum when it is filled."""

    def __init__(self, files: Sequence[SnapshotFile]) -> None:
        """Each file's parent follows it."""
        self._files: Final = tuple(files)
        self.name: Final = files[0].name
        self.id: Final = files[0].header.id
        self.waits: Final = any(file.waits for file in files)

    def chunks(self) -> list[int]:
        return sorted({chunk for file in self._files for chunk in file.chunks()})

    def holds(self, chunk: int) -> bool:
        return any(file.holds(chunk) for file in self._files)

    async def present(self, chunk: int) -> int:
        bitmap = 0
        for file in self._files:
            if file.holds(chunk):
                bitmap |= (await file.entry(chunk)).present
        return bitmap

    def fill(self, page: int, frame: memoryview, beneath: Beneath) -> bool | Awaitable[bool]:
        chunk = page >> CHUNK_SHIFT
        entries = []
        for file in self._files:
            if file.holds(chunk):
                entry = file.known_entry(chunk)
                if entry is None:
                    return self._await_entries_and_fill(page, frame, beneath)
                entries.append((file, entry))
        return _Filling(self.name, page, frame, entries).fill(beneath)

    async def _await_entries_and_fill(self, page: int, frame: memoryview, beneath: Beneath) -> bool:
        chunk = page >> CHUNK_SHIFT
        entries = [(file, await file.entry(chunk)) for file in self._files if file.holds(chunk)]
        filled = _Filling(self.name, page, frame, entries).fill(beneath)
        return filled if isinstance(filled, bool) else await filled


class _Filling:
    """The pages of one chunk that are filled at once, and where each of them comes from."""

    def __init__(self, name: str, page: int, frame: memoryview, entries: Sequence[tuple[SnapshotFile, Entry]]) -> None:
        """`entries` are those of the chunk, each followed by its parent's."""
        self._name: Final = name
        self._page: Final = page
        self._frame: Final = frame
        self._first: Final = (page >> PAGE_SHIFT) % CHUNK_PAGES
        self._count: Final = len(frame) >> PAGE_SHIFT
        self._stored: Final[list[tuple[SnapshotFile, Entry, list[int]]]] = []
        self._unsaved: Final[list[range]] = []
        """What comes from beneath: pages in a row, by number."""
        self._checks: list[tuple[int, int, SnapshotFile | None, Entry | None]] = []
        """The number of a page, its checksum, and the file that it is stored in."""
        self._plan(entries)

    def _plan(self, entries: Sequence[tuple[SnapshotFile, Entry]]) -> None:
        window = (1 << self._count) - 1 << self._first
        reference = dict[int, int]()
        for file, entry in entries:
            stored = self._numbers(window & entry.stored)
            if stored:
                self._stored.append((file, entry, stored))
                self._checks += [(number, reference.get(number, entry.checksums[number]), file, entry) for number in stored]
            window &= ~entry.stored & ~entry.zero
            for number in self._numbers(window & entry.present):
                reference.setdefault(number, entry.checksums[number])
        unsaved = self._numbers(window)
        for number in unsaved:
            if self._unsaved and self._unsaved[-1].stop == number:
                self._unsaved[-1] = range(self._unsaved[-1].start, number + 1)
            else:
                self._unsaved.append(range(number, number + 1))
        self._checks += [(number, reference[number], None, None) for number in unsaved if number in reference]

    def _numbers(self, bitmap: int) -> list[int]:
        return [number for number in range(self._first, self._first + self._count) if bitmap >> number & 1] if bitmap else []

    def fill(self, beneath: Beneath) -> bool | Awaitable[bool]:
        reads: list[_Read] = [partial(self._read_stored, *part) for part in self._stored]
        reads += (partial(beneath.fill, self._gpa(run.start), self._buffer(run.start, run.stop)) for run in self._unsaved)
        for index, read in enumerate(reads):
            filled = read()
            if not isinstance(filled, bool):
                return self._await_and_fill_rest(filled, reads[index + 1 :], beneath)
            if not filled:
                return False
        self._check(beneath)
        return True

    async def _await_and_fill_rest(self, pending: Awaitable[bool], rest: Sequence[_Read], beneath: Beneath) -> bool:
        filled = await pending
        for read in rest:
            if not filled:
                return False
            pending_or_filled = read()
            filled = pending_or_filled if isinstance(pending_or_filled, bool) else await pending_or_filled
        if filled:
            self._check(beneath)
        return filled

    def _read_stored(self, file: SnapshotFile, entry: Entry, numbers: list[int]) -> bool | Awaitable[bool]:
        first, last = numbers[0], numbers[-1]
        if not file.header.compressed and last - first == len(numbers) - 1:
            return file.read_run(entry, first, self._buffer(first, last + 1))
        return file.read_stored(entry, numbers, [self._buffer(number, number + 1) for number in numbers])

    def _check(self, beneath: Beneath) -> None:
        for number, expected, file, entry in self._checks:
            actual = zlib.crc32(self._buffer(number, number + 1))
            if actual == expected:
                continue
            page = self._gpa(number)
            if file is not None and entry is not None:
                where = f"{file.name}: page {page:#x}, at offset {file.place(entry, number):#x}, is damaged"
            else:
                where = f"{self._name}: page {page:#x}, from {beneath.origin(page)}, is not what it was when the snapshot was made"
            raise SnapshotError(f"{where}: its CRC-32 is {actual:#010x}, not {expected:#010x}")

    def _gpa(self, number: int) -> int:
        return self._page + (number - self._first << PAGE_SHIFT)

    def _buffer(self, start: int, stop: int) -> memoryview:
        return self._frame[start - self._first << PAGE_SHIFT : stop - self._first << PAGE_SHIFT]
