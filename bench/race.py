"""How many schedules a race test tries in a second, and what exact switches and replays cost."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.measurement import Measurement, Result, repeat
from kev.addressing import MIB
from kev.machine.schedule import ANYTHING, CountedScheduler, Decision, Scheduler, SeededScheduler
from kev.race.explore import explore
from kev.race.guest.prepared import Start
from kev.race.guest.start import guest_machine
from kev.race.guest.subject import GuestSubject
from kev.race.schedule import Schedule
from kev.race.strategy import make_strategy
from kev.race.strategy.base import UNLIMITED
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
_POINT: Final = "symbol:work"
"""Where the processors of that guest begin to do what they race with."""
_POINT_RUNS: Final = 400
_BUSY: Final = MachineSpec("parallel", vcpus=2, memory=64 * MIB)
_TURNS: Final = 20_000
_TURN: Final = 100
_TRACE_TARGET: Final = 10_000
_SWITCH_TARGET: Final = 150_000
_POINT_TARGET: Final = 2
_PROCESSOR: Final = "  the same by a second of the processor"
_SNAPSHOT_TARGET: Final = 200


def measure(quick: bool, snapshot: str | None = None, after: str | None = None) -> list[Result]:
    """`snapshot` is a file with a guest of several vCPUs that ends by itself, and is explored from where it meets `after`."""
    guest = GuestSubject.find(MachineSpec(_GUEST, vcpus=2))
    points = {"launched": (guest, _GUEST_RUNS), "point": (GuestSubject.find(guest.spec, after=_POINT), _POINT_RUNS)}
    if snapshot is not None:
        points["snapshot"] = GuestSubject.find(MachineSpec(snapshot), after=after), _POINT_RUNS
    token = _failing_schedule(guest)
    actions: dict[str, Callable[[], float]] = {
        "trace free": lambda: _seconds(lambda: _PROGRAM.run(UnpreemptedScheduler()), _SCHEDULES),
        "trace replay": lambda: _seconds_to_replay(_PROGRAM, _alternating(_PROGRAM), _SCHEDULES),
        "guest free": lambda: _seconds(lambda: guest.run(UnpreemptedScheduler()), _GUEST_RUNS),
        "guest replay": lambda: _seconds_to_replay(guest, token, _GUEST_RUNS),
        "guest schedules": lambda: 1 / _seconds(lambda: guest.run(SeededScheduler(1, _TURN)), _GUEST_RUNS),
    }

    def measure_once() -> dict[str, float]:
        times = {name: action() for name, action in actions.items()}
        for name in _STRATEGIES:
            times[name], times[f"{name}, processor"] = _explored_per_second(_PROGRAM, _SCHEDULES, name)
        for name, (subject, runs) in points.items():
            times[name], times[f"{name}, processor"] = _explored_per_second(subject, runs)
        for name, scheduler in (("switches", CountedScheduler(_TURN)), ("random turns", SeededScheduler(0, _TURN))):
            times[name], times[f"{name}, processor"] = _switches_per_second(scheduler)
        return times

    samples = repeat(_ROUNDS, quick, measure_once)
    return [
        *_trace_measurements(samples),
        Measurement(f"replay of a schedule against a free run ({_PROGRAM.program})", "times", _ratios(samples, "trace")),
        Measurement(f"vCPU switches of a guest, turns of {_TURN} instructions", "1/s", samples["switches"], floor=_SWITCH_TARGET),
        Measurement(_PROCESSOR, "1/s", samples["switches, processor"]),
        Measurement(f"the same, random turns of at most {_TURN}", "1/s", samples["random turns"]),
        Measurement(_PROCESSOR, "1/s", samples["random turns, processor"]),
        Measurement(f"schedules of a guest ({_GUEST})", "runs/s", samples["guest schedules"]),
        Measurement(f"replay of a guest's failure ({_GUEST})", "ms", [value * 1e3 for value in samples["guest replay"]]),
        Measurement("the same against a free run", "times", _ratios(samples, "guest")),
        *_begun_measurements(samples, snapshot),
    ]


def _trace_measurements(samples: dict[str, list[float]]) -> Iterator[Result]:
    for name in _STRATEGIES:
        yield Measurement(f"schedules of 3 vCPUs and 4 pages, {name}", "runs/s", samples[name], floor=_TRACE_TARGET)
        yield Measurement(_PROCESSOR, "runs/s", samples[f"{name}, processor"])


def _begun_measurements(samples: dict[str, list[float]], snapshot: str | None) -> Iterator[Result]:
    """Random exploration, by where runs begin."""
    yield Measurement(f"{_GUEST} explored from its launch", "runs/s", samples["launched"])
    yield Measurement(_PROCESSOR, "runs/s", samples["launched, processor"])
    yield Measurement(f"{_GUEST} explored, going back to {_POINT}", "runs/s", samples["point"])
    yield Measurement(_PROCESSOR, "runs/s", samples["point, processor"])
    ratios = [point / launched for point, launched in zip(samples["point"], samples["launched"], strict=True)]
    yield Measurement("  against those from its launch", "times", ratios, floor=_POINT_TARGET)
    if snapshot is not None:
        yield Measurement(f"{Path(snapshot).name} explored", "runs/s", samples["snapshot"], floor=_SNAPSHOT_TARGET)
        yield Measurement(_PROCESSOR, "runs/s", samples["snapshot, processor"])


def _explored_per_second(subject: Subject, runs: int, strategy: str = "random") -> tuple[float, float]:
    """Schedules a second, by the clock and by what the processor has worked.

    Those among them that a search gives up half-way, because others show the same.
    """
    worked = time.process_time()
    exploration = explore(subject, make_strategy(strategy), runs, keep_going=True)
    worked = time.process_time() - worked
    tried = exploration.runs + exploration.redundant
    return tried / exploration.seconds, tried / worked


def _ratios(samples: dict[str, list[float]], level: str) -> list[float]:
    return [replay / free for replay, free in zip(samples[f"{level} replay"], samples[f"{level} free"], strict=True)]


class _Enough(Exception):
    """So many turns have been taken."""


class _SwitchedOften:
    """Turns by another scheduler as soon as there is a choice, until there were enough."""

    def __init__(self, inner: Scheduler) -> None:
        self._inner: Final = inner
        self._left = _TURNS
        self.began = self.worked = 0.0

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        if len(runnable) > 1:
            if self._left == _TURNS:
                self.began, self.worked = time.perf_counter(), time.process_time()
            self._left -= 1
            if not self._left:
                raise _Enough
        return self._inner.next(runnable, executed, accesses)


def _switches_per_second(scheduler: Scheduler) -> tuple[float, float]:
    """Of a guest whose vCPUs do nothing but count: by the clock, and by what the processor has worked."""
    with guest_machine(Start(_BUSY), UNLIMITED) as machine:
        often = _SwitchedOften(scheduler)
        with suppress(_Enough):
            machine.run(often, fair=True)
        seconds, worked = time.perf_counter() - often.began, time.process_time() - often.worked
        switches = Schedule.of((turn.vcpu, turn.steps) for turn in machine.turns[-_TURNS:]).switches
        return switches / seconds, switches / worked


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
