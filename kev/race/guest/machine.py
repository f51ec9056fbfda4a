"""One run of a whole guest, its vCPUs interleaved at exact instructions.

A tick of a vCPU is an instruction, an exit that has to wait for a page, or a step of the pager from one scheduling point to the
next: waiting is in the schedule, too, and pages come when it lets them. Nothing but the schedule distinguishes one run from
another: time is derived from instructions.

A vCPU that executes PAUSE, or takes 20,000 steps in a row, lets others go first: it can be chosen again when another one has got
something done, that is, when that one's steps in a row have ended in another way. Then, and at every step of a vCPU that has not
just let others go first, everybody who can run can be chosen.

Where runs are enumerated, a vCPU lets others go first only if it spins, which is found out: if its steps between two PAUSEs have
changed nothing, or, after 20,000 steps in a row, a few more.
"""

from bisect import insort
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from kev.engine.base import Budget
from kev.exits import Pause, PreemptionTimer
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.machine.step import NeedsPage, Ran, Step
from kev.machine.vcpu import ActivityState, Vcpu
from kev.machine.vm import Vm
from kev.race.errors import ScheduleOver
from kev.race.guest.fairness import FairTurns
from kev.race.guest.loads import LoadRules
from kev.race.guest.prepared import PATIENCE
from kev.race.guest.spinning import LONGEST_LOOP, Spinning
from kev.race.guest.stage import Stage
from kev.race.guest.standstill import Standstill
from kev.race.guest.store_buffers import BufferedStore
from kev.race.meeting import Meeting
from kev.race.outcome import Failure, Turn
from kev.race.strategy.base import UNLIMITED, Redundant
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.placed import PlacedScheduler
from kev.race.strategy.replay import ReplayScheduler, RoughScheduler
from kev.race.strategy.turn_search import TurnScheduler
from kev.work.stopping import check

_BEGUN: Final = (ActivityState.ACTIVE, ActivityState.HLT)
ENDLESS: Final = "endless run"
_UNEXPECTED: Final = "unexpected error"
_ALONE: Final = Budget(instructions=UNLIMITED)
ROUNDS_SEEN: Final = 2
"""Of even turns behind a schedule, so many of each vCPU are there to be told."""
_IN_BUFFER: Final = -1
"""Where a store buffer is in a program: nowhere."""
_PLAIN_TURNS: Final = 64
"""In a row, until it is looked whether somebody wants the run to stop."""
_LONGEST_CHANCE: Final = 50_000_000
"""Steps in which a guest has to end that takes turns fairly, if its runs may be longer than that."""


class Witness(Protocol):
    """Is told who goes on, and how far."""

    def chosen(self, vcpu: Vcpu) -> None:
        """A turn of `vcpu` begins, or its next: it may have been its turn before."""

    def went_on(self, ticks: int, step: Step | None) -> None:
        """It has taken `ticks`; `step` is what its slice came to, None in the pager."""

    def drained(self, vcpu: Vcpu, stores: Sequence[BufferedStore]) -> None:
        """What `vcpu` has stored becomes visible to others; a step each."""

    def schedule_over(self) -> None:
        """From now on, vCPUs take turns fairly."""


class _FromMark:
    """Lets a scheduler decide when the guest has said that what is to be explored begins."""

    def __init__(self, machine: "GuestMachine", inner: Scheduler) -> None:
        self._machine: Final = machine
        self._inner: Final = inner
        self._before: Final = UnpreemptedScheduler()

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        machine = self._machine
        if not machine.begins:
            return self._before.next(runnable)
        return self._inner.next(runnable, executed if machine.ticks > machine.begins else 0, accesses)


class GuestMachine:
    """One run of a machine, which a schedule drives."""

    def __init__(self, stage: Stage, limit: int, patience: int = PATIENCE) -> None:
        """It begins with what the machine of `stage` is now.

        A vCPU that has taken `patience` ticks in a row lets others go first. After `limit` ticks, as after the end of a schedule,
        vCPUs take turns fairly; a run that does not end then has no end.
        """
        self.stage: Final = stage
        self.vm: Final[Vm] = stage.vm
        self._buffers: Final = stage.buffers
        self._first_buffer: Final = len(stage.vm.vcpus)
        """Behind the numbers of vCPUs come those of their store buffers, which are chosen as vCPUs are."""
        self.output: Final = bytearray()
        """What the guest has printed."""
        self.turns: Final[list[Turn]] = []
        """One after the other; several in a row may be of the same vCPU."""
        self.ticks = 0
        """Up to the turn that is under way."""
        self.ticks_of_turn = 0
        """Of the turn that is under way, up to its present slice."""
        self.fair: FairTurns | None = None
        """Who goes on when the schedule is over."""
        self.scheduled = 0
        """How many turns there were until then."""
        self.begins = 0
        """The tick at which the guest has said that what is to be explored begins."""
        self._marked = False
        self.failure: Failure | None = None
        self.witness: Witness | None = None
        self.waits: Callable[[], str] | None = None
        """Says who waits for what, where somebody knows: else it is said where everybody is."""
        self._limit: Final = limit
        self._longest_schedule = limit
        """Ticks, behind which vCPUs take turns fairly: none where a schedule is followed to its end."""
        self._patience: Final = patience
        self._loads: Final[dict[int, Coroutine[Any, None, None]]] = {}
        """Of vCPUs that are in the pager, what they do there."""
        self._pauses: Final[set[int]] = set()
        """RIP behind every PAUSE that was executed in fair turns."""
        self._blocked: Final[list[int]] = []
        self._others_changed = False
        """Another vCPU became runnable in this turn."""
        self._rough: RoughScheduler | None = None
        """The schedule that is followed roughly."""
        self._spinning: Spinning | None = None
        """Where runs are enumerated."""
        self._paused = self._spun = False
        """The turn has ended with PAUSE; and in the state in which it began."""
        self._suspect = False
        """The vCPU may be spinning without PAUSE."""
        self.tries = False
        """What is executed now is taken back."""
        self._standstill: Standstill | None = None
        """Where it is looked for."""
        self._look_from = UNLIMITED
        """The tick from which on it is."""
        self._resting: Final[set[int]] = set()
        """vCPUs that let others go first."""
        self._last = -1
        """The vCPU that took the last step."""
        self._in_a_row = 0
        """Steps that it took in a row."""
        self._rules: Final = LoadRules(stage.vm.pager, stage.image, self)
        stage.enter(self)
        stage.observe_loads(self._rules)

    def run(self, scheduler: Scheduler, *, fair: bool, marks: bool = False, look_from: int | None = None) -> None:
        """Runs until the guest has ended, or cannot go on. `fair`: `scheduler` does not choose who lets others go first.

        From tick `look_from` on, a schedule is over that leads nowhere, and so are fair turns, wherever they begin: see
        `kev.race.guest.standstill`. None: fair turns are as long as anybody may need them.

        `marks`: until the guest says that what is to be explored begins, each vCPU goes on for as long as it can. Where a schedule
        that `scheduler` follows is over, vCPUs take turns fairly.
        """
        vm, vcpus = self.vm, self.vm.vcpus
        ticks = 0
        self._stop_where(scheduler)
        if marks:
            scheduler = _FromMark(self, scheduler)
        self._rough = scheduler if isinstance(scheduler, RoughScheduler) else None
        if isinstance(scheduler, ReplayScheduler):
            self._longest_schedule = UNLIMITED
        if isinstance(scheduler, TurnScheduler):
            self._spinning = Spinning(vm, self._buffers)
        if look_from is not None:
            self._standstill, self._look_from = Standstill(self.stage, look_from), look_from
        while vm.ending is None and self.failure is None:
            check()
            vm.timers.run_due()
            runnable = self._runnable()
            if not runnable:
                self._idle()
                continue
            if len(runnable) > 1 and self._takes_plain_turns:
                ticks = self._take_plain_turns(scheduler, runnable, ticks)
                continue
            alone = len(runnable) == 1 and self._buffers is None  # which a vCPU may fill
            offered = self._candidates(runnable) if fair and self._resting and not alone else runnable
            chosen = self._choose(scheduler, runnable, offered, ticks)
            if chosen is None:
                continue
            if chosen.vcpu >= self._first_buffer:
                ticks = self._drain(chosen, 1 if isinstance(scheduler, PlacedScheduler) else UNLIMITED)
                self._note(Turn(chosen.vcpu, ticks, runnable, offered))
                continue
            self._begin(vcpus[chosen.vcpu])
            ticks = self._take_turn(vcpus[chosen.vcpu], _ALONE if alone else chosen.budget, alone=alone)
            self._note(Turn(chosen.vcpu, ticks, runnable, offered, self._paused, self._spun))
            if self._spun and isinstance(scheduler, TurnScheduler) and scheduler.branches:
                raise Redundant
        if self.failure is None and not self._loads:
            self._rules.finish()
        vm.console.close()

    @property
    def _takes_plain_turns(self) -> bool:
        """Nobody lets others go first, nobody is in the pager, and nobody looks on."""
        return not (
            self._resting
            or self._loads
            or self.fair
            or self.witness
            or self._spinning
            or self.stage.places
            or self._buffers
            or (self._marked and not self.begins)
        )

    def _take_plain_turns(self, scheduler: Scheduler, runnable: list[int], ticks: int) -> int:
        """Turns, one after the other, up to the first in which more happens than that a vCPU executes so many instructions.

        Until then nothing changes in who can go on, and in who lets others go first. `ticks` are those of the turn before; returns
        those of the last one.
        """
        vcpus, turns, patience, run_out = self.vm.vcpus, self.turns, self._patience, self.vm.run_out
        choose, plain_until = scheduler.next, min(self._look_from, self._longest_schedule + 1)
        if self._rough is not None:
            plain_until = 0
        self.ticks_of_turn = 0
        for _ in range(_PLAIN_TURNS):
            try:
                chosen = choose(runnable, ticks)
            except ScheduleOver:
                self._end_schedule()
                break
            index, budget, _ = chosen
            if self.ticks >= plain_until and self._is_schedule_over(runnable, index):
                self._end_schedule()
                break
            if index != self._last:
                self._last, self._in_a_row, self._suspect = index, 0, False
            vcpu = vcpus[index]
            limit, left = budget.instructions or UNLIMITED, patience - self._in_a_row
            if limit > left:
                limit = left
            self._others_changed = self._paused = self._spun = False
            before = vcpu.state.instructions
            try:
                step = run_out(vcpu, limit)
            except Exception as error:
                self._fail_unexpectedly(vcpu, error)
                break
            if step is not None:
                ticks = self._take_turn(vcpu, budget, begun=(step, before))
                self._note(Turn(index, ticks, runnable, runnable, self._paused, self._spun))
                break
            ticks = limit
            self.ticks += limit
            turns.append(Turn(index, limit, runnable, runnable))
            self._in_a_row += limit
            if self._in_a_row >= patience:
                self._lose_patience(vcpu)
                break
        return ticks

    @property
    def schedule(self) -> Sequence[Turn]:
        """What leads to this run's end: all turns, or of a run without an end those before vCPUs took turns fairly."""
        endless = self.failure is not None and self.failure.oracle == ENDLESS
        return self.turns[: self.scheduled] if endless else self.turns

    @property
    def is_broken(self) -> bool:
        """Something has gone wrong in kev itself: the machine is no longer to be relied upon."""
        return self.failure is not None and self.failure.oracle == _UNEXPECTED

    def wake(self, vcpu: int) -> None:
        """A vCPU that waited for a page can go on."""
        self._blocked.remove(vcpu)
        self._others_changed = True

    def fail(self, oracle: str, message: str, kind: str = "") -> None:
        """Something was done wrong. The first failure counts, and the run ends with the turn."""
        if self.failure is None:
            self.failure = Failure(oracle, message, self.ticks, kind)

    def note_runnable(self) -> None:
        """Another vCPU can go on than before."""
        self._others_changed = True
        self.vm.engine.yield_soon()

    def note_mark(self) -> None:
        """The guest has said that what is to be explored begins. The first time counts."""
        if not self._marked:
            self._marked = self._others_changed = True
            self.vm.engine.yield_soon()

    def note_output(self, data: bytes) -> None:
        self.output.extend(data)

    def leave(self) -> None:
        """The run is over, wherever it is: loads that are under way come to nothing."""
        for load in self._loads.values():
            load.close()
        self.vm.pager.close()

    def _runnable(self) -> list[int]:
        blocked = self._blocked
        runnable = [
            vcpu.index
            for vcpu in self.vm.vcpus
            if (vcpu.activity is ActivityState.ACTIVE or vcpu.index in self._loads) and vcpu.index not in blocked
        ]
        if self._buffers is not None:
            runnable.extend(self._first_buffer + vcpu for vcpu in self._buffers.waiting())
        return runnable

    def _candidates(self, runnable: list[int]) -> list[int]:
        """Without those who let others go first; if all do, without the one who did last."""
        resting = self._resting
        if self._last in runnable and self._last not in resting:
            return runnable  # its steps in a row may end here, and then it has got something done
        if self._last not in resting:
            resting.clear()
        elif resting.issuperset(runnable) and not self._all_spin():
            resting.intersection_update((self._last,))
        return [vcpu for vcpu in runnable if vcpu not in resting] or runnable

    def _choose(self, scheduler: Scheduler, runnable: list[int], offered: list[int], ticks: int) -> Decision | None:
        """Who goes on; None if that has to be looked at anew."""
        if self.fair is not None:
            return self._choose_fairly(self.fair, runnable)
        # Of those that let others go first, and all spin, whoever goes on comes to the same state again.
        if not (self._resting and self._all_spin() and self._resting.issuperset(runnable)):
            try:
                chosen = scheduler.next(offered, ticks, ANYTHING)
            except ScheduleOver:
                pass
            else:
                if not self._is_schedule_over(runnable, chosen.vcpu):
                    return chosen
        self._end_schedule()
        return None

    def _choose_fairly(self, fair: FairTurns, runnable: list[int]) -> Decision | None:
        if fair.over:
            self._fail_endless(fair)
            return None
        chosen = fair.next(runnable)
        if self.ticks < self._look_from or fair.settled or len(runnable) == 1 or not self._stands_still(runnable, chosen.vcpu):
            return chosen
        assert self._standstill is not None
        self._pauses.update(self._standstill.pauses)
        fair.settle()
        if self.witness is None:
            self._fail_endless(fair)
        return None

    def _is_schedule_over(self, runnable: list[int], chosen: int) -> bool:
        """It has come to its end, or leads nowhere any more."""
        if self.ticks > self._longest_schedule or (self._rough is not None and self._rough.over):
            return True
        return self.ticks >= self._look_from and self._stands_still(runnable, chosen)

    def _end_schedule(self) -> None:
        """From now on, vCPUs take turns fairly."""
        self._stop_nowhere()
        if self._standstill is not None:
            self._standstill, self._look_from = Standstill(self.stage, self.ticks), self.ticks
        self.fair = FairTurns(self.vm, min(self._limit, _LONGEST_CHANCE))
        self.scheduled = len(self.turns)
        if self.witness is not None:
            self.witness.schedule_over()

    def _stands_still(self, runnable: list[int], chosen: int) -> bool:
        """Whoever goes on, nothing changes any more."""
        assert self._standstill is not None
        early = self.witness is not None and len(self.turns) < self.scheduled + ROUNDS_SEEN * self._first_buffer
        if self._loads or early:
            return False
        self.tries = True
        found = self._standstill.is_reached(self.ticks, runnable, chosen, self._last)
        self.tries = False
        self._look_from = self._standstill.next
        return found

    def _stop_where(self, scheduler: Scheduler) -> None:
        """The turns of this run end where `scheduler` wants them to."""
        if not isinstance(scheduler, PlacedScheduler):
            self._stop_nowhere()
            return
        vcpus = self.vm.vcpus
        scheduler.where = lambda actor: vcpus[actor].state.instruction_address if actor < len(vcpus) else _IN_BUFFER
        self.stage.stop_at(scheduler.shared.places)

    def _stop_nowhere(self) -> None:
        self.stage.stop_at(frozenset())

    def _all_spin(self) -> bool:
        """Of vCPUs that all let others go first: none of them, whoever goes on, comes to another state."""
        return self._spinning is not None and self.vm.timers.next_deadline() is None

    def _begin(self, vcpu: Vcpu) -> None:
        """`vcpu` takes the next step."""
        index, switched = vcpu.index, vcpu.index != self._last
        if switched:
            if self._last not in self._resting:
                self._resting.clear()
            self._last = index
            self._in_a_row = 0
            self._suspect = False
        if self._spinning is not None:
            self._spinning.begins(vcpu, switched=switched)
        self._resting.discard(index)
        self._others_changed = self._paused = self._spun = False

    def _drain(self, chosen: Decision, most: int) -> int:
        """Stores of a vCPU become visible; returns how many. Others may have waited for them."""
        assert self._buffers is not None
        vcpu = chosen.vcpu - self._first_buffer
        drained = self._buffers.drain(vcpu, min(chosen.budget.instructions or UNLIMITED, most))
        if self.witness is not None:
            self.witness.drained(self.vm.vcpus[vcpu], drained)
        # Its own vCPU has seen them all along: if that spins, and uses its stack meanwhile, it goes on letting others go first.
        spins = vcpu in self._resting and self._spinning is None
        self._resting.intersection_update((vcpu,) if spins else ())
        self._last, self._in_a_row, self._suspect = vcpu if spins else chosen.vcpu, 0, False
        return len(drained)

    def _note(self, turn: Turn) -> None:
        self.ticks += turn.steps
        self.turns.append(turn)
        if self._marked and not self.begins:
            self.begins = self.ticks
        if self.fair is not None:
            self.fair.went_on(turn.steps)

    def _fail_endless(self, fair: FairTurns) -> None:
        begun = [vcpu for vcpu in self.vm.vcpus if vcpu.activity in _BEGUN]
        places = ", ".join(self.vm.where(vcpu) for vcpu in begun) if self.waits is None else self.waits()
        if fair.repeated:
            what = f"the same state comes again and again when vCPUs take turns fairly after step {self.ticks - fair.steps:,}"
        else:
            what = f"the guest has not ended after {self.ticks:,} steps, the last {fair.steps:,} of them in fair turns"
        self.fail(ENDLESS, f"{what}: {places}", self._kind_of_standstill())

    def _kind_of_standstill(self) -> str:
        """Whether vCPUs spin or are halted, and where they execute PAUSE."""
        activities = {vcpu.activity.name.lower() for vcpu in self.vm.vcpus}
        return " ".join((*sorted(activities), *(f"{address:#x}" for address in sorted(self._pauses))))

    def _idle(self) -> None:
        """Nobody can run: time passes until the next timer, if anything can come of that."""
        vm = self.vm
        if self._blocked:
            names = ", ".join(f"vCPU {vcpu}" for vcpu in sorted(self._blocked))
            self.fail("lost wake-up", f"nobody can go on: {names} waits for a page that nobody loads")
        else:
            vm.idle()

    # One vCPU.

    def _take_turn(self, vcpu: Vcpu, budget: Budget, *, alone: bool = False, begun: tuple[Step, int] | None = None) -> int:
        """Lets a vCPU go on for up to `budget`; returns how many ticks it took, which is at least 1.

        The turn is over earlier when the vCPU has to wait, spins, or makes another one runnable. `begun`: what its first slice has
        come to, and the vCPU's instructions before.
        """
        limit = min(budget.instructions or UNLIMITED, self._patience - self._in_a_row)
        taken = self.ticks_of_turn = 0
        step: Step | None
        if self.witness is not None:
            self.witness.chosen(vcpu)
        suspected = self._begin_suspecting(vcpu)
        try:
            while True:
                if begun is not None:
                    (ticks, step), begun = self._came_to(vcpu, *begun), None
                else:
                    ticks, step = self._go_on(vcpu, 1 if suspected else limit - taken)
                taken += ticks
                self.ticks_of_turn = taken
                if self.witness is not None:
                    self.witness.went_on(ticks, step)
                if suspected and self._still_suspected(vcpu, taken, step):
                    if self._spun or taken >= limit:
                        break
                    continue
                suspected = False
                if taken >= limit or self._is_over(vcpu, step):
                    break
        except Exception as error:
            self._fail_unexpectedly(vcpu, error)
        self._in_a_row += max(taken, 1)
        if self._in_a_row >= self._patience:
            self._lose_patience(vcpu, alone=alone)
        return max(taken, 1)

    def _lose_patience(self, vcpu: Vcpu, *, alone: bool = False) -> None:
        """It has taken many steps in a row."""
        if self._spinning is None or self.fair is not None:
            self._resting.add(vcpu.index)
        else:
            self._suspect = not alone
        self._in_a_row = 0

    def _fail_unexpectedly(self, vcpu: Vcpu, error: Exception) -> None:
        self.fail(_UNEXPECTED, f"{self.vm.where(vcpu)}: {type(error).__name__}: {error}")

    def _begin_suspecting(self, vcpu: Vcpu) -> bool:
        suspected = self._suspect and vcpu.index not in self._loads and self._spinning is not None
        if suspected and self._spinning is not None:
            self._spinning.suspect(vcpu)
        self._suspect = False
        return suspected

    def _still_suspected(self, vcpu: Vcpu, taken: int, step: Step | None) -> bool:
        """After each of the first steps of a turn, as long as they may be those of a loop; in the end, it is known to spin."""
        assert self._spinning is not None
        plain = isinstance(step, Ran) and isinstance(step.exit, PreemptionTimer)
        if taken > LONGEST_LOOP or not plain or self._others_changed or self.vm.ending is not None or self.failure is not None:
            return False
        self._spun = self._spinning.is_as_before(vcpu)
        if self._spun:
            self._resting.add(vcpu.index)
        return True

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
        if self.stage.places:
            self.vm.engine.pass_breakpoint(state)
        return self._came_to(vcpu, self._run(vcpu, Budget(instructions=limit)), before)

    def _came_to(self, vcpu: Vcpu, step: Step, before: int) -> tuple[int, Step]:
        """How many ticks a slice has taken that came to `step`; `before` are the vCPU's instructions before it."""
        state = vcpu.state
        ticks = max(state.instructions - before, 1)
        if isinstance(step, Ran) and isinstance(step.exit, Pause):
            self._note_pause(vcpu)
        if isinstance(step, NeedsPage):
            ticks = state.instructions - before + 1
            load = self._loads[vcpu.index] = self.vm.load_page(vcpu)
            self._resume(vcpu, load)
        return ticks, step

    def _run(self, vcpu: Vcpu, budget: Budget) -> Step:
        if self._buffers is None:
            return self.vm.run(vcpu, budget)
        self._buffers.enter(vcpu.index)
        try:
            return self.vm.run(vcpu, budget)
        finally:
            self._buffers.leave()

    def _note_pause(self, vcpu: Vcpu) -> None:
        if self.fair is not None:
            self._pauses.add(vcpu.state.rip)
        elif self._spinning is not None:
            self._paused = True
            self._spun = self._spinning.paused(vcpu)
            if not self._spun:
                self._resting.clear()  # it may have changed what others wait for
                return
        self._resting.add(vcpu.index)

    def _go_on_loading(self, vcpu: Vcpu, load: Coroutine[Any, None, None]) -> tuple[int, None]:
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
