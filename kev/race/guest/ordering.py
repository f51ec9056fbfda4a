"""Which accesses of a run are in an order that does not depend on the schedule: happens-before, by vector clocks.

Of two accesses of different vCPUs, the first is ordered before the second if the vCPU of the first has released something behind it
that the vCPU of the second has acquired before. A store to a variable that synchronizes (`kev.race.guest.synchronizing`) releases,
a load of it acquires, and a locked instruction does both; an interrupt, NMI, INIT or start-up IPI releases where it is sent and is
acquired by the next instruction of whoever it is for. Fences order nothing more: x86 keeps the order of stores, and that of loads.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from kev.race.guest.recording import Accessed, Sent

_Clock: TypeAlias = tuple[int, ...]
"""How many releases of each vCPU are known of."""


class Ordering:
    """The order of the accesses of one run."""

    def __init__(self, events: Sequence[Accessed | Sent], synchronizing: AbstractSet[int], vcpus: int) -> None:
        """`synchronizing`: guest-physical addresses of the bytes by which vCPUs agree."""
        self._synchronizing: Final = synchronizing
        self._now: Final[list[_Clock]] = [tuple(int(vcpu == other) for other in range(vcpus)) for vcpu in range(vcpus)]
        self._released: Final[dict[int, _Clock]] = {}
        """By what was last written to each byte that synchronizes."""
        self._clocks: Final[dict[Accessed, _Clock]] = {}
        self._accesses: Final[list[Accessed]] = []
        for event in events:
            if isinstance(event, Sent):
                self._acquire(event.receiver, self._release(event.vcpu))
            else:
                self._access(event)

    def synchronizes(self, access: Accessed) -> bool:
        """Whether it is to a variable that vCPUs agree by."""
        return not self._synchronizing.isdisjoint(range(access.gpa, access.gpa + access.size))

    def is_ordered(self, first: Accessed, second: Accessed) -> bool:
        """Two accesses of this run, in their order there: whether no other schedule could have turned that round."""
        return self._clocks[second][first.vcpu] >= self._clocks[first][first.vcpu]

    def unordered(self) -> Iterator[tuple[Accessed, Accessed]]:
        """Pairs of accesses to the same bytes of which at least one is a store, and that nothing orders: data races.

        One for each pair of instructions. Where the bytes synchronize, both are stores of instructions that are not locked.
        """
        told: set[tuple[int, int]] = set()
        reads: dict[int, dict[int, Accessed]] = {}
        writes: dict[int, dict[int, Accessed]] = {}
        for access in self._accesses:
            for byte in range(access.gpa, access.gpa + access.size):
                others = [*writes.get(byte, {}).values(), *(reads.get(byte, {}).values() if access.writes else ())]
                for other in others:
                    pair = other.instruction, access.instruction
                    if other.vcpu != access.vcpu and pair not in told and self._is_race(byte, other, access):
                        told.add(pair)
                        yield other, access
                (writes if access.writes else reads).setdefault(byte, {})[access.vcpu] = access

    def _is_race(self, byte: int, first: Accessed, second: Accessed) -> bool:
        if byte in self._synchronizing and not (first.writes and second.writes and not first.locked and not second.locked):
            return False
        return not self.is_ordered(first, second)

    def _access(self, access: Accessed) -> None:
        vcpu = access.vcpu
        synchronizing = [byte for byte in range(access.gpa, access.gpa + access.size) if byte in self._synchronizing]
        if not access.writes or access.locked:
            for byte in synchronizing:
                self._acquire(vcpu, self._released.get(byte))
        self._clocks[access] = self._now[vcpu]
        self._accesses.append(access)
        if synchronizing and access.writes:
            released = self._release(vcpu)
            for byte in synchronizing:
                self._released[byte] = released

    def _acquire(self, vcpu: int, clock: _Clock | None) -> None:
        if clock is not None:
            self._now[vcpu] = tuple(map(max, self._now[vcpu], clock))

    def _release(self, vcpu: int) -> _Clock:
        """What the vCPU knows; what it does from now on is not among it."""
        released = self._now[vcpu]
        self._now[vcpu] = tuple(count + (other == vcpu) for other, count in enumerate(released))
        return released
