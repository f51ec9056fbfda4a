"""Where vCPUs touch what others touch, too."""

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(slots=True)
class SharedAccesses:
    """Instructions that access variables which several vCPUs access, and at least one changes. As seen in some runs: not all."""

    variables: Mapping[int, frozenset[int]]
    """Of each of these instructions, by linear address: the guest-physical addresses of the quadwords that it has accessed."""
    writes: frozenset[int]
    """Those of the instructions that change what they access."""
    counts: Sequence[Mapping[int, int]]
    """How often each vCPU accesses each variable in a run."""
    interruptible: frozenset[int] = frozenset()
    """Instructions before which an interrupt from another vCPU makes a difference: HLT, and those that let interrupts in."""
    synchronizing: frozenset[int] = frozenset()
    """The bytes that vCPUs agree by: guest-physical addresses. See `kev.race.guest.synchronizing`."""
    openings: int = 0
    """How often a run comes to those that are interruptible, at most."""
    divisible: frozenset[int] = frozenset()
    """Those of the instructions that read a variable and change it without LOCK: on hardware, others may come in between."""
    places: frozenset[int] = attrs.field(init=False)
    """All of these instructions."""
    addresses: Sequence[int] = attrs.field(init=False)
    """Of all variables, ascending."""

    @property
    def passed(self) -> int:
        """About how many of these instructions a run executes."""
        return self.openings + sum(sum(counts.values()) for counts in self.counts)

    @places.default
    def _find_places(self) -> frozenset[int]:
        return self.interruptible.union(self.variables)

    @addresses.default
    def _find_addresses(self) -> Sequence[int]:
        return sorted(set().union(*self.variables.values()))

    def are_in_conflict(self, one: int, other: int) -> bool:
        """Whether the order of two instructions may matter."""
        if one not in self.writes and other not in self.writes:
            return False
        return not self.variables.get(one, frozenset()).isdisjoint(self.variables.get(other, ()))
