"""Exhaustive exploration of guests, against an enumeration that goes step by step and knows nothing of turns."""

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import pytest

from kev.engine.base import Budget
from kev.exits import Pause
from kev.machine.digest import general_registers, memory_checksum
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.machine.vcpu import Vcpu
from kev.pager.pages import PageState
from kev.race.guest.machine import ENDLESS, GuestMachine
from kev.race.guest.outcome import GuestOutcome
from kev.race.guest.prepared import Start
from kev.race.guest.spinning import LONGEST_LOOP
from kev.race.guest.start import guest_machine
from kev.race.schedule import Schedule
from kev.race.strategy.base import Redundant
from kev.race.strategy.step_search import StepSearch
from kev.race.strategy.turn_search import TurnSearch
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.spec.machine_spec import MachineSpec
from tests.examples import EXHAUSTIVE
from tests.race import small_guests as small
from tests.race.small_guests import Action

_STEP: Final = Budget(instructions=1)
_LIMIT: Final = 300
_PATIENCE: Final = 20
_FEW: Final = 1 if EXHAUSTIVE else 0
"""Preemptions of guests with very many schedules."""


class Run(NamedTuple):
    """How one run ended, and its schedule; a run without an end has none that counts."""

    ending: str
    schedule: str


class Shape(NamedTuple):
    """A guest, and how many preemptions are tried at the most."""

    first: Sequence[Action]
    others: Sequence[Action]
    preemptions: int = 2 if EXHAUSTIVE else 1
    vcpus: int = 2


SHAPES: Final = {
    "lost update": Shape([small.increment(0)], [small.increment(0)]),
    "locked increments": Shape([small.locked_increment(0)], [small.locked_increment(0)]),
    "a spinlock": Shape(
        [small.acquire(2), small.increment(0), small.release(2)], [small.acquire(2), small.increment(0), small.release(2)], 1
    ),
    "a spinlock without PAUSE": Shape(
        [small.acquire(2, pause=False), small.increment(0), small.release(2)],
        [small.acquire(2, pause=False), small.increment(0), small.release(2)],
        1,
    ),
    "a spinlock in two steps": Shape(
        [small.acquire_badly(2), small.increment(0), small.release(2)],
        [small.acquire_badly(2), small.increment(0), small.release(2)],
        1,
    ),
    "two locks in two orders": Shape(
        [small.acquire(2), small.acquire(3), small.release(3), small.release(2)],
        [small.acquire(3), small.acquire(2), small.release(2), small.release(3)],
        1,
    ),
    "a flag before its data": Shape([small.store(2, 1), small.store(0, 3)], [small.wait_until(2, 1), small.copy(0, 1)]),
    "a flag that is waited for without PAUSE": Shape(
        [small.store(2, 1), small.store(0, 3)], [small.wait_until(2, 1, pause=False), small.copy(0, 1)], 1
    ),
    "both wait for each other": Shape(
        [small.store(2, 1), small.wait_until(3, 1), small.increment(0)],
        [small.store(3, 1), small.wait_until(2, 1), small.increment(0)],
        1,
    ),
    "PAUSE amid work": Shape(
        [small.increment(0), small.relax, small.increment(0)],
        [small.increment(0), small.relax, small.relax, small.increment(0)],
        _FEW,
    ),
    "Dekker": Shape([small.store(2, 1), small.copy(3, 0)], [small.store(3, 1), small.copy(2, 1)]),
    "a lost wake-up": Shape([small.store(2, 1), small.wake(1)], [small.sleep_until(2, 1), small.increment(0)]),
    "an interrupt amid work": Shape([small.wake(1), small.increment(0)], [small.increment(0), small.increment(0)]),
    "three processors": Shape([small.increment(0)], [small.increment(0)], _FEW, 3),
    "three processors that spin": Shape(
        [small.store(2, 1), small.increment(0)], [small.wait_until(2, 1), small.increment(0)], _FEW, 3
    ),
}


def run_once(image: str, vcpus: int, scheduler: Scheduler) -> tuple[Run, GuestMachine]:
    spec = MachineSpec(image, vcpus=vcpus, memory="1M", command_line="")
    with guest_machine(Start(spec), _LIMIT, patience=_PATIENCE) as machine:
        machine.run(scheduler, fair=True)
    schedule = str(Schedule.of((turn.vcpu, turn.steps) for turn in machine.schedule))
    if machine.failure is not None:
        return Run(machine.failure.oracle, "" if machine.failure.oracle == ENDLESS else schedule), machine
    ending = machine.vm.ending
    assert ending is not None
    return Run(f"{ending.kind.name} {ending.exit_code}", schedule), machine


def by_turns(image: str, shape: Shape) -> set[str]:
    """What `--strategy exhaustive` runs."""
    search = TurnSearch(shape.preemptions)
    runs: list[Run] = []
    while (scheduler := search.scheduler()) is not None:
        try:
            run, machine = run_once(image, shape.vcpus, scheduler)
        except Redundant:
            continue
        search.learn(GuestOutcome(machine.failure, machine.schedule, (), b""))
        runs.append(run)
    with_an_end = [run for run in runs if run.schedule]
    assert len(with_an_end) == len(set(with_an_end)), "a schedule was tried twice"
    return {run.ending for run in runs}


class _Steps:
    """Chooses step by step: first as it is told, then whoever went on before, or else the lowest that may.

    A switch away from a vCPU that could have been chosen again is a preemption.
    """

    def __init__(self, told: bytes) -> None:
        self.told = told
        self.order = bytearray()
        self.offered: list[Sequence[int]] = []

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        step = len(self.order)
        last = self.order[-1] if self.order else -1
        vcpu = self.told[step] if step < len(self.told) else last if last in runnable else runnable[0]
        assert vcpu in runnable
        self.order.append(vcpu)
        self.offered.append(tuple(runnable))
        return Decision(vcpu, _STEP)

    def others(self, preemptions: int) -> Iterator[bytes]:
        """What else could have been chosen behind what was told, with at most so many preemptions in all."""
        used = 0
        for step, offered in enumerate(self.offered):
            last = self.order[step - 1] if step else -1
            if step >= len(self.told) and used + (last in offered) <= preemptions:
                yield from (bytes(self.order[:step]) + bytes((other,)) for other in offered if other != self.order[step])
            used += last in offered and self.order[step] != last


class _SeenBefore(Exception):
    """From here on, everything is tried already."""


class _Node(NamedTuple):
    """All that what follows depends upon."""

    state: Hashable
    last: int
    in_a_row: int
    """Steps of the last vCPU, modulo `_PATIENCE`."""
    paused: bool
    suspected: Hashable
    """The state with which the last vCPU's next steps are compared, to see whether it is in a loop; and how many there were."""


class _Choice(NamedTuple):
    """A step that is still to be tried: where it comes, and what is known there, so that the steps before need not be watched."""

    order: bytes
    """The vCPU of each step, this one included."""
    before: tuple[_Node, int]
    """What the step is another choice behind."""
    used: int
    in_a_row: int
    suspected: Hashable
    since: int
    idle_steps: tuple[int, ...]


class BruteForce:
    """Every step of every vCPU that can run, in every state that they lead to.

    It knows nothing of turns and of courtesy. What it has in common with the search under test is what a preemption is: a switch
    from a vCPU that could go on, but for one that has just executed PAUSE, or, behind so many steps in a row, a loop without it.
    """

    def __init__(self, image: str, shape: Shape) -> None:
        self.preemptions = shape.preemptions
        self._image = image
        self._shape = shape
        self._visited: dict[_Node, int] = {}
        """With how few preemptions each was come to."""
        self._followers: dict[tuple[_Node, int], set[tuple[_Node, int]]] = {}
        self._ends: dict[tuple[_Node, int], str] = {}
        self._waiting: list[_Choice | None] = [None]
        """What is still to be run; None is the first run."""

    def endings(self) -> set[str]:
        while self._waiting:
            self._run(self._waiting.pop())
        endless = set(self._followers) - self._lead_to_an_end()
        return {*self._ends.values(), *([ENDLESS] if endless else [])}

    def _lead_to_an_end(self) -> set[tuple[_Node, int]]:
        leading: set[tuple[_Node, int]] = set(self._ends)
        while True:
            more = {node for node, followers in self._followers.items() if node not in leading and followers & leading}
            if not more:
                return leading
            leading |= more

    def _run(self, choice: _Choice | None) -> None:
        spec = MachineSpec(self._image, vcpus=self._shape.vcpus, memory="1M", command_line="")
        with guest_machine(Start(spec), 1 << 20, patience=1 << 20) as machine:
            steps = _StateSteps(self, machine, choice)
            try:
                machine.run(steps, fair=False)
            except _SeenBefore:
                return
            assert machine.failure is None
            ending = machine.vm.ending
            assert ending is not None
            assert steps.before is not None
            self._ends[steps.before] = f"{ending.kind.name} {ending.exit_code}"

    def come_to(self, node: _Node, used: int, before: tuple[_Node, int] | None) -> None:
        """_SeenBefore if it was come to before with as few preemptions."""
        if before is not None:
            self._followers.setdefault(before, set()).add((node, used))
        seen = self._visited.get(node)
        if seen is not None and seen <= used:
            self._followers.setdefault((node, used), set()).add((node, seen))
            raise _SeenBefore
        self._visited[node] = used

    def try_later(self, choice: _Choice) -> None:
        self._waiting.append(choice)


class _StateSteps:
    """Drives one run of brute force: quickly to a choice, then a step at a time, always the lowest that has not been chosen yet."""

    def __init__(self, force: BruteForce, machine: GuestMachine, choice: _Choice | None) -> None:
        self._force = force
        self._machine = machine
        self._choice = choice
        self._repeated: int | None = None
        """Steps before the choice that have been taken; None before the first."""
        self._alone_before = False
        self._order = bytearray()
        self._used = 0
        self._in_a_row = 0
        self._suspected: Hashable = None
        self._since = 0
        self._alone = True
        self._pauses = 0
        self._known: dict[int, tuple[Hashable, int]] = {}
        """Of each vCPU: a moment, and its registers then."""
        self._instructions = [0] * len(machine.vm.vcpus)
        self._idle_steps = [0] * len(machine.vm.vcpus)
        """Steps of each vCPU without an instruction: how far its load is."""
        self.before = None if choice is None else choice.before

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        if self._choice is not None:
            return self._repeat(self._choice, runnable, executed)
        vm = self._machine.vm
        last = self._order[-1] if self._order else -1
        pauses, self._pauses = self._pauses, vm.exits[Pause]
        paused = self._pauses > pauses
        if last >= 0:
            retired = vm.vcpus[last].state.instructions
            self._idle_steps[last] = 0 if retired > self._instructions[last] else self._idle_steps[last] + 1
            self._instructions[last] = retired
            self._in_a_row += 1
        spins = self._spins(last, runnable)
        node = _Node(self._state(), last, self._in_a_row % _PATIENCE, paused, (self._suspected, self._since))
        self._force.come_to(node, self._used, self.before)
        self.before = node, self._used
        can_go_on = last in runnable and not paused and not spins
        chosen = last if can_go_on else runnable[0]
        for other in runnable:
            if other != chosen and (not can_go_on or self._used < self._force.preemptions):
                self._force.try_later(self._choice_of(other, last, can_go_on, self.before))
        self._take(self._choice_of(chosen, last, can_go_on, self.before))
        return Decision(chosen, _STEP)

    def _choice_of(self, vcpu: int, last: int, can_go_on: bool, before: tuple[_Node, int]) -> _Choice:
        order, idle = bytes(self._order) + bytes((vcpu,)), tuple(self._idle_steps)
        if vcpu == last:
            return _Choice(order, before, self._used, self._in_a_row, self._suspected, self._since, idle)
        return _Choice(order, before, self._used + can_go_on, 0, None, self._since, idle)

    def _take(self, choice: _Choice) -> None:
        self._order = bytearray(choice.order)
        self._used, self._in_a_row = choice.used, choice.in_a_row
        self._suspected, self._since = choice.suspected, choice.since
        self._idle_steps = list(choice.idle_steps)

    def _repeat(self, choice: _Choice, runnable: Sequence[int], executed: int) -> Decision:
        """Steps before a choice that are one vCPU's are taken at once. One that is alone takes several for one, here as there."""
        vm, order = self._machine.vm, choice.order
        if self._repeated is None:
            self._repeated = 0
        else:
            self._repeated += 1 if self._alone_before else executed
        self._alone_before = len(runnable) == 1
        vcpu, last = order[self._repeated], len(order) - 1
        if self._repeated < last:
            end = next((step for step in range(self._repeated, last) if order[step] != vcpu), last)
            return Decision(vcpu, Budget(instructions=end - self._repeated))
        self._choice = None
        self._take(choice)
        self._alone = self._alone_before
        self._pauses = vm.exits[Pause]
        self._instructions = [vcpu.state.instructions for vcpu in vm.vcpus]
        return Decision(vcpu, _STEP)

    def _spins(self, last: int, runnable: Sequence[int]) -> bool:
        """Behind so many steps in a row, the last vCPU has come to the same state again within a few more."""
        alone, self._alone = self._alone, len(runnable) == 1
        if self._suspected is not None:
            self._since += 1
            if self._state() == self._suspected:
                self._suspected = None
                return True
            if self._since >= LONGEST_LOOP:
                self._suspected = None
        if self._in_a_row and self._in_a_row % _PATIENCE == 0 and not alone:
            self._suspected, self._since = self._state(), 0
        return False

    def _state(self) -> Hashable:
        vm = self._machine.vm
        registers = tuple(map(self._registers, vm.vcpus))
        loading = tuple(map(tuple, vm.pager.pages.runs(PageState.LOADING)))
        return hash((registers, memory_checksum(vm), loading, *self._idle_steps, *vm.interrupts.offered))

    def _registers(self, vcpu: Vcpu) -> Hashable:
        """All that these guests use, which know no FPU. They are as they were where nothing was executed since."""
        moment = vcpu.state.instructions, vcpu.activity, vcpu.startup is None
        known = self._known.get(vcpu.index)
        if known is None or known[0] != moment:
            state = vcpu.state
            registers = (
                vcpu.activity,
                *general_registers(vcpu),
                state.rflags,
                state.cr0,
                state.cr3,
                state.cr4,
                state.efer,
                state.segment("cs"),
            )
            known = self._known[vcpu.index] = moment, hash(registers)
        return known[1], vcpu.state.read_events()


def endings(folder: Path, shape: Shape) -> tuple[set[str], set[str]]:
    """What the search under test finds, and what brute force does."""
    image = folder / "guest"
    image.write_bytes(small.guest(shape.first, shape.others, vcpus=shape.vcpus))
    return by_turns(str(image), shape), BruteForce(str(image), shape).endings()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_guest_s_endings_are_those_that_brute_force_finds(name: str, tmp_path: Path) -> None:
    found, there_are = endings(tmp_path, SHAPES[name])
    assert found == there_are


def random_actions(random: Random, *, first: bool) -> list[Action]:
    """What a processor may do. One waits for what the first processor does."""
    actions: list[Action] = []
    for _ in range(random.randint(1, 4)):
        variable, other = random.sample((0, 1), 2)
        lock = small.acquire(3, pause=random.random() < 0.7), small.increment(variable), small.release(3)
        event = small.store(2, 1) if first else small.wait_until(2, 1, pause=random.random() < 0.7)
        accesses = (
            small.increment(variable),
            small.locked_increment(variable),
            small.store(variable, 3),
            small.copy(variable, other),
        )
        actions += random.choice([(access,) for access in accesses] + [lock, (event,), (small.relax,)])
    if first and random.random() < 0.5:
        actions.insert(random.randint(0, len(actions)), small.wake(1))
    return actions


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 16, 1 if EXHAUSTIVE else 2))
def test_the_endings_of_any_guest_are_those_that_brute_force_finds(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    shape = Shape(random_actions(random, first=True), random_actions(random, first=False), seed % 2)
    found, there_are = endings(tmp_path, shape)
    assert found == there_are


def brute_force(program: Program, preemptions: int | None) -> dict[int, str]:
    """The interleavings of a trace program, with the oracle that complains about each."""
    subject = TraceSubject(program)
    waiting = [b""]
    interleavings = {}
    while waiting:
        scheduler = _Steps(waiting.pop())
        outcome = subject.run(scheduler)
        interleavings[outcome.interleaving] = outcome.failure.oracle if outcome.failure is not None else ""
        waiting.extend(scheduler.others(1 << 30 if preemptions is None else preemptions))
    return interleavings


@pytest.mark.slow
@pytest.mark.parametrize("preemptions", [0, 1, 2])
@pytest.mark.parametrize(
    "program",
    ["r0w0/r0", "w0/e0", "r0/r0/r0", "w0r1/e0p0+2", "f0/w0c0", "r0/e0;0=x1", "w0r1/w1r0;tso", "w0mr1/l1r0;tso", "w0/e0r0;tso"],
)
def test_a_trace_program_s_interleavings_are_those_that_brute_force_finds(program: str, preemptions: int) -> None:
    parsed = Program.parse(program)
    search = StepSearch(preemptions)
    subject = TraceSubject(parsed)
    interleavings = {}
    while (scheduler := search.scheduler()) is not None:
        try:
            outcome = subject.run(scheduler)
        except Redundant:
            continue
        interleavings[outcome.interleaving] = outcome.failure.oracle if outcome.failure is not None else ""
    assert interleavings == brute_force(parsed, preemptions)
