"""Line number programs: which line of which file the code at an address comes from (DWARF 5, section 6.2; versions 2 to 5)."""

import posixpath
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from kev.postmortem.cursor import Cursor, string_at
from kev.postmortem.errors import DamagedDebugInformation
from kev.postmortem.sections import DebugSections

_ADDRESS_MASK: Final = (1 << 64) - 1
_PATH: Final = 1  # DW_LNCT_path
_DIRECTORY: Final = 2  # DW_LNCT_directory_index

# Standard opcodes.
_EXTENDED, _COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE = range(5)
_CONST_ADD_PC: Final = 8
_FIXED_ADVANCE_PC: Final = 9
# Extended opcodes.
_END_SEQUENCE, _SET_ADDRESS, _DEFINE_FILE = range(1, 4)

_FORM_SIZES: Final = {0x1E: 16, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4}
"""DW_FORM_data16 and strx1 to 4: so many bytes."""
_FORM_NUMBERS: Final = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8}
"""DW_FORM_data1, 2, 4 and 8."""
_FORM_STRING: Final = 0x08
_FORM_BLOCK: Final = 0x09
_FORM_STRP: Final = 0x0E
_FORM_UDATA: Final = 0x0F
_FORM_STRX: Final = 0x1A
_FORM_LINE_STRP: Final = 0x1F


class _Header(NamedTuple):
    """What the opcodes of a program mean, and the files that it names."""

    instruction_length: int
    line_base: int
    line_range: int
    opcode_base: int
    operands: bytes
    """How many each standard opcode has, from opcode 1 on."""
    first_file: int
    files: list[str]


class LineRow(NamedTuple):
    """From `address` on, the code comes from this line; or, where `file` is None, what is known ends."""

    address: int
    file: str | None
    line: int


class LineTable:
    """The rows of one or several programs."""

    __slots__ = ("_addresses", "rows")

    def __init__(self, rows: list[LineRow]) -> None:
        # Where one sequence ends another may begin: the beginning counts. Of rows at one address the last does.
        rows.sort(key=lambda row: (row.address, row.file is not None))
        self.rows: Final = rows
        self._addresses: Final = [row.address for row in rows]

    def at(self, address: int) -> LineRow | None:
        index = bisect_right(self._addresses, address) - 1
        row = self.rows[index] if index >= 0 else None
        return None if row is None or row.file is None else row


def line_table(sections: DebugSections, offset: int) -> tuple[LineTable, list[str], int]:
    """The table of the program at `offset` of .debug_line; its files as paths, 0 first; the next program's offset.

    A program that is damaged is read as far as it goes. DamagedDebugInformation if its header is.
    """
    section = sections.get(".debug_line")
    if section is None or offset >= len(section):
        raise DamagedDebugInformation(f"there is no line program at {offset:#x}")
    all_units = Cursor(section, offset)
    unit, offset_size = all_units.unit()
    header = _read_header(unit, offset_size, sections)
    rows: list[LineRow] = []
    try:
        rows.extend(_rows(unit, header))
    except DamagedDebugInformation as error:
        sections.note(f"line numbers are damaged: {error}")
    files = header.files if header.first_file == 0 else ["", *header.files]
    return LineTable(rows), files, all_units.position


def _read_header(unit: Cursor, offset_size: int, sections: DebugSections) -> _Header:
    version = unit.unsigned(2)
    if not 2 <= version <= 5:
        raise DamagedDebugInformation(f"a line program has version {version}, not 2 to 5")
    if version == 5:
        unit.take(2)  # address_size, segment_selector_size
    length = unit.unsigned(offset_size)
    program = unit.position + length
    instruction_length = unit.unsigned(1)
    unit.take(1 if version < 4 else 2)  # maximum_operations_per_instruction, default_is_stmt
    line_base, line_range, opcode_base = unit.signed(1), unit.unsigned(1), unit.unsigned(1)
    if not line_range or not opcode_base:
        raise DamagedDebugInformation(f"a line program has line_range {line_range} and opcode_base {opcode_base}")
    operands = unit.take(opcode_base - 1)
    files = _old_files(unit) if version < 5 else _files(unit, offset_size, sections)
    if program > unit.end:
        raise DamagedDebugInformation(f"a line program begins at {program:#x}, behind its end {unit.end:#x}")
    unit.position = program
    return _Header(instruction_length, line_base, line_range, opcode_base, operands, int(version < 5), files)


def _old_files(unit: Cursor) -> list[str]:
    """Up to version 4: strings, directories first, each list with an empty string behind it. Directory 0 is the unit's."""
    directories = [""]
    while directory := unit.string():
        directories.append(directory)
    files = []
    while name := unit.string():
        files.append(_path(name, directories, unit.uleb128()))
        unit.uleb128()  # its time
        unit.uleb128()  # its length
    return files


def _files(unit: Cursor, offset_size: int, sections: DebugSections) -> list[str]:
    """In version 5: tables that say of what their entries consist, that of directories first."""
    directories = [path for path, _ in _entries(unit, offset_size, sections)]
    return [_path(name, directories, directory) for name, directory in _entries(unit, offset_size, sections)]


def _path(name: str, directories: list[str], index: int) -> str:
    """Of a file in a directory, which may be relative to the first one."""
    inside = posixpath.join(directories[0], directories[index]) if 0 <= index < len(directories) else ""
    return posixpath.join(inside, name)


def _entries(unit: Cursor, offset_size: int, sections: DebugSections) -> Iterator[tuple[str, int]]:
    """The paths of a table, and the numbers of their directories."""
    formats = [(unit.uleb128(), unit.uleb128()) for _ in range(unit.unsigned(1))]
    count = unit.uleb128()
    if count and not formats:
        raise DamagedDebugInformation(f"a table of {count} entries does not say of what they consist")
    for _ in range(count):
        path, directory = "?", 0
        for content, form in formats:
            value = _form(unit, form, offset_size, sections)
            if content == _PATH and isinstance(value, str):
                path = value
            elif content == _DIRECTORY and isinstance(value, int):
                directory = value
        yield path, directory


def _form(unit: Cursor, form: int, offset_size: int, sections: DebugSections) -> str | int:
    """Passes a value. It is returned if it is a string or a number, else "?": an index into .debug_str_offsets is not followed."""
    if form == _FORM_STRING:
        return unit.string()
    if form in (_FORM_LINE_STRP, _FORM_STRP):
        strings = sections.get(".debug_line_str" if form == _FORM_LINE_STRP else ".debug_str")
        return string_at(strings, unit.unsigned(offset_size))
    if form in _FORM_SIZES:
        unit.take(_FORM_SIZES[form])
    elif form in _FORM_NUMBERS:
        return unit.unsigned(_FORM_NUMBERS[form])
    elif form == _FORM_UDATA:
        return unit.uleb128()
    elif form == _FORM_STRX:
        unit.uleb128()
    elif form == _FORM_BLOCK:
        unit.take(unit.uleb128())
    else:
        raise DamagedDebugInformation(f"a line program has a value of form {form:#x}")
    return "?"


def _rows(unit: Cursor, header: _Header) -> Iterator[LineRow]:
    """Executes a program."""
    files, first_file = header.files, header.first_file
    address, file, line = 0, 1, 1
    while unit.position < unit.end:
        opcode = unit.unsigned(1)
        if opcode >= header.opcode_base:
            advance, step = divmod(opcode - header.opcode_base, header.line_range)
            address = address + advance * header.instruction_length & _ADDRESS_MASK
            line += header.line_base + step
            yield LineRow(address, _name(files, file - first_file), line)
        elif opcode == _EXTENDED:
            length = unit.uleb128()
            operands = Cursor(unit.data, unit.position, unit.position + length)
            unit.take(length)
            extended = operands.unsigned(1) if length else 0
            if extended == _END_SEQUENCE:
                yield LineRow(address, None, 0)
                address, file, line = 0, 1, 1
            elif extended == _SET_ADDRESS:
                address = operands.unsigned(min(length - 1, 8))
            elif extended == _DEFINE_FILE:
                files.append(operands.string())
        elif opcode == _COPY:
            yield LineRow(address, _name(files, file - first_file), line)
        elif opcode == _ADVANCE_PC:
            address = address + unit.uleb128() * header.instruction_length & _ADDRESS_MASK
        elif opcode == _ADVANCE_LINE:
            line += unit.sleb128()
        elif opcode == _SET_FILE:
            file = unit.uleb128()
        elif opcode == _CONST_ADD_PC:
            advance = (255 - header.opcode_base) // header.line_range
            address = address + advance * header.instruction_length & _ADDRESS_MASK
        elif opcode == _FIXED_ADVANCE_PC:
            address = address + unit.unsigned(2) & _ADDRESS_MASK
        else:
            for _ in range(header.operands[opcode - 1]):
                unit.uleb128()


def _name(files: list[str], index: int) -> str:
    return files[index] if 0 <= index < len(files) else "?"
