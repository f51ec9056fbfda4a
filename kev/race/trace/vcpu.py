"""What a vCPU of a trace run can do."""

from collections.abc import Awaitable, Coroutine, Generator, Iterable
from types import coroutine
from typing import Any, Final

from kev.addressing import PAGE_SHIFT, Gpa, Hpa
from kev.exits import Access, EptViolation
from kev.race.points import POINT, TracePoint
from kev.race.trace.program import SLOT, Action, Program, Verb
from kev.race.trace.run import TraceRun
from kev.race.trace.source import InjectedFailure
from kev.race.trace.store_buffers import BufferedStore

_ACCESS: Final = TracePoint.ACCESS
_READ: Final = Access.READ
_WRITE: Final = Access.WRITE
_EXECUTE: Final = Access.EXECUTE
_ACCESSES: Final = {Verb.READ: _READ, Verb.WRITE: _WRITE, Verb.FETCH: _EXECUTE}


class Cancelled(BaseException):
    """What a vCPU was doing in the pager is given up; not an Exception, as trio's is not."""


class TraceVcpu:
    """One vCPU. Pages are numbers; whatever is awaited here may let other vCPUs run first."""

    __slots__ = ("_run", "_short_cut", "index")

    def __init__(self, run: TraceRun, index: int, short_cut: bool = False) -> None:
        """`short_cut` lets violations be answered by `try_lazy_paging` where that takes no waiting."""
        self.index: Final = index
        self._run: Final = run
        self._short_cut: Final = short_cut

    @property
    def shared(self) -> dict[str, Any]:
        """One for all vCPUs, empty at the beginning of every run."""
        return self._run.shared

    async def read(self, page: int) -> bytes:
        """Reads all of a page, which is loaded if need be."""
        return await self._access(page, _READ)

    async def fetch(self, page: int) -> bytes:
        """Executes a page: returns the code that was executed."""
        return await self._access(page, _EXECUTE)

    async def write(self, page: int) -> None:
        """Stores a value that nobody stored before in this vCPU's slot of the page."""
        await self._access(page, _WRITE)

    async def locked_write(self, page: int) -> None:
        """The same, but others see it at once, and all stores before it, as if by XCHG."""
        await self._access(page, _WRITE, locked=True)

    async def fence(self) -> None:
        """Others see all that this vCPU has stored before, as behind MFENCE."""
        await self._begin(len(self._run.pages))

    async def evict(self, page: int) -> bool:
        """Takes a page away; False if there was nothing to take."""
        await self._begin(page)
        self._run.tell("called", Verb.EVICT, page)
        return await self._run.pager.evict(Gpa(page << PAGE_SHIFT))

    async def prefetch(self, page: int, count: int = 1) -> None:
        """Loads pages that nobody has asked for. That one cannot be loaded does not matter."""
        run, task = self._run, self._run.tasks[self.index]
        task.scope = (1 << count) - 1 << page
        await self._begin(page)
        run.tell("called", Verb.PREFETCH, page)
        try:
            await run.pager.load_range(Gpa(page << PAGE_SHIFT), Gpa(page + count << PAGE_SHIFT))
        except InjectedFailure as error:
            run.tell("prefetch_failed", error)
        finally:
            task.scope = 0

    async def cancel(self, vcpu: int) -> None:
        """Gives up what another vCPU is doing in the pager: it gets `Cancelled`."""
        await self._begin(-1)
        self._run.cancel(vcpu)

    def perform(self, action: Action) -> Awaitable[object]:
        """Does what a program says."""
        access = _ACCESSES.get(action.verb)
        if access is not None:
            return self._access(action.target, access)
        match action.verb:
            case Verb.PREFETCH:
                return self.prefetch(action.target, action.count)
            case Verb.EVICT:
                return self.evict(action.target)
            case Verb.LOCKED_WRITE:
                return self.locked_write(action.target)
            case Verb.FENCE:
                return self.fence()
            case _:
                return self.cancel(action.target)

    @coroutine
    def _begin(self, page: int) -> Generator[Any, None, None]:
        """A step in which others see first what this vCPU has stored."""
        if self._run.reach(_ACCESS, page << PAGE_SHIFT) is not None:
            yield POINT
        self._run.show_stores(self.index)

    @coroutine
    def _access(self, page: int, access: Access, locked: bool = False) -> Generator[Any, Any, bytes]:
        """Gets to a page, which is loaded if need be, and accesses it; returns all of it, as this vCPU sees it then.

        One generator does it all, the scheduling point included: each step is resumed through every one that is under way.
        """
        run, gpa = self._run, page << PAGE_SHIFT
        reach, translate = run.reach, run.engine.translate
        while True:
            if reach(_ACCESS, gpa) is not None:
                yield POINT
            frame = translate(gpa)
            if frame is not None:
                break
            for notify in run.told["violated"]:
                notify(run.vcpu, page, access)
            began = run.step
            try:
                if not (self._short_cut and run.pager.try_lazy_paging(EptViolation(Gpa(gpa), access))):
                    yield from run.pager.load_page(Gpa(gpa))
            except InjectedFailure as error:
                run.tell("load_error", page, error, began)
        engine = run.engine
        if access is _READ:
            contents = engine.read(frame)
        elif access is _WRITE:
            contents = self._store(page, frame, locked)
        else:
            contents = engine.execute(gpa, frame)
        for notify in run.told["accessed"]:
            notify(run.vcpu, page, access, contents)
        return contents if run.buffers is None else run.buffers.seen_by(self.index, page, contents)

    def _store(self, page: int, frame: Hpa, locked: bool) -> bytes:
        run, offset = self._run, self.index * SLOT
        run.store(self.index, BufferedStore(page, offset, Hpa(frame + offset), run.step + 1 << 32 | self.index))
        if locked:
            run.show_stores(self.index)
        return run.engine.read(frame)


def bodies(program: Program, run: TraceRun) -> list[Coroutine[Any, None, None]]:
    """What each vCPU of a program does."""
    return [_perform_all(TraceVcpu(run, index, program.short_cut), actions) for index, actions in enumerate(program.vcpus)]


async def _perform_all(vcpu: TraceVcpu, actions: Iterable[Action]) -> None:
    for action in actions:
        try:
            await vcpu.perform(action)
        except Cancelled:
            continue
