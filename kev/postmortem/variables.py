"""Variables by address, from an image's symbols and debug information: `accounts[1].balance.cents (long in struct money)`."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import attrs

from kev.postmortem.places import Places
from kev.postmortem.types import Leaf, leaf_of
from kev.postmortem.units import open_information

_MOST_ENTRIES: Final = 200_000
"""Of one unit, in the search for a variable."""
_ADDRESS: Final = 0x03  # DW_OP_addr
_ADDRESS_INDEX: Final = 0xA1  # DW_OP_addrx


@attrs.frozen(slots=True)
class Variable:
    """What lies at an address, as far as an image says."""

    address: int
    """Guest-physical."""
    name: str | None = None
    """`lock`, `accounts[1].balance.cents`, or with no more than a symbol `accounts+0x48`."""
    type: str | None = None
    """`uint32_t`."""
    owner: str | None = None
    """The structure that it is a member of: `struct money`."""

    @property
    def details(self) -> str:
        """`long in struct money`; empty if nothing is known."""
        return " in ".join(filter(None, (self.type, self.owner)))

    def __str__(self) -> str:
        if self.name is None:
            return f"{self.address:#x}"
        details = f" ({self.details})" if self.details else ""
        return f"{self.name}{details} at {self.address:#x}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"address": self.address, "name": self.name, "type": self.type, "struct": self.owner}


class Variables:
    """Names what lies in a guest's memory. Debug information that is damaged, or says nothing of a variable, costs details."""

    def __init__(self, places: Places) -> None:
        self._places: Final = places
        self._entries: Final[dict[tuple[str, int], Any]] = {}
        self._information: Any = None
        self._is_open = False

    def at(self, gpa: int, size: int = 1) -> Variable:
        """What an access of `size` bytes at a guest-physical address is to."""
        place = self._places.at(gpa, gpa)
        if place.function is None or place.offset is None:
            return Variable(gpa)
        symbol, offset = place.function, place.offset
        plain = f"{symbol}+{offset:#x}" if offset else symbol
        linked = self._places.linked_at(gpa, gpa)
        if linked is None:
            return Variable(gpa, plain)
        try:
            leaf = self._leaf(symbol, linked - offset, offset, size)
        # Whatever damaged entries make pyelftools raise: its own errors, construct's, or a plain KeyError.
        except Exception as error:
            self._places.lines.sections.note(f"debug information is damaged: {error or type(error).__name__}")
            leaf = None
        return Variable(gpa, plain) if leaf is None else Variable(gpa, f"{symbol}{leaf.path}", leaf.type, leaf.owner)

    def _leaf(self, symbol: str, address: int, offset: int, size: int) -> Leaf | None:
        key = symbol, address
        if key not in self._entries:
            self._entries[key] = next(self._find(symbol, address), None)
        entry = self._entries[key]
        return None if entry is None else leaf_of(entry, offset, size)

    def _find(self, symbol: str, address: int) -> Iterator[Any]:
        """The entry of the variable that begins at an address: only units that mention it are read."""
        if not self._is_open:
            self._is_open = True
            self._information = open_information(self._places.lines.sections)
        section = self._places.lines.sections.get(".debug_info")
        if self._information is None or section is None:
            return
        for unit in self._information.iter_CUs():
            expressions = self._expressions(unit, address)
            end = unit.cu_offset + unit.size
            if any(section.find(expression, unit.cu_offset, end) >= 0 for expression in expressions):
                yield from _variables(unit, expressions)

    def _expressions(self, unit: Any, address: int) -> list[bytes]:
        """The locations that say that a variable is at an address (DWARF 5, section 2.5)."""
        size = self._places.lines.sections.bits // 8
        expressions = [bytes([_ADDRESS]) + address.to_bytes(size, "little")]
        table = self._places.lines.sections.get(".debug_addr")
        if table is not None:
            base = unit.get_top_DIE().attributes.get("DW_AT_addr_base")
            found = -1 if base is None else table.find(address.to_bytes(size, "little"), base.value)
            if found >= 0 and (found - base.value) % size == 0:
                expressions.append(bytes([_ADDRESS_INDEX]) + _uleb128((found - base.value) // size))
        return expressions


def _variables(unit: Any, expressions: list[bytes]) -> Iterator[Any]:
    for entry in islice(unit.iter_DIEs(), _MOST_ENTRIES):
        location = entry.attributes.get("DW_AT_location")
        located = entry.tag == "DW_TAG_variable" and location is not None and isinstance(location.value, list)
        if located and bytes(location.value) in expressions:
            yield entry


def _uleb128(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
