"""What a guest's nested page tables map, as extended page tables of their own: of a snapshot, and of a run."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kev.addressing import Gpa, Hpa
from kev.machine.api import launch
from kev.machine.conditions import Condition, ConditionError, condition
from kev.machine.ending import Ending, EndingKind
from kev.machine.snapshots import Source, present_pages
from kev.page_tables.copied import ept_of
from kev.page_tables.mapping import MappedRange, PageSize
from kev.page_tables.table import PageTable

if TYPE_CHECKING:
    from kev.machine.machine import Machine
    from kev.spec.machine_spec import MachineSpec


def ept_of_snapshot(source: Source) -> PageTable:
    """Which pages a snapshot has, and what is permitted of them: each at its own address, for none has a frame. SnapshotError."""
    return ept_of(
        MappedRange(Gpa(run.start), Hpa(run.start), run.stop - run.start, PageSize.SIZE_4K) for run in present_pages(source)
    )


def ept_of_run(
    spec: "MachineSpec", at: str | None, output: Callable[[bytes], object], ended: Callable[[Ending], object]
) -> PageTable:
    """Runs a guest and returns what its tables map at the end, or where it comes to the condition `at`: then the run ends there.

    `output` is given what the guest prints, `ended` how the run ended unless the guest ended itself. Signals that end a run end
    this one. KevError, also if it does not come to the condition.
    """
    look = _Look(None if at is None else condition(at))
    report = launch(spec, output=output, interrupt_ends=True, at_start=look.arm, at_end=look.at_end)
    if look.table is None:
        ending = report.ending
        error = ConditionError(f"{spec.image}: the run has ended before {at}: {ending.message or ending.kind.value}")
        error.report = report
        raise error
    if not look.met and report.ending.kind is not EndingKind.EXITED:
        ended(report.ending)
    return look.table


class _Look:
    """Looks at the tables of one machine, once."""

    def __init__(self, condition: Condition | None) -> None:
        self._condition: Final = condition
        self.table: PageTable | None = None
        self.met = False

    def arm(self, machine: "Machine") -> None:
        """To be called once, before the run. ConditionError if the machine can never meet the condition."""
        if self._condition is None:
            return
        disarm = self._condition.arm(machine)

        def look() -> None:
            forget()
            disarm()
            self.met = True
            self.table = machine.ept()
            machine.end(Ending.stopped())

        forget: Callable[[], None] = machine.stopped.subscribe(look)

    def at_end(self, machine: "Machine") -> None:
        if self._condition is None:
            self.table = machine.ept()
