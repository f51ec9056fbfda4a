"""A pager that goes on from a snapshot has the memory that was saved, whatever loads its pages."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa
from kev.pager.errors import NoSuchPage, PagerError
from kev.pager.kernel import KernelVmPager, trio_rendezvous
from kev.pager.loaders import contents
from kev.pager.pages import PageState
from kev.pager.policy import Around, Eager, PagingPolicy
from kev.pager.slow_source import SlowSource, SourceDelay
from kev.pager.survey import Survey
from kev.snapshot.memory import SnapshotMemory
from kev.snapshot.reader import SnapshotFile
from kev.snapshot.writer import SnapshotWriter
from tests.pager.machine import build_pager, guest_page, touch
from tests.pager.sources import BytesSource

RAM_PAGES = range(1024)
INTERESTING = st.sampled_from([0, 1, 2, 255, 256, 257, 258, 259, 262, 263, 264, 511, 512, 513, 800, 1023]) | st.integers(0, 1023)
"""Pages of the image, and around it."""
WRITES = st.dictionaries(INTERESTING, st.none() | st.binary(max_size=3), max_size=20)
"""Pages that are touched, and what is written to them, if anything."""
NO_FIXTURE_RESET = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def play(pager: KernelVmPager, writes: dict[int, bytes | None]) -> None:
    for number, data in writes.items():
        touch(pager, number << PAGE_SHIFT)
        if data is not None:
            guest_page(pager, number << PAGE_SHIFT)[:] = data.ljust(PAGE_SIZE, b"\0")


async def save(pager: KernelVmPager, path: Path, parent: SnapshotMemory | None = None, *, compress: bool = False) -> None:
    survey = Survey(pager, parent)
    chunks = survey.chunks()
    with SnapshotWriter(path, {}, {}, chunks, compress=compress) as writer:
        for chunk in chunks:
            writer.add(chunk, await survey.pages(chunk))
        writer.finish()
        writer.commit()


def opened(*paths: Path, slow: bool = False) -> SnapshotMemory:
    files = [BytesSource(path.read_bytes(), str(path)) for path in paths]
    delay = SourceDelay(0.002)
    return SnapshotMemory([SnapshotFile(SlowSource(file, delay) if slow else file, trio_rendezvous) for file in files])


async def memory_of(pager: KernelVmPager) -> list[bytes]:
    """All of it, as the guest would find it."""
    for number in RAM_PAGES:
        await pager.load_page(Gpa(number << PAGE_SHIFT))
    return [bytes(guest_page(pager, number << PAGE_SHIFT)) for number in RAM_PAGES]


def run(function: Callable[[], Awaitable[None]]) -> None:
    trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("slow", [False, True])
@NO_FIXTURE_RESET
@given(
    first=WRITES,
    second=WRITES,
    policy=st.sampled_from([PagingPolicy, lambda: Around(16), lambda: Around(512), Eager]),
    is_difference=st.booleans(),
    compress=st.booleans(),
    evicted=st.lists(INTERESTING, max_size=4),
)
def test_memory_is_what_it_was_after_one_snapshot_and_after_another(
    folder: Path,
    slow: bool,
    first: dict[int, bytes | None],
    second: dict[int, bytes | None],
    policy: Callable[[], PagingPolicy],
    is_difference: bool,
    compress: bool,
    evicted: list[int],
) -> None:
    async def main() -> None:
        pager = build_pager()
        pager.map_page(Gpa(0x3000), contents(b"a page of its own"))
        play(pager, first)
        for number in evicted:
            await pager.evict(Gpa(number << PAGE_SHIFT))
        await save(pager, folder / "1", compress=compress)
        expected = await memory_of(pager)

        restored = build_pager()
        memory = opened(folder / "1", slow=slow)
        restored.restore(memory)
        chosen = policy()
        chosen.attach(restored)
        await chosen.before_run()
        for number in second:
            await restored.load_page(Gpa(number << PAGE_SHIFT))
        play(restored, second)
        for number, data in second.items():
            if data is not None:
                expected[number] = data.ljust(PAGE_SIZE, b"\0")
        await save(restored, folder / "2", memory if is_difference else None, compress=compress)
        assert await memory_of(restored) == expected

        again = build_pager()
        again.restore(opened(folder / "2", *([folder / "1"] if is_difference else []), slow=slow))
        assert await memory_of(again) == expected

    run(main)


@NO_FIXTURE_RESET
@given(first=WRITES, other=WRITES)
def test_a_parent_may_be_of_quite_another_run(folder: Path, first: dict[int, bytes | None], other: dict[int, bytes | None]) -> None:
    async def main() -> None:
        unrelated = build_pager()
        play(unrelated, other)
        await save(unrelated, folder / "parent")
        pager = build_pager()
        play(pager, first)
        await save(pager, folder / "child", opened(folder / "parent"))
        restored = build_pager()
        restored.restore(opened(folder / "child", folder / "parent"))
        assert await memory_of(restored) == await memory_of(pager)

    run(main)


def test_eager_paging_loads_what_was_present_and_no_more(folder: Path) -> None:
    async def main() -> None:
        pager = build_pager()
        play(pager, {256: None, 300: b"x", 700: None})
        await save(pager, folder / "1")
        restored = build_pager()
        restored.restore(opened(folder / "1"))
        policy = Eager()
        policy.attach(restored)
        await policy.before_run()
        assert [page >> PAGE_SHIFT for run in restored.pages.runs(PageState.PRESENT) for page in run] == [256, 300, 700]

    run(main)


def test_what_is_not_there_is_still_not_there(folder: Path) -> None:
    async def main() -> None:
        pager = build_pager(ram_kib=4096 - 8)
        play(pager, {1000: b"x"})
        await save(pager, folder / "1")
        restored = build_pager(ram_kib=4096 - 8)
        restored.restore(opened(folder / "1"))
        with pytest.raises(NoSuchPage):
            touch(restored, 0x3FE000)
        assert touch(restored, 0x3FD000)

    run(main)


def test_a_pager_that_has_loaded_pages_goes_on_from_nothing(folder: Path) -> None:
    async def main() -> None:
        pager = build_pager()
        await save(pager, folder / "1")
        touch(pager, 0x100000)
        with pytest.raises(PagerError, match="page 0x100000 is present already"):
            pager.restore(opened(folder / "1"))

    run(main)


def test_pages_in_a_row_come_by_one_read_of_the_snapshot(folder: Path) -> None:
    async def main() -> None:
        pager = build_pager()
        play(pager, dict.fromkeys(range(512, 1024), b"x"))
        await save(pager, folder / "1")
        source = BytesSource((folder / "1").read_bytes())
        restored = build_pager()
        restored.restore(SnapshotMemory([SnapshotFile(source, trio_rendezvous)]))
        Around(64).attach(restored)
        source.reads.clear()
        touch(restored, 600 << PAGE_SHIFT)
        assert [length for _, length in source.reads] == [PAGE_SIZE, 64 * PAGE_SIZE]  # an entry of the directory, and pages
        source.reads.clear()
        touch(restored, 700 << PAGE_SHIFT)
        assert [length for _, length in source.reads] == [64 * PAGE_SIZE]

    run(main)
