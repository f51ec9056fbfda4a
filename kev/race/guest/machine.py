"""One run of a whole guest, its vCPUs interleaved at exact instructions.

A tick of a vCPU is an instruction, an exit that has to wait for a page, or a step of the pager from one scheduling point to the
next: waiting is in the schedule, too, and pages come when it lets them. Nothing but the schedule distinguishes one run from
another: time is derived from instructions.
"""

from bisect import insort
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from kev.addressing import Gpa, page_floor
from kev.engine.base import Budget, VcpuState
from kev.exits import EptViolation, Pause
from kev.machine.schedule import ANYTHING, Scheduler
from kev.machine.step import NeedsPage, Ran, Step
from kev.machine.vcpu import ActivityState, Vcpu
from kev.machine.vm import Controller, Vm
from kev.pager.pages import PageState
from kev.race.guest.loads import LoadRules
from kev.race.guest.source import MemorySource
from kev.race.meeting import Meeting
from kev.race.outcome import Failure, Turn
from kev.race.points import reach

PATIENCE: Final = 20_000
"""Instructions in a row after which a vCPU is taken to be waiting for another in a loop."""
_PATIENT: Final = Budget(instructions=PATIENCE)


class Witness(Protocol):
    """Is told who goes on, and how far."""

    def chosen(self, vcpu: Vcpu) -> None:
        """A turn of `vcpu` begins, or its next: it may have been its turn before."""

    def went_on(self, ticks: int, step: Step | None) -> None:
        """It has taken `ticks`; `step` is what its slice came to, None in the pager."""


class GuestMachine:
    """A machine that a schedule drives. It runs once."""

    def __init__(self, vm: Vm, image: MemorySource, limit: int) -> None:
        """`vm` must be new, in virtual time, and run `image`. A run of more than `limit` ticks has no end."""
        self.vm: Final = vm
        self.turns: Final[list[Turn]] = []
        """One after the other; several in a row may be of the same vCPU."""
        self.ticks = 0
        self.failure: Failure | None = None
        self.witness: Witness | None = None
        self._limit: Final = limit
        self._loads: Final[dict[int, Coroutine[Any, None, None]]] = {}
        """Of vCPUs that are in the pager, what they do there."""
        self._blocked: Final[list[int]] = []
        self._others_changed = False
        """Another vCPU became runnable in this turn."""
        self._resting: set[int] = set()
        """vCPUs that spin: others come first."""
        self._rules: Final = LoadRules(vm.pager, image, self)
        vm.pager.observe(self._rules)
        vm.pager.schedule_by(reach, lambda: Meeting(self))
        vm.handle(EptViolation, self._without_short_cut(vm.controller(EptViolation)))
        # A vCPU that another has started or woken may be meant to go on at once.
        vm.interrupts.runnable.subscribe(self._note_runnable)

    def run(self, scheduler: Scheduler, *, fair: bool) -> None:
        """Runs until the guest has ended, or cannot go on. `fair`: who spins rests until somebody else got something done."""
        vm, vcpus = self.vm, self.vm.vcpus
        ticks = 0
        while vm.ending is None and self.failure is None:
            vm.timers.run_due()
            runnable = self._runnable()
            if not runnable:
                self._idle()
                continue
            alone = len(runnable) == 1
            offered = self._awake(runnable) if fair and self._resting and not alone else runnable
            chosen = scheduler.next(offered, ticks, ANYTHING)
            ticks = self._take_turn(vcpus[chosen.vcpu], _PATIENT if alone else chosen.budget)
            self._note(Turn(chosen.vcpu, ticks, offered))
        if self.failure is None and not self._loads:
            self._rules.finish()

    def wake(self, vcpu: int) -> None:
        """A vCPU that waited for a page can go on."""
        self._blocked.remove(vcpu)
        self._others_changed = True

    def fail(self, oracle: str, message: str) -> None:
        """Something was done wrong. The first failure counts, and the run ends with the turn."""
        if self.failure is None:
            self.failure = Failure(oracle, message, self.ticks)

    def close(self) -> None:
        for load in self._loads.values():
            load.close()
        self.vm.engine.close()
        self.vm.pager.close()

    def _note_runnable(self) -> None:
        self._others_changed = True
        self.vm.engine.yield_soon()

    def _runnable(self) -> list[int]:
        blocked = self._blocked
        return [
            vcpu.index
            for vcpu in self.vm.vcpus
            if (vcpu.activity is ActivityState.ACTIVE or vcpu.index in self._loads) and vcpu.index not in blocked
        ]

    def _awake(self, runnable: list[int]) -> list[int]:
        """Without those who spin; if all do, without the one who did last."""
        if self._resting.issuperset(runnable):
            self._resting = {self.turns[-1].vcpu}
        return [vcpu for vcpu in runnable if vcpu not in self._resting]

    def _note(self, turn: Turn) -> None:
        self.ticks += turn.steps
        self.turns.append(turn)
        if self.ticks > self._limit:
            places = ", ".join(self.vm.where(vcpu) for vcpu in self.vm.vcpus if vcpu.activity is ActivityState.ACTIVE)
            self.fail("endless run", f"the guest has not ended after {self.ticks:,} instructions: {places}")

    def _idle(self) -> None:
        """Nobody can run: time passes until the next timer, if anything can come of that."""
        vm = self.vm
        if self._blocked:
            names = ", ".join(f"vCPU {vcpu}" for vcpu in sorted(self._blocked))
            self.fail("lost wake-up", f"nobody can go on: {names} waits for a page that nobody loads")
        else:
            vm.idle()

    # One vCPU.

    def _take_turn(self, vcpu: Vcpu, budget: Budget) -> int:
        """Lets a vCPU go on for up to `budget`; returns how many ticks it took, which is at least 1.

        The turn is over earlier when the vCPU has to wait, spins, or makes another one runnable.
        """
        limit = min(budget.instructions or PATIENCE, PATIENCE)
        taken = 0
        self._others_changed = False
        if self.witness is not None:
            self.witness.chosen(vcpu)
        try:
            while True:
                ticks, step = self._go_on(vcpu, limit - taken)
                taken += ticks
                if self.witness is not None:
                    self.witness.went_on(ticks, step)
                if taken >= limit or self._is_over(vcpu, step):
                    break
        except Exception as error:
            self.fail("unexpected error", f"{self.vm.where(vcpu)}: {type(error).__name__}: {error}")
        if taken >= PATIENCE:
            self._resting.add(vcpu.index)
        return max(taken, 1)

    def _go_on(self, vcpu: Vcpu, limit: int) -> tuple[int, Step | None]:
        """Up to `limit` instructions, or a step in the pager."""
        load = self._loads.get(vcpu.index)
        return self._execute(vcpu, limit) if load is None else self._go_on_loading(vcpu, load)

    def _is_over(self, vcpu: Vcpu, step: Step | None) -> bool:
        if self._others_changed or self.vm.ending is not None or self.failure is not None:
            return True
        if vcpu.index in self._loads:
            return vcpu.index in self._blocked
        return step is not None

    def _execute(self, vcpu: Vcpu, limit: int) -> tuple[int, Step]:
        state = vcpu.state
        before = state.instructions
        step = self.vm.run(vcpu, Budget(instructions=limit))
        ticks = max(state.instructions - before, 1)
        if isinstance(step, Ran) and isinstance(step.exit, Pause):
            self._resting.add(vcpu.index)
        else:
            self._resting.clear()
        if isinstance(step, NeedsPage):
            ticks = state.instructions - before + 1
            load = self._loads[vcpu.index] = self.vm.load_page(vcpu)
            self._resume(vcpu, load)
        return ticks, step

    def _go_on_loading(self, vcpu: Vcpu, load: Coroutine[Any, None, None]) -> tuple[int, None]:
        self._resting.clear()
        self._resume(vcpu, load)
        return 1, None

    def _resume(self, vcpu: Vcpu, load: Coroutine[Any, None, None]) -> None:
        """Takes a vCPU to its next scheduling point in the pager."""
        try:
            at = load.send(None)
        except StopIteration:
            del self._loads[vcpu.index]
            return
        if isinstance(at, Meeting):
            at.waiting.append(vcpu.index)
            insort(self._blocked, vcpu.index)

    def _without_short_cut(self, controller: Controller) -> Controller:
        """Every page is loaded by `load_page`, with its scheduling points."""
        pager = self.vm.pager

        def handle(vcpu: VcpuState, exit: EptViolation) -> Any:
            page = page_floor(exit.gpa)
            awaited = pager.pages[page] is not PageState.PRESENT and Gpa(page) in pager.loaders
            return None if awaited else controller(vcpu, exit)

        return handle
