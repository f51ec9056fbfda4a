"""Exhaustive exploration of guests, against an enumeration that goes step by step and knows nothing of turns."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.guest.machine import ENDLESS, GuestMachine
from kev.race.guest.outcome import GuestOutcome
from kev.race.guest.prepared import Start
from kev.race.guest.start import guest_machine
from kev.race.schedule import Schedule
from kev.race.strategy.base import Redundant
from kev.race.strategy.step_search import StepSearch
from kev.race.strategy.turn_search import TurnSearch
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.spec.machine_spec import MachineSpec
from tests.race import small_guests as small
from tests.race.small_guests import Action

_STEP: Final = Budget(instructions=1)
_LIMIT: Final = 300
_PATIENCE: Final = 20


class Run(NamedTuple):
    """How one run ended, and its schedule; a run without an end has none that counts."""

    ending: str
    schedule: str


class Shape(NamedTuple):
    """A guest, and how many preemptions are tried at the most."""

    first: Sequence[Action]
    others: Sequence[Action]
    preemptions: int = 2
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
    ),
    "PAUSE amid work": Shape(
        [small.increment(0), small.relax, small.increment(0)], [small.increment(0), small.relax, small.relax, small.increment(0)]
    ),
    "Dekker": Shape([small.store(2, 1), small.copy(3, 0)], [small.store(3, 1), small.copy(2, 1)]),
    "a lost wake-up": Shape([small.store(2, 1), small.wake(1)], [small.sleep_until(2, 1), small.increment(0)]),
    "an interrupt amid work": Shape([small.wake(1), small.increment(0)], [small.increment(0), small.increment(0)]),
    "three processors": Shape([small.increment(0)], [small.increment(0)], 1, 3),
    "three processors that spin": Shape(
        [small.store(2, 1), small.increment(0)], [small.wait_until(2, 1), small.increment(0)], 1, 3
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


def by_turns(image: str, shape: Shape) -> set[Run]:
    """What `--strategy exhaustive` runs."""
    search = TurnSearch(shape.preemptions)
    runs: list[Run] = []
    while (scheduler := search.scheduler()) is not None:
        run, machine = run_once(image, shape.vcpus, scheduler)
        search.learn(GuestOutcome(machine.failure, machine.schedule, (), b""))
        runs.append(run)
    with_an_end = [run for run in runs if run.schedule]
    assert len(with_an_end) == len(set(with_an_end)), "a schedule was tried twice"
    return set(runs)


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


def by_steps(image: str, shape: Shape) -> set[Run]:
    """Brute force."""
    waiting = [b""]
    runs = set()
    while waiting:
        scheduler = _Steps(waiting.pop())
        runs.add(run_once(image, shape.vcpus, scheduler)[0])
        waiting.extend(scheduler.others(shape.preemptions))
    return runs


def both(folder: Path, shape: Shape) -> tuple[set[Run], set[Run]]:
    image = folder / "guest"
    image.write_bytes(small.guest(shape.first, shape.others, vcpus=shape.vcpus))
    return by_turns(str(image), shape), by_steps(str(image), shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_guest_s_schedules_are_those_that_brute_force_finds(name: str, tmp_path: Path) -> None:
    turns, steps = both(tmp_path, SHAPES[name])
    assert turns == steps


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
@pytest.mark.parametrize("program", ["r0w0/r0", "w0/e0", "r0/r0/r0", "w0r1/e0p0+2", "f0/w0c0", "r0/e0;0=x1"])
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
