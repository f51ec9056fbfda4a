"""What a fleet of Dask workers costs and gains, and, simulated with that, what it would with more of them."""

import os
import pickle
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Final

from bench.fleet_model import WORKERS, Costs, speed_up
from bench.measurement import Measurement, Result, repeat
from bench.processor_time import ProcessorTime
from kev.fleet.dask import DaskPlace
from kev.fleet.places import place
from kev.race.explore import Exploration, explore
from kev.race.guest.subject import GuestSubject
from kev.race.jobs import explore_shared
from kev.race.strategy import make_strategy
from kev.race.subject import Subject
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.spec.machine_spec import MachineSpec
from kev.work.base import Place
from tests.fleet.clusters import Cluster, cluster

TITLE: Final = "a fleet of two Dask workers on this computer"
_ROUNDS: Final = 7
_GUEST: Final = "lost-update"
_POINT: Final = "symbol:work"
_SECONDS: Final = 6.0
"""For which each way explores, in each round."""
_A_FEW_SECONDS: Final = 1.0
_MERGED: Final = 20_000
_JOB_SECONDS: Final = 36_000
_PROCESSORS: Final = 2
_TARGET: Final = 1.7


def measure(quick: bool) -> list[Result]:
    guest = GuestSubject.find(MachineSpec(_GUEST, vcpus=2), after=_POINT)
    trace = TraceSubject(Program.parse("r0r1/r1r2/r2r3"))
    with tempfile.TemporaryDirectory(prefix="kev-bench-") as folder, cluster(2, folder) as made, place(made.on) as fleet:
        assert isinstance(fleet, DaskPlace)
        seconds = _A_FEW_SECONDS if quick else _SECONDS
        samples = repeat(_ROUNDS, quick, partial(_measure_once, guest, trace, fleet, made, seconds))
    ratios = [two / one for two, one in zip(samples["two"], samples["one"], strict=True)]
    alone = [two / one for two, one in zip(samples["two, alone"], samples["one, alone"], strict=True)]
    return [
        Measurement(f"{_GUEST} explored from {_POINT}, one process", "runs/s", samples["one"]),
        Measurement("the same by two workers", "runs/s", samples["two"]),
        Measurement("  against one process", "times", ratios, floor=_TARGET),
        Measurement("  the same, if no other program had run meanwhile", "times", alone, floor=_TARGET),
        Measurement("processor time of scheduler and client meanwhile", "%", [value * 1e2 for value in samples["central"]]),
        Measurement("a task that does nothing, there and back", "ms", [value * 1e3 for value in samples["travel"]]),
        Measurement("the same, each of many at once", "ms", [value * 1e3 for value in samples["task"]]),
        Measurement("adding up what was seen, for each run", "µs", [value * 1e6 for value in samples["merge"]]),
        *_simulated("that guest", samples, "one"),
        *_simulated("the pager (3 vCPUs, 4 pages)", samples, "trace"),
    ]


def _measure_once(guest: Subject, trace: Subject, fleet: DaskPlace, made: Cluster, seconds: float) -> dict[str, float]:
    """Rates `alone` leave out the time that a processor was waited for, but not what scheduler and client took of two of them."""
    travel, task = fleet.measure()
    processes = {"one": (os.getpid(),), "two": made.workers, "central": (os.getpid(), made.scheduler)}
    found = {"travel": travel, "task": task, "merge": _seconds_to_merge(trace)}
    for name, where in (("one", None), ("two", fleet)):
        before = {key: ProcessorTime.of(ids) for key, ids in processes.items()}
        began = time.perf_counter()
        found[name] = _runs_per_second(guest, where, seconds)
        passed = time.perf_counter() - began
        took = {key: ProcessorTime.of(ids).since(before[key]) for key, ids in processes.items()}
        found[f"{name}, alone"] = found[name] * passed / (passed - took[name].waited / len(processes[name]))
    found["central"] = took["central"].worked / passed
    found["two, alone"] *= 1 - found["central"] / _PROCESSORS
    return {**found, "trace": _runs_per_second(trace, None, seconds / 4)}


def _runs_per_second(subject: Subject, where: Place | None, seconds: float) -> float:
    """Without a place: in this process."""
    strategy = make_strategy("random")
    if where is None:
        seen = explore(subject, strategy, None, seconds=seconds, keep_going=True)
    else:
        seen = explore_shared(subject, strategy, None, where, seconds=seconds, keep_going=True)
    return seen.runs / seen.seconds


def _seconds_to_merge(subject: Subject) -> float:
    """Of reading a result and adding it to the others, for each run in it."""
    parts = [explore(subject, make_strategy("random", seed), _MERGED // 10, keep_going=True) for seed in range(2)]
    data = [pickle.dumps(part) for part in parts]
    total = Exploration(keep_going=True)
    began = time.perf_counter()
    for part in data:
        total.add(pickle.loads(part))
    return (time.perf_counter() - began) / total.runs


def _simulated(what: str, samples: dict[str, list[float]], runs: str) -> Iterator[Result]:
    """A job that takes one process ten hours."""
    costs = Costs(1 / median(samples[runs]), median(samples["task"]), median(samples["merge"]), median(samples["travel"]))
    for workers in WORKERS:
        gained = speed_up(costs, workers, round(_JOB_SECONDS / costs.run))
        yield Measurement(f"simulated: {what}, {workers:,} workers", "times", [gained])
    yield Measurement(f"  a task of {WORKERS[-1]:,} workers", "s", [costs.share(WORKERS[-1]) * costs.run])
