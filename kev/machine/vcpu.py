"""A virtual CPU as the machine sees it."""

from enum import Enum, auto
from typing import Final, NamedTuple

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


class Unfinished(NamedTuple):
    """An exit that needs a page whose loader has to be awaited."""

    exit: Exit
    gpa: Gpa


class Vcpu:
    """One vCPU: its registers, what it is doing, and what it waits for."""

    __slots__ = ("activity", "index", "startup", "state", "unfinished")

    def __init__(self, index: int, state: VcpuState) -> None:
        self.index: Final = index
        """From 0; also its APIC id."""
        self.state: Final = state
        self.activity = ActivityState.WAIT_FOR_SIPI
        self.unfinished: Unfinished | None = None
        self.startup: EntryState | None = None
        """What the vCPU starts with when it runs next."""
