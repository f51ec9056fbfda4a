"""Which host-physical frame stands behind which guest-physical page."""

from typing import Final

from kev.addressing import Hpa
from kev.host_memory import HostMemory

SLAB_SHIFT: Final = 21
SLAB_SIZE: Final = 1 << SLAB_SHIFT
SLAB_PAGES: Final = 1 << (SLAB_SHIFT - 12)
_OFFSET: Final = (1 << SLAB_SHIFT) - 1


class FrameMap:
    """Frames by address, given out in slabs of 2 MiB that are as aligned as the guest-physical memory they stand for.

    So guest pages that follow each other lie one behind the other within a slab: one read can fill many of them, and a leaf of
    2 MiB can map them all. A slab is taken when its first page is asked for, and costs address space; memory only where touched.
    """

    __slots__ = ("_memory", "_slabs")

    def __init__(self, memory: HostMemory) -> None:
        self._memory: Final = memory
        self._slabs: Final[dict[int, int]] = {}

    def assign(self, gpa: int) -> Hpa:
        """Where the byte at `gpa` lies, from now on for good. HostMemoryError if there is no room for its slab."""
        slab = self._slabs.get(gpa >> SLAB_SHIFT)
        if slab is None:
            slab = self._slabs[gpa >> SLAB_SHIFT] = self._memory.allocate(SLAB_PAGES, SLAB_PAGES)
        return slab | gpa & _OFFSET  # type: ignore[return-value]  # a call of Hpa takes as long as all this

    def clear(self) -> None:
        """No address has a frame any more."""
        self._slabs.clear()

    def find(self, gpa: int) -> Hpa | None:
        """Where the byte at `gpa` lies; None if nobody has asked for a frame near it."""
        slab = self._slabs.get(gpa >> SLAB_SHIFT)
        return None if slab is None else slab | gpa & _OFFSET  # type: ignore[return-value]  # as above
