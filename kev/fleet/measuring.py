"""`kev bench` on a fleet: each scenario is measured by one worker, so that what is compared was measured on one computer."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import attrs

from kev.measure.boot import BootBenchOptions, boot_cases
from kev.measure.case import Case, Rounds
from kev.measure.processes import version_of
from kev.measure.restore import RestoreBench, RestoreBenchOptions
from kev.measure.result import BenchResult, CaseResult
from kev.spec.machine_spec import MachineSpec
from kev.work.base import Place
from kev.work.results import as_ended

BenchOptions: TypeAlias = BootBenchOptions | RestoreBenchOptions
_BETWEEN: Final = "; "


class _Part(NamedTuple):
    options: BenchOptions
    """Of one scenario, or one machine."""
    rounds: int
    images: tuple[str, ...]
    """What the images of its machines are called."""


def measure(options: BenchOptions, rounds: int, place: Place, progress: Callable[[int, int], object]) -> BenchResult:
    """What all scenarios come to, in their order. `progress` is told how many of how many are done.

    Where workers differ, the environment of the result has what all of them say. BenchError; Stopped; WorkError.
    """
    parts = [_Part(part, rounds, tuple(spec.image for spec in _machines(part))) for part in _parts(options)]
    results: dict[int, BenchResult] = {}
    for index, result in as_ended(_measure, parts, place):
        results[index] = result
        progress(len(results), len(parts))
    return _together([results[index] for index in range(len(parts))], rounds)


def _parts(options: BenchOptions) -> Iterator[BenchOptions]:
    if isinstance(options, RestoreBenchOptions) and options.machines:
        yield from (attrs.evolve(options, machines=(machine,)) for machine in options.machines)
    elif _machines(options):
        yield options
    else:
        yield from (attrs.evolve(options, scenarios=(scenario,)) for scenario in options.scenarios)


def _machines(options: BenchOptions) -> Sequence[MachineSpec]:
    if isinstance(options, RestoreBenchOptions):
        return options.machines
    return () if options.machine is None else (options.machine,)


def _measure(part: _Part) -> BenchResult:
    with tempfile.TemporaryDirectory(prefix="kev-bench-") as folder:
        notes: dict[str, str] = {}
        if isinstance(part.options, RestoreBenchOptions):
            bench = RestoreBench(part.options, Path(folder))
            cases, notes = list(bench.cases()), bench.notes
        else:
            cases = list(boot_cases(part.options, Path(folder)))
        rounds = Rounds(cases)
        rounds.measure(part.rounds, lambda _done: None)
        result = BenchResult.of(rounds, {**peers(cases), **notes})
    called = dict(zip((spec.image for spec in _machines(part.options)), part.images, strict=True))
    return attrs.evolve(result, cases=tuple(_renamed(case, called) for case in result.cases))


def peers(cases: Sequence[Case]) -> dict[str, str]:
    """The versions of other programs that are measured."""
    return {case.parameters["what"]: version_of(case.command) for case in cases if case.parameters.get("what") == "QEMU"}


def _renamed(case: CaseResult, called: dict[str, str]) -> CaseResult:
    return attrs.evolve(case, parameters={key: called.get(value, value) for key, value in case.parameters.items()})


def _together(results: Sequence[BenchResult], rounds: int) -> BenchResult:
    environment: dict[str, str] = {}
    for key in dict.fromkeys(key for result in results for key in result.environment):
        said = dict.fromkeys(result.environment[key] for result in results if key in result.environment)
        environment[key] = _BETWEEN.join(said)
    return BenchResult(environment, rounds, tuple(case for result in results for case in result.cases))
