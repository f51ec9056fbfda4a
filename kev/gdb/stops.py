"""Why a machine stands still, as data."""

from enum import Enum, auto
from typing import NamedTuple


class StopReason(Enum):
    STEPPED = auto()
    """A single step is done."""
    BREAKPOINT = auto()
    WATCHPOINT = auto()
    INTERRUPTED = auto()
    """The debugger asked for it."""
    HISTORY_BEGINS = auto()
    """There is nothing before."""
    DIED = auto()
    """The guest cannot go on; it can be looked into."""
    ENDED = auto()
    """The run is over."""


class Stop(NamedTuple):
    """Where and why a machine stands still."""

    reason: StopReason
    vcpu: int
    """The vCPU that it is about, from 0."""
    address: int = 0
    """Of WATCHPOINT, the one that was hit."""
    message: str = ""
    """What a person should be told."""
