"""What a vCPU of a trace run can do."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from kev.addressing import PAGE_SHIFT, Gpa, Hpa
from kev.exits import Access, EptViolation
from kev.race.points import TracePoint, reach
from kev.race.trace.program import Action, Program, Verb
from kev.race.trace.run import TraceRun
from kev.race.trace.source import InjectedFailure

SLOT: Final = 8
"""Every vCPU stores to a slot of its own in each page: so many bytes from `index * SLOT` on."""

_ACCESS: Final = TracePoint.ACCESS
_READ: Final = Access.READ
_READS: Final = Verb.READ


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
        frame = await self._frame(page, _READ)
        run = self._run
        contents = run.engine.read(frame)
        for notify in run.told["accessed"]:
            notify(run.vcpu, page, _READ, contents)
        return contents

    async def fetch(self, page: int) -> bytes:
        """Executes a page: returns the code that was executed."""
        frame = await self._frame(page, Access.EXECUTE)
        code = self._run.engine.execute(page << PAGE_SHIFT, frame)
        self._run.tell("accessed", page, Access.EXECUTE, code)
        return code

    async def write(self, page: int) -> None:
        """Stores a value that nobody stored before in this vCPU's slot of the page."""
        frame = await self._frame(page, Access.WRITE)
        run, offset = self._run, self.index * SLOT
        value = run.step + 1 << 32 | self.index
        run.engine.write(page << PAGE_SHIFT, Hpa(frame + offset), value)
        run.tell("stored", page, offset, value)
        run.tell("accessed", page, Access.WRITE, run.engine.read(frame))

    async def evict(self, page: int) -> bool:
        """Takes a page away; False if there was nothing to take."""
        await reach(_ACCESS, page << PAGE_SHIFT)
        self._run.tell("called", Verb.EVICT, page)
        return await self._run.pager.evict(Gpa(page << PAGE_SHIFT))

    async def prefetch(self, page: int, count: int = 1) -> None:
        """Loads pages that nobody has asked for. That one cannot be loaded does not matter."""
        run, task = self._run, self._run.tasks[self.index]
        task.scope = (1 << count) - 1 << page
        await reach(_ACCESS, page << PAGE_SHIFT)
        run.tell("called", Verb.PREFETCH, page)
        try:
            await run.pager.load_range(Gpa(page << PAGE_SHIFT), Gpa(page + count << PAGE_SHIFT))
        except InjectedFailure as error:
            run.tell("prefetch_failed", error)
        finally:
            task.scope = 0

    async def cancel(self, vcpu: int) -> None:
        """Gives up what another vCPU is doing in the pager: it gets `Cancelled`."""
        await reach(_ACCESS, -1)
        self._run.cancel(vcpu)

    def perform(self, action: Action) -> Awaitable[object]:
        """Does what a program says."""
        if action.verb is _READS:
            return self.read(action.target)
        if action.count > 1:
            return self.prefetch(action.target, action.count)
        return _METHODS[action.verb](self, action.target)

    async def _frame(self, page: int, access: Access) -> Hpa:
        """Where the page lies when the vCPU gets to its access."""
        run, gpa = self._run, page << PAGE_SHIFT
        translate = run.engine.translate
        while True:
            await reach(_ACCESS, gpa)
            frame = translate(gpa)
            if frame is not None:
                return frame
            for notify in run.told["violated"]:
                notify(run.vcpu, page, access)
            began = run.step
            try:
                if not (self._short_cut and run.pager.try_lazy_paging(EptViolation(Gpa(gpa), access))):
                    await run.pager.load_page(Gpa(gpa))
            except InjectedFailure as error:
                run.tell("load_error", page, error, began)


_METHODS: Final[Mapping[Verb, Callable[[TraceVcpu, int], Awaitable[object]]]] = {
    Verb.READ: TraceVcpu.read,
    Verb.WRITE: TraceVcpu.write,
    Verb.FETCH: TraceVcpu.fetch,
    Verb.EVICT: TraceVcpu.evict,
    Verb.PREFETCH: TraceVcpu.prefetch,
    Verb.CANCEL: TraceVcpu.cancel,
}


def bodies(program: Program, run: TraceRun) -> list[Coroutine[Any, None, None]]:
    """What each vCPU of a program does."""
    return [_perform_all(TraceVcpu(run, index, program.short_cut), actions) for index, actions in enumerate(program.vcpus)]


async def _perform_all(vcpu: TraceVcpu, actions: Iterable[Action]) -> None:
    for action in actions:
        try:
            await vcpu.perform(action)
        except Cancelled:
            continue
