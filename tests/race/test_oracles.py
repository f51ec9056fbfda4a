"""What the oracles say of pagers that break the rules, word for word."""

from kev.addressing import Gpa, Hpa
from kev.pager.kernel import KernelVmPager, Load
from kev.pager.protocols import Point
from kev.race.outcome import Failure
from kev.race.schedule import Schedule
from kev.race.strategy.replay import ReplayScheduler, RoughScheduler
from kev.race.trace.machine import MAX_STEPS, PagerFactory
from tests.race.mutants.filling import (
    BytesLeftBehind,
    EvictionAgainstFault,
    EvictionAgainstStore,
    FillOverStore,
    NoFlush,
    PublishBeforeFill,
)
from tests.race.mutants.locking import LockAcrossLoad, NoLock
from tests.race.mutants.waking import CancellationStrandsWaiters, LostWakeUp, OldErrorForNewcomers, fill
from tests.race.subjects import subject


def failure(program: str, factory: PagerFactory, *segments: tuple[int, int]) -> Failure:
    found = subject(program, factory).run(ReplayScheduler(Schedule.of(segments))).failure
    assert found is not None
    return found


def test_two_loads_of_a_page_at_once_are_named_with_their_steps() -> None:
    assert failure("r0/r0", NoLock, (0, 3), (1, 3)) == Failure(
        "broken history", "page 0 is loaded twice: vCPU 1 starts its loader, which vCPU 0 started in step 2", 5
    )


def test_a_load_of_a_page_that_is_there_is_named() -> None:
    assert failure("p0+2/r1", FillOverStore, (0, 5), (1, 7), (0, 2)) == Failure(
        "broken history", "page 1 is loaded again: vCPU 0 starts its loader although the page is Present", 13
    )


def test_whoever_runs_on_a_page_before_it_is_filled_is_named() -> None:
    assert failure("r0/r0", PublishBeforeFill, (0, 2), (1, 1)) == Failure(
        "unfilled page", "vCPU 1 reads page 0, which is Loading and not filled", 2
    )


def test_an_access_to_where_a_page_was_is_named() -> None:
    assert failure("r0f0/e0", NoFlush, (0, 7), (1, 2), (0, 1)) == Failure(
        "unfilled page", "vCPU 0 executes page 0, which is Absent and not filled", 9
    )


def test_a_lost_store_is_named_with_whose_it_was() -> None:
    assert failure("w0/e0r0", EvictionAgainstStore, (0, 5), (1, 2), (0, 2), (1, 8)) == Failure(
        "wrong contents", "vCPU 1 reads page 0: what vCPU 0 stored at offset 0x0 in step 8 is not there any more", 16
    )


class HalfFilled(KernelVmPager):
    """Reports the second half of a page as filled, and clears it."""

    def _publish(self, page: int, hpa: int, count: int) -> None:
        frame = self.memory.page(Hpa(hpa))
        frame[0x800:] = bytes(0x800)
        super()._publish(page, hpa, count)


def test_a_byte_that_the_image_has_otherwise_is_named() -> None:
    found = subject("r0", HalfFilled).run(RoughScheduler(Schedule.of([]))).failure
    assert found == Failure("wrong contents", "vCPU 0 reads page 0: offset 0x800 holds 0x00, the image has 0x01 there", 6)


def test_a_lost_wake_up_is_named_with_who_should_have_woken_whom() -> None:
    assert failure("r0/r0", LostWakeUp, (0, 2), (1, 2), (0, 5), (1, 1)) == Failure(
        "lost wake-up",
        "nobody can go on: vCPU 1 has been waiting for page 0 since step 9; "
        "vCPU 0's load of it ended in step 6 (Present), and nobody woke vCPU 1",
        10,
    )
    assert failure("r0/r0/c0", CancellationStrandsWaiters, (0, 2), (1, 3), (2, 1)).message.endswith(
        "vCPU 0's load of it ended in step 5 (cancelled), and nobody woke vCPU 1"
    )


def test_a_deadlock_is_named_with_who_waits_for_what() -> None:
    assert failure("r1/r0;1=n0", LockAcrossLoad, (0, 5), (1, 2)) == Failure(
        "deadlock",
        "nobody can go on: vCPU 0 has been waiting for page 0 since step 4, but not for a load of it: for a lock that is held; "
        "vCPU 1 has been waiting for page 0 since step 6, but not for a load of it: for a lock that is held",
        7,
    )


class NeverArrives(KernelVmPager):
    """Waits for its own load to end before it carries it out."""

    async def _carry_out(self, load: Load) -> None:
        load.taken = True
        await self._wait(load)
        await super()._carry_out(load)


def test_a_load_that_is_never_over_is_named_with_who_does_it() -> None:
    assert failure("r0/r0", NeverArrives, (0, 3), (1, 3)).message == (
        "nobody can go on: vCPU 0 has been waiting for page 0 since step 2, which vCPU 0 has been loading since step 1; "
        "vCPU 1 has been waiting for page 0 since step 5, which vCPU 0 has been loading since step 1"
    )


class GoesOnForEver(KernelVmPager):
    """Polls."""

    async def load_page(self, gpa: Gpa) -> None:
        while True:
            await self._reach(Point.LOCK, gpa)


def test_a_run_without_an_end_is_named() -> None:
    found = subject("r0/r0", GoesOnForEver).run(RoughScheduler(Schedule.of([]))).failure
    assert found is not None
    assert found.oracle == "endless run"
    assert found.message == f"the run has taken {MAX_STEPS + 1} steps and does not end: vCPU 0, vCPU 1 go on and on"


def test_what_a_cancelled_load_leaves_behind_is_named() -> None:
    assert failure("r0/c0", BytesLeftBehind, (0, 3), (1, 1)) == Failure(
        "traces left", "after vCPU 0's load of page 0 was cancelled its frame is not empty", 3
    )


def test_an_error_of_somebody_else_is_named() -> None:
    assert failure("r0/r0;0=x1", OldErrorForNewcomers, (0, 6), (1, 3), (0, 4), (1, 1)).message == (
        "vCPU 1 wants page 0 and gets the error of a load that failed before it asked: "
        "page 0: its source fails (failure 1, as the program says); "
        "it is for the page at gpa 0x0 of the segment at 0x0-0x1000, file offset 0x0"
    )


def test_an_error_that_no_source_has_raised_is_named() -> None:
    assert failure("r0/e0", EvictionAgainstFault, (0, 2), (1, 2), (0, 3)).message == (
        "vCPU 0 at page 0: IllegalTransition: page 0x0 is ABSENT: FAIL is not possible"
    )


class Forgetful(KernelVmPager):
    """Leaves a page Loading for good when its load is cancelled."""

    async def _carry_out(self, load: Load) -> None:
        try:
            await fill(self, load)
        finally:
            del self._loads[load.page]
        self._publish(load.page, self.frames.assign(load.page), load.count)


def test_a_page_that_stays_loading_is_named() -> None:
    assert failure("r0/c0", Forgetful, (0, 3), (1, 1)) == Failure(
        "broken history", "page 0 is Loading at the end, although nobody loads it any more", 4
    )
