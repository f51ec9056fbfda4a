"""How one run of a guest ended."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final
from zlib import crc32

from kev.race.outcome import Failure, Outcome, Turn
from kev.race.schedule import Schedule


class GuestOutcome(Outcome):
    """A run of which it is known for how long each vCPU went on."""

    __slots__ = ("_schedule", "_state", "begins", "turns")

    def __init__(
        self, failure: Failure | None, turns: Sequence[Turn], instructions: Iterable[int], output: bytes, begins: int = 0
    ) -> None:
        """`instructions` of each vCPU, and what the guest printed; `begins` is the step with which what is explored begins."""
        self.turns = turns
        self.begins = begins
        self._schedule: Final = Schedule.of((turn.vcpu, turn.steps) for turn in turns)
        super().__init__(failure, self._schedule.steps)
        self._state: Final = (*instructions, crc32(output))

    @property
    def contested_steps(self) -> int:
        """Those in which another vCPU could have run instead."""
        ends = accumulate(turn.steps for turn in self.turns)
        return sum(turn.steps for turn, end in zip(self.turns, ends, strict=True) if len(turn.runnable) > 1 and end > self.begins)

    @property
    def schedule(self) -> Schedule:
        return self._schedule

    @property
    def digest(self) -> int:
        return hash(self._schedule.segments)

    @property
    def interleaving(self) -> int:
        """The schedule's: what instructions access is not known."""
        return self.digest

    @property
    def history(self) -> int:
        oracle = self.failure.oracle if self.failure is not None else ""
        return hash((self.digest, *self._state, crc32(oracle.encode())))
