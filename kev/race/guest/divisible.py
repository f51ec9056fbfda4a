"""Whether others may come into the midst of instructions that change without LOCK what vCPUs share, and that no lock guards."""

from functools import cache

from kev.machine.schedule import CountedScheduler, Scheduler
from kev.race.guest.ordering import Ordering
from kev.race.guest.prepared import Start
from kev.race.guest.profile import SHORT_SLICE, divisible_instructions
from kev.race.guest.recording import Recording
from kev.race.guest.start import guest_machine
from kev.race.strategy.free import UnpreemptedScheduler


@cache
def unordered_instructions(start: Start, limit: int) -> frozenset[int]:
    """The linear addresses of such instructions.

    That is, as far as two runs show, one in which nobody interferes and one of short turns: nothing orders what they do and what
    others do to the same bytes.
    """
    divisible = divisible_instructions(start, limit)
    if not divisible:
        return frozenset()
    recordings = [_record(start, limit, scheduler) for scheduler in (UnpreemptedScheduler(), CountedScheduler(SHORT_SLICE))]
    synchronizing = frozenset().union(*(recording.synchronizing.bytes for recording in recordings))
    found: set[int] = set()
    for recording in recordings:
        for pair in Ordering(recording.events, synchronizing, start.spec.vcpus or 1).unordered():
            found.update(divisible.intersection(access.instruction for access in pair))
    return frozenset(found)


def _record(start: Start, limit: int, scheduler: Scheduler) -> Recording:
    with guest_machine(start, limit, apart=True) as machine:
        recording = Recording(machine)
        machine.run(scheduler, fair=True)
        return recording
