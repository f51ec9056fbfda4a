"""What a program calls to have work done on a fleet. All of it holds up its thread: in trio, see `kev.fleet.streaming`."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from kev.fleet import batch, measuring
from kev.fleet.batch import BatchMachine, BatchResult
from kev.fleet.measuring import BenchOptions
from kev.fleet.places import place
from kev.measure.result import BenchResult
from kev.race import detection, jobs
from kev.race.detection import Detection
from kev.race.errors import RaceError
from kev.race.explore import Exploration, Found, Progress
from kev.race.store import FailureStore
from kev.race.strategy import SeededRandom, Strategy
from kev.race.subject import Subject
from kev.race.token import Token
from kev.work.here import Here

S = TypeVar("S", bound=Subject)


def explore(
    subject: Subject,
    strategy: Strategy | None = None,
    runs: int | None = 1_000,
    *,
    on: str = "local[1]",
    store: str | None = None,
    seconds: float | None = None,
    keep_going: bool = False,
    progress: Progress | None = None,
) -> Exploration:
    """Tries schedule after schedule at the place `on` (`kev.fleet.places.place`), by default random ones from seed 0.

    What is found is the same wherever it is looked for. `progress` is told what was tried so far, in this thread; the object that
    it is given changes. FleetError; RaceError for a strategy whose runs depend on each other; whatever the subject raises.
    """
    chosen = strategy or SeededRandom()
    with place(on, store) as where:
        if not chosen.sampled and not isinstance(where, Here):
            raise RaceError(f"{on}: what a run of `{chosen.name}` does depends on those before it: it cannot be shared out")
        return jobs.explore_shared(subject, chosen, runs, where, progress, seconds=seconds, keep_going=keep_going)


def detect(
    subject: S,
    strategy: Strategy | None = None,
    runs: int | None = 1_000,
    *,
    failures: FailureStore,
    on: str = "local[1]",
    store: str | None = None,
    seconds: float | None = None,
    keep_going: bool = False,
    progress: Progress | None = None,
    on_found: Callable[[Found, Token], None] | None = None,
) -> Detection[S]:
    """Explores, keeps what fails in `failures`, and makes it small: `kev.race.detection.detect` at the place `on`. As `explore`."""
    with place(on, store) as where:
        return detection.detect(
            subject,
            strategy or SeededRandom(),
            runs,
            seconds=seconds,
            keep_going=keep_going,
            place=where,
            store=failures,
            progress=progress,
            on_found=on_found,
        )


def launch_all(machines: Iterable[BatchMachine], *, on: str = "local[1]", store: str | None = None) -> Iterator[BatchResult]:
    """Launches every machine at the place `on`; yields what comes of each as it ends (`kev.fleet.batch`). FleetError."""
    with place(on, store) as where:
        yield from batch.launch_all(list(machines), where)


def measure(
    options: BenchOptions,
    rounds: int = 11,
    *,
    on: str = "local[1]",
    store: str | None = None,
    progress: Callable[[int, int], object] = lambda _done, _of: None,
) -> BenchResult:
    """`kev bench` at the place `on` (`kev.fleet.measuring`). FleetError, BenchError."""
    with place(on, store) as where:
        return measuring.measure(options, rounds, where, progress)
