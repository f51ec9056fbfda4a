"""How many schedules a race test tries in a second, and what exact switches and replays cost."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from bench.measurement import Measurement, Result, repeat
from kev.addressing import MIB
from kev.machine.schedule import CountedScheduler, Scheduler, SeededScheduler
from kev.race.explore import explore
from kev.race.guest.prepared import Start
from kev.race.guest.start import guest_machine
from kev.race.guest.subject import GuestSubject
from kev.race.schedule import Schedule
from kev.race.strategy import make_strategy
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.replay import ReplayScheduler
from kev.race.subject import Subject
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.spec.machine_spec import MachineSpec

TITLE: Final = "race tests"
_ROUNDS: Final = 7
_PROGRAM: Final = TraceSubject(Program.parse("r0r1/r1r2/r2r3"))
_STRATEGIES: Final = ("random", "pct", "exhaustive")
_SCHEDULES: Final = 1_000
_GUEST: Final = "lost-update"
_GUEST_RUNS: Final = 50
_BUSY: Final = MachineSpec("parallel", vcpus=2, memory=64 * MIB)
_BUSY_INSTRUCTIONS: Final = 1_000_000
_TURN: Final = 100
_TRACE_TARGET: Final = 5_000
_SWITCH_TARGET: Final = 60_000


def measure(quick: bool) -> list[Result]:
    guest = GuestSubject.find(MachineSpec(_GUEST, vcpus=2))
    token = _failing_schedule(guest)
    actions: dict[str, Callable[[], float]] = {
        **{name: partial(_schedules_per_second, name) for name in _STRATEGIES},
        "switches": lambda: _switches_per_second(CountedScheduler(_TURN)),
        "random turns": lambda: _switches_per_second(SeededScheduler(0, _TURN)),
        "trace free": lambda: _seconds(lambda: _PROGRAM.run(UnpreemptedScheduler()), _SCHEDULES),
        "trace replay": lambda: _seconds_to_replay(_PROGRAM, _alternating(_PROGRAM), _SCHEDULES),
        "guest free": lambda: _seconds(lambda: guest.run(UnpreemptedScheduler()), _GUEST_RUNS),
        "guest replay": lambda: _seconds_to_replay(guest, token, _GUEST_RUNS),
        "guest schedules": lambda: 1 / _seconds(lambda: guest.run(SeededScheduler(1, _TURN)), _GUEST_RUNS),
    }
    samples = repeat(_ROUNDS, quick, lambda: {name: action() for name, action in actions.items()})
    return [
        *(
            Measurement(f"schedules of 3 vCPUs and 4 pages, {name}", "runs/s", samples[name], floor=_TRACE_TARGET)
            for name in _STRATEGIES
        ),
        Measurement(f"replay of a schedule against a free run ({_PROGRAM.program})", "times", _ratios(samples, "trace")),
        Measurement(f"vCPU switches of a guest, turns of {_TURN} instructions", "1/s", samples["switches"], floor=_SWITCH_TARGET),
        Measurement(f"the same, random turns of at most {_TURN}", "1/s", samples["random turns"]),
        Measurement(f"schedules of a guest ({_GUEST})", "runs/s", samples["guest schedules"]),
        Measurement(f"replay of a guest's failure ({_GUEST})", "ms", [value * 1e3 for value in samples["guest replay"]]),
        Measurement("the same against a free run", "times", _ratios(samples, "guest")),
    ]


def _ratios(samples: dict[str, list[float]], level: str) -> list[float]:
    return [replay / free for replay, free in zip(samples[f"{level} replay"], samples[f"{level} free"], strict=True)]


def _schedules_per_second(strategy: str) -> float:
    """Those among them that a search gives up half-way, because others show the same."""
    exploration = explore(_PROGRAM, make_strategy(strategy), _SCHEDULES)
    assert exploration.found is None
    return (exploration.runs + exploration.redundant) / exploration.seconds


def _switches_per_second(scheduler: Scheduler) -> float:
    """Of a guest whose vCPUs do nothing but count."""
    with guest_machine(Start(_BUSY), _BUSY_INSTRUCTIONS) as machine:
        began = time.perf_counter()
        machine.run(scheduler, fair=True)
        seconds = time.perf_counter() - began
        return Schedule.of((turn.vcpu, turn.steps) for turn in machine.turns).switches / seconds


def _seconds(run: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - began) / times


def _seconds_to_replay(subject: Subject, schedule: Schedule, times: int) -> float:
    return _seconds(lambda: subject.replay(ReplayScheduler(schedule)), times)


def _alternating(subject: Subject) -> Schedule:
    """The schedule that switches at every step."""
    return subject.run(CountedScheduler(1)).schedule


def _failing_schedule(subject: Subject) -> Schedule:
    found = explore(subject, make_strategy("random"), _SCHEDULES).found
    assert found is not None
    return found.schedule
