"""What distinguishes one interleaving from another."""

from collections.abc import Iterable
from typing import Final

MAX_VCPUS: Final = 16
"""Where every step is told by itself. Of each state all of them are digested."""
_NOTHING_SEEN: Final = list(range(MAX_VCPUS))
_SINGLE: Final = frozenset(1 << page for page in range(64))
"""What a step touches that touches one page."""


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

    def extend(self, order: Iterable[int], accesses: Iterable[int]) -> None:
        """Adds steps: the vCPU that took each, and the pages it touched, a bit for each; negative if they are unknown."""
        vcpus, pages = self._vcpus, self._pages
        seen = pages.get
        for vcpu, touched in zip(order, accesses, strict=True):
            before = seen(touched)
            if before is None:
                if touched not in _SINGLE:
                    self._add(vcpu, touched)
                    continue
                before = self._everything
            pages[touched] = vcpus[vcpu] = hash((vcpus[vcpu], before))

    def add(self, vcpu: int, touched: int) -> None:
        """Adds one step."""
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
