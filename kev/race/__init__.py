"""Race tests: explore the interleavings of vCPUs, shrink a failure, replay it."""

from kev.race.testing import RaceDetected, check, check_guest, races
from kev.race.trace.program import Action, Page, Program, Verb, cancel, evict, fetch, prefetch, read, write
from kev.race.trace.vcpu import Cancelled, TraceVcpu

__all__ = [
    "Action",
    "Cancelled",
    "Page",
    "Program",
    "RaceDetected",
    "TraceVcpu",
    "Verb",
    "cancel",
    "check",
    "check_guest",
    "evict",
    "fetch",
    "prefetch",
    "races",
    "read",
    "write",
]
