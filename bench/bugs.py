"""How many runs each strategy needs to find each bug of the guest `bugs`, and whether the corrected twins survive."""

from collections.abc import Iterator
from typing import Final

from bench.measurement import Measurement, Result
from kev.machine.api import launch
from kev.race.explore import explore
from kev.race.guest.subject import GuestSubject
from kev.race.strategy import make_strategy
from kev.spec.machine_spec import MachineSpec

TITLE: Final = "concurrency bugs"
_GUEST: Final = "bugs"
_STRATEGIES: Final = ("random", "pct", "portfolio")
_FOUND_BY: Final = "portfolio"
_SEEDS: Final = 20
_MOST_RUNS: Final = 2_000
_TWIN_RUNS: Final = 20_000
_POINT: Final = "symbol:work"
"""Where each processor begins with what it is there for."""


def names() -> list[str]:
    """Of all bugs: the guest lists them."""
    return launch(_GUEST).output.decode().split()


def subject(name: str, *, corrected: bool = False) -> GuestSubject:
    """A bug, or its twin."""
    return GuestSubject.find(MachineSpec(_GUEST, command_line=f"{name} corrected" if corrected else name), after=_POINT)


def runs_needed(bug: GuestSubject, strategy: str, seed: int, most: int = _MOST_RUNS) -> int | None:
    """How many runs there were when the bug was found; None if it was not."""
    exploration = explore(bug, make_strategy(strategy, seed), most)
    return None if exploration.found is None else exploration.found.run + 1


def runs_survived(twin: GuestSubject, runs: int, seed: int = 0) -> int:
    """How many runs a twin made until it failed, or all."""
    return explore(twin, make_strategy(_FOUND_BY, seed), runs).runs


def measure(quick: bool) -> list[Result]:
    """`quick`: one seed, and few runs of the twins."""
    return [result for name in names() for result in _measured(name, quick)]


def _measured(name: str, quick: bool) -> Iterator[Result]:
    bug = subject(name)
    for strategy in _STRATEGIES:
        needed = [runs_needed(bug, strategy, seed) for seed in range(1 if quick else _SEEDS)]
        # Of a bug that was not found, at least so many would have been needed.
        samples = [float(runs) if runs is not None else 2.0 * _MOST_RUNS for runs in needed]
        limit = _MOST_RUNS if strategy == _FOUND_BY else None
        yield Measurement(f"{name}, {strategy}", "runs", samples, limit=limit)
    runs = _MOST_RUNS // 100 if quick else _TWIN_RUNS
    yield Measurement(f"{name}, corrected: survived", "runs", [runs_survived(subject(name, corrected=True), runs)], floor=runs)
