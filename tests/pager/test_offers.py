"""Which pages the pager lets somebody else make Present, and when it takes that back."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kev.addressing import KIB, MIB, PAGE_SIZE, Gpa, Gva, Hpa
from kev.exits import Access
from kev.guests.catalogue import root_file_system
from kev.guests.images import open_root_file_system
from kev.pager.image import Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.loaders import contents
from kev.pager.pages import PageEvent, PageState
from kev.pager.protocols import AlikePages
from kev.pager.source import FileSource
from tests.pager.machine import FILE, build_pager, touch
from tests.resident import needs_populating, resident_pages

SLAB = 2 * MIB
HIGH = 2 * MIB  # the image lies below
ALL = range(512)


class Filler:
    """Stands for the CPU: makes a page Present that it was offered, as `kev.pager.protocols.ZeroFiller` says."""

    def __init__(self) -> None:
        self.offers: dict[int, tuple[Hpa, Sequence[AlikePages], bytearray]] = {}
        self.filled = 0

    def offer_pages(self, gpa: Gpa, hpa: Hpa, pages: Sequence[AlikePages], states: bytearray) -> None:
        self.offers[gpa] = hpa, pages, states

    def withdraw_pages(self) -> None:
        self.offers.clear()

    def pages_filled(self) -> int:
        return self.filled

    def fill(self, pager: KernelVmPager, page: int) -> None:
        hpa, pages, states = self.offers[page & -SLAB]
        index = page // PAGE_SIZE % 512
        assert any(index in alike.numbers for alike in pages)
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
    assert (hpa, pages) == (pager.gpa2hpa(Gpa(HIGH)), [AlikePages(ALL)])


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


def test_the_lowest_mib_and_those_with_devices_are_not_offered() -> None:
    pager, filler = offering(device=HIGH + 5 * PAGE_SIZE)
    for page in (0x3000, 0x4000, HIGH, HIGH + PAGE_SIZE):
        assert touch(pager, page)
    assert {gpa: [alike.numbers for alike in pages] for gpa, (_, pages, _) in filler.offers.items()} == {
        0: [range(260, 264), range(264, 512)]
    }


def offered_of_module(path: Path, segment: Segment) -> list[AlikePages]:
    """What is offered of the 2 MiB at HIGH where a segment from a file with the bytes FILE lies among them."""
    path.write_bytes(FILE)
    pager, filler = offering()
    with FileSource(path) as source:
        pager.load_phdr(segment, source)
        touch(pager, HIGH)
        touch(pager, HIGH + PAGE_SIZE)
        _, pages, _ = filler.offers[HIGH]
        assert all(alike.file in (None, source.place[0]) for alike in pages)
    return list(pages)


def test_whole_pages_of_a_file_are_offered_with_where_they_lie(tmp_path: Path) -> None:
    begin = HIGH + 4 * PAGE_SIZE + 0x800
    pages = offered_of_module(tmp_path / "module", Segment(Gpa(begin), Gva(begin), 0x800, 0x3000, 0x5000, 6))
    assert [(alike.numbers, alike.file is not None, alike.offset) for alike in pages] == [
        (range(4), False, 0),
        (range(5, 7), True, 0x1000),  # on both sides, a page that holds something else as well
        (range(8, 10), False, 0),
        (range(10, 512), False, 0),
    ]


def test_pages_that_a_file_is_too_short_for_are_not_offered(tmp_path: Path) -> None:
    size = len(FILE) + PAGE_SIZE
    pages = offered_of_module(tmp_path / "module", Segment(Gpa(HIGH + SLAB // 2), Gva(0), 0, size, size, 5))
    assert [alike.numbers for alike in pages] == [range(256), range(265, 512)]


def test_pages_of_a_file_on_the_disk_of_the_guests_are_offered_with_where_they_lie_on_it() -> None:
    with open_root_file_system() as files, open(root_file_system(), "rb") as disk:
        file = files.open("gKeOS")
        place = file.place
        assert place is not None
        (descriptor, _), begin = place
        disk.seek(begin)
        assert os.pread(descriptor, file.size, begin) == disk.read(file.size) == file.read()


def test_what_lies_in_no_file_is_not_offered() -> None:
    pager, filler = offering()
    touch(pager, MIB)
    touch(pager, MIB + PAGE_SIZE)
    _, pages, _ = filler.offers[0]
    assert [alike.numbers for alike in pages] == [range(260, 264), range(264, 512)]


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


DENSE = [HIGH + index * SLAB for index in range(4)]
BEHIND = DENSE[-1] + SLAB


def memory_provided(where: int, access: Access, *, touched: Sequence[int] = DENSE) -> int:
    """How many pages of the 2 MiB at `where` the host provides when they are touched, with what was `touched` before filled."""
    pager, filler = build_pager(ram_kib=32 * MIB // KIB), Filler()
    pager.fill_by(filler, lambda addresses: False)
    for slab in touched:
        for page in range(slab, slab + SLAB, PAGE_SIZE):
            touch(pager, page, Access.WRITE)
    touch(pager, where, access)
    touch(pager, where + PAGE_SIZE, access)
    frames = pager.frames.find(where)
    assert frames is not None
    assert pager.statistics.present == len(touched) * 512 + 2
    return resident_pages(pager.memory, frames, 512)


@needs_populating
def test_who_writes_all_memory_from_end_to_end_has_the_hosts_memory_before_it_is_touched() -> None:
    assert memory_provided(BEHIND, Access.WRITE) == 512
    assert memory_provided(HIGH, Access.WRITE, touched=[slab + SLAB for slab in reversed(DENSE)]) == 512


@pytest.mark.parametrize(
    ("where", "access", "touched"),
    [
        (BEHIND, Access.READ, DENSE),
        (BEHIND, Access.WRITE, DENSE[1:]),
        (BEHIND + SLAB, Access.WRITE, DENSE),
        (HIGH, Access.WRITE, []),
    ],
    ids=["reads", "has written less than 8 MiB", "leaves something out", "has written nothing"],
)
def test_nobody_else_has_memory_that_was_not_touched(where: int, access: Access, touched: list[int]) -> None:
    assert memory_provided(where, access, touched=touched) == 0
