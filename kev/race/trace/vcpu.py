"""What a vCPU of a trace run can do."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kev.addressing import PAGE_SHIFT, Gpa, Hpa
from kev.exits import Access, EptViolation
from kev.race.points import TracePoint, reach
from kev.race.trace.program import Action, Program, Verb
from kev.race.trace.source import InjectedFailure

if TYPE_CHECKING:
    from kev.race.trace.machine import TraceMachine

SLOT: Final = 8
"""Every vCPU stores to a slot of its own in each page: so many bytes from `index * SLOT` on."""

_ACCESS: Final = TracePoint.ACCESS
_READ: Final = Access.READ


class Cancelled(BaseException):
    """What a vCPU was doing in the pager is given up; not an Exception, as trio's is not."""


class TraceVcpu:
    """One vCPU. Pages are numbers; whatever is awaited here may let other vCPUs run first."""

    __slots__ = ("_machine", "_short_cut", "index")

    def __init__(self, machine: "TraceMachine", index: int, short_cut: bool = False) -> None:
        """`short_cut` lets violations be answered by `try_lazy_paging` where that takes no waiting."""
        self.index: Final = index
        self._machine: Final = machine
        self._short_cut: Final = short_cut

    @property
    def shared(self) -> dict[str, Any]:
        """One for all vCPUs, empty at the beginning of every run."""
        return self._machine.shared

    async def read(self, page: int) -> bytes:
        """Reads all of a page, which is loaded if need be."""
        frame = await self._frame(page, _READ)
        contents = self._machine.engine.read(frame)
        self._machine.tell("accessed", page, _READ, contents)
        return contents

    async def fetch(self, page: int) -> bytes:
        """Executes a page: returns the code that was executed."""
        frame = await self._frame(page, Access.EXECUTE)
        code = self._machine.engine.execute(page << PAGE_SHIFT, frame)
        self._machine.tell("accessed", page, Access.EXECUTE, code)
        return code

    async def write(self, page: int) -> None:
        """Stores a value that nobody stored before in this vCPU's slot of the page."""
        frame = await self._frame(page, Access.WRITE)
        machine, offset = self._machine, self.index * SLOT
        value = machine.step + 1 << 32 | self.index
        machine.engine.write(page << PAGE_SHIFT, Hpa(frame + offset), value)
        machine.tell("stored", page, offset, value)
        machine.tell("accessed", page, Access.WRITE, machine.engine.read(frame))

    async def evict(self, page: int) -> bool:
        """Takes a page away; False if there was nothing to take."""
        await reach(_ACCESS, page << PAGE_SHIFT)
        self._machine.tell("called", Verb.EVICT, page)
        return await self._machine.pager.evict(Gpa(page << PAGE_SHIFT))

    async def prefetch(self, page: int, count: int = 1) -> None:
        """Loads pages that nobody has asked for. That one cannot be loaded does not matter."""
        machine, task = self._machine, self._machine.tasks[self.index]
        task.scope = (1 << count) - 1 << page
        await reach(_ACCESS, page << PAGE_SHIFT)
        machine.tell("called", Verb.PREFETCH, page)
        try:
            await machine.pager.load_range(Gpa(page << PAGE_SHIFT), Gpa(page + count << PAGE_SHIFT))
        except InjectedFailure as error:
            machine.tell("prefetch_failed", error)
        finally:
            task.scope = 0

    async def cancel(self, vcpu: int) -> None:
        """Gives up what another vCPU is doing in the pager: it gets `Cancelled`."""
        await reach(_ACCESS, -1)
        self._machine.cancel(vcpu)

    def perform(self, action: Action) -> Awaitable[object]:
        """Does what a program says."""
        if action.count > 1:
            return self.prefetch(action.target, action.count)
        return _METHODS[action.verb](self, action.target)

    async def _frame(self, page: int, access: Access) -> Hpa:
        """Where the page lies when the vCPU gets to its access."""
        machine, gpa = self._machine, Gpa(page << PAGE_SHIFT)
        while True:
            await reach(_ACCESS, gpa)
            frame = machine.engine.translate(gpa)
            if frame is not None:
                return frame
            began = machine.step
            machine.tell("violated", page, access)
            try:
                if not (self._short_cut and machine.pager.try_lazy_paging(EptViolation(gpa, access))):
                    await machine.pager.load_page(gpa)
            except InjectedFailure as error:
                machine.tell("load_error", page, error, began)


_METHODS: Final[Mapping[Verb, Callable[[TraceVcpu, int], Awaitable[object]]]] = {
    Verb.READ: TraceVcpu.read,
    Verb.WRITE: TraceVcpu.write,
    Verb.FETCH: TraceVcpu.fetch,
    Verb.EVICT: TraceVcpu.evict,
    Verb.PREFETCH: TraceVcpu.prefetch,
    Verb.CANCEL: TraceVcpu.cancel,
}


def bodies(program: Program, machine: "TraceMachine") -> list[Coroutine[Any, None, None]]:
    """What each vCPU of a program does."""
    return [_perform_all(TraceVcpu(machine, index, program.short_cut), actions) for index, actions in enumerate(program.vcpus)]


async def _perform_all(vcpu: TraceVcpu, actions: Iterable[Action]) -> None:
    for action in actions:
        try:
            await vcpu.perform(action)
        except Cancelled:
            continue
