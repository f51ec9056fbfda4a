"""Writes down what happens in a trace run, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kev.addressing import PAGE_SHIFT
from kev.exits import Access
from kev.pager.pages import PageEvent
from kev.pager.protocols import Point
from kev.race.points import TracePoint
from kev.race.stories.conflict import Conflict, ConflictingAccess
from kev.race.stories.story import Kind, Moment, Story
from kev.race.trace.listener import Listener
from kev.race.trace.program import Verb
from kev.race.trace.source import InjectedFailure

if TYPE_CHECKING:
    from kev.race.trace.machine import TraceMachine

_DOES: Final = {Access.READ: "reads", Access.WRITE: "stores to", Access.EXECUTE: "executes"}
_WANTS: Final = {Access.READ: "read", Access.WRITE: "store to", Access.EXECUTE: "execute"}
_ENDS: Final = {PageEvent.FAIL: "gives {} up: Absent", PageEvent.ABANDON: "abandons {}: Absent"}
_QUIET: Final[dict[object, str]] = {
    TracePoint.ACCESS: "is done",
    TracePoint.ARRIVE: "gets the first bytes of {page}",
    Point.LOCK: "finds {page} {state}",
    Point.WAIT: "need not wait for {page} any more",
    Point.FILL: "goes on with {page}",
    Point.PUBLISH: "goes on with {page}",
    Point.WAKE: "has nobody to wake",
}
"""What a step is about in which nothing was reported, by the point where it began."""


class Recorder(Listener):
    """Collects a `Story`."""

    def __init__(self, machine: "TraceMachine") -> None:
        self._machine: Final = machine
        self._moments: Final[list[Moment]] = []
        self._texts: Final[list[str]] = []
        self._kind = Kind.OTHER
        self._began: tuple[int, int, str] | None = None
        """The step under way: its number, its vCPU, and what it is if nothing is reported."""
        self._loading: Final[dict[int, int]] = {}
        """Who loads a page."""
        self._stores: Final[dict[tuple[int, int], int]] = {}
        """In which step a vCPU stored to a page last, whoever has seen it."""
        self._overlooked: Final[dict[int, Conflict]] = {}
        """Of each page, the last load that did not see another vCPU's store because that was still in a store buffer."""

    def story(self, title: str) -> Story:
        """What has happened so far."""
        self._finish_step()
        machine = self._machine
        conflicts = tuple(self._overlooked.values()) if machine.failure is not None else ()
        return Story(title, len(machine.tasks), len(machine.pages), tuple(self._moments), machine.failure, conflicts)

    def stepped(self, vcpu: int) -> None:
        self._finish_step()
        vcpus = len(self._machine.tasks)
        quiet = "its stores become visible" if vcpu >= vcpus else self._quiet_text(vcpu)
        self._began = self._machine.step, vcpu % vcpus, quiet

    def called(self, vcpu: int, verb: Verb, page: int) -> None:
        self._note(Kind.EVICT if verb is Verb.EVICT else Kind.LOAD, f"wants to {verb.name.lower()} page {page}")

    def violated(self, vcpu: int, page: int, access: Access) -> None:
        self._note(Kind.ACCESS, f"wants to {_WANTS[access]} page {page}: not mapped")

    def accessed(self, vcpu: int, page: int, access: Access, contents: bytes) -> None:
        self._note(Kind.ACCESS, f"{_DOES[access]} page {page}")
        if access is Access.WRITE:
            self._stores[vcpu, page] = self._machine.step
        elif self._machine.buffers is not None:
            for other in self._machine.buffers.holders(page):
                if other != vcpu:
                    self._overlook(other, vcpu, page)

    def stored(self, vcpu: int, page: int, offset: int, value: int) -> None:
        if self._machine.tso:
            vcpus, by = len(self._machine.tasks), self._machine.vcpu
            whose = "its" if vcpu == by % vcpus else f"vCPU {vcpu}'s"
            self._note(Kind.ACCESS, f"{whose} store to page {page} becomes visible")

    def began(self, vcpu: int, pages: range) -> None:
        self._note(Kind.LOAD, f"finds {_name(pages)} Absent and claims {_it(pages)}")
        self._loading.update(dict.fromkeys(pages, vcpu))

    def waited(self, vcpu: int, page: int) -> None:
        self._note(Kind.WAIT, f"finds page {page} Loading, by vCPU {self._loading.get(page, vcpu)}")

    def fill_began(self, vcpu: int, pages: range) -> None:
        self._note(Kind.LOAD, f"starts the loader of {_name(pages)}")

    def filled(self, vcpu: int, pages: range) -> None:
        self._note(Kind.LOAD, f"has the bytes of {_name(pages)}")

    def fill_failed(self, vcpu: int, pages: range) -> None:
        self._note(Kind.CANCEL, f"cannot get {_name(pages)}: the source fails")

    def mapped(self, vcpu: int, pages: range) -> None:
        self._note(Kind.LOAD, f"maps {_name(pages)}")

    def unmapped(self, vcpu: int, pages: range) -> None:
        self._note(Kind.EVICT, f"unmaps {_name(pages)}")

    def given_up(self, vcpu: int, pages: range, event: PageEvent) -> None:
        self._note(Kind.CANCEL, _ENDS[event].format(_name(pages)))

    def blocked(self, vcpu: int, page: int) -> None:
        self._note(Kind.WAIT, f"waits for page {page}")

    def woke(self, vcpu: int, other: int) -> None:
        self._note(Kind.WAKE, f"wakes vCPU {other}")

    def cancelled(self, vcpu: int, other: int) -> None:
        self._note(Kind.CANCEL, f"cancels vCPU {other}")

    def load_error(self, vcpu: int, page: int, error: InjectedFailure, began: int) -> None:
        self._note(Kind.CANCEL, f"is told that page {error.page} failed")

    def prefetch_failed(self, vcpu: int, error: InjectedFailure) -> None:
        self._note(Kind.CANCEL, "gives up prefetching")

    def raised(self, vcpu: int, error: Exception) -> None:
        self._note(Kind.CANCEL, f"dies: {type(error).__name__}")

    def _overlook(self, storing: int, loading: int, page: int) -> None:
        step = self._stores[storing, page]
        store = ConflictingAccess(step, storing, "stores", "")
        load = ConflictingAccess(self._machine.step, loading, "reads", "")
        claim = f"the store of step {step} was still in the store buffer of vCPU {storing}"
        self._overlooked[page] = Conflict(f"page {page}", (store, load), claim)

    def _note(self, kind: Kind, text: str) -> None:
        self._texts.append(text)
        if self._kind is Kind.OTHER or kind in (Kind.CANCEL, Kind.EVICT):
            self._kind = kind

    def _quiet_text(self, vcpu: int) -> str:
        task = self._machine.tasks[vcpu]
        if task.meeting is not None:
            return f"was woken and looks at page {task.page} again"
        state = self._machine.pager.pages[max(task.gpa, 0)].name.capitalize()
        return _QUIET[task.point].format(page=f"page {task.page}", state=state)

    def _finish_step(self) -> None:
        if self._began is None:
            return
        number, vcpu, quiet = self._began
        text = ", ".join(self._texts) or quiet
        self._moments.append(Moment(number, vcpu, text, self._kind, self._states(), self._waiting()))
        self._texts.clear()
        self._kind, self._began = Kind.OTHER, None

    def _states(self) -> tuple[str, ...]:
        pages = self._machine.pager.pages
        return tuple(pages[page << PAGE_SHIFT].name.capitalize() for page in range(len(self._machine.pages)))

    def _waiting(self) -> frozenset[int]:
        return frozenset(vcpu for vcpu, task in enumerate(self._machine.tasks) if task.stopped and not task.done)


def _name(pages: Sequence[int]) -> str:
    return f"page {pages[0]}" if len(pages) == 1 else f"pages {pages[0]}-{pages[-1]}"


def _it(pages: Sequence[int]) -> str:
    return "it" if len(pages) == 1 else "them"
