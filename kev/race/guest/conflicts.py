"""Which accesses of a run collided: those on both sides of a switch, of which at least one is a store.

Whether their order matters is tried: the switch is moved, so that one of them comes on the other side, and the run is made again
(J.-D. Choi, A. Zeller: "Isolating Failure-Inducing Thread Schedules", ISSTA 2002).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Final, TypeAlias

import attrs

from kev.race.guest.ordering import Ordering
from kev.race.guest.recording import Accessed, shared_only
from kev.race.schedule import Schedule, Stretch

_MOST_TRIED: Final = 40
_MOST_TOLD: Final = 3
_MOST_AT_A_SWITCH: Final = 4
"""Accesses on each side of a switch that are tried."""
_PAIR: Final = 2


@attrs.frozen(slots=True)
class Collision:
    """Accesses to the same variable, in their order: one vCPU's, and the other's before it, behind it, or on both sides."""

    accesses: tuple[Accessed, ...]
    needed: tuple[Accessed, Accessed] | None = None
    """Two of them in their order, if the run ends well when the second is executed first."""


_Pair: TypeAlias = tuple[Accessed, Accessed, Schedule]


@attrs.frozen(slots=True)
class _Switch:
    """A vCPU is preempted, or waits, until it goes on."""

    index: int
    """Of the segment that ends with it."""
    resumed: int | None
    """The segment with which the same vCPU goes on."""
    before: Sequence[Accessed]
    """By this vCPU, in the segment that ends here; the last one first."""
    between: Sequence[Accessed]
    """By others."""
    behind: Sequence[Accessed]
    """By this vCPU, when it goes on."""


def collisions(
    schedule: Schedule, accesses: Sequence[Accessed], ordering: Ordering, fails: Callable[[Schedule], bool]
) -> list[Collision]:
    """What collided in the run of `schedule` whose accesses and their order are given, what matters most first.

    `fails` makes a run by a schedule, as far as that can be followed, and says whether it fails.
    """
    return _Search(schedule, shared_only(accesses), ordering, fails).found()


class _Search:
    def __init__(
        self, schedule: Schedule, accesses: Sequence[Accessed], ordering: Ordering, fails: Callable[[Schedule], bool]
    ) -> None:
        self._schedule: Final = schedule
        self._accesses: Final = accesses
        self._ordering: Final = ordering
        self._fails: Final = fails
        self._tries = 0
        self._begins: Final = [0, *accumulate(segment.steps for segment in schedule.segments)]
        self._by_segment: Final = _by_segment(accesses, self._begins)

    def found(self) -> list[Collision]:
        """Those that nothing orders come first, and those without which all would be well; one of each variable."""
        ranked: list[tuple[tuple[bool, bool, bool, int], Collision]] = []
        for switch in self._switches():
            for pairs in self._pairs(switch):
                ranked.extend(self._tried(switch, pairs))
        ranked.sort(key=lambda entry: entry[0])
        found: list[Collision] = []
        for (ordered, *_), collision in ranked:
            variables = {access.gpa for collision in found for access in collision.accesses}
            worthwhile = not ordered and collision.needed is not None
            # What vCPUs agree by is touched by several all the time: without more to be said, that is no hint.
            hint = not found and (collision.needed is not None or not self._ordering.synchronizes(collision.accesses[0]))
            if len(found) < _MOST_TOLD and not variables & {collision.accesses[0].gpa} and (worthwhile or hint):
                found.append(collision)
        return found

    def _tried(self, switch: _Switch, pairs: Iterator[_Pair]) -> Iterator[tuple[tuple[bool, bool, bool, int], Collision]]:
        """Up to the first pair whose order matters: what is further away from the switch takes that one with it."""
        for first, second, moved in islice(pairs, _MOST_AT_A_SWITCH):
            self._tries += 1
            needed = self._tries <= _MOST_TRIED and not self._fails(moved)
            accesses = self._around(first, second)
            ordered = self._ordering.is_ordered(first, second)
            distance = abs(self._begins[switch.index + 1] - first.step) + abs(self._begins[switch.index + 1] - second.step)
            collision = Collision(accesses, (first, second) if needed else None)
            yield (ordered, not needed, len(accesses) == _PAIR, distance), collision
            if needed:
                break

    def _switches(self) -> Iterator[_Switch]:
        segments = self._schedule.segments
        for index in reversed(range(len(segments) - 1)):
            vcpu = segments[index].vcpu
            resumed = next((later for later in range(index + 1, len(segments)) if segments[later].vcpu == vcpu), None)
            between = [access for part in self._by_segment[index + 1 : resumed] for access in part]
            behind = [] if resumed is None else self._by_segment[resumed]
            yield _Switch(index, resumed, self._by_segment[index][::-1], between, behind)

    def _around(self, first: Accessed, second: Accessed) -> tuple[Accessed, ...]:
        """The two, and what the vCPU of one of them did with the variable on the other side of the other's access."""
        behind = (access for access in self._accesses if access.step > second.step)
        after = next((access for access in behind if access.vcpu == first.vcpu and conflict(access, second)), None)
        if after is not None and (first.writes or after.writes):
            return first, second, after
        ahead = (access for access in reversed(self._accesses) if access.step < first.step)
        before = next((access for access in ahead if access.vcpu == second.vcpu and conflict(access, first)), None)
        if before is not None and (before.writes or second.writes):
            return before, first, second
        return first, second

    def _pairs(self, switch: _Switch) -> Iterator[Iterator[_Pair]]:
        """Of both sides: conflicting accesses, those next to the switch first, and a schedule in which their order is another."""
        yield (
            (earlier, later, self._moved(switch, later.step + 1 - self._begins[switch.resumed or 0]))
            for later in _next_to(switch.behind, switch.between)
            for earlier in (next(access for access in reversed(switch.between) if conflict(access, later)),)
        )
        yield (
            (earlier, later, self._moved(switch, earlier.step - self._begins[switch.index + 1]))
            for earlier in _next_to(switch.before, switch.between)
            for later in (next(access for access in switch.between if conflict(earlier, access)),)
        )

    def _moved(self, switch: _Switch, steps: int) -> Schedule:
        """With so many more steps before the switch, and fewer behind it; or the other way round."""
        segments = list(self._schedule.segments)
        vcpu, before = segments[switch.index]
        if switch.resumed is None:
            segments.append(Stretch(vcpu, -steps))
        else:
            segments[switch.resumed] = Stretch(vcpu, segments[switch.resumed].steps - steps)
        segments[switch.index] = Stretch(vcpu, before + steps)
        return Schedule.of(segments)


def _next_to(side: Sequence[Accessed], between: Sequence[Accessed]) -> Iterator[Accessed]:
    """The first access of `side` to each variable that is in conflict with one in between."""
    found: set[int] = set()
    for access in side:
        if access.gpa not in found and any(conflict(access, other) for other in between):
            found.add(access.gpa)
            yield access


def conflict(one: Accessed, other: Accessed) -> bool:
    """Two vCPUs access the same bytes, and one of them writes."""
    return (
        one.vcpu != other.vcpu
        and (one.writes or other.writes)
        and one.gpa < other.gpa + other.size
        and other.gpa < one.gpa + one.size
    )


def _by_segment(accesses: Sequence[Accessed], begins: Sequence[int]) -> list[list[Accessed]]:
    parts: list[list[Accessed]] = [[] for _ in begins[1:]]
    segment = 0
    for access in accesses:
        while segment < len(parts) - 1 and access.step >= begins[segment + 1]:
            segment += 1
        parts[segment].append(access)
    return parts
