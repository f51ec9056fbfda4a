"""vCPUs as trio tasks that want the same pages."""

import random
from collections import Counter

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from kev.addressing import PAGE_SIZE, Gpa
from kev.pager.backing import PageLoader
from kev.pager.errors import PageLoadError
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState
from tests.pager.machine import FILE, TEXT, build_pager, guest_page, permissions, touch
from tests.pager.sources import BytesSource, WaitingSource

PAGE = Gpa(0x3000)


@attrs.define(eq=False)
class GatedLoader:
    """A loader that runs when the gate is opened, and answers as it is told."""

    answer: bool | Exception = True
    gate: trio.Event = attrs.field(factory=trio.Event)
    runs: int = 0

    async def __call__(self, page: memoryview) -> bool:
        self.runs += 1
        page[:7] = b"partial"
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        page[:7] = b"content"
        return self.answer


@pytest.fixture
def pager() -> KernelVmPager:
    return build_pager()


@pytest.fixture
def loader(pager: KernelVmPager) -> GatedLoader:
    loader = GatedLoader()
    pager.map_page(PAGE, loader)
    return loader


def start_vcpus(nursery: trio.Nursery, pager: KernelVmPager, count: int, endings: list[Exception | None]) -> None:
    async def vcpu() -> None:
        try:
            await pager.load_page(PAGE)
        except Exception as error:
            endings.append(error)
        else:
            endings.append(None)

    for _ in range(count):
        nursery.start_soon(vcpu)


async def test_vcpus_that_want_the_same_page_wait_for_one_load(pager: KernelVmPager, loader: GatedLoader) -> None:
    endings: list[Exception | None] = []
    async with trio.open_nursery() as nursery:
        start_vcpus(nursery, pager, 4, endings)
        await wait_all_tasks_blocked()
        assert loader.runs == 1
        assert pager.pages[PAGE] is PageState.LOADING
        assert permissions(pager, PAGE) is None
        assert not touch(pager, PAGE)
        assert not endings
        loader.gate.set()
    assert endings == [None] * 4
    assert loader.runs == 1
    assert bytes(guest_page(pager, PAGE)[:7]) == b"content"
    assert pager.statistics.waits == 3


async def test_other_pages_load_meanwhile(pager: KernelVmPager, loader: GatedLoader) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pager.load_page, PAGE)
        await wait_all_tasks_blocked()
        await pager.load_page(Gpa(0x100000))
        assert guest_page(pager, 0x100000) == FILE[:PAGE_SIZE]
        assert not await pager.evict(PAGE)
        loader.gate.set()


@pytest.mark.parametrize("answer", [False, OSError("gone")])
async def test_a_failed_load_fails_everyone_who_waits_with_the_same_error(
    pager: KernelVmPager, loader: GatedLoader, answer: bool | Exception
) -> None:
    loader.answer = answer
    endings: list[Exception | None] = []
    async with trio.open_nursery() as nursery:
        start_vcpus(nursery, pager, 3, endings)
        await wait_all_tasks_blocked()
        loader.gate.set()
    assert isinstance(endings[0], PageLoadError if answer is False else OSError)
    assert all(ending is endings[0] for ending in endings)
    assert loader.runs == 1
    assert pager.pages[PAGE] is PageState.ABSENT
    loader.answer = True
    await pager.load_page(PAGE)
    assert loader.runs == 2
    assert guest_page(pager, PAGE) == b"content".ljust(PAGE_SIZE, b"\0")


async def test_when_the_one_who_loads_is_cancelled_one_who_waits_takes_over(pager: KernelVmPager, loader: GatedLoader) -> None:
    endings: list[Exception | None] = []
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def impatient() -> None:
            with scope:
                await pager.load_page(PAGE)

        nursery.start_soon(impatient)
        await wait_all_tasks_blocked()
        start_vcpus(nursery, pager, 2, endings)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert loader.runs == 2
        loader.gate.set()
    assert endings == [None, None]
    assert loader.runs == 2
    assert guest_page(pager, PAGE) == b"content".ljust(PAGE_SIZE, b"\0")
    assert (pager.statistics.loads, pager.statistics.cancellations) == (1, 1)


async def test_a_vcpu_that_is_cancelled_while_it_waits_does_not_disturb_the_others(
    pager: KernelVmPager, loader: GatedLoader
) -> None:
    endings: list[Exception | None] = []
    async with trio.open_nursery() as nursery:
        start_vcpus(nursery, pager, 2, endings)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await pager.load_page(PAGE)
        assert pager.pages[PAGE] is PageState.LOADING
        loader.gate.set()
    assert endings == [None, None]
    assert (loader.runs, pager.statistics.cancellations) == (1, 0)


async def test_a_cancelled_load_that_nobody_waits_for_leaves_no_trace(pager: KernelVmPager, loader: GatedLoader) -> None:
    with trio.move_on_after(0):
        await pager.load_page(PAGE)
    assert pager.pages[PAGE] is PageState.ABSENT
    assert permissions(pager, PAGE) is None
    loader.gate.set()
    await pager.load_page(PAGE)
    assert guest_page(pager, PAGE) == b"content".ljust(PAGE_SIZE, b"\0")


async def test_a_load_begun_on_the_spot_is_taken_over_once(pager: KernelVmPager, loader: GatedLoader) -> None:
    assert not touch(pager, PAGE)
    endings: list[Exception | None] = []
    async with trio.open_nursery() as nursery:
        start_vcpus(nursery, pager, 3, endings)
        await wait_all_tasks_blocked()
        loader.gate.set()
    assert endings == [None] * 3
    assert loader.runs == 1


async def test_a_loader_may_await_other_pages(pager: KernelVmPager, loader: GatedLoader) -> None:
    async def derived(page: memoryview) -> bool:
        await pager.load_page(PAGE)
        page[:7] = bytes(guest_page(pager, PAGE)[:7]).upper()
        return True

    pager.map_page(Gpa(0x4000), derived)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pager.load_page, PAGE)
        nursery.start_soon(pager.load_page, Gpa(0x4000))
        await wait_all_tasks_blocked()
        loader.gate.set()
    assert bytes(guest_page(pager, 0x4000)[:7]) == b"CONTENT"


async def test_a_source_that_has_to_be_awaited_fills_pages_all_the_same(pager: KernelVmPager) -> None:
    moved = TEXT._replace(paddr=Gpa(0x200800))
    pager.load_phdr(moved, WaitingSource(BytesSource(FILE, short=1000), trio.lowlevel.checkpoint))
    assert not touch(pager, 0x200000)
    await pager.load_page(Gpa(0x200000))
    await pager.load_page(Gpa(0x201000))
    assert guest_page(pager, 0x200000) == bytes(0x800) + FILE[:0x800]
    assert guest_page(pager, 0x201000) == FILE[0x800:0x1800]
    assert await pager.evict(Gpa(0x201000))
    assert not touch(pager, 0x201000)
    await pager.load_page(Gpa(0x201000))
    assert guest_page(pager, 0x201000) == FILE[0x800:0x1800]


@pytest.mark.parametrize("seed", range(5))
async def test_every_page_is_loaded_once_however_many_vcpus_race_for_it(pager: KernelVmPager, seed: int) -> None:
    dice = random.Random(seed)
    runs: Counter[int] = Counter()
    pages = range(0x200000, 0x220000, PAGE_SIZE)

    def slow(number: int) -> PageLoader:
        async def load(page: memoryview) -> bool:
            runs[number] += 1
            for _ in range(dice.randrange(4)):
                await trio.lowlevel.checkpoint()
            page[:8] = number.to_bytes(8, "little")
            return True

        return load

    async def vcpu() -> None:
        for page in dice.choices(pages, k=100):
            if not touch(pager, page):
                await pager.load_page(Gpa(page))
            assert bytes(guest_page(pager, page)[:8]) == page.to_bytes(8, "little")

    for page in pages:
        pager.map_page(Gpa(page), slow(page))
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(vcpu)
    assert set(runs.values()) == {1}
    assert pager.statistics.loads == len(runs)
