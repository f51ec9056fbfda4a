"""Snapshots of machines that have touched as much of their RAM as one wants."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kev.addressing import GIB, PAGE_SIZE
from kev.measure.errors import BenchError
from kev.pager.kernel import trio_rendezvous
from kev.pager.source import FileSource
from kev.pager.survey import SurveyedPage
from kev.snapshot.description import Description
from kev.snapshot.layout import CHUNK_PAGES, CHUNK_SHIFT
from kev.snapshot.reader import SnapshotFile
from kev.snapshot.writer import SnapshotWriter

FIRST: Final = 5 * GIB
"""From where on memory is touched: behind all that a small guest uses itself."""


def write_touched(small: Path, file: Path, size: int) -> None:
    """Writes the snapshot `small`, which is not compressed, as one of a machine that has touched `size` bytes more.

    They hold zeros, but for one page in 2 MiB. BenchError if the machine has no RAM there.
    """
    zeros = (SurveyedPage(number, bytes(PAGE_SIZE), False) for number in range(1, CHUNK_PAGES))
    filler = [SurveyedPage(0, b"x" * PAGE_SIZE, False), *zeros]
    with _opened(small) as saved:
        machine = saved.machine()
        pages = {chunk: list(_pages(saved, chunk)) for chunk in saved.chunks()}
        touched = range(FIRST >> CHUNK_SHIFT, (FIRST + size) >> CHUNK_SHIFT)
        ram = Description.load(machine, str(small)).ram
        if not any(region.start <= FIRST and FIRST + size <= region.stop for region in ram):
            raise BenchError(f"{small}: its machine has no RAM at {FIRST:#x}-{FIRST + size:#x}")
        with SnapshotWriter(file, machine, saved.state(), [*pages, *touched]) as writer:
            for chunk in (*pages, *touched):
                writer.add(chunk, pages.get(chunk, filler))
            writer.finish()
            writer.commit()


@contextmanager
def _opened(file: Path) -> Iterator[SnapshotFile]:
    with FileSource(file) as source:
        yield SnapshotFile(source, trio_rendezvous)


def _pages(saved: SnapshotFile, chunk: int) -> Iterator[SurveyedPage]:
    """Those that are stored, or zeros; the image has the others."""
    entry = saved.known_entry(chunk)
    assert entry is not None
    for number in range(CHUNK_PAGES):
        contents = bytearray(PAGE_SIZE)
        if entry.stored >> number & 1:
            saved.read_run(entry, number, memoryview(contents))
        if (entry.stored | entry.zero) >> number & 1:
            yield SurveyedPage(number, bytes(contents), False)
