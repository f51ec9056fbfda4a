"""Many vCPUs and few pages: every order of steps ends well, and a pager with a mistake is found out."""

import random
from collections import Counter
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE, Gpa
from kev.page_tables.errors import PagingError
from kev.pager.backing import PageLoader
from kev.pager.errors import PagerError
from kev.pager.kernel import KernelVmPager, Load
from kev.pager.pages import PageEvent, PageState
from kev.pager.protocols import Point
from tests.pager.machine import build_pager, guest_page, permissions
from tests.pager.stepper import Cancelled, Latch, Vcpu, pause, point, run
from tests.race.mutants.locking import CheckThenAct
from tests.race.mutants.waking import fill

PAGES = (0x3000, 0x4000, 0x5000)
TOUCH, EVICT = "touch", "evict"


class LoadRefused(Exception):
    """What a loader raises that was told to fail."""


@attrs.define(eq=False)
class Experiment:
    """vCPUs that touch and evict pages, and what must be true of every step of theirs."""

    pager: KernelVmPager
    programs: Sequence[Sequence[tuple[str, int]]]
    failing: int = 0
    """So many loads fail, beginning with the first."""
    runs: Counter[int] = attrs.field(factory=Counter)
    failed: int = 0

    def __attrs_post_init__(self) -> None:
        self.pager.schedule_by(point)
        for page in PAGES:
            self.pager.map_page(Gpa(page), self._loader(page))

    def run(self, choices: Sequence[int], cancel: Sequence[int] = ()) -> list[Vcpu]:
        vcpus = [Vcpu(self._vcpu(program)) for program in self.programs]
        run(vcpus, choices, cancel)
        for vcpu in vcpus:
            if vcpu.error is not None and not isinstance(vcpu.error, (Cancelled, LoadRefused)):
                raise vcpu.error
        self._check_the_end()
        return vcpus

    def _loader(self, page: int) -> PageLoader:
        async def load(frame: memoryview) -> bool:
            self.runs[page] += 1
            assert frame == bytes(PAGE_SIZE), "a loader got a frame that was not empty"
            await pause()
            frame[:8] = page.to_bytes(8, "little")
            await pause()
            if self.failed < self.failing:
                self.failed += 1
                raise LoadRefused
            frame[8:16] = page.to_bytes(8, "little")
            return True

        return load

    async def _vcpu(self, program: Sequence[tuple[str, int]]) -> None:
        for action, page in program:
            if action == EVICT:
                await self.pager.evict(Gpa(page))
            else:
                await self._touch(page)

    async def _touch(self, page: int) -> None:
        """As a guest does: again and again until the page is mapped. What is mapped has to be whole."""
        while permissions(self.pager, page) is None:
            await self.pager.load_page(Gpa(page))
            await pause()
        assert guest_page(self.pager, page)[:16] == page.to_bytes(8, "little") * 2, "a page was mapped before it was filled"

    def _check_the_end(self) -> None:
        pager, statistics = self.pager, self.pager.statistics
        assert sum(self.runs.values()) <= statistics.loads + statistics.failures + statistics.cancellations
        assert statistics.failures == self.failed
        for page in PAGES:
            assert pager.pages[page] is not PageState.LOADING
            assert (pager.pages[page] is PageState.PRESENT) == (permissions(pager, page) is not None)
            if pager.pages[page] is PageState.PRESENT:
                assert guest_page(pager, page)[:16] == page.to_bytes(8, "little") * 2


def experiment(
    programs: Sequence[Sequence[tuple[str, int]]], failing: int = 0, pager_class: type[KernelVmPager] = KernelVmPager
) -> Experiment:
    return Experiment(build_pager(rendezvous=Latch, pager_class=pager_class), programs, failing)


ACTIONS = st.tuples(st.sampled_from([TOUCH, TOUCH, TOUCH, EVICT]), st.sampled_from(PAGES))
PROGRAMS = st.lists(st.lists(ACTIONS, min_size=1, max_size=4), min_size=2, max_size=4)
CHOICES = st.lists(st.integers(0, 5), max_size=60)


@given(PROGRAMS, CHOICES)
def test_any_order_of_steps_loads_every_page_once_a_success(programs: list[list[tuple[str, int]]], choices: list[int]) -> None:
    trial = experiment(programs)
    trial.run(choices)
    statistics = trial.pager.statistics
    assert sum(trial.runs.values()) == statistics.loads
    assert statistics.failures == statistics.cancellations == 0


@given(PROGRAMS, CHOICES, st.integers(1, 3))
def test_any_order_of_steps_survives_loads_that_fail(
    programs: list[list[tuple[str, int]]], choices: list[int], failing: int
) -> None:
    trial = experiment(programs, failing)
    trial.run(choices)
    statistics = trial.pager.statistics
    assert sum(trial.runs.values()) == statistics.loads + statistics.failures


@given(PROGRAMS, CHOICES, st.lists(st.integers(0, 12), max_size=4))
def test_any_order_of_steps_survives_cancellation(
    programs: list[list[tuple[str, int]]], choices: list[int], cancel: list[int]
) -> None:
    experiment(programs).run(choices, cancel)


def test_all_who_wait_for_a_failed_load_get_the_same_error() -> None:
    trial = experiment([[(TOUCH, PAGES[0])]] * 3, failing=1)
    errors = [vcpu.error for vcpu in trial.run([0, 0, 1, 1, 1, 1, 1])]
    assert isinstance(errors[0], LoadRefused)
    assert errors == [errors[0]] * 3
    assert trial.pager.pages[PAGES[0]] is PageState.ABSENT


class NoLock(KernelVmPager):
    """Whoever finds the page not Present loads it."""

    def _load_of(self, page: int) -> Load | None:
        if self.pages[page] is PageState.PRESENT:
            return None
        return Load(page, 1, self._backing(page), range(page, page + PAGE_SIZE, PAGE_SIZE))

    def _publish(self, page: int, hpa: int, count: int) -> None:
        if self.pages[page] is PageState.ABSENT:
            self._claim(page)
        super()._publish(page, hpa, count)


class PublishBeforeFill(KernelVmPager):
    """The page is mapped while its loader still runs."""

    async def _carry_out(self, load: Load) -> None:
        super()._publish(load.page, self.frames.assign(load.page), load.count)
        await super()._carry_out(load)

    def _publish(self, page: int, hpa: int, count: int) -> None:
        pass


class WakeBeforePublish(KernelVmPager):
    """Those who wait go on, and find nothing but a load they were already told was over."""

    async def _carry_out(self, load: Load) -> None:
        await fill(self, load)
        self._wake(load)
        await self._reach(Point.PUBLISH, load.page)
        self._publish(load.page, self.frames.assign(load.page), load.count)


class LostWakeUp(KernelVmPager):
    """The load may end between the look at it and the wait for it."""

    async def _wait(self, load: Load) -> None:
        if not load.finished:
            load.rendezvous = Latch()
            await self._reach(Point.WAIT, load.page)
            load.rendezvous = Latch()
            await load.rendezvous.wait()


class FailureForgetsWaiters(KernelVmPager):
    """Only the one who loads hears of the failure."""

    def _wake(self, load: Load) -> None:
        if load.error is None:
            super()._wake(load)
        else:
            del self._loads[load.page]


class CancellationStrandsWaiters(KernelVmPager):
    """Nobody is told that the load was given up."""

    def _retract(self, page: int, event: PageEvent, count: int = 1) -> None:
        super()._retract(page, event, count)
        if event is PageEvent.ABANDON:
            self._loads[page].rendezvous = None


class RefilledFrame(KernelVmPager):
    """What a loader wrote that failed stays in the frame."""

    def _empty_frames(self, page: int, count: int = 1) -> None:
        pass


class EvictionInSteps(KernelVmPager):
    """Between unmapping a page and calling it Absent, somebody else may run."""

    async def evict(self, gpa: Gpa) -> bool:
        page = gpa
        await self._reach(Point.LOCK, page)
        if self.pages[page] is not PageState.PRESENT:
            return False
        self._unmap(page)
        await self._reach(Point.LOCK, page)
        self._empty_frames(page)
        self.pages.advance(page, PageEvent.EVICT)
        return True


MUTANTS = [
    NoLock,
    CheckThenAct,
    PublishBeforeFill,
    WakeBeforePublish,
    LostWakeUp,
    FailureForgetsWaiters,
    CancellationStrandsWaiters,
    RefilledFrame,
    EvictionInSteps,
]


def random_runs(pager_class: type[KernelVmPager], runs: int) -> None:
    dice = random.Random(0)
    programs = [[(TOUCH, PAGES[0]), (TOUCH, PAGES[1])], [(TOUCH, PAGES[0]), (EVICT, PAGES[0])], [(TOUCH, PAGES[0])]]
    for _ in range(runs):
        trial = experiment(programs, failing=dice.randrange(2), pager_class=pager_class)
        trial.run(dice.choices(range(3), k=60), [dice.randrange(24) for _ in programs])


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_pager_with_a_mistake_is_found_out_within_a_thousand_runs(mutant: type[KernelVmPager]) -> None:
    with pytest.raises((AssertionError, PagingError, PagerError)):
        random_runs(mutant, 1000)


def test_the_pager_itself_is_not_found_out() -> None:
    random_runs(KernelVmPager, 1000)
