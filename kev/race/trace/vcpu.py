"""What a vCPU of a trace run can do."""

from collections.abc import Awaitable, Coroutine, Generator, Iterable
from contextlib import suppress
from itertools import groupby
from types import coroutine
from typing import Any, Final, TypeAlias

from kev.addressing import PAGE_SHIFT, Gpa, Hpa
from kev.exits import Access, EptViolation
from kev.race.errors import ProgramError
from kev.race.interleaving import VCPU_BITS
from kev.race.points import POINT, TracePoint
from kev.race.trace.program import MAX_PAGES, SLOT, Action, Program, Verb
from kev.race.trace.run import TraceRun
from kev.race.trace.source import InjectedFailure
from kev.race.trace.store_buffers import BufferedStore
from kev.spec.errors import shown

_ACCESS: Final = TracePoint.ACCESS
_READ: Final = Access.READ
_WRITE: Final = Access.WRITE
_EXECUTE: Final = Access.EXECUTE
_ADDRESSES: Final = tuple(Gpa(page << PAGE_SHIFT) for page in range(MAX_PAGES))
_ACCESSES: Final = {Verb.READ: _READ, Verb.WRITE: _WRITE, Verb.FETCH: _EXECUTE}


class Cancelled(BaseException):
    """What a vCPU was doing in the pager is given up; not an Exception, as trio's is not."""


class TraceVcpu:
    """One vCPU. Pages are numbers; whatever is awaited here may let other vCPUs run first.

    ProgramError from each method for a page or a vCPU that there is not.
    """

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
        self._check(page)
        return await self.access([(page, _READ)])

    async def fetch(self, page: int) -> bytes:
        """Executes a page: returns the code that was executed."""
        self._check(page)
        return await self.access([(page, _EXECUTE)])

    async def write(self, page: int) -> None:
        """Stores a value that nobody stored before in this vCPU's slot of the page."""
        self._check(page)
        await self.access([(page, _WRITE)])

    async def locked_write(self, page: int) -> None:
        """The same, but others see it at once, and all stores before it, as if by XCHG."""
        self._check(page)
        await self.access([(page, _WRITE)], locked=True)

    async def fence(self) -> None:
        """Others see all that this vCPU has stored before, as behind MFENCE."""
        await self._begin(len(self._run.pages))

    async def evict(self, page: int) -> bool:
        """Takes a page away; False if there was nothing to take."""
        self._check(page)
        await self._begin(page)
        self._run.tell("called", Verb.EVICT, page)
        return await self._run.pager.evict(Gpa(page << PAGE_SHIFT))

    async def prefetch(self, page: int, count: int = 1) -> None:
        """Loads pages that nobody has asked for. That one cannot be loaded does not matter."""
        self._check(page, count)
        run, task = self._run, self._run.tasks[self.index]
        task.scope = (1 << count) - 1 << page + VCPU_BITS
        await self._begin(page)
        run.tell("called", Verb.PREFETCH, page)
        try:
            await run.pager.load_range(Gpa(page << PAGE_SHIFT), Gpa(page + count << PAGE_SHIFT))
        except InjectedFailure as error:
            run.tell("prefetch_failed", error)
        finally:
            task.scope = 0

    async def cancel(self, vcpu: int) -> None:
        """Gives up what another vCPU is doing in the pager: it gets `Cancelled`. Itself it cannot: then nothing happens."""
        vcpus = len(self._run.tasks)
        if not isinstance(vcpu, int) or not 0 <= vcpu < vcpus:
            raise ProgramError(f"vCPU {self.index} cannot cancel vCPU {shown(vcpu)}: the vCPUs are 0 to {vcpus - 1}")
        await self._begin(-1)
        self._run.cancel(vcpu)

    def perform(self, action: Action) -> Awaitable[object]:
        """Does what a program says."""
        match action.verb:
            case Verb.PREFETCH:
                return self.prefetch(action.target, action.count)
            case Verb.EVICT:
                return self.evict(action.target)
            case Verb.LOCKED_WRITE:
                return self.locked_write(action.target)
            case Verb.FENCE:
                return self.fence()
            case Verb.CANCEL:
                return self.cancel(action.target)
            case _:
                return self.access([(action.target, _ACCESSES[action.verb])])

    def _check(self, page: int, count: int = 1) -> None:
        """ProgramError if there are no such pages."""
        pages = len(self._run.pages)
        if not isinstance(page, int) or not 0 <= page < pages:
            raise ProgramError(f"vCPU {self.index} wants page {shown(page)}: the pages are 0 to {pages - 1}")
        if not isinstance(count, int) or not 1 <= count <= pages - page:
            raise ProgramError(f"vCPU {self.index} wants {shown(count)} pages from {page} on: the pages are 0 to {pages - 1}")

    @coroutine
    def _begin(self, page: int) -> Generator[Any, None, None]:
        """A step in which others see first what this vCPU has stored."""
        if self._run.reach(_ACCESS, page << PAGE_SHIFT) is not None:
            yield POINT
        self._run.show_stores(self.index)

    @coroutine
    def access(self, accesses: list[tuple[int, Access]], locked: bool = False) -> Generator[Any, Any, bytes]:
        """Accesses pages, the last of the list first; each is loaded if need be. Takes from the list what it has begun.

        Returns all of the page that was accessed last, as this vCPU sees it then. One generator does it all, scheduling points
        included: each step is resumed through every one that is under way.
        """
        run, contents = self._run, b""
        reach, engine, told = run.reach, run.engine, run.told["accessed"]
        cached, walk, cache, read = engine.cached, engine.walk, engine.cache, engine.read
        while accesses:
            page, access = accesses.pop()
            gpa = _ADDRESSES[page]
            while True:
                if reach(_ACCESS, gpa) is not None:
                    yield POINT
                if (frame := cached(gpa)) is not None:
                    break
                if (frame := walk(gpa)) is not None:
                    cache(gpa, frame)
                    break
                for notify in run.told["violated"]:
                    notify(run.vcpu, page, access)
                began = len(run.steps)
                try:
                    if not (self._short_cut and run.pager.try_lazy_paging(EptViolation(gpa, access))):
                        yield from run.pager.load_page(gpa)
                except InjectedFailure as error:
                    run.tell("load_error", page, error, began)
            if access is _READ:
                contents = read(frame)
            elif access is _WRITE:
                contents = self._store(page, frame, locked)
            else:
                contents = engine.execute(gpa, frame)
            for notify in told:
                notify(run.vcpu, page, access, contents)
            if run.buffers is not None:
                contents = run.buffers.seen_by(self.index, page, contents)
        return contents

    def _store(self, page: int, frame: Hpa, locked: bool) -> bytes:
        run, offset = self._run, self.index * SLOT
        run.store(self.index, BufferedStore(page, offset, Hpa(frame + offset), len(run.steps) + 1 << 32 | self.index))
        if locked:
            run.show_stores(self.index)
        return run.engine.read(frame)


Part: TypeAlias = tuple[tuple[int, Access], ...] | Action
"""What a vCPU does without doing anything else in between: accesses, the last first; or something else."""


def parts_of(actions: Iterable[Action]) -> tuple[Part, ...]:
    """What a vCPU does, in parts."""
    parts: list[Part] = []
    for is_access, group in groupby(actions, key=lambda action: action.verb in _ACCESSES):
        if is_access:
            parts.append(tuple((action.target, _ACCESSES[action.verb]) for action in reversed(list(group))))
        else:
            parts.extend(group)
    return tuple(parts)


def bodies(program: Program, run: TraceRun) -> list[Coroutine[Any, None, None]]:
    """What each vCPU of a program does."""
    return bodies_of([parts_of(actions) for actions in program.vcpus], program.short_cut, run)


def bodies_of(vcpus: Iterable[Iterable[Part]], short_cut: bool, run: TraceRun) -> list[Coroutine[Any, None, None]]:
    """The same of vCPUs whose parts are known."""
    return [_perform_all(TraceVcpu(run, index, short_cut), parts) for index, parts in enumerate(vcpus)]


async def _perform_all(vcpu: TraceVcpu, parts: Iterable[Part]) -> None:
    for part in parts:
        if isinstance(part, Action):
            with suppress(Cancelled):
                await vcpu.perform(part)
            continue
        accesses = list(part)
        while accesses:
            try:
                await vcpu.access(accesses)
            except Cancelled:
                continue
