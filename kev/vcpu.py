"""A virtual CPU as the machine sees it."""

from enum import Enum, auto

import attrs

from kev.addressing import Gpa
from kev.engine.base import EntryState, VcpuState
from kev.exits import Exit


class ActivityState(Enum):
    """What a vCPU is doing (Intel SDM vol. 3, "Guest non-register state")."""

    ACTIVE = auto()
    HLT = auto()
    """Stopped by HLT: an interrupt makes it active again."""
    WAIT_FOR_SIPI = auto()
    """An application processor that has had INIT, or nothing yet."""
    SHUTDOWN = auto()
    """Ended for good."""


@attrs.frozen(slots=True)
class Unfinished:
    """An exit that needs a page whose loader has to be awaited."""

    exit: Exit
    gpa: Gpa


@attrs.define(eq=False, slots=True)
class Vcpu:
    """One vCPU: its registers, what it is doing, and what it waits for."""

    index: int
    """From 0; also its APIC id."""
    state: VcpuState
    activity: ActivityState = ActivityState.WAIT_FOR_SIPI
    unfinished: Unfinished | None = None
    startup: EntryState | None = None
    """What the vCPU starts with when it runs next."""
