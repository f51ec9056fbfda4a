"""Places in a kernel's code, for people: `main+0x12 (main.c:34)`."""

from collections.abc import Iterator
from typing import Any, Final

import attrs

from kev.errors import KevError
from kev.pager.image import KernelImage, Segment
from kev.postmortem.source_lines import InlinedCall, SourceLine, SourceLines


@attrs.frozen(slots=True, kw_only=True)
class Place:
    """An address, and what the image says of it."""

    address: int
    """Linear, as it was asked for."""
    function: str | None = None
    """The symbol, or else the function of the debug information, that the address lies in."""
    offset: int | None = None
    """Bytes behind the symbol's beginning."""
    line: SourceLine | None = None
    """In the function that is not inlined."""
    inlined: tuple[InlinedCall, ...] = ()
    """The innermost first."""

    def __str__(self) -> str:
        return self.text or f"{self.address:#x}"

    @property
    def text(self) -> str:
        """`main+0x12 (main.c:34)`; `lock (lock.h:7) inlined in main+0x12 (main.c:34)`; empty if nothing is known."""
        if self.function is None:
            return "" if self.line is None else f"({self.line})"
        name = f"{self.function}+{self.offset:#x}" if self.offset else self.function
        called = [_with_line(call.name, call.line) for call in self.inlined]
        return " inlined in ".join([*called, _with_line(name, self.line)])

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "address": self.address,
            "function": self.function,
            "offset": self.offset,
            "line": None if self.line is None else str(self.line),
            "inlined": [{"function": call.name, "line": None if call.line is None else str(call.line)} for call in self.inlined],
        }


class Places:
    """Finds places in one image. Symbols and debug information are read when the first is asked for."""

    def __init__(self, image: KernelImage) -> None:
        self.lines: Final = SourceLines(image.source)
        self._image: Final = image
        self._places: Final[dict[tuple[int, int | None], Place]] = {}

    @property
    def notes(self) -> list[str]:
        """What could not be read so far, and why."""
        return self.lines.notes

    def at(self, address: int, gpa: int | None = None) -> Place:
        """The place of a linear address; `gpa` is where it lies in guest-physical memory, if that is known.

        The image is linked to run at the addresses of p_vaddr, and begins to run at those of p_paddr. So an address may be either,
        and where the guest maps the image elsewhere, neither: then `gpa` says which part of the image it is.
        """
        key = address, gpa
        if key not in self._places:
            self._places[key] = self._find(address, gpa)
        return self._places[key]

    def before(self, address: int, gpa: int | None = None) -> Place:
        """The place of the call that returns to an address: in the same function, though that may end with the call."""
        found = self.at(address - 1, None if gpa is None else gpa - 1)
        offset = None if found.offset is None else found.offset + 1
        return attrs.evolve(found, address=address, offset=offset)

    def executed(self, address: int, gpa: int | None = None, *, halted: bool) -> Place:
        """The place of a vCPU whose next instruction is at an address; if it is `halted`, of its HLT, behind which may be another
        function.
        """
        return self.before(address, gpa) if halted else self.at(address, gpa)

    def linked_at(self, address: int, gpa: int | None = None) -> int | None:
        """The address by p_vaddr of what lies at a linear address; None if it is not of the image."""
        found = next(iter(_candidates(self._image.segments, address, gpa)), None)
        return None if found is None else found[0]

    def _find(self, address: int, gpa: int | None) -> Place:
        found = Place(address=address)
        for candidate, begin in _candidates(self._image.segments, address, gpa):
            place = self._describe(address, candidate, begin)
            if place.function is not None:
                return place
            if place.line is not None and found.line is None:
                found = place
        return found

    def _describe(self, address: int, candidate: int, begin: int) -> Place:
        """Symbols below `begin` are not of its segment."""
        source = self.lines.place(candidate)
        function, offset = source.function, None
        try:
            symbol = self._image.symbols.at(candidate)
        except KevError as error:
            self.lines.sections.note(str(error))
        else:
            if symbol is not None and symbol[0].address >= begin:
                function, offset = symbol[0].name, symbol[1]
        return Place(address=address, function=function, offset=offset, line=source.line, inlined=source.inlined)


def _candidates(segments: tuple[Segment, ...], address: int, gpa: int | None) -> Iterator[tuple[int, int]]:
    """The addresses that an image's symbols may give what lies at a linear one, the likeliest first; where its segment begins."""
    physical = address if gpa is None else gpa
    for segment in segments:
        if segment.paddr <= physical < segment.end:
            yield physical - segment.paddr + segment.vaddr, segment.vaddr
    for segment in segments:
        # If it does not lie where the segment was loaded, the image has moved itself. Where it was linked at physical addresses,
        # it is rather a program's that happens to be at such an address.
        moved = gpa is not None and not segment.paddr <= gpa < segment.end
        if segment.vaddr <= address < segment.vaddr + segment.memsz and not (moved and int(segment.vaddr) == segment.paddr):
            yield address, segment.vaddr
    for segment in segments:
        # Of an image whose symbols are physical, though its segments are not.
        if segment.paddr <= physical < segment.end and int(segment.paddr) != segment.vaddr:
            yield physical, segment.paddr


def _with_line(name: str, line: SourceLine | None) -> str:
    return name if line is None else f"{name} ({line})"
