"""What distinguishes one interleaving from another."""

from collections.abc import Iterable
from typing import Final

MAX_VCPUS: Final = 16
"""Where every step is told by itself. Of each state all of them are digested."""


class Interleaving:
    """A digest of which step saw the effects of which: of a Mazurkiewicz trace.

    Two steps in a row that touch no page in common can change places without anybody noticing; runs that are equal but for that
    have the same digest. After the same steps of the same vCPUs, so have the states that they lead to.
    """

    __slots__ = ("_everything", "_pages", "_vcpus")

    def __init__(self) -> None:
        self._vcpus: Final = list(range(MAX_VCPUS))
        """What each vCPU has seen."""
        self._pages: Final[dict[int, int]] = {}
        """What who touches a page sees, by the page's bit."""
        self._everything = 0
        """The same for pages that nobody touched since a step of unknown accesses."""

    def extend(self, order: Iterable[int], accesses: Iterable[int]) -> None:
        """Adds steps: the vCPU that took each, and the pages it touched, a bit for each; negative if they are unknown."""
        vcpus, pages = self._vcpus, self._pages
        for vcpu, touched in zip(order, accesses, strict=True):
            before = pages.get(touched)
            if before is not None:
                pages[touched] = vcpus[vcpu] = hash((vcpus[vcpu], before))
            elif touched < 0:
                self._everything = vcpus[vcpu] = hash((vcpus[vcpu], self._everything, *sorted(pages.items())))
                pages.clear()
            else:
                bits = _bits(touched)
                step = vcpus[vcpu] = hash((vcpus[vcpu], *(pages.get(bit, self._everything) for bit in bits)))
                pages.update(dict.fromkeys(bits, step))

    def digest(self, *more: int) -> int:
        return hash((*self._vcpus, *more))


def _bits(pages: int) -> list[int]:
    return [1 << page for page in range(pages.bit_length()) if pages >> page & 1]
