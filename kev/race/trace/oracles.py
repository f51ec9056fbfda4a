"""The rules that every run of a trace program must keep, whatever the schedule."""

import os
from collections.abc import Callable, Iterator, Sequence
from traceback import walk_tb
from typing import TYPE_CHECKING, Final

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa
from kev.exits import Access
from kev.pager.pages import PageEvent, PageState
from kev.race.trace.forbidden import Observation
from kev.race.trace.listener import Listener
from kev.race.trace.program import SLOT, Program
from kev.race.trace.source import InjectedFailure, original

if TYPE_CHECKING:
    from kev.race.trace.machine import TraceMachine

_ZEROS: Final = bytes(PAGE_SIZE)
_PUBLISH: Final = PageEvent.PUBLISH
_ABSENT: Final = PageState.ABSENT
_LOADING: Final = PageState.LOADING
_PRESENT: Final = PageState.PRESENT
_STATES_OF_MAPPED: Final = bytes.maketrans(b"\0\1", bytes((_ABSENT, _PRESENT)))
"""What pages are in the end, by whether they are mapped."""
_DOES: Final = {Access.READ: "reads", Access.WRITE: "writes to", Access.EXECUTE: "executes"}


class Oracle(Listener):
    """One rule."""

    __slots__ = ("machine", "steps")

    name = ""
    """What a failure calls it."""

    def __init__(self, machine: "TraceMachine") -> None:
        self.machine: Final = machine
        self.steps: Final = machine.steps
        """Its length is the number of the present step, from 0."""

    def forgetting(self) -> Iterator[Callable[[], None]]:
        """What has to be called for it to forget everything it has seen: its notes are sets and dictionaries, by default."""
        names = (name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ()))
        return (notes.clear for name in names if isinstance(notes := getattr(self, name), set | dict))

    def fail(self, message: str, kind: str = "") -> None:
        self.machine.fail(self.name, message, kind)


class _History:
    """What has become of a page."""

    __slots__ = ("begun", "changed", "filled", "filling", "kept", "loads", "over", "present")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.begun: tuple[int, int] | None = None
        """Who loads it, and since which step."""
        self.over: tuple[int, int, PageEvent] | None = None
        """Whose load of it ended last, when and how."""
        self.filling: tuple[int, int] | None = None
        """Who is running its loader, and since which step."""
        self.loads = 0
        """How often it was filled since it was Absent."""
        self.present = False
        self.filled = False
        """vCPUs may run on it, as far as its bytes go."""
        self.changed = False
        self.kept = False
        """The guest had changed it when it was evicted: no source has what is in it."""


class Loads(Oracle):
    """What becomes of pages, which is three rules that take the same notes.

    A page is Absent, then Loading, then Present, and there is one load for every time it becomes Present. Nobody runs on a page
    before it is filled, or after it was taken away. Every vCPU comes to its end: nobody waits for what never happens.
    """

    __slots__ = ("_blocked", "_histories", "_waits")

    def __init__(self, machine: "TraceMachine") -> None:
        super().__init__(machine)
        self._histories: Final = [_History() for _ in machine.pages]
        self._blocked: Final[dict[int, tuple[int, int]]] = {}
        """Since which step a vCPU has been waiting, and for which page."""
        self._waits: Final[dict[int, int]] = {}
        """The page for whose load a vCPU waited last."""

    def forgetting(self) -> Iterator[Callable[[], None]]:
        yield from super().forgetting()
        yield from (history.forget for history in self._histories)

    def began(self, vcpu: int, pages: range) -> None:
        for page in pages:
            self._histories[page].begun = vcpu, len(self.steps)

    def fill_began(self, vcpu: int, pages: range) -> None:
        for page in pages:
            history = self._histories[page]
            if history.filling is not None:
                other, step = history.filling
                problem = f"is loaded twice: vCPU {vcpu} starts its loader, which vCPU {other} started in step {step}"
                self._fail_history(page, problem)
            elif history.present:
                self._fail_history(page, f"is loaded again: vCPU {vcpu} starts its loader although the page is Present")
            history.filling = vcpu, len(self.steps)

    def filled(self, vcpu: int, pages: range) -> None:
        for page in pages:
            history = self._histories[page]
            history.filling = None
            history.loads += 1
            history.filled = True

    def fill_failed(self, vcpu: int, pages: range) -> None:
        for page in pages:
            self._histories[page].filling = None

    fill_cancelled = fill_failed

    def published(self, vcpu: int, pages: range) -> None:
        for page in pages:
            history = self._histories[page]
            history.begun = None
            history.over = vcpu, len(self.steps), _PUBLISH
            history.present = True
            if history.kept:
                history.filled = True
            elif history.loads != 1:
                self._fail_history(page, f"becomes Present after {history.loads} loads: there must be exactly one")
            history.loads = 0

    def given_up(self, vcpu: int, pages: range, event: PageEvent) -> None:
        for page in pages:
            history = self._histories[page]
            history.begun = None
            history.over = vcpu, len(self.steps), event
            history.loads = 0

    def stored(self, vcpu: int, page: int, offset: int, value: int) -> None:
        history = self._histories[page]
        history.changed = True
        if self.machine.tso and page << PAGE_SHIFT not in self.machine.table:
            # A store buffer empties while the page is being taken away.
            history.kept = True

    def unmapped(self, vcpu: int, pages: range) -> None:
        for page in pages:
            history = self._histories[page]
            if history.changed:
                history.kept = True
            history.present = history.filled = False
            history.loads = 0

    def accessed(self, vcpu: int, page: int, access: Access, contents: bytes) -> None:
        if not self._histories[page].filled:
            state = self.machine.pager.pages[page << PAGE_SHIFT].name.capitalize()
            message = f"vCPU {vcpu} {_DOES[access]} page {page}, which is {state} and not filled"
            self.machine.fail("unfilled page", message)

    def finished(self, vcpu: int) -> None:
        machine = self.machine
        states, mapped = machine.states(), machine.table.mapped(machine.addresses)
        if states == mapped.translate(_STATES_OF_MAPPED):
            return
        for page, (state, is_mapped) in enumerate(zip(states, mapped, strict=True)):
            if state == _LOADING:
                self._fail_history(page, "is Loading at the end, although nobody loads it any more")
            elif is_mapped != (state == _PRESENT):
                name = PageState(state).name.capitalize()
                self._fail_history(page, f"is {name} at the end, but it is {'' if is_mapped else 'not '}mapped")

    def _fail_history(self, page: int, problem: str) -> None:
        self.machine.fail("broken history", f"page {page} {problem}")

    def waited(self, vcpu: int, page: int) -> None:
        self._waits[vcpu] = page

    def blocked(self, vcpu: int, page: int) -> None:
        self._blocked[vcpu] = len(self.steps), page

    def woke(self, vcpu: int, other: int) -> None:
        self._blocked.pop(other, None)

    def cancelled(self, vcpu: int, other: int) -> None:
        self._blocked.pop(other, None)

    def stuck(self, vcpu: int) -> None:
        stories = [self._describe(waiting, step, page) for waiting, (step, page) in sorted(self._blocked.items())]
        lost = all(self._is_over(waiting, page) for waiting, (_, page) in self._blocked.items())
        self.machine.fail("lost wake-up" if lost else "deadlock", "nobody can go on: " + "; ".join(stories))

    def endless(self, vcpu: int) -> None:
        waiting = [task for task, _ in enumerate(self.machine.tasks) if not self.machine.tasks[task].done]
        names = ", ".join(f"vCPU {task}" for task in waiting)
        self.machine.fail("endless run", f"the run has taken {len(self.steps)} steps and does not end: {names} go on and on")

    def _is_over(self, vcpu: int, page: int) -> bool:
        """The load that the vCPU waits for has ended."""
        return self._waits.get(vcpu) == page and self._histories[page].begun is None

    def _describe(self, vcpu: int, step: int, page: int) -> str:
        story = f"vCPU {vcpu} has been waiting for page {page} since step {step}"
        history = self._histories[page] if page in range(len(self._histories)) else _History()
        if self._is_over(vcpu, page) and history.over is not None:
            loader, ended, event = history.over
            return f"{story}; vCPU {loader}'s load of it ended in step {ended} ({_ENDED[event]}), and nobody woke vCPU {vcpu}"
        if history.begun is not None:
            loader, since = history.begun
            return f"{story}, which vCPU {loader} has been loading since step {since}"
        return f"{story}, but not for a load of it: for a lock that is held"


_ENDED: Final = {PageEvent.PUBLISH: "Present", PageEvent.FAIL: "failed", PageEvent.ABANDON: "cancelled"}


class Contents(Oracle):
    """A guest reads what the image has, or what it stored there itself since."""

    __slots__ = ("_originals", "_stored", "_stores")

    name = "wrong contents"

    def __init__(self, machine: "TraceMachine") -> None:
        super().__init__(machine)
        self._originals: Final = [original(page) for page in range(len(machine.pages))]
        self._stored: Final[dict[int, bytearray]] = {}
        self._stores: Final[dict[tuple[int, int], tuple[int, int]]] = {}
        """Who stored at an offset of a page last, and in which step."""

    def stored(self, vcpu: int, page: int, offset: int, value: int) -> None:
        expected = self._stored.get(page)
        if expected is None:
            expected = self._stored[page] = bytearray(original(page))
        expected[offset : offset + 8] = value.to_bytes(8, "little")
        self._stores[page, offset] = vcpu, len(self.steps)

    def accessed(self, vcpu: int, page: int, access: Access, contents: bytes) -> None:
        if contents != (self._stored.get(page) or self._originals[page]):
            self.fail(f"vCPU {vcpu} {_DOES[access]} page {page}: {self._difference(page, contents)}")

    def finished(self, vcpu: int) -> None:
        machine = self.machine
        stored, originals, read = self._stored, self._originals, machine.engine.read
        for page, frame in enumerate(map(machine.table.frame, machine.addresses)):
            if frame is not None and read(frame) != (stored.get(page) or originals[page]):
                self.fail(f"page {page} at the end: {self._difference(page, read(frame))}")

    def _expected(self, page: int) -> bytes | bytearray:
        return self._stored.get(page) or original(page)

    def _difference(self, page: int, contents: bytes) -> str:
        expected = self._expected(page)
        offset = next(index for index in range(PAGE_SIZE) if contents[index] != expected[index])
        store = self._stores.get((page, offset & ~7))
        if store is not None:
            return f"what vCPU {store[0]} stored at offset {offset & ~7:#x} in step {store[1]} is not there any more"
        return f"offset {offset:#x} holds {contents[offset]:#04x}, the image has {expected[offset]:#04x} there"


class NoTrace(Oracle):
    """A load that failed or was cancelled leaves nothing behind."""

    __slots__ = ()

    name = "traces left"

    def given_up(self, vcpu: int, pages: range, event: PageEvent) -> None:
        for page in pages:
            self._check(page, f"after vCPU {vcpu}'s load of page {page} {_LEFT[event]}")

    def finished(self, vcpu: int) -> None:
        states = self.machine.states()
        if _ABSENT not in states:
            return
        for page, state in enumerate(states):
            if state == _ABSENT:
                self._check(page, f"page {page} is Absent at the end, and")

    def _check(self, page: int, when: str) -> None:
        gpa = Gpa(page << PAGE_SHIFT)
        pager = self.machine.pager
        frame = pager.frames.find(gpa)
        if pager.pages[gpa] is not PageState.ABSENT:
            self.fail(f"{when} it is {pager.pages[gpa].name.capitalize()}")
        elif gpa in self.machine.table:
            self.fail(f"{when} it is mapped")
        elif frame is not None and bytes(pager.memory.page(frame)) != _ZEROS:
            self.fail(f"{when} its frame is not empty")


_LEFT: Final = {PageEvent.FAIL: "failed", PageEvent.ABANDON: "was cancelled"}


class Errors(Oracle):
    """Errors come from sources that failed, and go to those who asked for the page: to the loader and to all who wait for it."""

    __slots__ = ("_failed", "_owed", "_waits")

    name = "unexpected error"

    def __init__(self, machine: "TraceMachine") -> None:
        super().__init__(machine)
        self._failed: Final[dict[int, int]] = {}
        """The step in which a page's loader failed last."""
        self._waits: Final[dict[int, int]] = {}
        """For which page's load a vCPU waits."""
        self._owed: Final[dict[int, int]] = {}
        """Whom the failure of a page's load has to be told."""

    def fill_failed(self, vcpu: int, pages: range) -> None:
        for page in pages:
            self._failed[page] = len(self.steps)

    def waited(self, vcpu: int, page: int) -> None:
        self._waits[vcpu] = page

    def published(self, vcpu: int, pages: range) -> None:
        if self._waits:
            self._end_waits(pages)

    def given_up(self, vcpu: int, pages: range, event: PageEvent) -> None:
        for waiting, page in self._end_waits(pages):
            if event is PageEvent.FAIL and len(pages) == 1:
                self._owed[waiting] = page

    def cancelled(self, vcpu: int, other: int) -> None:
        self._waits.pop(other, None)
        self._owed.pop(other, None)

    def load_error(self, vcpu: int, page: int, error: InjectedFailure, began: int) -> None:
        self._owed.pop(vcpu, None)
        if self._failed.get(page, -1) < began:
            self.fail(f"vCPU {vcpu} wants page {page} and gets the error of a load that failed before it asked: {error}")
        elif error.page not in self._needed(page):
            self.fail(f"vCPU {vcpu} wants page {page} and gets the error of another: {error}")

    def prefetch_failed(self, vcpu: int, error: InjectedFailure) -> None:
        self._owed.pop(vcpu, None)

    def accessed(self, vcpu: int, page: int, access: Access, contents: bytes) -> None:
        if vcpu in self._owed:
            self.fail(f"vCPU {vcpu} waited for the load of page {self._owed[vcpu]}, which failed, and was not told")

    def raised(self, vcpu: int, error: Exception) -> None:
        page = self.machine.tasks[vcpu].page
        where = f" at page {page}" if page in range(len(self.machine.pages)) else ""
        text = _text_of(error)
        told = f"{type(error).__name__}: {text}" if text else type(error).__name__
        self.fail(f"vCPU {vcpu}{where}: {told}", _kind_of(error))

    def _end_waits(self, pages: range) -> list[tuple[int, int]]:
        """Nobody waits for these pages any more; returns who did, and for which of them."""
        ended = [(waiting, page) for waiting, page in self._waits.items() if page in pages]
        for waiting, _ in ended:
            del self._waits[waiting]
        return ended

    def _needed(self, page: int) -> set[int]:
        """The page, and those that its loader needs."""
        found = {page}
        needed = self.machine.pages[page].needs
        while needed is not None:
            found.add(needed)
            needed = self.machine.pages[needed].needs
        return found


def _text_of(error: BaseException) -> str:
    """What it says, or that it cannot say it."""
    try:
        return str(error)
    except Exception:
        return "<exception str() failed>"


def _kind_of(error: BaseException) -> str:
    """What was raised, and the place it comes from."""
    places = [f" {os.path.basename(frame.f_code.co_filename)}:{line}" for frame, line in walk_tb(error.__traceback__)]
    return type(error).__name__ + "".join(places[-1:])


class Forbidden(Oracle):
    """The outcome that a program says must not be is not observed."""

    __slots__ = ("_forbidden", "_last", "_sees", "_stored")

    name = "forbidden outcome"

    def __init__(self, machine: "TraceMachine", forbidden: Sequence[Observation]) -> None:
        super().__init__(machine)
        self._forbidden: Final = forbidden
        self._sees: Final[dict[tuple[int, int], bool]] = {}
        """Whether a vCPU's last read of a page saw a store of another."""
        self._last: Final[dict[int, int]] = {}
        """Whose store to a page became visible last."""
        self._stored: Final[set[tuple[int, int]]] = set()
        """Who has stored to which page."""

    def stored(self, vcpu: int, page: int, offset: int, value: int) -> None:
        self._last[page] = vcpu
        self._stored.add((vcpu, page))

    def accessed(self, vcpu: int, page: int, access: Access, contents: bytes) -> None:
        if access is Access.READ:
            end, own = len(self.machine.tasks) * SLOT, slice(vcpu * SLOT, (vcpu + 1) * SLOT)
            stored, before = bytearray(contents[:end]), bytearray(original(page)[:end])
            del stored[own], before[own]
            self._sees[vcpu, page] = stored != before

    def finished(self, vcpu: int) -> None:
        if all(map(self._is_observed, self._forbidden)):
            self.fail("; ".join(observation.words for observation in self._forbidden))

    def _is_observed(self, observation: Observation) -> bool:
        if observation.sees is None:
            return self._last.get(observation.page) == observation.vcpu
        if not any(page == observation.page and vcpu != observation.vcpu for vcpu, page in self._stored):
            return False  # there was nothing to see
        return self._sees.get((observation.vcpu, observation.page)) is observation.sees


def oracles_of(program: Program, machine: "TraceMachine") -> list[Oracle]:
    """All that watch the runs of a program."""
    oracles = [oracle(machine) for oracle in ORACLES]
    return [*oracles, Forbidden(machine, program.forbidden)] if program.forbidden else oracles


ORACLES: Final[Sequence[type[Oracle]]] = (Errors, Loads, Contents, NoTrace)
"""In the order in which they are told of what happens."""
