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
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, overload

from kev.errors import KevError, nearest_of
from kev.pager.kernel import KernelVmPager
from kev.race.detection import Detection, detect
from kev.race.errors import CannotReplay, RaceError, TokenError
from kev.race.memory_model import MemoryModel, memory_model_called, wanted_model
from kev.race.replay_variable import REPLAY, TIMES
from kev.race.schedule import Schedule
from kev.race.store import FailureStore
from kev.race.stories.words import in_words
from kev.race.strategy import make_strategy
from kev.race.strategy.replay import ReplayScheduler
from kev.race.subject import Subject
from kev.race.token import Token
from kev.race.trace.body import Body, BodySubject, Told, name_of, replay_command, within_body
from kev.race.trace.machine import PagerFactory
from kev.race.trace.program import ORDINARY, Page, Program, check_sizes
from kev.race.trace.subject import TraceSubject
from kev.spec.errors import SpecError, refusal
from kev.spec.fields import names
from kev.spec.values import integer, path, positive, text
from kev.work.processes import local
from kev.work.stopping import Stopped

if TYPE_CHECKING:
    from typing import Unpack

    from kev.jos.host import Host
    from kev.machine.api import Image, StrPath
    from kev.spec.wishes import MachineWishes

P = ParamSpec("P")
RaceTest: TypeAlias = Callable[..., None]
_DETERMINISTIC: Final = "; a body may depend on its vCPU, `vcpu.shared` and what fixtures are at the beginning of every run"
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class RaceDetected(AssertionError):
    """A race test failed: the message tells how, and how to see it again."""

    def __init__(self, message: str, token: Token | None = None) -> None:
        super().__init__(message)
        self.kev_race_token: Final = None if token is None else str(token)
        """What `kev race replay` takes. The pytest plugin puts it into the report, as a property of that name."""


@overload
def races(body: Body, /) -> RaceTest: ...


@overload
def races(
    *,
    vcpus: int = 2,
    strategy: str = "pct",
    runs: int | None = 1_000,
    seconds: float | None = None,
    seed: int = 0,
    depth: int = 3,
    preemptions: int | None = 2,
    pages: int | Sequence[Page] = 4,
    pager: PagerFactory = KernelVmPager,
    memory_model: str = "sc",
) -> Callable[[Body], RaceTest]: ...


def races(
    body: Body | None = None,
    /,
    *,
    vcpus: int = 2,
    strategy: str = "pct",
    runs: int | None = 1_000,
    seconds: float | None = None,
    seed: int = 0,
    depth: int = 3,
    preemptions: int | None = 2,
    pages: int | Sequence[Page] = 4,
    pager: PagerFactory = KernelVmPager,
    memory_model: str = "sc",
) -> RaceTest | Callable[[Body], RaceTest]:
    """Makes a race test of a coroutine function with a parameter `vcpu`.

    `strategy` is one of `kev.race.strategy.NAMES`, `pages` how many pages there are or what each is like, `pager` what makes the
    pager under test. There are `runs` runs, or as many as in `seconds`, whatever is over first. `memory_model` is "sc" or "tso":
    with that, others see what a vCPU stores when the schedule says so, or behind its `fence`, its `locked_write`, and what it asks
    of the pager. RaceDetected from the test if a run fails, RaceError if two runs with the same schedule differ. There are at most
    16 vCPUs, 8 with store buffers, and 62 pages: ProgramError.
    """
    model = memory_model_called(memory_model)
    if model is MemoryModel.SPLIT:
        raise RaceError("memory_model 'split' is for guests: a step of a race test is one access")
    tso = model is MemoryModel.TSO
    vcpus, kinds = integer("vcpus", vcpus), _kinds(pages)
    check_sizes(vcpus, len(kinds), tso)
    if not callable(pager):
        raise refusal("pager", pager, "it must make a pager, as kev.pager.kernel.KernelVmPager does")

    def decorate(body: Any) -> Any:
        if isinstance(body, staticmethod | classmethod):
            return type(body)(decorate(body.__func__))
        signature = _signature(body)

        @wraps(body)
        def test(*arguments: Any, **fixtures: Any) -> None:
            __tracebackhide__ = True
            subject = BodySubject(body, _by_name(outside.bind(*arguments, **fixtures)), vcpus, kinds, pager, tso)
            try:
                token = _token_to_replay(subject)
                if token is not None:
                    _replay(subject, token)
                else:
                    # A signal is not noted: it can come out of a body, and has to, from one that goes on for ever.
                    chosen = make_strategy(strategy, seed, depth, preemptions)
                    found = detect(subject, chosen, runs, seconds=seconds, store=FailureStore(), signals=())
                    _require(found, _DETERMINISTIC)
            except RaceDetected:
                raise
            except BaseException as error:
                raise _without_kev(error)  # noqa: B904

        outside = signature.replace(parameters=[one for name, one in signature.parameters.items() if name != "vcpu"])
        test.__signature__ = outside  # type: ignore[attr-defined]
        test.kev_race = True  # type: ignore[attr-defined]
        test._trio_test_runner_wrapped = True  # type: ignore[attr-defined]
        return test

    return decorate if body is None else decorate(body)


def _without_kev(error: BaseException) -> BaseException:
    """The same with a traceback without kev's own frames, if that says where it comes from, or if it is for the user to mend."""
    place = within_body(error.__traceback__)
    return error.with_traceback(place) if place is not None or isinstance(error, KevError) else error


def _told_briefly(function: Callable[P, None]) -> Callable[P, None]:
    @wraps(function)
    def called(*arguments: P.args, **keywords: P.kwargs) -> None:
        __tracebackhide__ = True
        try:
            function(*arguments, **keywords)
        except KevError as error:
            raise _without_kev(error)  # noqa: B904

    return called


def _kinds(pages: int | Sequence[Page]) -> Sequence[Page]:
    """What each page is like. SpecError."""
    if isinstance(pages, Sequence) and not isinstance(pages, str) and all(isinstance(page, Page) for page in pages):
        return tuple(pages)
    if not isinstance(pages, int) or isinstance(pages, bool):
        raise refusal("pages", pages, "it must be how many there are, or a kev.race.Page for each")
    return (ORDINARY,) * pages


def _signature(body: Body) -> inspect.Signature:
    """That of what can be a race test. RaceError."""
    if inspect.iscoroutinefunction(body):
        signature = inspect.signature(body)
        vcpu = signature.parameters.get("vcpu")
        if vcpu is not None and vcpu.kind in _BY_NAME:
            unnamed = [name for name, one in signature.parameters.items() if one.kind is inspect.Parameter.POSITIONAL_ONLY]
            if unnamed:
                raise RaceError(
                    f"{name_of(body)}: a race test gets what it needs by name: not {unnamed[0]!r}, which is before the /"
                )
            return signature
    raise RaceError(f"{name_of(body)}: a race test is a coroutine function with a parameter `vcpu`")


def _by_name(given: inspect.BoundArguments) -> Mapping[str, Any]:
    """Arguments, a method's object among them, as keywords."""
    named: dict[str, Any] = {}
    for name, value in given.arguments.items():
        kind = given.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            raise RaceError(f"a race test gets what it needs by name: not what *{name} stands for")
        else:
            named[name] = value
    return named


@_told_briefly
def check(
    program: Program | str,
    *,
    strategy: str = "pct",
    runs: int | None = 100,
    seconds: float | None = None,
    seed: int = 0,
    depth: int = 3,
    preemptions: int | None = 2,
    pager: PagerFactory = KernelVmPager,
) -> None:
    """Explores one trace program, which may be its text: "r0w1/r0/e0".

    RaceDetected if a run fails, RaceError if two runs with the same schedule differ; ProgramError for a text that is no program.
    """
    __tracebackhide__ = True
    subject = TraceSubject(program if isinstance(program, Program) else Program.parse(text("program", program)), pager)
    chosen = make_strategy(strategy, seed, depth, preemptions)
    _require(detect(subject, chosen, runs, seconds=seconds, store=FailureStore()))


@_told_briefly
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

    for keyword, function in (("make", make), ("check", check)):
        if not callable(function):
            raise refusal(keyword, function, "it must be a function of a host")
    subject = HostSubject(make, check, f"{make.__module__}.{name_of(make)}")
    token = _token_to_replay(subject)
    if token is not None:
        _replay(subject, token)
        return
    _require(detect(subject, make_strategy(strategy, seed, depth, None), runs, seconds=seconds, store=FailureStore()))


@_told_briefly
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
    memory_model: str | None = None,
    **wishes: "Unpack[MachineWishes]",
) -> None:
    """Explores a guest that must end with the exit code that a free run ends with, for so many runs, or so many seconds.

    `image` and `wishes` are what `kev.launch` takes: a file, a guest's name, a description or a source of bytes, and the keywords
    that describe its machine; what is not said is as the guest wants it. `seed` is what random choices come from, RDRAND's among
    them; `depth` is for PCT, `preemptions` for the exhaustive strategy; `jobs` is how many processes run guests. `image` may be a
    snapshot, and `from_snapshot` is one of `image` that every run goes on from. `after` is where runs begin: a condition
    ("output:TEXT", "symbol:NAME+OFFSET", "instructions:N", "hypercall:NUMBER"), or a symbol of the image, or else a text of the
    output. `memory_model` is "sc", "split" or "tso". With "split", which is the default for guests that change what their vCPUs
    share without LOCK, others come in between what such an instruction reads and what it writes; with "tso", others see what a vCPU
    stores when the schedule says so.

    A warning says so if a guest that survives ends with another exit code than 0.

    RaceDetected if a run fails, RaceError if two runs with the same schedule differ, if the guest cannot be raced, or if a wish
    makes no sense in a race; SpecError for a wish that cannot be; SnapshotError.
    """
    __tracebackhide__ = True
    from kev.machine.api import wanted_machine
    from kev.race.guest.files import kept_image
    from kev.race.guest.subject import GuestSubject

    for name in wishes:
        if name not in names():
            nearest = nearest_of(name, [*inspect.signature(check_guest).parameters, *names()])
            raise SpecError(f"{name}: check_guest has no such keyword{'' if nearest is None else f'; is it {nearest!r}?'}")
    wanted = wanted_machine(image, wishes)
    store = FailureStore()
    spec = wanted.spec if wanted.source is None else wanted.spec.replace(image=kept_image(wanted.source, store.folder))
    snapshot = None if from_snapshot is None else path("from_snapshot", from_snapshot)
    after = None if after is None else text("after", after)
    chosen = make_strategy(strategy, seed, depth, preemptions)
    model = wanted_model(memory_model, sampled=chosen.sampled)
    subject = GuestSubject.find(spec, seed, after=after, snapshot=snapshot, model=model)
    _require(detect(subject, chosen, runs, seconds=seconds, place=local(positive("jobs", jobs)), store=store))
    if subject.doubt:
        warnings.warn(subject.doubt, stacklevel=2)


def _token_to_replay(subject: Subject) -> Token | None:
    """The token that `kev race replay` wants a test to be replayed with. TokenError if it is about another test."""
    written = os.environ.get(REPLAY)
    if written is None:
        return None
    token, this = Token.read(written), subject.identity
    if token.identity != this:
        raise TokenError(f"the token is about the test {token.identity.target!r}, and this is {this.target!r}")
    return token


def _replay(subject: Subject, token: Token) -> None:
    """Makes the run of a token again, as often as wanted, and requires that it goes well."""
    __tracebackhide__ = True
    times = positive(TIMES, os.environ.get(TIMES, "1"))
    outcomes = []
    for _ in range(times):
        try:
            outcomes.append(subject.replay(ReplayScheduler(token.schedule)))
        except CannotReplay:
            _reject_example()
            raise
        if outcomes[-1].history != outcomes[0].history:
            raise RaceError(
                f"run {len(outcomes)} of {times} of the same schedule is not what the first was: it is not deterministic"
            )
    if outcomes[0].failure is not None:
        again = f"the run of the token, made {times:,} times: always the same" if times > 1 else "the run of the token"
        _fail(subject, token.schedule, token, again, "")


def _reject_example() -> None:
    """If Hypothesis gives the test its arguments: the token was made with others, to which it may come yet."""
    hypothesis = sys.modules.get("hypothesis")
    if hypothesis is not None and hypothesis.currently_in_test_context():
        hypothesis.reject()


def _require(detection: Detection[Any], hint: str = "") -> None:
    """Nothing was found. `hint`: what a run may depend on."""
    __tracebackhide__ = True
    exploration, first = detection.exploration, detection.first
    if exploration.nondeterminism is not None:
        run, message = exploration.nondeterminism.run, exploration.nondeterminism.message
        raise RaceError(f"run {run} is not deterministic: {message}{hint}")
    if exploration.stopped is not None:
        raise Stopped(exploration.stopped)
    if first is None or first.shrunk is None or first.shrunk_token is None:
        return
    assert exploration.found is not None
    shrunk, token = first.shrunk, first.shrunk_token
    where = "a failure that was kept" if exploration.found.run < 0 else f"run {exploration.found.run} ({exploration.strategy})"
    command = replay_command(token) if token.identity.kind == "test" else f"kev race replay {token}"
    pager = token.identity.target if token.identity.kind == "trace" else ""
    named = f" --pager {shlex.quote(pager)}" if pager else ""
    unkept = f"\n{detection.unkept}" if detection.unkept else ""
    _fail(shrunk.subject, shrunk.schedule, token, where, f"{command}{named}{unkept}")


def _fail(subject: Subject, schedule: Schedule, token: Token, where: str, behind: str) -> None:
    """RaceDetected, from where in a body it went wrong, with what that was caused by."""
    __tracebackhide__ = True
    tell_all: Callable[[Schedule], Told] | None = getattr(subject, "tell_all", None)
    told = Told(subject.tell(schedule), None, None) if tell_all is None else tell_all(schedule)
    failure, error = told.story.failure, told.error
    head = "" if failure is None else f"{failure.message.partition(chr(10))[0]}\n\n"
    parts = "".join(format_exception(error.with_traceback(told.place))) + "\n" if isinstance(error, ExceptionGroup) else ""
    detected = RaceDetected(f"{head}{where}\n\n{in_words(told.story)}\n{parts}{behind}".rstrip(), token)
    if error is not None:
        detected.__cause__, detected.__context__ = error.__cause__, error.__context__
        detected.__suppress_context__ = error.__suppress_context__
    raise detected.with_traceback(told.place)
