"""Which accesses of a run collided: those on both sides of a switch, of which at least one is a store.

Whether their order matters is tried: the switch is moved, so that one of them comes on the other side, and the run is made again
(J.-D. Choi, A. Zeller: "Isolating Failure-Inducing Thread Schedules", ISSTA 2002). Who goes on for longer need not come to the
access, because somebody holds a lock, and a run that ends well may have taken another way: so it is looked at what it accessed.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import Final, NamedTuple, Protocol, TypeAlias

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


class _Candidate(NamedTuple):
    """A collision that may be told."""

    rank: tuple[bool, bool, bool, int]
    """Those with the lowest come first: what nothing orders, what is needed, what has an access on both sides, what is near."""
    collision: Collision
    moved: Schedule
    """The schedule in which the two are meant to change places."""

    @property
    def is_ordered(self) -> bool:
        return self.rank[0]


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


class Runs(Protocol):
    """Makes runs by a schedule, as far as that can be followed."""

    def fails(self, schedule: Schedule) -> bool: ...

    def accesses(self, schedule: Schedule) -> Sequence[Accessed]:
        """All that such a run accesses."""


def collisions(schedule: Schedule, accesses: Sequence[Accessed], ordering: Ordering, runs: Runs) -> list[Collision]:
    """What collided in the run of `schedule` whose accesses and their order are given, what matters most first."""
    return _Search(schedule, shared_only(accesses), ordering, runs).found()


class _Search:
    def __init__(self, schedule: Schedule, accesses: Sequence[Accessed], ordering: Ordering, runs: Runs) -> None:
        self._schedule: Final = schedule
        self._accesses: Final = accesses
        self._ordering: Final = ordering
        self._runs: Final = runs
        self._tries = 0
        self._begins: Final = [0, *accumulate(segment.steps for segment in schedule.segments)]
        self._by_segment: Final = _by_segment(accesses, self._begins)

    def found(self) -> list[Collision]:
        """Those that nothing orders come first, and those without which all would be well; one of each variable."""
        ranked = [found for switch in self._switches() for pairs in self._pairs(switch) for found in self._tried(switch, pairs)]
        ranked.sort(key=lambda candidate: candidate.rank)
        found: list[Collision] = []
        unproven: list[Collision] = []
        for candidate in ranked:
            collision = candidate.collision
            variables = {access.gpa for collision in found for access in collision.accesses}
            worthwhile = not candidate.is_ordered and collision.needed is not None
            hint = not found and (collision.needed is not None or self._is_hint(collision))
            if len(found) < _MOST_TOLD and not variables & {collision.accesses[0].gpa} and (worthwhile or hint):
                proven = collision.needed is None or self._changes_places(*collision.needed, candidate.moved)
                (found if proven else unproven).append(collision)
        return found or [attrs.evolve(collision, needed=None) for collision in filter(self._is_hint, unproven)][:1]

    def _is_hint(self, collision: Collision) -> bool:
        """What vCPUs agree by is touched by several all the time: without more to be said, that is none."""
        return not self._ordering.synchronizes(collision.accesses[0])

    def _changes_places(self, first: Accessed, second: Accessed, moved: Schedule) -> bool:
        """Whether both are made in a run by `moved`, the second first."""
        accesses = self._runs.accesses(moved)
        now_first, now_second = self._again(second, accesses), self._again(first, accesses)
        return now_first is not None and now_second is not None and now_first < now_second

    def _again(self, access: Accessed, accesses: Sequence[Accessed]) -> int | None:
        """The index of the same access in another run: the last one, where a loop is left earlier."""
        number = sum(other.step <= access.step for other in self._accesses if _are_alike(other, access))
        same = [index for index, other in enumerate(accesses) if _are_alike(other, access)]
        return same[min(number, len(same)) - 1] if same else None

    def _tried(self, switch: _Switch, pairs: Iterator[_Pair]) -> Iterator[_Candidate]:
        """Up to the first pair whose order matters: what is further away from the switch takes that one with it."""
        for first, second, moved in islice(pairs, _MOST_AT_A_SWITCH):
            self._tries += 1
            needed = self._tries <= _MOST_TRIED and not self._runs.fails(moved)
            accesses = self._around(first, second)
            ordered = self._ordering.is_ordered(first, second)
            distance = abs(self._begins[switch.index + 1] - first.step) + abs(self._begins[switch.index + 1] - second.step)
            collision = Collision(accesses, (first, second) if needed else None)
            yield _Candidate((ordered, not needed, len(accesses) == _PAIR, distance), collision, moved)
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


def _are_alike(one: Accessed, other: Accessed) -> bool:
    """Made by the same instruction of the same vCPU."""
    return (one.vcpu, one.instruction, one.gpa, one.writes) == (other.vcpu, other.instruction, other.gpa, other.writes)


def _by_segment(accesses: Sequence[Accessed], begins: Sequence[int]) -> list[list[Accessed]]:
    parts: list[list[Accessed]] = [[] for _ in begins[1:]]
    segment = 0
    for access in accesses:
        while segment < len(parts) - 1 and access.step >= begins[segment + 1]:
            segment += 1
        parts[segment].append(access)
    return parts
