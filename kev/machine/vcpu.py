"""A virtual CPU as the machine sees it."""

from enum import Enum, auto
from typing import Final

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
    WAIT_FOR_MESSAGE = auto()
    """Stopped by a hypercall until a message comes: interrupts wait as well."""
    SHUTDOWN = auto()
    """Ended for good."""


class Vcpu:
    """One vCPU: its registers, what it is doing, and what it waits for."""

    __slots__ = ("activity", "index", "needs", "startup", "state", "unfinished")

    def __init__(self, index: int, state: VcpuState) -> None:
        self.index: Final = index
        """From 0; also its APIC id."""
        self.state: Final = state
        self.activity = ActivityState.WAIT_FOR_SIPI
        self.needs: Gpa | None = None
        """An address in a page that has to be awaited before the vCPU can go on."""
        self.unfinished: Exit | None = None
        """The exit that needs this page to be finished; None if an access of the guest itself does."""
        self.startup: EntryState | None = None
        """What the vCPU starts with when it runs next."""

    @property
    def runnable(self) -> bool:
        """It is active, and waits for no page."""
        return self.activity is ActivityState.ACTIVE and self.needs is None
