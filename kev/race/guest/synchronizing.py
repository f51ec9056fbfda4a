"""Which variables vCPUs agree by, rather than race for.

These are the bytes that a locked instruction accesses, and flags: what a vCPU reads before and behind a PAUSE or a HLT, because it
waits for a change. It does so by the same instruction, or by another one where a compiler has put the first look in front of the
loop: then the flag is what was read last before. A plain store of x86 is visible in its order with the stores before it, and a
plain load comes before the loads behind it: on a variable of this kind, a store releases, and a load acquires.
"""

from typing import Final

from kev.exits import Access
from kev.race.guest.instructions import Effect


class Synchronizing:
    """Finds them among the accesses of a run."""

    def __init__(self, vcpus: int) -> None:
        self.locked: Final[set[int]] = set()
        """What locked instructions access: guest-physical addresses of bytes."""
        self._flags: Final[set[int]] = set()
        self._before: Final[list[frozenset[tuple[int, int]]]] = [frozenset()] * vcpus
        """The instructions and addresses of each vCPU's loads between its last two waits."""
        self._since: Final[list[set[tuple[int, int]]]] = [set() for _ in range(vcpus)]
        """The same since its last wait."""
        self._last: Final[list[tuple[int, int] | None]] = [None] * vcpus
        """The address and the size of each vCPU's last load."""
        self._awaited: Final[list[tuple[int, int] | None]] = [None] * vcpus
        """Of its last load before its last wait."""

    @property
    def bytes(self) -> frozenset[int]:
        """Guest-physical addresses of all bytes."""
        return frozenset(self.locked | self._flags)

    def executed(self, vcpu: int, effect: Effect) -> None:
        if effect in (Effect.PAUSE, Effect.HALT):
            self._before[vcpu] = frozenset(self._since[vcpu])
            self._since[vcpu].clear()
            self._awaited[vcpu] = self._last[vcpu]

    def accessed(self, vcpu: int, instruction: int, gpa: int, size: int, access: Access, effect: Effect) -> None:
        if effect is Effect.LOCKED:
            self.locked.update(range(gpa, gpa + size))
        elif access is Access.READ:
            self._since[vcpu].add((instruction, gpa))
            self._last[vcpu] = gpa, size
            if (instruction, gpa) in self._before[vcpu] or self._awaited[vcpu] == (gpa, size):
                self._flags.update(range(gpa, gpa + size))
