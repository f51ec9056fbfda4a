"""What vCPUs did in one run, and when: their turns, halts and exits, and what the guest printed meanwhile.

A run that nobody asked for a trace has none of it, and pays nothing for it.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

MOST_EXITS: Final = 500_000
"""As many are kept: a trace of them has some 80 MB."""


class Span(NamedTuple):
    """Something that went on for a while. Times are by the activity's clock, in seconds."""

    vcpu: int
    name: str
    began: float
    ended: float
    details: str = ""


class Print(NamedTuple):
    """What the guest printed at once."""

    time: float
    text: str


class Activity:
    """Of one machine, as it tells it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.turns: Final[list[Span]] = []
        """`runs`, and what ended that; and `halted`, until the vCPU ran again."""
        self.exits: Final[list[Span]] = []
        """By Intel's names, with what a person needs to know of each; violations are in the timeline."""
        self.exits_left_out = 0
        """Those after the first `MOST_EXITS`."""
        self.prints: Final[list[Print]] = []
        self._clock: Final = clock
        self._running: Final[dict[int, float]] = {}
        self._halted: Final[dict[int, float]] = {}
        self._exit: tuple[int, str, float, str] | None = None

    def turn_began(self, vcpu: int) -> None:
        now = self._clock()
        halted = self._halted.pop(vcpu, None)
        if halted is not None:
            self.turns.append(Span(vcpu, "halted", halted, now))
        self._running[vcpu] = now

    def turn_ended(self, vcpu: int, reason: str, *, halts: bool) -> None:
        now = self._clock()
        began = self._running.pop(vcpu, None)
        if began is not None:
            self.turns.append(Span(vcpu, "runs", began, now, reason))
        if halts:
            self._halted[vcpu] = now

    def exit_began(self, vcpu: int, name: str, details: str) -> None:
        self._exit = (vcpu, name, self._clock(), details)

    def exit_ended(self) -> None:
        if self._exit is None:
            return
        (vcpu, name, began, details), self._exit = self._exit, None
        if len(self.exits) < MOST_EXITS:
            self.exits.append(Span(vcpu, name, began, self._clock(), details))
        else:
            self.exits_left_out += 1

    def printed(self, data: bytes) -> None:
        self.prints.append(Print(self._clock(), data.decode(errors="replace")))

    def ended(self) -> None:
        """The run is over: whoever is still halted was so until now."""
        now = self._clock()
        self.turns.extend(Span(vcpu, "halted", since, now) for vcpu, since in self._halted.items())
        self._halted.clear()
