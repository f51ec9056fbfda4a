"""Writes a snapshot: beside its final name, until it is whole and on the disk."""

import hashlib
import os
import zlib
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from kev.addressing import PAGE_SIZE, page_ceil
from kev.snapshot.cbor import encode
from kev.snapshot.compression import compressor
from kev.snapshot.layout import CHUNK_PAGES, CLUSTER_PAGES, CLUSTERS, Entry, Header, Section
from kev.snapshot.new_file import GivenFile, NewFile, failed
from kev.state import State

_ZEROS: Final = bytes(PAGE_SIZE)
_ID_SIZE: Final = 16
_MOST_BUFFERS: Final = 512


class SavedPage(Protocol):
    """One page that is saved: see `kev.pager.survey.SurveyedPage`."""

    @property
    def number(self) -> int:
        """In its chunk: 0 to 511."""

    @property
    def contents(self) -> bytes:
        """4,096 bytes."""

    @property
    def by_reference(self) -> bool:
        """The parent, or the image, holds the same."""


class SnapshotWriter:
    """A snapshot that is being written. Leaving its block without `commit` leaves nothing of it behind.

    `add` once for every chunk, in their order; then `finish`; then `commit`, which may take long, and need not be called in the
    thread that has done the rest.
    """

    def __init__(
        self, file: str | os.PathLike[str], machine: State, state: State, chunks: Sequence[int], *, compress: bool = False
    ) -> None:
        """`machine` says what machine it is, `state` what its parts save; pages will be added of `chunks`, which ascend.

        SnapshotError if the file cannot be written there, or if `compress` and there is nothing to compress with.
        """
        self._name: Final = os.fspath(file)
        self._compress: Final = compressor(self._name) if compress else None
        self._chunks: Final = iter(chunks)
        index = sum(1 << chunk for chunk in chunks)
        sections = {
            "machine": encode(machine),
            "state": encode(state),
            "index": index.to_bytes(-(-index.bit_length() // 8), "little"),
        }
        self._digest: Final = hashlib.sha256()
        self._sections: Final[dict[str, Section]] = {}
        self._written: Final[list[tuple[int, bytes]]] = []
        self._at = PAGE_SIZE
        for name, contents in sections.items():
            self._place(name, contents)
        directory = Section(self._at, len(chunks) * PAGE_SIZE)
        self._sections["directory"] = directory
        self._next_entry = directory.offset
        self._start = self._at = directory.end
        self._counts = [0, 0, 0]
        self._file: Final = file if isinstance(file, NewFile | GivenFile) else NewFile(file)
        self._descriptor: Final = self._file.descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.discard()

    def add(self, chunk: int, pages: Sequence[SavedPage]) -> None:
        """Writes the pages of the next chunk; they are in the order of their numbers. SnapshotError if the disk is full."""
        assert chunk == next(self._chunks)
        zero = _bitmap([page for page in pages if page.contents == _ZEROS])
        others = [page for page in pages if not zero >> page.number & 1]
        stored = [page for page in others if not page.by_reference]
        checksums = [0] * CHUNK_PAGES
        for page in others:
            checksums[page.number] = zlib.crc32(page.contents)
        data, clusters = self._packed([(page.number, page.contents) for page in stored])
        length = sum(map(len, data))
        entry = Entry(chunk, self._at, length, _bitmap(pages), _bitmap(stored), zero, tuple(checksums), clusters)
        packed = entry.pack()
        self._digest.update(packed)
        self._write(self._next_entry, [packed])
        self._write(self._at, data)
        self._next_entry += PAGE_SIZE
        self._at += length
        for index, count in enumerate((len(pages), len(stored), zero.bit_count())):
            self._counts[index] += count

    def finish(self) -> bytes:
        """Writes what is only known at the end. The snapshot's id."""
        self._sections["pages"] = Section(self._start, self._at - self._start)
        for offset, contents in self._written:
            self._write(offset, [contents])
        identity = self._digest.digest()[:_ID_SIZE]
        present, stored, zero = self._counts
        header = Header(identity, self._at, present, stored, zero, self._compress is not None, self._sections)
        self._write(0, [header.pack()])
        try:
            # There may be no page that is stored, and no byte behind the directory's.
            os.truncate(self._descriptor, self._at)
        except OSError as error:
            raise failed(self._name, error) from error
        return identity

    def discard(self) -> None:
        """Leaves nothing behind of what was written, unless it was committed."""
        self._file.discard()

    def commit(self) -> None:
        """Waits until everything is on the disk, and gives the file its name. SnapshotError if that fails."""
        self._file.commit()

    def _place(self, name: str, contents: bytes) -> None:
        padded = contents.ljust(page_ceil(len(contents)), b"\0")
        self._sections[name] = Section(self._at, len(contents), zlib.crc32(padded))
        self._written.append((self._at, padded))
        self._digest.update(contents)
        self._at += len(padded)

    def _packed(self, stored: Sequence[tuple[int, bytes]]) -> tuple[list[bytes], tuple[int, ...]]:
        """What is written of stored pages, and the sizes of clusters."""
        if self._compress is None:
            return [contents for _, contents in stored], (0,) * CLUSTERS
        raw: list[list[bytes]] = [[] for _ in range(CLUSTERS)]
        for number, contents in stored:
            raw[number // CLUSTER_PAGES].append(contents)
        data = [self._compressed(b"".join(pages)) for pages in raw]
        return [part for part in data if part], tuple(map(len, data))

    def _compressed(self, cluster: bytes) -> bytes:
        assert self._compress is not None
        if not cluster:
            return b""
        compressed = self._compress(cluster)
        return compressed if len(compressed) < len(cluster) else cluster

    def _write(self, offset: int, data: Sequence[bytes]) -> None:
        buffers = [memoryview(part) for part in data]
        try:
            while buffers:
                count = os.pwritev(self._descriptor, buffers[:_MOST_BUFFERS], offset)
                offset += count
                while buffers and count >= len(buffers[0]):
                    count -= len(buffers.pop(0))
                if count:
                    buffers[0] = buffers[0][count:]
        except OSError as error:
            raise failed(self._name, error) from error


def _bitmap(pages: Sequence[SavedPage]) -> int:
    return sum(1 << page.number for page in pages)
