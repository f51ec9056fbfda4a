"""The names of a kernel's addresses."""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Final, Self

import attrs

from kev.addressing import Gva
from kev.errors import printable
from kev.pager.errors import ImageError
from kev.pager.section_headers import SHT_SYMTAB, SectionHeader, read_section_headers, string_at
from kev.pager.source import SynchronousSource

_ELF32_SYM: Final = struct.Struct("<3I2BH")
_ELF32_ORDER: Final = itemgetter(0, 3, 5, 1, 2)
_ELF64_SYM: Final = struct.Struct("<I2BH2Q")
_ELF64_ORDER: Final = itemgetter(0, 1, 3, 4, 5)
"""The places of st_name, st_info, st_shndx, st_value and st_size."""
_NAMED_TYPES: Final = frozenset({0, 1, 2})
"""STT_NOTYPE, STT_OBJECT and STT_FUNC: what names code or data."""
_NOT_ADDRESSES: Final = frozenset({0, 0xFFF1})
"""SHN_UNDEF and SHN_ABS."""
MOST_SYMBOLS: Final = 1 << 19
"""That are read of a file: twice as many as the largest kernels have."""
_BY_ADDRESS: Final = attrgetter("address", "size")
"""Symbols of the same bytes stay in the order of the file, where global ones follow local ones (System V ABI, "Symbol Table")."""
_NEAREST: Final = 32
"""How many symbols before an address may be in one that encloses them."""


@attrs.frozen(slots=True, order=True)
class Symbol:
    """A name for the `size` bytes from `address` on; `size` is 0 where the file does not say."""

    address: Gva
    size: int
    name: str
    section_end: int | None = None
    """Of a symbol without a size: the first address behind its section, if it lies in that."""

    def encloses(self, address: int, *, nearest: bool) -> bool:
        """Whether an address behind its beginning belongs to it. `nearest`: no other symbol begins in between."""
        if self.size:
            return address < self.address + self.size
        return nearest and (self.section_end is None or address < self.section_end or address == self.address)


class SymbolTable:
    """The symbols of a kernel that name code or data, in the order of their addresses."""

    __slots__ = ("_addresses", "_symbols")

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        self._symbols: Final = sorted(symbols, key=_BY_ADDRESS)
        self._addresses: Final = [symbol.address for symbol in self._symbols]

    @classmethod
    def from_elf(cls, source: SynchronousSource) -> Self:
        """Reads the first section of type SHT_SYMTAB; empty if there is none. ImageError if it or the way to it is damaged.

        Of a table with more than `MOST_SYMBOLS`, the first ones are read.
        """
        sections = read_section_headers(source)
        found = next((header for header in sections.headers if header.type == SHT_SYMTAB), None)
        if found is None:
            return cls(())
        if found.link >= len(sections.headers):
            raise ImageError(f"{source.name}: sh_link of the symbol table is {found.link}, of {len(sections.headers)} sections")
        entry = _ELF32_SYM if sections.bits == 32 else _ELF64_SYM
        if found.entry_size != entry.size:
            raise ImageError(f"{source.name}: sh_entsize of the symbol table is {found.entry_size}, not {entry.size}")
        symbols = sections.contents(found, MOST_SYMBOLS * entry.size)
        names = sections.contents(sections.headers[found.link])
        return cls(_parse(sections.bits, symbols, names, sections.headers))

    def at(self, address: int) -> tuple[Symbol, int] | None:
        """The symbol that `address` belongs to, and how many bytes it lies behind the symbol's beginning.

        Of symbols around it, the one that begins last; of those for the same bytes, the last in the file. One whose size is not
        known reaches to the next, or to the end of its section.
        """
        index = bisect_right(self._addresses, address)
        for symbol in reversed(self._symbols[max(0, index - _NEAREST) : index]):
            if symbol.encloses(address, nearest=symbol is self._symbols[index - 1]):
                return symbol, address - symbol.address
        return None

    def __len__(self) -> int:
        return len(self._symbols)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._symbols)


def _parse(bits: int, table: bytes, names: bytes, sections: Sequence[SectionHeader]) -> Iterator[Symbol]:
    entry = _ELF32_SYM if bits == 32 else _ELF64_SYM
    for fields in entry.iter_unpack(table[: len(table) - len(table) % entry.size]):
        name, info, section, value, size = _ELF32_ORDER(fields) if bits == 32 else _ELF64_ORDER(fields)
        if info & 0xF in _NAMED_TYPES and section not in _NOT_ADDRESSES and (text := string_at(names, name)):
            yield Symbol(Gva(value), size, printable(text), None if size else _section_end(sections, section, value))


def _section_end(sections: Sequence[SectionHeader], number: int, address: int) -> int | None:
    """Of the section with that number; None if `address` is not in it, as where a linker's script has moved a symbol."""
    if number >= len(sections):
        return None
    section = sections[number]
    end = section.address + section.size
    return end if section.address <= address <= end else None
