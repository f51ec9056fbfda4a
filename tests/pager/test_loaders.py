"""Which loader fills which page: against a model that writes every byte on its own."""

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, PAGE_SIZE, TIB, Gpa, Gva
from kev.pager.image import Segment
from kev.pager.loaders import LoaderMap, contents
from kev.pager.source import SourceError
from tests.pager.sources import BytesSource, WaitingSource

FILE = bytes(index * 7 + index // 256 & 0xFF for index in range(6 * PAGE_SIZE))
LIMIT = 12 * PAGE_SIZE


def segment_at(paddr: int, offset: int, filesz: int, memsz: int) -> Segment:
    return Segment(Gpa(paddr), Gva(paddr), offset, filesz, memsz)


@st.composite
def disjoint_segments(draw: st.DrawFn) -> list[Segment]:
    """Segments that share pages, but no bytes, in any order."""
    edges = st.one_of(st.integers(0, LIMIT), st.sampled_from(range(0, LIMIT + 1, PAGE_SIZE)))
    cuts = sorted(draw(st.sets(edges, min_size=2, max_size=14)))
    segments = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        filesz = draw(st.one_of(st.integers(0, end - start), st.just(end - start)))
        filesz = min(filesz, len(FILE))
        segments.append(segment_at(start, draw(st.integers(0, len(FILE) - filesz)), filesz, end - start))
    return draw(st.permutations(segments))


def model_of(segments: Sequence[Segment]) -> tuple[bytes, set[int]]:
    """The memory that the segments describe, byte by byte, and the pages they reach into."""
    memory = bytearray(LIMIT)
    pages = set()
    for segment in segments:
        for index in range(segment.memsz):
            pages.add((segment.paddr + index) // PAGE_SIZE * PAGE_SIZE)
        for index in range(segment.filesz):
            memory[segment.paddr + index] = FILE[segment.offset + index]
    return bytes(memory), pages


def filled(loaders: LoaderMap, page: int) -> bytes:
    frame = bytearray(PAGE_SIZE)
    assert loaders[Gpa(page)](memoryview(frame)) is True
    return bytes(frame)


def loader_map(segments: Sequence[Segment], source: BytesSource | None = None) -> LoaderMap:
    loaders = LoaderMap()
    for segment in segments:
        loaders.add_segment(segment, source or BytesSource(FILE))
    return loaders


@given(disjoint_segments())
def test_every_page_is_the_bytes_of_its_segments(segments: list[Segment]) -> None:
    loaders = loader_map(segments)
    memory, pages = model_of(segments)
    assert set(loaders) == pages
    assert len(loaders) == len(pages) == loaders.image_pages
    for page in pages:
        assert filled(loaders, page) == memory[page : page + PAGE_SIZE]


@given(disjoint_segments())
async def test_every_page_is_the_same_from_a_source_that_waits(segments: list[Segment]) -> None:
    loaders = LoaderMap()
    for segment in segments:
        loaders.add_segment(segment, WaitingSource(BytesSource(FILE), trio.lowlevel.checkpoint))
    memory, pages = model_of(segments)
    for page in pages:
        frame = bytearray(PAGE_SIZE)
        loading = loaders[Gpa(page)](memoryview(frame))
        assert loading is True or not isinstance(loading, bool) and await loading is True
        assert bytes(frame) == memory[page : page + PAGE_SIZE]


@given(disjoint_segments(), st.integers(0, 11), st.integers(0, 11))
def test_ram_makes_pages_of_zeros_where_no_segment_is(segments: list[Segment], first: int, last: int) -> None:
    loaders = loader_map(segments)
    ram = range(first * PAGE_SIZE, max(first, last) * PAGE_SIZE, PAGE_SIZE)
    loaders.add_ram(Gpa(ram.start), Gpa(ram.stop))
    memory, pages = model_of(segments)
    assert list(loaders) == sorted(pages | set(ram))
    assert len(loaders) == len(pages | set(ram))
    assert loaders.image_pages == len(pages)
    for page in ram:
        assert filled(loaders, page) == memory[page : page + PAGE_SIZE]


@given(disjoint_segments())
def test_a_page_knows_its_segments(segments: list[Segment]) -> None:
    loaders = loader_map(segments)
    for page in range(0, LIMIT, PAGE_SIZE):
        reaching = {segment for segment in segments if segment.paddr < page + PAGE_SIZE and segment.end > page}
        assert set(loaders.segments(Gpa(page))) == reaching


@given(disjoint_segments(), st.sets(st.sampled_from(range(0, LIMIT, PAGE_SIZE)), max_size=3))
def test_an_extent_is_the_largest_run_that_can_be_filled_at_once(segments: list[Segment], own: set[int]) -> None:
    loaders = loader_map(segments)
    for page in own:
        loaders.replace(Gpa(page), contents(b"own"))
    memory, pages = model_of(segments)
    for page in range(0, LIMIT, PAGE_SIZE):
        extent = loaders.extent(page)
        assert (page in extent) == (page in pages | own)
        if len(extent) > 1:
            backing = loaders.find(page)
            assert backing is not None
            frames = bytearray(len(extent) * PAGE_SIZE)
            assert backing.fill(extent.start, memoryview(frames)) is True
            assert frames == memory[extent.start : extent.stop]
            assert not own & set(extent)
        if page in extent and page not in own and loaders.segments(Gpa(page)) and len(extent) > 1:
            neighbours = [extent.start - PAGE_SIZE, extent.stop]
            assert all(other in own or loaders.find(other) != loaders.find(page) for other in neighbours)


@given(disjoint_segments(), st.sets(st.sampled_from(range(0, LIMIT, PAGE_SIZE)), max_size=3))
def test_what_is_occupied_is_what_segments_reach_into_and_pages_of_their_own(segments: list[Segment], own: set[int]) -> None:
    loaders = loader_map(segments)
    loaders.add_ram(Gpa(0), Gpa(2 * LIMIT))
    for page in own:
        loaders.replace(Gpa(page), contents(b"own"))
    _, pages = model_of(segments)
    occupied = [page for run in loaders.occupied() for page in run]
    assert occupied == sorted(pages | own)


def test_two_segments_of_one_page_are_read_into_it_and_nothing_else() -> None:
    source = BytesSource(FILE)
    loaders = loader_map([segment_at(0x1000, 0x100, 0x234, 0x234), segment_at(0x1500, 0x900, 0x10, 0x5000)], source)
    page = filled(loaders, 0x1000)
    assert page[:0x234] == FILE[0x100:0x334]
    assert page[0x500:0x510] == FILE[0x900:0x910]
    assert source.reads == [(0x100, 0x234), (0x900, 0x10)]
    assert not any(page[0x234:0x500])
    assert not any(page[0x510:])


def test_pages_of_zeros_are_not_touched() -> None:
    loaders = loader_map([segment_at(0x1000, 0, 0, 0x3000)])
    loaders.add_ram(Gpa(0), Gpa(0x8000))
    untouchable = memoryview(b"").cast("B")
    assert all(loaders[Gpa(page)](untouchable) is True for page in (0, 0x1000, 0x7000))


def test_a_whole_page_is_one_read() -> None:
    source = BytesSource(FILE)
    filled(loader_map([segment_at(0x1234, 0x10, 0x3000, 0x3000)], source), 0x2000)
    assert source.reads == [(0x10 + 0x2000 - 0x1234, PAGE_SIZE)]


def test_the_segment_added_last_wins_where_segments_overlap() -> None:
    loaders = loader_map([segment_at(0x1000, 0, 0x2000, 0x2000), segment_at(0x1800, 0x100, 0x800, 0x1000)])
    assert filled(loaders, 0x1000) == FILE[:0x800] + FILE[0x100:0x900]
    assert filled(loaders, 0x2000) == FILE[0x1000:0x2000]


def test_a_page_of_its_own_replaces_what_was_there() -> None:
    loaders = loader_map([segment_at(0x1000, 0, 0x3000, 0x3000)])
    before = len(loaders)
    loaders.replace(Gpa(0x2000), contents(b"own"))
    loaders.replace(Gpa(0x9000), contents(b"outside"))
    loaders.replace(Gpa(0x2000), contents(b"again"))
    assert filled(loaders, 0x2000) == b"again".ljust(PAGE_SIZE, b"\0")
    assert filled(loaders, 0x9000) == b"outside".ljust(PAGE_SIZE, b"\0")
    assert filled(loaders, 0x1000) == FILE[:PAGE_SIZE]
    assert len(loaders) == before + 1
    assert list(loaders) == [0x1000, 0x2000, 0x3000, 0x9000]
    assert loaders.segments(Gpa(0x2000)) == loaders.segments(Gpa(0x1000))


@pytest.mark.parametrize("page", [0, 0x4000, 0x1001, -0x1000, 1 << 60])
def test_there_is_no_loader_where_there_is_no_page(page: int) -> None:
    loaders = loader_map([segment_at(0x1000, 0, 0x3000, 0x3000)])
    assert Gpa(page) not in loaders
    with pytest.raises(KeyError):
        loaders[Gpa(page)]


def test_a_segment_of_no_bytes_adds_no_page() -> None:
    assert list(loader_map([segment_at(0x1234, 0, 0, 0), segment_at(0x2000, 0, 0, 0)])) == []


def test_loaders_of_the_same_page_are_equal() -> None:
    loaders = loader_map([segment_at(0x1000, 0, 0x3000, 0x3000)])
    assert loaders[Gpa(0x1000)] == loaders[Gpa(0x1000)]
    assert loaders[Gpa(0x1000)] != loaders[Gpa(0x2000)]


def test_a_file_that_became_shorter_fails_the_load() -> None:
    loaders = loader_map([segment_at(0x1000, 0, 0x3000, 0x3000)], BytesSource(FILE[:0x1800]))
    with pytest.raises(SourceError, match=r"^kernel: ends 2048 bytes too early: 4096 bytes were expected at offset 0x1000$"):
        filled(loaders, 0x2000)


def test_a_terabyte_of_ram_around_a_huge_image_is_held_as_a_handful_of_ranges() -> None:
    source = BytesSource(b"")
    loaders = LoaderMap()
    for index in range(8):
        loaders.add_segment(segment_at(5 * GIB + index * GIB + 0x123, index * GIB, GIB - 0x200, GIB - 0x100), source)
    loaders.add_ram(Gpa(0), Gpa(TIB))
    assert len(loaders) == TIB // PAGE_SIZE
    assert len(loaders.extent(6 * GIB + 0x1000)) == GIB // PAGE_SIZE - 2
    assert Gpa(TIB - PAGE_SIZE) in loaders
    assert source.reads == []
