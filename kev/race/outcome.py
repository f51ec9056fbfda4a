"""How one run ended."""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import attrs

from kev.race.interleaving import Interleaving
from kev.race.schedule import Schedule


@attrs.frozen(slots=True)
class Failure:
    """What a run did wrong."""

    oracle: str
    """The name of the rule that was broken."""
    message: str
    """What happened, in words: who, which page, at which step."""
    step: int
    """From 0. In a guest: the instructions until then."""


class Outcome:
    """One run: what it did wrong, and what is needed to repeat it and to tell it from others."""

    __slots__ = ("accesses", "failure", "order")

    def __init__(self, failure: Failure | None, order: bytes, accesses: Sequence[int]) -> None:
        self.failure: Final = failure
        self.order: Final = order
        """Which vCPU took each step."""
        self.accesses: Final = accesses
        """Which pages each step touched, a bit for each."""

    @property
    def schedule(self) -> Schedule:
        return Schedule.from_order(self.order)

    @property
    def interleaving(self) -> int:
        """Equal for runs that differ only in the order of steps that have nothing to do with each other."""
        seen = Interleaving()
        seen.extend(self.order, self.accesses)
        return seen.digest()

    @property
    def history(self) -> int:
        """A digest of everything that happened. With the same schedule it is the same, or something is not deterministic."""
        message = self.failure.message if self.failure is not None else ""
        return hash((*self.order, *self.accesses, crc32(message.encode())))
