"""Lines and inlined functions by address, from an image's debug information (DWARF 2 to 5). It is read only as far as needed."""

from typing import Any, Final

import attrs

from kev.pager.source import SynchronousSource
from kev.postmortem.errors import DamagedDebugInformation
from kev.postmortem.line_program import LineTable, line_table
from kev.postmortem.sections import DebugSections
from kev.postmortem.units import CompileUnits, FunctionAt

_MOST_WITHOUT_UNITS: Final = 16 << 20
"""Bytes of .debug_line that are read if no unit says which part of them to read."""


@attrs.frozen(slots=True)
class SourceLine:
    """A line of a file, by the file's base name."""

    file: str
    line: int
    path: str = attrs.field(default="", eq=False, repr=False)
    """Of the file, as the compiler was told it: it may be relative."""

    @classmethod
    def of(cls, path: str, line: int) -> "SourceLine":
        return cls(path.rpartition("/")[2], line, path)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@attrs.frozen(slots=True)
class InlinedCall:
    """A function that was compiled into the one that called it."""

    name: str
    line: SourceLine | None
    """The line in it."""


@attrs.frozen(slots=True)
class SourcePlace:
    """What debug information says of an address."""

    line: SourceLine | None
    """In the function that is not inlined."""
    function: str | None = None
    inlined: tuple[InlinedCall, ...] = ()
    """The innermost first."""


_NOWHERE: Final = SourcePlace(None)
_Program = tuple[LineTable, list[str]]


class SourceLines:
    """`main.c:12` for addresses that the compiler says this of. Debug information that is damaged costs lines, and nothing else."""

    def __init__(self, source: SynchronousSource) -> None:
        """`source`: the image. Of one without debug information nothing is known."""
        self._source: Final = source
        self._sections: DebugSections | None = None
        self._units: CompileUnits | None = None
        self._programs: Final[dict[int, _Program | None]] = {}
        self._all: LineTable | None = None
        self._places: Final[dict[int, SourcePlace]] = {}

    @property
    def sections(self) -> DebugSections:
        if self._sections is None:
            self._sections = DebugSections(self._source)
        return self._sections

    @property
    def notes(self) -> list[str]:
        """What could not be read so far, and why."""
        return [] if self._sections is None else self._sections.notes

    def at(self, address: int) -> SourceLine | None:
        """The line of the code at an address, in the innermost function where functions were inlined."""
        place = self.place(address)
        return place.inlined[0].line if place.inlined else place.line

    def place(self, address: int) -> SourcePlace:
        """All that is known of an address. A place is remembered."""
        place = self._places.get(address)
        if place is None:
            place = self._places[address] = self._find(address)
        return place

    def _find(self, address: int) -> SourcePlace:
        if self.sections.get(".debug_line") is None:
            return _NOWHERE
        if self._units is None:
            self._units = CompileUnits(self.sections)
        unit = self._units.at(address)
        program = None if unit is None else self._program_of(unit)
        if program is None:
            return SourcePlace(_line(self._without_units(), address))
        table, files = program
        functions = self._units.functions(unit, address)
        return _place(_line(table, address), functions, files)

    def _program_of(self, unit: Any) -> _Program | None:
        assert self._units is not None
        offset = self._units.line_program(unit)
        if offset is None:
            return None
        if offset not in self._programs:
            self._programs[offset] = self._read(offset)
        return self._programs[offset]

    def _read(self, offset: int) -> _Program | None:
        try:
            table, files, _ = line_table(self.sections, offset)
        except DamagedDebugInformation as error:
            self.sections.note(f"line numbers are damaged: {error}")
            return None
        return table, files

    def _without_units(self) -> LineTable:
        """All programs: for code that no unit describes, as of some assemblers, or of a damaged .debug_info."""
        if self._all is None:
            section = self.sections.get(".debug_line") or b""
            rows = []
            offset = 0
            try:
                while offset < len(section) <= _MOST_WITHOUT_UNITS:
                    table, _, offset = line_table(self.sections, offset)
                    rows += table.rows
            except DamagedDebugInformation as error:
                self.sections.note(f"line numbers are damaged: {error}")
            self._all = LineTable(rows)
        return self._all


def _line(table: LineTable, address: int) -> SourceLine | None:
    row = table.at(address)
    # A line 0 is code that comes from no line.
    return SourceLine.of(row.file, row.line) if row is not None and row.file is not None and row.line > 0 else None


def _place(line: SourceLine | None, functions: list[FunctionAt], files: list[str]) -> SourcePlace:
    """`line` is that of the innermost function; where each was called says the line in the one around it."""
    if not functions:
        return SourcePlace(line)
    inlined = []
    for function in functions[:-1]:
        inlined.append(InlinedCall(function.name, line))
        file = files[function.call_file] if 0 <= function.call_file < len(files) else "?"
        line = SourceLine.of(file, function.call_line) if function.call_line else None
    return SourcePlace(line, functions[-1].name, tuple(inlined))
