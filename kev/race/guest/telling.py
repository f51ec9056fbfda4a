"""Puts accesses into words: by the names of variables, functions and lines."""

from collections.abc import Sequence
from typing import Final

from kev.postmortem.places import Place, Places
from kev.postmortem.source_lines import SourceLine
from kev.postmortem.source_text import SourceTexts
from kev.postmortem.variables import Variables
from kev.race.guest.conflicts import Collision
from kev.race.guest.recording import Accessed
from kev.race.stories.conflict import Conflict, ConflictingAccess

_MOST_OVERLOOKED: Final = 4
_LARGEST_DECIMAL: Final = 1 << 20
"""Greater numbers are rather addresses or flags."""


class Telling:
    """Words for accesses of guests with one image."""

    def __init__(self, places: Places, image: str) -> None:
        """`image` is its name."""
        self._places: Final = places
        self._variables: Final = Variables(places)
        self._texts: Final = SourceTexts(image)

    def collision(self, collision: Collision) -> Conflict:
        """With what came of moving the switch."""
        claim = ""
        if collision.needed is not None:
            first, second = collision.needed
            claim = (
                f"tried: with vCPU {second.vcpu}'s access of step {second.step:,} before vCPU {first.vcpu}'s"
                f" of step {first.step:,}, the run ends well"
            )
        return self.conflict(collision.accesses, claim)

    def overlooked(self, pairs: Sequence[tuple[Accessed, Accessed]], *, split: bool = False) -> list[Conflict]:
        """The last of each variable: a store, and a load that did not see it, and something else instead.

        `split`: not because of a store buffer, but because the instruction of the store had only read.
        """
        last = {store.gpa: (store, load) for store, load in pairs if store.size != load.size or store.after != load.after}
        why = "vCPU {1} had read in step {0:,}, and not written yet: without LOCK, others come in between"
        if not split:
            why = "the store of step {0:,} was still in the store buffer of vCPU {1}"
        return [self.conflict(pair, why.format(pair[0].step, pair[0].vcpu)) for pair in list(last.values())[-_MOST_OVERLOOKED:]]

    def conflict(self, accesses: tuple[Accessed, ...], claim: str) -> Conflict:
        """Accesses to one variable: the bytes that the smallest of them is to."""
        smallest = min(accesses, key=lambda access: access.size)
        variable = self._variables.at(smallest.gpa, smallest.size) if smallest.port is None else f"port {smallest.port:#x}"
        return Conflict(str(variable), tuple(self._access(access, smallest.port) for access in accesses), claim)

    def line(self, access: Accessed) -> str:
        """The line that the access is made in; where that is not known, the instruction's address."""
        line = _innermost(self._places.at(access.instruction))
        return f"{access.instruction:#x}" if line is None else str(line)

    def _access(self, access: Accessed, port: int | None) -> ConflictingAccess:
        """`port` is the one that all of them share some byte of."""
        place = self._places.at(access.instruction)
        what = _what(access)
        if access.port is not None and access.port != port:  # a wider one begins before
            what += f" {'to' if access.writes else 'from'} port {access.port:#x}"
        return ConflictingAccess(access.step, access.vcpu, what, brief(place), self._texts.line(_innermost(place)))


def _innermost(place: Place) -> SourceLine | None:
    return place.inlined[0].line if place.inlined else place.line


def brief(place: Place) -> str:
    """`increment (main.c:19) in work+0xa`: the innermost function, and the one that everything is in."""
    if not place.inlined or place.function is None:
        return str(place)
    innermost = place.inlined[0]
    line = "" if innermost.line is None else f" ({innermost.line})"
    return f"{innermost.name}{line} in {place.function}{f'+{place.offset:#x}' if place.offset else ''}"


def _what(access: Accessed) -> str:
    locked = ", locked" if access.locked else ""
    if access.device:
        return f"{'writes' if access.writes else 'reads'} {_value(access.after)}"
    if not access.writes:
        return f"reads {_value(access.before)}{locked}"
    if not access.changes:
        return f"writes {_value(access.after)}, as it was{locked}"
    return f"changes {_value(access.before)} to {_value(access.after)}{locked}"


def _value(value: int) -> str:
    return str(value) if value < _LARGEST_DECIMAL else f"{value:#x}"
