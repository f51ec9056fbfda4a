"""What distinguishes one interleaving from another.

Where every step of a run is told by itself, it is a number: the pages that it touched, a bit for each from `VCPU_BITS` on, and
below them the vCPU that took it. It is negative if it is not known what it touched.
"""

from collections.abc import Iterable, Sequence
from typing import Final

VCPU_BITS: Final = 4
MAX_VCPUS: Final = 1 << VCPU_BITS
"""Where every step is told by itself. Of each state all of them are digested."""
_NOTHING_SEEN: Final = list(range(MAX_VCPUS))
_ELSEWHERE: Final = [bytes(step for step in range(1 << 8) if not step >> VCPU_BITS + page & 1) for page in range(8 - VCPU_BITS)]
"""For each page that a byte has a bit for, the steps that do not touch it."""


def order_of(steps: Iterable[int]) -> bytes:
    """Which vCPU took each step."""
    return bytes([step & MAX_VCPUS - 1 for step in steps])


def digest_of(steps: Sequence[int]) -> int:
    """Of a whole run what an `Interleaving` is of its steps: equal for the same runs of one subject.

    Where steps fit into bytes, who touched each page, one after the other, says it all: what a vCPU does next follows from what it
    has seen.
    """
    try:
        packed = bytes(steps)
    except ValueError:
        seen = Interleaving()
        for step in steps:
            seen.add(step & MAX_VCPUS - 1, step >> VCPU_BITS)
        return seen.digest()
    return hash(tuple(b"\0".join([packed.translate(None, elsewhere) for elsewhere in _ELSEWHERE])))


class Interleaving:
    """A digest of which step saw the effects of which: of a Mazurkiewicz trace.

    Two steps in a row that touch no page in common can change places without anybody noticing; runs that are equal but for that
    have the same digest. After the same steps of the same vCPUs, so have the states that they lead to.
    """

    __slots__ = ("_everything", "_pages", "_vcpus")

    def __init__(self) -> None:
        self._vcpus = _NOTHING_SEEN.copy()
        """What each vCPU has seen."""
        self._pages: dict[int, int] = {}
        """What who touches a page sees, by the page's bit."""
        self._everything = 0
        """The same for pages that nobody touched since a step of unknown accesses."""

    def add(self, vcpu: int, touched: int) -> None:
        """Adds a step: the vCPU that took it, and the pages it touched, a bit for each; negative if they are unknown."""
        before = self._pages.get(touched)
        if before is None:
            self._add(vcpu, touched)
        else:
            self._pages[touched] = self._vcpus[vcpu] = hash((self._vcpus[vcpu], before))

    def copy(self) -> "Interleaving":
        """Another of the same steps."""
        other = Interleaving.__new__(Interleaving)
        other._vcpus, other._pages, other._everything = self._vcpus.copy(), self._pages.copy(), self._everything
        return other

    def _add(self, vcpu: int, touched: int) -> None:
        """A step that touches what was not touched alone before."""
        vcpus, pages = self._vcpus, self._pages
        if touched < 0:
            self._everything = vcpus[vcpu] = hash((vcpus[vcpu], self._everything, *sorted(pages.items())))
            pages.clear()
        elif touched & (touched - 1) or not touched:
            bits = _bits(touched)
            step = vcpus[vcpu] = hash((vcpus[vcpu], *(pages.get(bit, self._everything) for bit in bits)))
            pages.update(dict.fromkeys(bits, step))
        else:
            pages[touched] = vcpus[vcpu] = hash((vcpus[vcpu], self._everything))

    def digest(self, *more: int) -> int:
        return hash((*self._vcpus, *more))


def _bits(pages: int) -> list[int]:
    return [1 << page for page in range(pages.bit_length()) if pages >> page & 1]
