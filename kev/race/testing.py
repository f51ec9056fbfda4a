"""Race tests as tests of pytest.

The body of a race test is a coroutine function that every vCPU runs, with itself as `vcpu`:

    @kev.race.races(vcpus=3, strategy="pct", runs=1_000, seed=1)
    async def test_a_store_survives_eviction(vcpu):
        await vcpu.write(0)
        await vcpu.evict(0)

It runs under one schedule after the other, and all oracles watch. What `assert` it contains is one more. pytest sees an ordinary
function, or method: fixtures are passed on, and it makes no difference whether pytest-trio, pytest-asyncio or anyio would run a
coroutine function, since nothing but the vCPU's methods may be awaited. What vCPUs have to tell each other goes through
`vcpu.shared`, which is empty at the beginning of every run.
"""

import inspect
import os
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from kev.machine.schedule import Scheduler
from kev.pager.kernel import KernelVmPager
from kev.race.detection import Detection, detect
from kev.race.errors import RaceError
from kev.race.memory_model import MemoryModel, memory_model_called
from kev.race.outcome import Outcome, SteppedOutcome
from kev.race.replay_variable import REPLAY
from kev.race.schedule import Schedule
from kev.race.store import FailureStore
from kev.race.stories.story import Story
from kev.race.stories.words import in_words
from kev.race.strategy import make_strategy
from kev.race.strategy.replay import ReplayScheduler, RoughScheduler
from kev.race.subject import Identity, Subject
from kev.race.token import Token
from kev.race.trace.machine import PagerFactory, TraceMachine, trace_machine
from kev.race.trace.oracles import ORACLES
from kev.race.trace.program import ORDINARY, Page, Program, check_sizes
from kev.race.trace.steps import SteppedSubject
from kev.race.trace.story import Recorder
from kev.race.trace.subject import TraceSubject
from kev.race.trace.vcpu import TraceVcpu
from kev.spec.values import path, positive, text
from kev.work.processes import local
from kev.work.stopping import Stopped

if TYPE_CHECKING:
    from typing import Unpack

    from kev.jos.host import Host
    from kev.machine.api import Image, StrPath
    from kev.spec.wishes import MachineWishes

Body: TypeAlias = Callable[..., Any]


class RaceDetected(AssertionError):
    """A race test failed: the message tells how, and how to see it again."""

    def __init__(self, message: str, token: Token | None = None) -> None:
        super().__init__(message)
        self.kev_race_token: Final = None if token is None else str(token)
        """What `kev race replay` takes. The pytest plugin puts it into the report, as a property of that name."""


def races(
    *,
    vcpus: int = 2,
    strategy: str = "pct",
    runs: int = 1_000,
    seed: int = 0,
    depth: int = 3,
    preemptions: int | None = 2,
    pages: int | Sequence[Page] = 4,
    pager: PagerFactory = KernelVmPager,
    memory_model: str = "sc",
) -> Callable[[Body], Callable[..., None]]:
    """Makes a race test of a coroutine function with a parameter `vcpu`.

    `strategy` is one of `kev.race.strategy.NAMES`, `pages` how many pages there are or what each is like, `pager` what makes the
    pager under test. `memory_model` is "sc" or "tso": with that, others see what a vCPU stores when the schedule says so, or
    behind its `fence`, its `locked_write`, and what it asks of the pager. RaceDetected from the test if a run fails, RaceError if
    two runs with the same schedule differ. There are at most 16 vCPUs, 8 with store buffers, and 62 pages: ProgramError.
    """
    tso = memory_model_called(memory_model) is MemoryModel.TSO
    kinds = (ORDINARY,) * pages if isinstance(pages, int) else tuple(pages)
    check_sizes(vcpus, len(kinds), tso)

    def decorate(body: Body) -> Callable[..., None]:
        signature = inspect.signature(body)
        if not inspect.iscoroutinefunction(body) or "vcpu" not in signature.parameters:
            raise RaceError(f"{body.__qualname__}: a race test is a coroutine function with a parameter `vcpu`")

        @wraps(body)
        def test(*arguments: Any, **fixtures: Any) -> None:
            __tracebackhide__ = True
            given = outside.bind(*arguments, **fixtures).arguments  # a method's object among them
            subject = BodySubject(body, given, vcpus, kinds, pager, tso)
            token = _token_to_replay(subject)
            if token is not None:
                _replay(subject, token.schedule)
            else:
                _require(detect(subject, make_strategy(strategy, seed, depth, preemptions), runs, store=FailureStore()))

        visible = [parameter for name, parameter in signature.parameters.items() if name != "vcpu"]
        outside = signature.replace(parameters=visible)
        test.__signature__ = outside  # type: ignore[attr-defined]
        test.kev_race = True  # type: ignore[attr-defined]
        test._trio_test_runner_wrapped = True  # type: ignore[attr-defined]
        return test

    return decorate


def check(program: Program, *, strategy: str = "pct", runs: int = 100, seed: int = 0, pager: PagerFactory = KernelVmPager) -> None:
    """Explores one trace program. RaceDetected if a run fails, RaceError if two runs with the same schedule differ."""
    _require(detect(TraceSubject(program, pager), make_strategy(strategy, seed), runs, store=FailureStore()))


def check_host(
    make: "Callable[[Host], object]",
    *,
    check: "Callable[[Host], object]",
    strategy: str = "random",
    runs: int | None = 500,
    seconds: float | None = None,
    seed: int = 0,
    depth: int = 3,
) -> None:
    """Explores a host of the JOS VMM (`kev.jos.Host`) whose guests must all exit with code 0.

    `make` is given a host without guests, and makes them; `check` asserts what must hold of the host when all have ended. Who
    goes on is the schedule: the host's file system, or a guest for so many instructions. `depth` is for PCT. RaceDetected if a run
    fails, RaceError if two runs with the same schedule differ.
    """
    __tracebackhide__ = True
    from kev.race.host.subject import HostSubject

    subject = HostSubject(make, check, f"{make.__module__}.{make.__qualname__}")
    token = _token_to_replay(subject)
    if token is not None:
        _replay(subject, token.schedule)
        return
    _require(detect(subject, make_strategy(strategy, seed, depth, None), runs, seconds=seconds, store=FailureStore()))


def check_guest(
    image: "Image",
    *,
    strategy: str = "random",
    runs: int | None = 500,
    seconds: float | None = None,
    seed: int = 0,
    depth: int = 3,
    preemptions: int | None = 2,
    jobs: int = 1,
    after: str | None = None,
    from_snapshot: "StrPath | None" = None,
    memory_model: str = "sc",
    **wishes: "Unpack[MachineWishes]",
) -> None:
    """Explores a guest that must end with the exit code that a free run ends with, for so many runs, or so many seconds.

    `image` and `wishes` are what `kev.launch` takes: a file, a guest's name, a description or a source of bytes, and the keywords
    that describe its machine; what is not said is as the guest wants it. `seed` is what random choices come from, RDRAND's among
    them; `depth` is for PCT, `preemptions` for the exhaustive strategy; `jobs` is how many processes run guests. `image` may be a
    snapshot, and `from_snapshot` is one of `image` that every run goes on from. `after` is where runs begin: a condition
    ("output:TEXT", "symbol:NAME+OFFSET", "instructions:N", "hypercall:NUMBER"), or a symbol of the image, or else a text of the
    output. `memory_model` is "sc" or "tso": with that, others see what a vCPU stores when the schedule says so.

    A warning says so if a guest that survives ends with another exit code than 0.

    RaceDetected if a run fails, RaceError if two runs with the same schedule differ, if the guest cannot be raced, or if a wish
    makes no sense in a race; SpecError for a wish that cannot be; SnapshotError.
    """
    __tracebackhide__ = True
    from kev.machine.api import wanted_machine
    from kev.race.guest.files import kept_image
    from kev.race.guest.subject import GuestSubject

    wanted = wanted_machine(image, wishes)
    store = FailureStore()
    spec = wanted.spec if wanted.source is None else wanted.spec.replace(image=kept_image(wanted.source, store.folder))
    snapshot = None if from_snapshot is None else path("from_snapshot", from_snapshot)
    after = None if after is None else text("after", after)
    subject = GuestSubject.find(spec, seed, after=after, snapshot=snapshot, model=memory_model_called(memory_model))
    chosen = make_strategy(strategy, seed, depth, preemptions)
    _require(detect(subject, chosen, runs, seconds=seconds, place=local(positive("jobs", jobs)), store=store))
    if subject.doubt:
        warnings.warn(subject.doubt, stacklevel=2)


@attrs.frozen(slots=True)
class BodySubject(SteppedSubject):
    """A coroutine function that every vCPU runs. What it does between two of the vCPU's methods nobody knows."""

    body: Body
    fixtures: Mapping[str, Any]
    vcpus: int
    pages: Sequence[Page]
    factory: PagerFactory
    tso: bool = False

    @property
    def actors(self) -> int:
        return 2 * self.vcpus if self.tso else self.vcpus

    @property
    def identity(self) -> Identity:
        """The test that pytest is running, as pytest calls it."""
        current = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        return Identity("test", current or f"{self.body.__module__}.{self.body.__qualname__}")

    def run(self, scheduler: Scheduler) -> Outcome:
        with trace_machine(self.pages, self.factory, opaque=True, tso=self.tso) as machine:
            machine.listen([oracle(machine) for oracle in ORACLES])
            machine.run(self._bodies(machine), scheduler)
            return SteppedOutcome(machine.failure, tuple(machine.steps))

    def tell(self, schedule: Schedule) -> Story:
        with trace_machine(self.pages, self.factory, opaque=True, tso=self.tso) as machine:
            recorder = Recorder(machine)
            machine.listen([recorder, *(oracle(machine) for oracle in ORACLES)])
            machine.run(self._bodies(machine), RoughScheduler(schedule))
            return recorder.story(f"{self.identity.target}, schedule {schedule}")

    def smaller(self) -> Iterator["BodySubject"]:
        yield from ()

    def compact(self, schedule: Schedule) -> tuple["BodySubject", Schedule]:
        return self, schedule

    def _bodies(self, machine: TraceMachine) -> list[Any]:
        return [self.body(vcpu=TraceVcpu(machine, index), **self.fixtures) for index in range(self.vcpus)]


def _token_to_replay(subject: Subject) -> Token | None:
    text = os.environ.get(REPLAY)
    if text is None:
        return None
    token = Token.read(text)
    return token if token.identity == subject.identity else None


def _replay(subject: Subject, schedule: Schedule) -> None:
    __tracebackhide__ = True
    outcome = subject.replay(ReplayScheduler(schedule))
    if outcome.failure is not None:
        raise RaceDetected("\n" + in_words(subject.tell(schedule)), Token(subject.identity, schedule))


def _require(detection: Detection[Any]) -> None:
    """Nothing was found."""
    __tracebackhide__ = True
    exploration, first = detection.exploration, detection.first
    if exploration.nondeterminism is not None:
        raise RaceError(f"run {exploration.nondeterminism.run} is not deterministic: {exploration.nondeterminism.message}")
    if exploration.stopped is not None:
        raise Stopped(exploration.stopped)
    if first is None or first.shrunk is None:
        return
    assert exploration.found is not None
    shrunk, token = first.shrunk, first.shrunk_token
    story = in_words(shrunk.subject.tell(shrunk.schedule))
    where = "a failure that was kept" if exploration.found.run < 0 else f"run {exploration.found.run} ({exploration.strategy})"
    target = shlex.quote(shrunk.subject.identity.target)
    named = {"test": f" --test {target}", "trace": f" --pager {target}"}.get(shrunk.subject.identity.kind, "")
    named = named if shrunk.subject.identity.target else ""
    unkept = f"\n{detection.unkept}" if detection.unkept else ""
    raise RaceDetected(f"{shrunk.failure.message}\n\n{where}\n\n{story}\nkev race replay {token}{named}{unkept}", token)
