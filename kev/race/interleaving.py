"""What distinguishes one interleaving from another."""

from collections.abc import Sequence
from typing import Final

MAX_VCPUS: Final = 16
"""Where every step is told by itself. Of each state all of them are digested."""
_NOTHING_SEEN: Final = list(range(MAX_VCPUS))
_VCPU_SHIFT: Final = 4
_NUMBERS: Final = {1 << page: page for page in range(1 << _VCPU_SHIFT)}
"""The pages that fit into a byte with a vCPU, by their bits."""
_ELSEWHERE: Final = [
    bytes(vcpu << _VCPU_SHIFT | other for vcpu in range(MAX_VCPUS) for other in _NUMBERS.values() if other != page)
    for page in _NUMBERS.values()
]
"""For each of these pages, the steps that touch another."""


def digest_of(order: bytes, accesses: Sequence[int]) -> int:
    """Of a whole run what an `Interleaving` is of its steps: equal for the same runs of one subject.

    Where every step touches one page, who touched each page, one after the other, says it all: what a vCPU does next follows from
    what it has seen.
    """
    try:
        pages = bytes(map(_NUMBERS.__getitem__, accesses))
    except KeyError:
        seen = Interleaving()
        for vcpu, touched in zip(order, accesses, strict=True):
            seen.add(vcpu, touched)
        return seen.digest()
    steps = int.from_bytes(order, "big") << _VCPU_SHIFT | int.from_bytes(pages, "big")
    by_step = steps.to_bytes(len(order), "big")
    return hash(tuple(b"".join([by_step.translate(None, _ELSEWHERE[page]) for page in sorted(set(pages))])))


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
