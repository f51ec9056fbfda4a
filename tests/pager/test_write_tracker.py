"""Memory goes back to any point: a state machine of reads, writes, points and returns, against copies of everything."""

from collections.abc import Callable, Collection

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kev.addressing import PAGE_SIZE, Gpa
from kev.exits import Access, EptViolation
from kev.page_tables.ept import EptFormat
from kev.page_tables.format import EntryFormat
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from kev.pager.errors import PagerError
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState
from kev.pager.write_tracker import MemoryPoint, WriteTracker
from tests.examples import examples
from tests.pager.machine import build_pager, guest_page, touch

PAGES = (0x100000, 0x101000, 0x102000, 0x106000, 0x107000, 0x1000, 0x1FF000, 0x200000, 0x201000)
"""Of code, of code and data, of bss, of RAM, at the borders of tables."""


class Guest:
    """Reads and writes as a CPU does: through the nested table, and with a violation where that does not permit it."""

    def __init__(self, entry_format: EntryFormat) -> None:
        self.pager: KernelVmPager = build_pager(entry_format=entry_format)
        assert isinstance(self.pager.table, PageTable)
        self.table: PageTable = self.pager.table
        self.refilled_frames: list[int] = []
        self.answer: Callable[[EptViolation], bool] = lambda _: False
        self.tracker = WriteTracker(self.pager, self.table, self)

    def answer_quietly(self, answer: Callable[[EptViolation], bool]) -> None:
        self.answer = answer

    def forget_mappings(self) -> None:
        """It caches none."""

    def refilled(self, frames: Collection[int]) -> None:
        self.refilled_frames += frames

    def read(self, page: int) -> bytes:
        self._access(page, Access.READ)
        return bytes(guest_page(self.pager, page))

    def write(self, page: int, data: bytes) -> None:
        self._access(page, Access.WRITE)
        guest_page(self.pager, page)[:] = data

    def device_writes(self, page: int, data: bytes) -> None:
        touch(self.pager, page)
        self.tracker.before_write(Gpa(page + 8))
        guest_page(self.pager, page)[:] = data

    def permit_writes(self, page: int, permitted: bool) -> None:
        """As `PagedMemory.permit_writes`."""
        if not permitted:
            self.table.forbid_writes(page)
        elif self.table.allow_writes(page):
            self.tracker.before_write(Gpa(page))

    def _access(self, page: int, access: Access) -> None:
        for _ in range(3):
            if self.table.translate(page, access) is not None:
                return
            if not self.answer(EptViolation(Gpa(page), access)):
                assert touch(self.pager, page, access)
        raise AssertionError("the access does not come to an end")

    def contents(self) -> dict[int, bytes]:
        """Every page that is there."""
        present = [page for run in self.pager.pages.runs(PageState.PRESENT) for page in run]
        return {page: bytes(guest_page(self.pager, page)) for page in present}


@attrs.frozen
class Moment:
    point: MemoryPoint
    contents: dict[int, bytes]
    loads: int


class TrackerMachine(RuleBasedStateMachine):
    """The model copies every page at every point."""

    @initialize(entry_format=st.sampled_from([EptFormat(), NptFormat()]))
    def build(self, entry_format: EntryFormat) -> None:
        self.guest = Guest(entry_format)
        self.now: dict[int, bytes] = {}
        self.moments: list[Moment] = []
        self.read_only: set[int] = set()

    @rule(page=st.sampled_from(PAGES))
    def read(self, page: int) -> None:
        data = self.guest.read(page)
        assert self.now.setdefault(page, data) == data

    @rule(page=st.sampled_from(PAGES), value=st.integers(0, 255), by_device=st.booleans())
    def write(self, page: int, value: int, by_device: bool) -> None:
        data = bytes([value]) * PAGE_SIZE
        if not by_device and page in self.read_only:
            self.read(page)
            assert not self.guest.answer(EptViolation(Gpa(page), Access.WRITE))
            assert self.guest.table.translate(page, Access.WRITE) is None
            return
        (self.guest.device_writes if by_device else self.guest.write)(page, data)
        self.now[page] = data

    @rule(page=st.sampled_from(PAGES), permitted=st.booleans())
    def permit(self, page: int, permitted: bool) -> None:
        self.guest.permit_writes(page, permitted)
        (self.read_only.discard if permitted else self.read_only.add)(page)

    @precondition(lambda self: len(self.moments) < 4)
    @rule()
    def take(self) -> None:
        point = self.guest.tracker.take()
        self.moments.append(Moment(point, dict(self.now), self.guest.pager.statistics.loads))

    @precondition(lambda self: self.moments)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        moment = data.draw(st.sampled_from(self.moments))
        before = self.guest.contents()
        self.guest.refilled_frames.clear()
        self.guest.tracker.restore(moment.point)
        self.now = dict(moment.contents)
        assert self.guest.pager.statistics.loads == moment.loads
        changed = {page for page in before if before[page] != self.now.get(page)}
        frames = {self.guest.pager.frames.assign(page) for page in changed}
        assert frames <= set(self.guest.refilled_frames)

    @precondition(lambda self: self.moments)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        moment = data.draw(st.sampled_from(self.moments))
        self.moments.remove(moment)
        self.guest.tracker.release(moment.point)

    @invariant()
    def memory_is_what_the_model_says(self) -> None:
        assert self.guest.contents() == self.now

    @invariant()
    def every_point_still_says_what_was_there(self) -> None:
        for moment in self.moments:
            for page, data in moment.contents.items():
                assert moment.point.was_present(page)
                assert self.guest.tracker.page_at(moment.point, page) == data

    @invariant()
    def between_two_points_nothing_else_differs(self) -> None:
        for one in self.moments:
            for other in self.moments:
                both = one.contents.keys() & other.contents.keys()
                differing = {page for page in both if one.contents[page] != other.contents[page]}
                assert differing <= self.guest.tracker.written_between(one.point, other.point)


TestTracker = pytest.mark.slow(TrackerMachine.TestCase)
TestTracker.settings = settings(max_examples=examples(100), stateful_step_count=30)


@pytest.fixture
def guest() -> Guest:
    return Guest(NptFormat())


def test_a_page_is_kept_at_its_first_write_only(guest: Guest) -> None:
    for page in PAGES:
        guest.read(page)
    point = guest.tracker.take()
    guest.write(PAGES[0], bytes(PAGE_SIZE))
    guest.write(PAGES[0], b"\1" * PAGE_SIZE)
    assert list(point.originals) == [PAGES[0]]
    assert not guest.answer(EptViolation(Gpa(PAGES[0]), Access.WRITE))


def test_the_second_time_the_same_pages_are_written_without_a_violation(guest: Guest) -> None:
    original = guest.read(PAGES[0])
    point = guest.tracker.take()
    guest.write(PAGES[0], bytes(PAGE_SIZE))
    guest.tracker.restore(point)
    assert guest.table.translate(PAGES[0], Access.WRITE) is not None
    guest.write(PAGES[0], b"\1" * PAGE_SIZE)
    guest.tracker.restore(point)
    assert guest.read(PAGES[0]) == original


def test_pages_that_are_kept_are_not_evicted(guest: Guest) -> None:
    guest.read(PAGES[0])
    with pytest.raises(PagerError, match="page 0x100000 cannot be evicted"):
        guest.pager.evict(Gpa(PAGES[0])).send(None)
