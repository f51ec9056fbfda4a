"""What happened to pages in one run, and when: every violation, every load, and who waited for whom.

A run that nobody asked for a timeline has none, and pays nothing for it.
"""

import time
from collections.abc import Callable
from typing import Final

import attrs

from kev.addressing import Gpa, page_floor
from kev.pager.pages import PageEvent


@attrs.define(eq=False, slots=True)
class PageLoad:
    """One load of one or several pages. Times are by the timeline's clock, in seconds."""

    began: float
    pages: range
    """Their guest-physical addresses."""
    vcpu: int | None
    """Who touched one of them; None for a load by the paging policy or by a device."""
    ended: float | None = None
    outcome: PageEvent | None = None
    """PUBLISH if the pages are there. None while it is under way."""


@attrs.define(eq=False, slots=True)
class ViolationRecord:
    """One violation, from the exit until the guest went on. Times are by the timeline's clock, in seconds."""

    time: float
    vcpu: int
    rip: int
    """The linear address of the instruction."""
    gpa: int
    access: int
    """The bits of `kev.exits.Access`; 0 if a device needed the page to finish an instruction of the guest."""
    load: PageLoad | None = None
    """What made the page present; None if it was, or if a device answers there."""
    suspended: float | None = None
    """When the vCPU gave up the CPU to wait."""
    ended: float | None = None


class Timeline:
    """What happened to the pages of one machine, as the machine and its pager tell it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.violations: Final[list[ViolationRecord]] = []
        """In the order in which they happened."""
        self.loads: Final[list[PageLoad]] = []
        """In the order in which they began."""
        self._clock: Final = clock
        self._current: ViolationRecord | None = None
        self._suspended: Final[dict[int, ViolationRecord]] = {}
        self._under_way: Final[dict[int, PageLoad]] = {}

    # What the machine tells.

    def violation_began(self, vcpu: int, rip: int, gpa: Gpa, access: int) -> None:
        """vCPU number `vcpu` has exited at the linear address `rip`; `access` as in `ViolationRecord`."""
        violation = ViolationRecord(self._clock(), vcpu, rip, gpa, access)
        self.violations.append(violation)
        self._current = violation

    def violation_ended(self, answered: bool) -> None:
        """The violation that began last is answered, or has to wait for its page."""
        violation, self._current = self._current, None
        assert violation is not None
        if answered:
            violation.ended = self._clock()
        else:
            self._suspend(violation)

    def suspended(self, vcpu: int, rip: int, gpa: Gpa) -> None:
        """A vCPU waits for a page. If there was no violation, a device needs it."""
        if vcpu not in self._suspended:
            violation = ViolationRecord(self._clock(), vcpu, rip, gpa, 0)
            self.violations.append(violation)
            self._suspend(violation)

    def resumed(self, vcpu: int) -> None:
        """Its page is there, or cannot be had."""
        violation = self._suspended.pop(vcpu)
        violation.ended = self._clock()

    def _suspend(self, violation: ViolationRecord) -> None:
        if violation.load is None:
            violation.load = self._under_way.get(page_floor(violation.gpa))
        violation.suspended = self._clock()
        self._suspended[violation.vcpu] = violation

    # As an observer of the pager.

    def began(self, pages: range) -> None:
        causes = self._suspended.values() if self._current is None else (self._current,)
        needing = [violation for violation in causes if page_floor(violation.gpa) in pages]
        load = PageLoad(self._clock(), pages, self._cause(needing))
        for violation in needing:
            violation.load = load
        self.loads.append(load)
        self._under_way.update(dict.fromkeys(pages, load))

    def _cause(self, needing: list[ViolationRecord]) -> int | None:
        if self._current is not None:
            return self._current.vcpu
        return needing[0].vcpu if needing else None

    def waited(self, gpa: Gpa) -> None:
        """`suspended` says who."""

    def ended(self, pages: range, event: PageEvent) -> None:
        load = self._under_way[pages.start]
        load.ended = self._clock()
        load.outcome = event
        for page in pages:
            del self._under_way[page]
