"""Compile units: which one the code at an address belongs to, and which functions were inlined there (DWARF 5, chapter 3)."""

import io
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import attrs

from kev.postmortem.cursor import Cursor
from kev.postmortem.errors import DamagedDebugInformation
from kev.postmortem.sections import DebugSections

_SECTIONS: Final = ("info", "abbrev", "str", "ranges", "addr", "str_offsets", "line_str", "rnglists")
_NO_SECTIONS: Final = (
    *("debug_aranges", "debug_frame", "eh_frame", "debug_loc", "debug_line", "debug_pubtypes", "debug_pubnames"),
    *("debug_loclists", "debug_sup", "gnu_debugaltlink", "debug_types"),
)
_MOST_ENTRIES: Final = 100_000
"""Of one unit, in the search for inlined functions."""
_MOST_ORIGINS: Final = 8
_FUNCTION: Final = "DW_TAG_subprogram"
_INLINED: Final = "DW_TAG_inlined_subroutine"


@attrs.frozen(slots=True)
class FunctionAt:
    """A function that an address lies in."""

    name: str
    call_file: int = 0
    """Where it was inlined, an index of the line program's files; 0 and line 0 of the function that everything is in."""
    call_line: int = 0


class CompileUnits:
    """The units of `.debug_info`. What is damaged of them is not found; nothing raises."""

    def __init__(self, sections: DebugSections) -> None:
        self._sections: Final = sections
        self._information: Final = open_information(sections)
        self._ranges: Final[list[tuple[range, Any]]] = []
        """Of the units that were looked at."""
        self._rest: Final[Iterator[Any]] = iter(()) if self._information is None else self._information.iter_CUs()
        self._by_address: list[tuple[range, int]] | None = None
        """What .debug_aranges says: where in .debug_info the unit of some addresses is."""

    def at(self, address: int) -> Any:
        """The unit that an address belongs to, None if there is none: a `CompileUnit` of pyelftools."""
        try:
            return self._at(address)
        # Whatever damaged units make pyelftools raise: its own errors, construct's, or a plain KeyError.
        except Exception as error:
            self._note(error)
            return None

    def line_program(self, unit: Any) -> int | None:
        """Where in .debug_line its line program is; None if it has none."""
        try:
            attribute = unit.get_top_DIE().attributes.get("DW_AT_stmt_list")
        # As above.
        except Exception as error:
            self._note(error)
            return None
        return attribute.value if attribute is not None and isinstance(attribute.value, int) else None

    def functions(self, unit: Any, address: int) -> list[FunctionAt]:
        """The functions of `unit` that the code at `address` was compiled from: the innermost of those inlined first."""
        found: list[FunctionAt] = []
        try:
            for entry in islice(_entries(unit, address), _MOST_ENTRIES):
                if entry.tag in (_FUNCTION, _INLINED) and _contains(entry, address):
                    found.insert(0, _function(entry))
        # As above.
        except Exception as error:
            self._note(error)
        return found

    def _note(self, error: Exception) -> None:
        self._sections.note(f"debug information is damaged: {error or type(error).__name__}")

    def _at(self, address: int) -> Any:
        if self._information is None:
            return None
        if self._by_address is None:
            self._by_address = _address_ranges(self._sections)
            self._by_address.sort(key=_begin)
        index = bisect_right(self._by_address, address, key=_begin) - 1
        if index >= 0 and address in self._by_address[index][0]:
            return self._information.get_CU_at(self._by_address[index][1])
        for addresses, unit in self._ranges:
            if address in addresses:
                return unit
        for unit in self._rest:
            ranges = _ranges(unit.get_top_DIE())
            self._ranges.extend((addresses, unit) for addresses in ranges)
            if any(address in addresses for addresses in ranges):
                return unit
        return None


def _begin(item: tuple[range, int]) -> int:
    return item[0].start


def open_information(sections: DebugSections) -> Any:
    """What pyelftools reads units with; None if there are none."""
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

    descriptors = {f"{name}_sec": None for name in _NO_SECTIONS}
    for name in _SECTIONS:
        data = sections.get(f".debug_{name}")
        descriptor = None if data is None else DebugSectionDescriptor(io.BytesIO(data), f".debug_{name}", 0, len(data), 0)
        descriptors[f"debug_{name}_sec"] = descriptor
    if descriptors["debug_info_sec"] is None or descriptors["debug_abbrev_sec"] is None:
        return None
    config = DwarfConfig(True, "x86" if sections.bits == 32 else "x64", sections.bits // 8)
    return DWARFInfo(config=config, **descriptors)


def _address_ranges(sections: DebugSections) -> list[tuple[range, int]]:
    """.debug_aranges, as far as it is as it should be (DWARF 5, section 6.1.2)."""
    section = sections.get(".debug_aranges")
    found: list[tuple[range, int]] = []
    if section is None:
        return found
    cursor = Cursor(section)
    try:
        while cursor.position < cursor.end:
            begin = cursor.position
            unit, offset_size = cursor.unit()
            version, offset, size, selector = unit.unsigned(2), unit.unsigned(offset_size), unit.unsigned(1), unit.unsigned(1)
            if version != 2 or size not in (4, 8) or selector:
                continue
            unit.take(-(unit.position - begin) % (2 * size))
            while unit.position < unit.end:
                address, length = unit.unsigned(size), unit.unsigned(size)
                if length:
                    found.append((range(address, address + length), offset))
    except DamagedDebugInformation as error:
        sections.note(f"debug information is damaged: .debug_aranges: {error}")
    return found


def _entries(unit: Any, address: int) -> Iterator[Any]:
    """The entries of a unit in their order, without what is in functions that `address` does not lie in."""
    from elftools.dwarf.die import DIE

    top = unit.get_top_DIE()
    position, end = top.offset + top.size, unit.cu_offset + unit.size
    while position < end:
        entry = DIE(unit, top.stream, position)
        following = entry.offset + entry.size
        yield entry
        sibling = entry.attributes.get("DW_AT_sibling")
        if sibling is not None and not (entry.tag in (_FUNCTION, _INLINED, "DW_TAG_lexical_block") and _contains(entry, address)):
            # References to siblings are into the unit.
            following = max(following, unit.cu_offset + sibling.raw_value)
        position = following


def _contains(entry: Any, address: int) -> bool:
    return any(address in addresses for addresses in _ranges(entry))


def _ranges(entry: Any) -> list[range]:
    """The addresses of an entry."""
    attributes = entry.attributes
    low, high = attributes.get("DW_AT_low_pc"), attributes.get("DW_AT_high_pc")
    if low is not None and high is not None:
        # A constant is a length, whatever is no constant an address.
        end = high.value if high.form.startswith("DW_FORM_addr") else low.value + high.value
        return [range(low.value, end)]
    ranges = attributes.get("DW_AT_ranges")
    if ranges is None:
        return []
    return list(_range_list(entry, ranges.value))


def _range_list(entry: Any, offset: int) -> Iterator[range]:
    from elftools.dwarf.ranges import BaseAddressEntry

    unit = entry.cu
    lists = unit.dwarfinfo.range_lists()
    low = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
    base = 0 if low is None else low.value
    for item in lists.get_range_list_at_offset(offset, cu=unit):
        if isinstance(item, BaseAddressEntry):
            base = item.base_address
        else:
            start = 0 if item.is_absolute else base
            yield range(start + item.begin_offset, start + item.end_offset)


def _function(entry: Any) -> FunctionAt:
    file, line = entry.attributes.get("DW_AT_call_file"), entry.attributes.get("DW_AT_call_line")
    return FunctionAt(_name(entry), 0 if file is None else file.value, 0 if line is None else line.value)


def _name(entry: Any) -> str:
    for _ in range(_MOST_ORIGINS):
        name = entry.attributes.get("DW_AT_name")
        if name is not None:
            return name.value.decode("utf-8", "replace") if isinstance(name.value, bytes) else "?"
        origin = next((key for key in ("DW_AT_abstract_origin", "DW_AT_specification") if key in entry.attributes), None)
        if origin is None:
            break
        entry = entry.get_DIE_from_attribute(origin)
    return "?"
