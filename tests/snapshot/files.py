"""Snapshots that tests make, and what lies beneath them."""

from collections.abc import Awaitable, Mapping
from pathlib import Path

import attrs
from hypothesis import strategies as st

from kev.addressing import PAGE_SHIFT, PAGE_SIZE
from kev.pager.kernel import trio_rendezvous
from kev.pager.survey import SurveyedPage
from kev.snapshot.layout import CHUNK_PAGES
from kev.snapshot.memory import SnapshotMemory
from kev.snapshot.reader import SnapshotFile
from kev.snapshot.writer import SnapshotWriter
from kev.state import State
from tests.pager.sources import BytesSource

MACHINE: State = {"description": {"image": "gKeOS", "memory": "64M"}, "parent": None}
STATE: State = {"vcpus": [{"rip": 0x100000, "fpu": bytes(range(64))}], "clock": {"now": 12345}, "ended": None}


@attrs.frozen
class Image:
    """What pages hold that were not saved: each something else."""

    changed: frozenset[int] = frozenset()

    def page(self, number: int) -> bytes:
        return (f"page {number} " + "changed " * (number in self.changed)).encode().ljust(PAGE_SIZE, b".")

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        for offset in range(0, len(frame), PAGE_SIZE):
            frame[offset : offset + PAGE_SIZE] = self.page((page + offset) >> PAGE_SHIFT)
        return True

    def origin(self, page: int) -> str:
        return f"offset {page:#x} of the image"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=30) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=8), inner, max_size=10),
    max_leaves=20,
)
"""Plain data."""

PAGES = st.dictionaries(
    st.integers(0, 3 * CHUNK_PAGES) | st.integers(1000 * CHUNK_PAGES, 1001 * CHUNK_PAGES),
    st.sampled_from(["zero", "image", "a", "b"]) | st.binary(min_size=1, max_size=8),
    max_size=60,
)
"""Pages by number: zeros, as in the image, or other contents."""


def contents_of(number: int, kind: str | bytes, image: Image) -> bytes:
    if kind == "zero":
        return bytes(PAGE_SIZE)
    if kind == "image":
        return image.page(number)
    seed = kind.encode() if isinstance(kind, str) else kind
    return (seed * PAGE_SIZE)[:PAGE_SIZE]


def write(
    path: Path,
    pages: Mapping[int, SurveyedPage],
    *,
    machine: State = MACHINE,
    state: State = STATE,
    compress: bool = False,
) -> bytes:
    """A snapshot of pages by number; its id."""
    chunks = sorted({number // CHUNK_PAGES for number in pages})
    with SnapshotWriter(path, machine, state, chunks, compress=compress) as writer:
        for chunk in chunks:
            writer.add(chunk, [pages[number] for number in sorted(pages) if number // CHUNK_PAGES == chunk])
        identity = writer.finish()
        writer.commit()
    return identity


def surveyed(pages: Mapping[int, str | bytes], image: Image) -> dict[int, SurveyedPage]:
    return {
        number: SurveyedPage(number % CHUNK_PAGES, contents_of(number, kind, image), kind == "image")
        for number, kind in pages.items()
    }


def opened(*paths: Path) -> SnapshotMemory:
    return SnapshotMemory([SnapshotFile(BytesSource(path.read_bytes(), str(path)), trio_rendezvous) for path in paths])


def read_page(memory: SnapshotMemory, number: int, image: Image, count: int = 1) -> bytes:
    """Pages as they would be filled in front of `image`, all in one chunk."""
    frame = bytearray(count * PAGE_SIZE)
    if not memory.holds(number // CHUNK_PAGES):
        image.fill(number << PAGE_SHIFT, memoryview(frame))
    else:
        assert memory.fill(number << PAGE_SHIFT, memoryview(frame), image) is True
    return bytes(frame)
