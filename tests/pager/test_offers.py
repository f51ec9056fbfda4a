"""Which pages the pager lets somebody else make Present, and when it takes that back."""

from collections.abc import Callable

import pytest

from kev.addressing import MIB, PAGE_SIZE, Gpa, Hpa
from kev.pager.kernel import KernelVmPager
from kev.pager.loaders import contents
from kev.pager.pages import PageEvent, PageState
from tests.pager.machine import build_pager, touch

SLAB = 2 * MIB
HIGH = 2 * MIB  # the image lies below
ALL = range(512)


class Filler:
    """Stands for the CPU: makes a page Present that it was offered, as `kev.pager.protocols.ZeroFiller` says."""

    def __init__(self) -> None:
        self.offers: dict[int, tuple[Hpa, range, bytearray]] = {}
        self.filled = 0

    def offer_zeros(self, gpa: Gpa, hpa: Hpa, pages: range, states: bytearray) -> None:
        self.offers[gpa] = hpa, pages, states

    def withdraw_zeros(self) -> None:
        self.offers.clear()

    def zeros_filled(self) -> int:
        return self.filled

    def fill(self, pager: KernelVmPager, page: int) -> None:
        hpa, pages, states = self.offers[page & -SLAB]
        index = page // PAGE_SIZE % 512
        assert index in pages
        assert states[index] == PageState.ABSENT
        states[index] = PageState.PRESENT
        pager.table.map_page(page, hpa + index * PAGE_SIZE, 7)
        self.filled += 1


class Observer:
    def began(self, pages: range) -> None:
        pass

    def waited(self, gpa: Gpa) -> None:
        pass

    def ended(self, pages: range, event: PageEvent) -> None:
        pass


def offering(device: int | None = None) -> tuple[KernelVmPager, Filler]:
    pager, filler = build_pager(), Filler()
    pager.fill_by(filler, lambda addresses: device is not None and device in addresses)
    return pager, filler


def test_pages_of_ram_around_the_second_that_is_touched_in_2_mib_are_offered() -> None:
    pager, filler = offering()
    assert touch(pager, HIGH)
    assert filler.offers == {}
    assert touch(pager, HIGH + PAGE_SIZE)
    hpa, pages, _ = filler.offers[HIGH]
    assert (hpa, pages) == (pager.gpa2hpa(Gpa(HIGH)), ALL)


def test_what_was_made_present_is_counted_and_is_what_the_pager_would_have_made() -> None:
    pager, filler = offering()
    touch(pager, HIGH)
    touch(pager, HIGH + PAGE_SIZE)
    page = Gpa(HIGH + 9 * PAGE_SIZE)
    filler.fill(pager, page)
    assert pager.pages[page] is PageState.PRESENT
    assert pager.gpa2hpa(page) == filler.offers[HIGH][0] + 9 * PAGE_SIZE
    assert pager.statistics.loads == pager.statistics.present == 3
    assert touch(pager, page)
    assert (pager.statistics.loads, pager.statistics.spurious) == (3, 1)


def test_the_lowest_2_mib_and_those_with_devices_are_not_offered() -> None:
    pager, filler = offering(device=HIGH + 5 * PAGE_SIZE)
    for page in (0x3000, 0x4000, HIGH, HIGH + PAGE_SIZE):
        assert touch(pager, page)
    assert filler.offers == {}


def test_those_with_a_loader_of_their_own_are_not_offered() -> None:
    pager, filler = offering()
    pager.map_page(Gpa(HIGH + 7 * PAGE_SIZE), contents(b"own"))
    touch(pager, HIGH)
    touch(pager, HIGH + PAGE_SIZE)
    assert filler.offers == {}


CHANGES: dict[str, Callable[[KernelVmPager], object]] = {
    "a loader": lambda pager: pager.map_page(Gpa(HIGH + 7 * PAGE_SIZE), contents(b"own")),
    "a device's page": lambda pager: pager.map_mmio_page(Gpa(HIGH + 7 * PAGE_SIZE), pager.memory.allocate()),
    "an observer": lambda pager: pager.observe(Observer()),
    "a limit": lambda pager: pager.limit(1000),
    "reading ahead": lambda pager: pager.read_ahead_by(lambda page: ()),
    "mappings put off": lambda pager: pager.put_off_mapping(lambda page, hpa: None, lambda page: None),
    "devices elsewhere": lambda pager: pager.withdraw_offers(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_offers_are_withdrawn_when_something_else_is_to_happen_to_pages(change: Callable[[KernelVmPager], object]) -> None:
    pager, filler = offering()
    touch(pager, HIGH)
    touch(pager, HIGH + PAGE_SIZE)
    filler.fill(pager, HIGH + 2 * PAGE_SIZE)
    change(pager)
    assert filler.offers == {}
    assert pager.statistics.loads == 3


async def test_a_page_that_was_evicted_is_loaded_by_the_pager() -> None:
    pager, filler = offering()
    touch(pager, HIGH)
    touch(pager, HIGH + PAGE_SIZE)
    page = Gpa(HIGH + 2 * PAGE_SIZE)
    filler.fill(pager, page)
    hpa = pager.gpa2hpa(page)
    assert hpa is not None
    pager.memory.page(hpa)[:5] = b"mine!"
    assert await pager.evict(page)
    assert filler.offers == {}
    touch(pager, HIGH + 3 * PAGE_SIZE)
    assert filler.offers == {}
    assert touch(pager, page)
    assert bytes(pager.memory.page(hpa)[:5]) == b"mine!"
    assert (pager.statistics.loads, pager.statistics.present) == (5, 4)
