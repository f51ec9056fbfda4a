"""One run of a trace program: the real pager, driven by hand from one scheduling point to the next.

Every vCPU is a coroutine that nobody but this machine resumes. What happens between two of its suspensions happens at once, as
between two awaits in trio; which of them is resumed next is the scheduler's choice.
"""

from bisect import insort
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final, Protocol, TypeAlias, cast
from warnings import catch_warnings, simplefilter

from kev.addressing import KIB, PAGE_SHIFT, PAGE_SIZE, Gpa, Gva
from kev.engine.trace import TraceEngine, TraceMemory, TraceTable
from kev.host_memory import HostMemory
from kev.machine.schedule import ANYTHING, Scheduler
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageEvent
from kev.pager.protocols import NestedTable, Point, Rendezvous
from kev.pager.source import SynchronousSource
from kev.race.errors import RaceError
from kev.race.interleaving import VCPU_BITS
from kev.race.meeting import Meeting
from kev.race.outcome import Failure
from kev.race.points import POINT, SUSPENDED, At, Suspension, TracePoint
from kev.race.strategy.base import Redundant, SteppedScheduler
from kev.race.trace.listener import SILENCE, Listener, subscriptions
from kev.race.trace.program import Page
from kev.race.trace.run import Subscriptions
from kev.race.trace.source import TraceSource
from kev.race.trace.store_buffers import EMPTY, BufferedStore, StoreBuffers
from kev.race.trace.task import Task
from kev.race.trace.turns import Turns
from kev.race.trace.vcpu import Cancelled

_PUBLISH: Final = PageEvent.PUBLISH
_ENDINGS: Final = (StopIteration, Cancelled)
"""What a vCPU that has done everything ends with."""
MAX_STEPS: Final = 5_000
"""A run that takes more has no end: the longest programs take some hundreds."""
_NOBODY: Final = -1
_EVERYTHING: Final = ANYTHING << VCPU_BITS
_Choose: TypeAlias = Callable[[Sequence[int], int], int]
"""Chooses among the vCPUs that can run who goes on, behind a step."""


def _choose_nobody(_runnable: Sequence[int], _step: int) -> int:
    """The run is over."""
    return _NOBODY


class PagerFactory(Protocol):
    """Makes the pager under test: `KernelVmPager`, or something derived from it."""

    def __call__(
        self, image: KernelImage, ram_kib: int, memory: HostMemory, table: NestedTable, rendezvous: Callable[[], Rendezvous], /
    ) -> KernelVmPager: ...


class TraceMachine:
    """A machine without CPUs: pages, a pager, and vCPUs that are coroutines. It runs once."""

    __slots__ = (
        "_choose",
        "_chosen",
        "_is_trusted",
        "_left",
        "_listening",
        "_loaders",
        "_reaches",
        "_refused",
        "_runnable",
        "_source",
        "_task",
        "_touched",
        "_turns",
        "_verdicts",
        "addresses",
        "buffers",
        "engine",
        "failure",
        "memory",
        "pager",
        "pages",
        "shared",
        "steps",
        "table",
        "tasks",
        "told",
        "tso",
        "vcpu",
    )

    def __init__(
        self,
        pages: Sequence[Page],
        factory: PagerFactory,
        memory: TraceMemory,
        *,
        opaque: bool = False,
        tso: bool = False,
        verdicts: tuple[type[Exception], ...] = (),
    ) -> None:
        """The pager of `factory` over `pages`; `memory` must be untouched, and is so again after `close`.

        `opaque`: between two steps of a vCPU there may be accesses that nobody hears of. `tso`: vCPUs have store buffers.
        `verdicts` are what a vCPU may raise that is no failure, but for whoever calls `run`.
        """
        source = self._source = TraceSource(pages, self, memory)
        segment = Segment(Gpa(0), Gva(0), 0, source.size, source.size)
        # Where the bytes are awaited is the pager's business: only an image's headers have to be there at once.
        image = KernelImage(cast(SynchronousSource, source), (segment,), Gpa(0), Gva(0), 64)
        self.pages: Final = pages
        self.addresses: Final = range(0, len(pages) << PAGE_SHIFT, PAGE_SIZE)
        """Of the pages, guest-physical."""
        self.memory: Final = memory
        self.table: Final = TraceTable(self)
        self.engine: Final = TraceEngine(memory, self.table)
        self.pager: Final = factory(image, source.size // KIB, memory, self.table, self._meeting)
        self._loaders: Final = [
            (Gpa(number << PAGE_SHIFT), source.loader_after(number, page.needs))
            for number, page in enumerate(pages)
            if page.needs is not None
        ]
        self._register_loaders()
        self.pager.originals.keep_contents()
        self.pager.observe(self)
        self.pager.schedule_by(self.reach)
        self.tso: Final = tso
        self.buffers: StoreBuffers | None = None
        """From when it runs on, if vCPUs have some."""
        if tso:
            # Who invalidates what others have cached interrupts them: an exit.
            self.pager.unmapped.subscribe(self._show_all)
        self.pager.unmapped.subscribe(self.engine.invalidate)
        self.tasks: Final[list[Task]] = []
        self.steps: Final[list[int]] = []
        """Every step so far, as in `kev.race.interleaving`."""
        self.vcpu = 0
        """Which takes the present step."""
        self.failure: Failure | None = None
        self.shared: Final[dict[str, Any]] = {}
        """For what the vCPUs of a test have to tell each other."""
        self._runnable: Final[list[int]] = []
        self._left = 0
        """vCPUs that are not done."""
        self._task: Task
        """Of the vCPU that runs."""
        self._chosen = _NOBODY
        """Who takes the next step; `_NOBODY`: it ends here."""
        self._choose: _Choose | None = None
        """Chooses who. None where vCPUs get to scheduling points and no step ends: when they begin, or are cancelled."""
        self._turns: Turns | None = None
        """Of whom that asks, if not for every step."""
        self._refused: Exception | None = None
        """What was raised instead of a choice."""
        self._touched = 0
        """What the present step does, as a step of vCPU 0."""
        self._reaches: Final = dict.fromkeys(_reaches(pages), _EVERYTHING) if opaque else _reaches(pages)
        """The same of what a step may do that begins at a point about a page, by its address; at a point about none, by that of
        page -1; at a fence, by the one behind the last page."""
        self.told: Subscriptions = SILENCE
        """Whom `tell` tells."""
        self._is_trusted: Final = not opaque and factory is KernelVmPager
        """Nothing of it is broken on purpose, or somebody else's."""
        self._listening: Subscriptions = SILENCE
        """Who is told while it runs."""
        self._verdicts: Final = verdicts

    def _register_loaders(self) -> None:
        for page, loader in self._loaders:
            self.pager.map_page(page, loader)

    def rewind(self) -> None:
        """Makes a machine that was closed what it was before its run; listeners stay. Its pager has to be kev's own."""
        self._source.rewind()
        self.table.clear()
        self.engine.clear()
        self.pager.rewind()
        self._register_loaders()
        self.tasks.clear()
        self.buffers = None
        self._runnable.clear()
        self.steps.clear()
        self.shared.clear()
        self.vcpu = self._touched = 0
        self.failure = self._refused = None
        self.told = self._listening

    @property
    def step(self) -> int:
        """The number of the present step, from 0."""
        return len(self.steps)

    def states(self) -> bytes:
        """Of each page, a byte that is its `kev.pager.pages.PageState`."""
        return bytes(self.pager.pages.states_around(0)[: len(self.pages)])

    def listen(self, listeners: Sequence[Listener]) -> None:
        """Tells `listeners` of everything that happens from now on."""
        self.told = self._listening = subscriptions(listeners)

    def run(self, bodies: Sequence[Coroutine[Any, None, None]], scheduler: Scheduler) -> None:
        """Runs the vCPUs, until all are done or one has done something wrong: `failure` says what. Whatever `scheduler` raises."""
        self.tasks.extend([Task(body, body.send) for body in bodies])
        self._runnable.extend(range(len(bodies)))
        self._left = len(bodies)
        if self.tso:
            self.buffers = StoreBuffers(len(bodies), self._show)
        for vcpu, task in enumerate(self.tasks):
            self.vcpu, self._task = vcpu, task
            self._resume(vcpu, task, task.resume, None)
        if self.failure is None and self._runnable:
            self._drive(scheduler)
        if self.failure is None:
            self._conclude()

    def close(self) -> None:
        """Ends what is under way and gives the memory back. Whoever broke the rules may not be in a state to end properly."""
        self.told = SILENCE
        self._choose = None
        if self._runnable or self._left:
            self._break_off()
        frames = self.pager.frames.find(0)
        if frames is not None:
            self.memory.discard(frames, len(self.pages))
        self.memory.rewind()

    def _break_off(self) -> None:
        if self._is_trusted:
            self._close_all()
        else:
            with catch_warnings():
                # Such as about a loader that a broken pager started and forgot.
                simplefilter("ignore")
                self._close_all()

    def _close_all(self) -> None:
        for task in self.tasks:
            with suppress(Exception):
                task.body.close()
        self.tasks.clear()
        self._left = 0
        with suppress(Exception):
            self.pager.close()

    def fail(self, oracle: str, message: str, kind: str = "") -> None:
        """Something was done wrong in the present step. The first failure counts; the run ends with the step."""
        if self.failure is None:
            self.failure = Failure(oracle, message, self.step, kind)
            self._choose = _choose_nobody
            self.tell("failed")

    # Running.

    def _drive(self, scheduler: Scheduler) -> None:
        tasks = self.tasks if self.buffers is None else [*self.tasks, *self.buffers.tasks]
        turns = scheduler if isinstance(scheduler, SteppedScheduler) else Turns(scheduler, MAX_STEPS + 1)
        self._turns = turns if isinstance(turns, Turns) else None
        steps, choose = self.steps, self._announcing(turns.step)
        self._choose = choose
        self._chosen = choose(self._runnable, 0)
        while (vcpu := self._chosen) != _NOBODY:
            self.vcpu = vcpu
            task = self._task = tasks[vcpu]
            self._touched = task.touches
            # `_resume` without its calls: this is where all the time goes.
            try:
                at = task.resume(None)
            except (Exception, Cancelled) as error:
                self._end(vcpu, task, error)
            else:
                if at is POINT:
                    continue  # `reach` has ended the step
                if type(at) is tuple:
                    self._place(task, at)
                else:
                    self._block(vcpu, task, at)
            step = self._touched | vcpu
            steps.append(step)
            if not self._runnable or (len(steps) > MAX_STEPS and self._is_endless()):
                return
            self._chosen = self._choose(self._runnable, step)
        if self._refused is not None:
            raise self._refused

    def _announcing(self, choose: "_Choose") -> "_Choose":
        """The same choices, of which those are told who want to know of every step that begins."""
        listeners = self.told["stepped"]
        if not listeners:
            return choose

        def announce(runnable: Sequence[int], step: int) -> int:
            vcpu = choose(runnable, step)
            for notify in listeners:
                notify(vcpu)
            return vcpu

        return announce

    def reach(self, point: Point | TracePoint, gpa: int) -> Suspension | None:
        """The vCPU that runs is at a scheduling point. None if it takes the next step, too; else it has to await what is returned.

        So who goes on is chosen where a step ends, and nobody is suspended to be resumed at once.
        """
        task, choose = self._task, self._choose
        task.point = point
        task.gpa = gpa
        touches = task.touches = self._reaches[gpa] | task.scope
        if choose is None:
            return SUSPENDED
        vcpu, steps = self.vcpu, self.steps
        step = self._touched | vcpu
        steps.append(step)
        if len(steps) > MAX_STEPS and self._is_endless():
            self._chosen = _NOBODY
            return SUSPENDED
        try:
            chosen = choose(self._runnable, step)
        except Exception as error:
            self._refuse(error)
            return SUSPENDED
        if chosen != vcpu:
            self._chosen = chosen
            return SUSPENDED
        self._touched = touches
        return None

    def _place(self, task: Task, at: At) -> None:
        """A store buffer gets to its next store."""
        task.point, task.gpa = at
        task.touches = self._reaches[task.gpa]

    def _refuse(self, error: Exception) -> None:
        """Nobody was chosen: which is for who runs this machine, not for the vCPU that was to be suspended."""
        # What is raised in the ordinary course must not keep the vCPU's frames.
        self._refused = error.with_traceback(None) if isinstance(error, Redundant | RaceError) else error
        self._chosen = _NOBODY

    def _is_endless(self) -> bool:
        """A run of so many steps takes too many, unless a turn is under way: which is a failure."""
        is_cut = self._turns is not None and self._turns.is_under_way(self._runnable)
        if self.failure is None and not is_cut:
            self.tell("endless")
        return self.failure is not None

    def _conclude(self) -> None:
        if self._left:
            self.tell("stuck")
            return
        try:
            self.pager.close()
        except Exception as error:
            self.tell("raised", error)
        else:
            self.tell("finished")

    def _resume(self, vcpu: int, task: Task, resume: Callable[[Any], object], argument: object) -> None:
        """Lets a vCPU run to its next suspension."""
        try:
            at = resume(argument)
        except (Exception, Cancelled) as error:
            self._end(vcpu, task, error)
        else:
            if at is not POINT:
                self._block(vcpu, task, at)

    def _end(self, vcpu: int, task: Task, error: BaseException) -> None:
        if isinstance(error, _ENDINGS):
            task.done = True
            self._left -= 1
            self._stop(vcpu, task)
            for notify in self.told["done"]:
                notify(vcpu)
        elif isinstance(error, self._verdicts):
            raise error
        else:
            self.tell("raised", error)

    def _block(self, vcpu: int, task: Task, at: object) -> None:
        if at is EMPTY:
            self._stop(vcpu, task)
            return
        if not isinstance(at, Meeting):
            raise RaceError(f"vCPU {vcpu} awaits {at!r}: in a race test only the vCPU and the pager can be awaited")
        task.wait(at)
        at.waiting.append(vcpu)
        self._stop(vcpu, task)
        self.tell("blocked", task.page)

    def _stop(self, vcpu: int, task: Task) -> None:
        task.stopped = True
        self._runnable.remove(vcpu)

    def _start(self, vcpu: int, task: Task) -> None:
        task.stopped = False
        self._touched |= task.touches
        insort(self._runnable, vcpu)

    def wake(self, vcpu: int) -> None:
        """A vCPU that was blocked can go on."""
        self._start(vcpu, self.tasks[vcpu])
        self.tell("woke", vcpu)

    def cancel(self, vcpu: int) -> None:
        """Throws `Cancelled` into a vCPU, if it is in the pager."""
        task, by = self.tasks[vcpu], (self.vcpu, self._task, self._choose)
        self._touched = _EVERYTHING
        if not task.cancellable:
            return
        if task.stopped and task.meeting is not None:
            task.meeting.waiting.remove(vcpu)
            self._start(vcpu, task)
        task.leave()
        self.tell("cancelled", vcpu)
        self.vcpu, self._task, self._choose = vcpu, task, None
        self._resume(vcpu, task, task.body.throw, Cancelled())
        self.vcpu, self._task, choose = by
        self._choose = choose if self.failure is None else _choose_nobody

    # What vCPUs store.

    def store(self, vcpu: int, store: BufferedStore) -> None:
        """Stores: at once, or later if there are store buffers."""
        buffers = self.buffers
        if buffers is None:
            self._show(vcpu, store)
        elif (at := buffers.add(vcpu, store)) is not None:
            task = buffers.tasks[vcpu]
            self._place(task, at)
            self._start(len(self.tasks) + vcpu, task)

    def show_stores(self, vcpu: int) -> None:
        """Makes visible all that a vCPU has stored."""
        buffers = self.buffers
        if buffers is not None and buffers.show_all(vcpu):
            self._stop(len(self.tasks) + vcpu, buffers.tasks[vcpu])

    def _show(self, vcpu: int, store: BufferedStore) -> None:
        page = store.page
        gpa = page << PAGE_SHIFT
        self._touched |= self._reaches[gpa]
        self.engine.write(gpa, store.address, store.value)
        for notify in self.told["stored"]:
            notify(vcpu, page, store.offset, store.value)

    def _show_all(self, _page: Gpa) -> None:
        self._touched = _EVERYTHING  # whether somebody stores before or behind it makes a difference
        for vcpu in range(len(self.tasks)):
            self.show_stores(vcpu)

    # What the pager and its surroundings report.

    def tell(self, event: str, *facts: object) -> None:
        """Passes on what the vCPU whose step it is has done: see `Listener`."""
        for notify in self.told[event]:
            notify(self.vcpu, *facts)

    def began(self, pages: range) -> None:
        numbers, touched = _numbered(pages.start, pages.stop)
        self._touched |= touched
        for notify in self.told["began"]:
            notify(self.vcpu, numbers)

    def waited(self, gpa: Gpa) -> None:
        for notify in self.told["waited"]:
            notify(self.vcpu, gpa >> PAGE_SHIFT)

    def ended(self, pages: range, event: PageEvent) -> None:
        numbers, touched = _numbered(pages.start, pages.stop)
        self._touched |= touched
        if event is _PUBLISH:
            for notify in self.told["published"]:
                notify(self.vcpu, numbers)
        else:
            self.tell("given_up", numbers, event)

    def mapped(self, gpa: int, count: int) -> None:
        numbers, touched = _numbered(gpa, gpa + (count << PAGE_SHIFT))
        self._touched |= touched
        for notify in self.told["mapped"]:
            notify(self.vcpu, numbers)

    def unmapped(self, gpa: int, count: int) -> None:
        numbers, touched = _numbered(gpa, gpa + (count << PAGE_SHIFT))
        self._touched |= touched
        for notify in self.told["unmapped"]:
            notify(self.vcpu, numbers)

    def _meeting(self) -> Rendezvous:
        return Meeting(self)


@contextmanager
def trace_machine(
    pages: Sequence[Page],
    factory: PagerFactory,
    *,
    opaque: bool = False,
    tso: bool = False,
    verdicts: tuple[type[Exception], ...] = (),
) -> Iterator[TraceMachine]:
    """A machine for one run. There can only be one at a time in a process."""
    machine = TraceMachine(pages, factory, trace_memory(), opaque=opaque, tso=tso, verdicts=verdicts)
    try:
        yield machine
    finally:
        machine.close()


@cache
def trace_memory() -> TraceMemory:
    """One for all runs of this process: they follow each other."""
    return TraceMemory()


@cache
def _reaches(pages: Sequence[Page]) -> dict[int, int]:
    """A page alone; or all that loaders tie together, of which a step on the way from one to the other may access both."""
    reaches = [1 << number << VCPU_BITS for number in range(len(pages))]
    for number, page in enumerate(pages):
        if page.needs is not None:
            joined = reaches[number] | reaches[page.needs]
            reaches = [joined if reach & joined else reach for reach in reaches]
    return {number << PAGE_SHIFT: reach for number, reach in enumerate((*reaches, 0))} | {-1 << PAGE_SHIFT: _EVERYTHING}


@cache
def _numbered(start: int, stop: int) -> tuple[range, int]:
    """The numbers of the pages at the addresses from `start` up to `stop`, and the step of vCPU 0 that touches them."""
    numbers = range(start >> PAGE_SHIFT, stop >> PAGE_SHIFT)
    return numbers, (1 << len(numbers)) - 1 << numbers.start + VCPU_BITS
