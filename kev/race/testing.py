"""Race tests as tests of pytest.

The body of a race test is a coroutine function that every vCPU runs, with itself as `vcpu`:

    @kev.race.races(vcpus=3, strategy="pct", runs=1_000, seed=1)
    async def test_a_store_survives_eviction(vcpu):
        await vcpu.write(0)
        await vcpu.evict(0)

It runs under one schedule after the other, and all oracles watch. What `assert` it contains is one more. pytest sees an ordinary
function: fixtures are passed on, and it makes no difference whether pytest-trio is installed, since nothing but the vCPU's methods
may be awaited. What vCPUs have to tell each other goes through `vcpu.shared`, which is empty at the beginning of every run.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from kev.machine.schedule import Scheduler
from kev.pager.kernel import KernelVmPager
from kev.race.detection import Detection, detect
from kev.race.errors import RaceError
from kev.race.outcome import Outcome, SteppedOutcome
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
from kev.spec.machine_spec import MachineSpec

if TYPE_CHECKING:
    from typing import Unpack

    from kev.spec.wishes import MachineWishes, StrPath

REPLAY: Final = "KEV_RACE_REPLAY"
"""The environment variable with the token that a test is to be replayed with."""

Body: TypeAlias = Callable[..., Any]


class RaceDetected(AssertionError):
    """A race test failed: the message tells how, and how to see it again."""


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
) -> Callable[[Body], Callable[..., None]]:
    """Makes a race test of a coroutine function with a parameter `vcpu`.

    `strategy` is one of `kev.race.strategy.NAMES`, `pages` how many pages there are or what each is like, `pager` what makes the
    pager under test. RaceDetected from the test if a run fails, RaceError if two runs with the same schedule differ. There are at
    most 16 vCPUs and 62 pages: ProgramError.
    """
    kinds = (ORDINARY,) * pages if isinstance(pages, int) else tuple(pages)
    check_sizes(vcpus, len(kinds))

    def decorate(body: Body) -> Callable[..., None]:
        signature = inspect.signature(body)
        if not inspect.iscoroutinefunction(body) or "vcpu" not in signature.parameters:
            raise RaceError(f"{body.__qualname__}: a race test is a coroutine function with a parameter `vcpu`")

        @wraps(body)
        def test(**fixtures: Any) -> None:
            __tracebackhide__ = True
            subject = BodySubject(body, fixtures, vcpus, kinds, pager)
            token = _token_to_replay(subject)
            if token is not None:
                _replay(subject, token.schedule)
            else:
                _require(detect(subject, make_strategy(strategy, seed, depth, preemptions), runs, store=FailureStore()))

        visible = [parameter for name, parameter in signature.parameters.items() if name != "vcpu"]
        test.__signature__ = signature.replace(parameters=visible)  # type: ignore[attr-defined]
        return test

    return decorate


def check(program: Program, *, strategy: str = "pct", runs: int = 100, seed: int = 0, pager: PagerFactory = KernelVmPager) -> None:
    """Explores one trace program. RaceDetected if a run fails, RaceError if two runs with the same schedule differ."""
    _require(detect(TraceSubject(program, pager), make_strategy(strategy, seed), runs, store=FailureStore()))


def check_guest(
    image: "StrPath | MachineSpec", *, strategy: str = "random", runs: int = 500, seed: int = 0, **wishes: "Unpack[MachineWishes]"
) -> None:
    """Explores a guest, a file or a name on the root file system, that must end with the exit code that a free run ends with.

    `wishes` are the keywords of `kev.MachineSpec` that describe its machine; what is not said is as the guest wants it. `seed` is
    what random choices come from. RaceDetected if a run fails, RaceError if two runs with the same schedule differ, or if the guest
    cannot be raced; SpecError for a wish that cannot be.
    """
    __tracebackhide__ = True
    from kev.race.guest.subject import GuestSubject

    spec = MachineSpec.of(wishes).over(image) if isinstance(image, MachineSpec) else MachineSpec.of({**wishes, "image": image})
    _require(detect(GuestSubject.find(spec), make_strategy(strategy, seed), runs, store=FailureStore()))


@attrs.frozen(slots=True)
class BodySubject(SteppedSubject):
    """A coroutine function that every vCPU runs. What it does between two of the vCPU's methods nobody knows."""

    body: Body
    fixtures: Mapping[str, Any]
    vcpus: int
    pages: Sequence[Page]
    factory: PagerFactory

    @property
    def identity(self) -> Identity:
        """The test that pytest is running, as pytest calls it."""
        current = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        return Identity("test", current or f"{self.body.__module__}.{self.body.__qualname__}")

    def run(self, scheduler: Scheduler) -> Outcome:
        with trace_machine(self.pages, self.factory, opaque=True) as machine:
            machine.listen([oracle(machine) for oracle in ORACLES])
            machine.run(self._bodies(machine), scheduler)
            return SteppedOutcome(machine.failure, bytes(machine.order), machine.accesses)

    def tell(self, schedule: Schedule) -> Story:
        with trace_machine(self.pages, self.factory, opaque=True) as machine:
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
        raise RaceDetected("\n" + in_words(subject.tell(schedule)))


def _require(detection: Detection[Any]) -> None:
    """Nothing was found."""
    __tracebackhide__ = True
    exploration, shrunk = detection.exploration, detection.shrunk
    if exploration.nondeterminism is not None:
        raise RaceError(f"run {exploration.nondeterminism.run} is not deterministic: {exploration.nondeterminism.message}")
    if shrunk is None:
        return
    assert exploration.found is not None
    story = in_words(shrunk.subject.tell(shrunk.schedule))
    where = "a failure that was kept" if exploration.found.run < 0 else f"run {exploration.found.run} ({exploration.strategy})"
    raise RaceDetected(f"{shrunk.failure.message}\n\n{where}\n\n{story}\nkev race replay {detection.shrunk_token}")
