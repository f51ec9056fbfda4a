"""What one step of a machine came to: data, for whoever drives it."""

from typing import TypeAlias

from kev.addressing import Gpa
from kev.exits import Exit
from kev.machine.ending import Ending
from kev.named_tuple import NamedTuple


class Ran(NamedTuple):
    """A vCPU has run a slice and can be asked to go on, unless it has halted."""

    vcpu: int
    exit: Exit
    """What ended the slice: the end of its budget, HLT, PAUSE."""


class NeedsPage(NamedTuple):
    """A vCPU cannot go on before a page is there that has to be awaited: see `Vm.load_page`."""

    vcpu: int
    gpa: Gpa


class Stopped(NamedTuple):
    """A vCPU has met what somebody wanted the machine to stop at: a debugger, or `Vm.stop_at` and `Vm.stop_soon`."""

    vcpu: int
    exit: Exit
    """What ended the slice."""


class Idle(NamedTuple):
    """No vCPU can run now."""

    deadline: int | None
    """When the next timer is due, by the machine's clock, in nanoseconds; None if only a page or input can change anything."""


class Ended(NamedTuple):
    """The run is over."""

    ending: Ending


Step: TypeAlias = Ran | NeedsPage | Stopped | Idle | Ended
