"""Call frame information: where the caller's registers are, by the address of the code.

DWARF 5, section 6.4; for .eh_frame, the Linux Standard Base, "Exception Frames".
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

import attrs

from kev.postmortem.cursor import Cursor
from kev.postmortem.errors import DamagedDebugInformation
from kev.postmortem.sections import DebugSections

_MOST_INSTRUCTIONS: Final = 10_000

# Encodings of pointers: format in the low 4 bits, what they are relative to in bits 4-6.
_OMITTED: Final = 0xFF
_FORMATS: Final = {0x02: (2, False), 0x03: (4, False), 0x04: (8, False), 0x0A: (2, True), 0x0B: (4, True), 0x0C: (8, True)}
"""Size, and whether it has a sign."""
_ABSOLUTE: Final = 0x00
_ULEB128: Final = 0x01
_SLEB128: Final = 0x09
_RELATIVE_TO_ITSELF: Final = 0x10

_ADVANCE_LOC, _OFFSET, _RESTORE = 1, 2, 3
"""In the two highest bits of an instruction, with an operand in the others."""


class _Common(NamedTuple):
    """A common information entry."""

    code_alignment: int
    data_alignment: int
    return_register: int
    encoding: int
    augmented: bool
    signal: bool
    instructions: Cursor


class _Function(NamedTuple):
    """A frame description entry."""

    addresses: range
    common: _Common
    instructions: Cursor


@attrs.define(slots=True)
class FrameRule:
    """How a caller's registers are found at one address."""

    cfa_register: int = -1
    """DWARF's number; -1 if the canonical frame address is not a register and an offset."""
    cfa_offset: int = 0
    saved: dict[int, int] = attrs.field(factory=dict)
    """Registers that lie in memory, by their numbers: offsets from the canonical frame address."""
    lost: set[int] = attrs.field(factory=set)
    """Registers that cannot be found. What is neither is unchanged."""
    return_register: int = 0
    signal: bool = False
    """The frame is an interrupt's: what it returns to is the next instruction, not the one behind a call."""

    def copy(self) -> "FrameRule":
        return attrs.evolve(self, saved=dict(self.saved), lost=set(self.lost))


class UnwindTable:
    """The rules of .debug_frame and .eh_frame. What is damaged of them is not found; nothing raises."""

    def __init__(self, sections: DebugSections) -> None:
        self._sections: Final = sections
        functions = [function for name in (".debug_frame", ".eh_frame") for function in _functions(sections, name)]
        self._functions: Final = sorted(functions, key=lambda function: function.addresses.start)
        self._begins: Final = [function.addresses.start for function in self._functions]

    def at(self, address: int) -> FrameRule | None:
        """The rule for the code at an address, as it was linked; None if there is none."""
        index = bisect_right(self._begins, address) - 1
        if index < 0 or address not in self._functions[index].addresses:
            return None
        try:
            return _rule(self._functions[index], address)
        except DamagedDebugInformation as error:
            self._sections.note(f"call frame information is damaged: {error}")
            return None


def _functions(sections: DebugSections, name: str) -> Iterator[_Function]:
    section = sections.get(name)
    if section is None:
        return
    try:
        yield from _Reader(sections, section, name).functions()
    except DamagedDebugInformation as error:
        sections.note(f"call frame information is damaged: {error}")


class _Reader:
    """Reads the entries of one section."""

    def __init__(self, sections: DebugSections, section: bytes, name: str) -> None:
        self._sections: Final = sections
        self._section: Final = section
        self._address: Final = sections.address(name)
        self._pointer_size: Final = sections.bits // 8
        self._for_exceptions: Final = name == ".eh_frame"
        self._commons: Final[dict[int, _Common | None]] = {}

    def functions(self) -> Iterator[_Function]:
        entries = Cursor(self._section)
        while entries.position < entries.end:
            entry, offset_size = entries.unit()
            if entry.position == entry.end:
                continue  # in .eh_frame, the end of one object's entries
            try:
                common = self._common_of(entry, offset_size)
                if common is not None:
                    yield self._function(entry, common)
            except DamagedDebugInformation as error:
                self._sections.note(f"call frame information is damaged: {error}")

    def _common_of(self, entry: Cursor, offset_size: int) -> _Common | None:
        """Passes the reference to an entry's common entry, and reads that; None if it is one itself, or cannot be read."""
        at = entry.position
        reference = entry.unsigned(4 if self._for_exceptions else offset_size)
        if reference == (0 if self._for_exceptions else (1 << 8 * offset_size) - 1):
            return None
        place = at - reference if self._for_exceptions else reference
        if place not in self._commons:
            self._commons[place] = self._common(place)
        return self._commons[place]

    def _common(self, place: int) -> _Common | None:
        if not 0 <= place < len(self._section):
            raise DamagedDebugInformation(f"there is no common entry at {place:#x}")
        entry, offset_size = Cursor(self._section, place).unit()
        entry.take(4 if self._for_exceptions else offset_size)
        version, augmentation = entry.unsigned(1), entry.string()
        if version not in (1, 3, 4) or augmentation[:1] not in ("", "z"):
            return None
        if version == 4:
            entry.take(2)  # address_size, segment_selector_size
        code_alignment, data_alignment = entry.uleb128(), entry.sleb128()
        return_register = entry.unsigned(1) if version == 1 else entry.uleb128()
        encoding = _ABSOLUTE
        if augmentation:
            length = entry.uleb128()
            rest = entry.position + length
            encoding = self._encoding(entry, augmentation)
            entry.position = rest
        signal = "S" in augmentation
        return _Common(code_alignment, data_alignment, return_register, encoding, bool(augmentation), signal, entry)

    def _encoding(self, entry: Cursor, augmentation: str) -> int:
        """How pointers are written in the entries of functions."""
        for letter in augmentation[1:]:
            if letter == "R":
                return entry.unsigned(1)
            if letter == "P":
                self._pointer(entry, entry.unsigned(1))
            elif letter == "L":
                entry.take(1)
        return _ABSOLUTE

    def _function(self, entry: Cursor, common: _Common) -> _Function:
        begin = self._pointer(entry, common.encoding)
        length = self._pointer(entry, common.encoding & 0x0F)
        if common.augmented:
            entry.take(entry.uleb128())
        return _Function(range(begin, begin + length), common, entry)

    def _pointer(self, entry: Cursor, encoding: int) -> int:
        at = self._address + entry.position
        kind = encoding & 0x0F
        if encoding == _OMITTED:
            return 0
        if kind == _ABSOLUTE:
            value = entry.unsigned(self._pointer_size)
        elif kind in (_ULEB128, _SLEB128):
            value = entry.uleb128() if kind == _ULEB128 else entry.sleb128()
        elif kind in _FORMATS:
            size, has_sign = _FORMATS[kind]
            value = entry.signed(size) if has_sign else entry.unsigned(size)
        else:
            raise DamagedDebugInformation(f"a pointer has the encoding {encoding:#x}")
        relative = encoding & 0x70
        if relative == _RELATIVE_TO_ITSELF:
            value += at
        elif relative:
            raise DamagedDebugInformation(f"a pointer has the encoding {encoding:#x}")
        return value & (1 << 8 * self._pointer_size) - 1


def _rule(function: _Function, address: int) -> FrameRule:
    common = function.common
    rule = FrameRule(return_register=common.return_register, signal=common.signal)
    machine = _Machine(common, function.addresses.start, rule)
    machine.run(common.instructions, None)
    machine.initial = machine.rule.copy()
    machine.run(function.instructions, address)
    return machine.rule


class _Machine:
    """Executes the instructions of entries."""

    def __init__(self, common: _Common, begin: int, rule: FrameRule) -> None:
        self.rule = rule
        self.initial = rule
        self._common: Final = common
        self._location = begin
        self._remembered: Final[list[FrameRule]] = []

    def run(self, instructions: Cursor, address: int | None) -> None:
        """Up to the rule for `address`."""
        code = Cursor(instructions.data, instructions.position, instructions.end)
        for _ in range(_MOST_INSTRUCTIONS):
            if code.position >= code.end or (address is not None and self._location > address):
                return
            self._execute(code)

    def _execute(self, code: Cursor) -> None:
        byte = code.unsigned(1)
        high, low = byte >> 6, byte & 0x3F
        if high == _ADVANCE_LOC:
            self._location += low * self._common.code_alignment
        elif high == _OFFSET:
            self._save(low, code.uleb128() * self._common.data_alignment)
        elif high == _RESTORE:
            self._restore(low)
        elif low in _ADVANCES:
            self._location += code.unsigned(_ADVANCES[low]) * self._common.code_alignment
        else:
            self._execute_extended(low, code)

    def _execute_extended(self, opcode: int, code: Cursor) -> None:
        rule, factor = self.rule, self._common.data_alignment
        match opcode:
            case 0x00 | 0x2D:  # nop, GNU_window_save
                pass
            case 0x05:  # offset_extended
                self._save(code.uleb128(), code.uleb128() * factor)
            case 0x11:  # offset_extended_sf
                self._save(code.uleb128(), code.sleb128() * factor)
            case 0x06:  # restore_extended
                self._restore(code.uleb128())
            case 0x07:  # undefined
                self._lose(code.uleb128())
            case 0x08:  # same_value
                self._keep(code.uleb128())
            case 0x09 | 0x14 | 0x15:  # register, val_offset, val_offset_sf
                self._lose(code.uleb128())
                code.sleb128()
            case 0x0A:  # remember_state
                self._remembered.append(rule.copy())
            case 0x0B:  # restore_state
                if not self._remembered:
                    raise DamagedDebugInformation("a state is restored that was not remembered")
                self.rule = self._remembered.pop()
            case 0x0C:  # def_cfa
                rule.cfa_register, rule.cfa_offset = code.uleb128(), code.uleb128()
            case 0x12:  # def_cfa_sf
                rule.cfa_register, rule.cfa_offset = code.uleb128(), code.sleb128() * factor
            case 0x0D:  # def_cfa_register
                rule.cfa_register = code.uleb128()
            case 0x0E:  # def_cfa_offset
                rule.cfa_offset = code.uleb128()
            case 0x13:  # def_cfa_offset_sf
                rule.cfa_offset = code.sleb128() * factor
            case 0x0F:  # def_cfa_expression
                code.take(code.uleb128())
                rule.cfa_register = -1
            case 0x10 | 0x16:  # expression, val_expression
                self._lose(code.uleb128())
                code.take(code.uleb128())
            case 0x2E:  # GNU_args_size
                code.uleb128()
            case _:
                raise DamagedDebugInformation(f"there is no call frame instruction {opcode:#x}")

    def _save(self, register: int, offset: int) -> None:
        self.rule.saved[register] = offset
        self.rule.lost.discard(register)

    def _lose(self, register: int) -> None:
        self.rule.saved.pop(register, None)
        self.rule.lost.add(register)

    def _keep(self, register: int) -> None:
        self.rule.saved.pop(register, None)
        self.rule.lost.discard(register)

    def _restore(self, register: int) -> None:
        self._keep(register)
        if register in self.initial.saved:
            self.rule.saved[register] = self.initial.saved[register]
        elif register in self.initial.lost:
            self.rule.lost.add(register)


_ADVANCES: Final = {0x02: 1, 0x03: 2, 0x04: 4}
"""DW_CFA_advance_loc1, 2 and 4."""
