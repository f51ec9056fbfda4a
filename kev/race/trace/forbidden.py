"""Outcomes of trace programs that must not be, as litmus tests have them.

`!0r1,1r0` is one: what is observed of the reads and stores of a run, of which not all may hold at its end. `0r1` says that in
vCPU 0's last read of page 1 no store of another vCPU was there, though there was one later; `0r1+`, that one was. `0w1` says that
of all stores to page 1, one of vCPU 0 became visible last.
"""

import re
from typing import Final

import attrs

from kev.race.errors import ProgramError

FORBIDDEN: Final = "!"
"""What such an outcome begins with."""
_OBSERVATION: Final = re.compile(r"(\d{1,9})(?:r(\d{1,9})(\+?)|w(\d{1,9}))", re.ASCII)


@attrs.frozen(slots=True)
class Observation:
    """One thing that may be observed."""

    vcpu: int
    page: int
    sees: bool | None
    """Whether the vCPU's last read of the page sees a store of another; None: its own store is the last in the page."""

    @property
    def words(self) -> str:
        if self.sees is None:
            return f"the last store to page {self.page} is vCPU {self.vcpu}'s"
        return f"vCPU {self.vcpu} reads page {self.page} {'with' if self.sees else 'without'} a store of another"

    def __str__(self) -> str:
        return f"{self.vcpu}{'w' if self.sees is None else 'r'}{self.page}{'+' if self.sees else ''}"


def parse_forbidden(text: str) -> tuple[Observation, ...]:
    """What the part of a program says that begins with `FORBIDDEN`. ProgramError."""
    return tuple(_parse_observation(part) for part in text.removeprefix(FORBIDDEN).split(","))


def _parse_observation(text: str) -> Observation:
    match = _OBSERVATION.fullmatch(text)
    if match is None:
        raise ProgramError(
            f"{text!r}: what is observed is a vCPU and r, a page and perhaps +, or w and a page, as in !0r1,1r0+,0w1"
        )
    vcpu, read, sees, stored = match.groups()
    return Observation(int(vcpu), int(read or stored), None if read is None else bool(sees))
