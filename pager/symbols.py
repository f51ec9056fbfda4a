"""The names of a kernel's addresses."""

import io
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter, itemgetter
from typing import Final, Self

import attrs

from kev.addressing import Gva
from kev.errors import KevError
from kev.pager.errors import ImageError
from kev.pager.source import SynchronousSource, read_exactly
from kev.pager.stream import SourceStream

_ELF32_SYM: Final = struct.Struct("<3I2BH")
_ELF32_ORDER: Final = itemgetter(0, 3, 5, 1, 2)
_ELF64_SYM: Final = struct.Struct("<I2BH2Q")
_ELF64_ORDER: Final = itemgetter(0, 1, 3, 4, 5)
"""The places of st_name, st_info, st_shndx, st_value and st_size."""
_NAMED_TYPES: Final = frozenset({0, 1, 2})
"""STT_NOTYPE, STT_OBJECT and STT_FUNC: what names code or data."""
_NOT_ADDRESSES: Final = frozenset({0, 0xFFF1})
"""SHN_UNDEF and SHN_ABS."""
_SMALLEST_SECTION_HEADER: Final = 40
"""Bytes, in a 32-bit file."""
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


class SymbolTable:
    """The symbols of a kernel that name code or data, in the order of their addresses."""

    __slots__ = ("_addresses", "_symbols")

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        self._symbols: Final = sorted(symbols, key=_BY_ADDRESS)
        self._addresses: Final = [symbol.address for symbol in self._symbols]

    @classmethod
    def from_elf(cls, source: SynchronousSource) -> Self:
        """Reads the first section of type SHT_SYMTAB; empty if there is none. ImageError if it or the way to it is damaged."""
        sections = _symbol_sections(source)
        if sections is None:
            return cls(())
        bits, symbols, names = sections
        return cls(_parse(bits, symbols, names))

    def at(self, address: int) -> tuple[Symbol, int] | None:
        """The symbol that `address` belongs to, and how many bytes it lies behind the symbol's beginning.

        Of symbols around it, the one that begins last; of those for the same bytes, the last in the file. One whose size is not
        known reaches to the next.
        """
        index = bisect_right(self._addresses, address)
        for symbol in reversed(self._symbols[max(0, index - _NEAREST) : index]):
            offset = address - symbol.address
            if offset < symbol.size or (not symbol.size and symbol is self._symbols[index - 1]):
                return symbol, offset
        return None

    def __len__(self) -> int:
        return len(self._symbols)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._symbols)


def _symbol_sections(source: SynchronousSource) -> tuple[int, bytes, bytes] | None:
    """The ELF class in bits, the symbol table's bytes and those of its string table."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    try:
        elf = ELFFile(io.BufferedReader(SourceStream(source)))
        count = elf.num_sections()
        if count > source.size // _SMALLEST_SECTION_HEADER:
            raise ImageError(f"{source.name}: {count} section headers do not fit into a file of {source.size:#x} bytes")
        for section in elf.iter_sections("SHT_SYMTAB"):
            if isinstance(section, SymbolTableSection):
                return elf.elfclass, _contents(source, section.header), _contents(source, section.stringtable.header)
    except KevError:
        raise
    # Whatever a damaged file makes pyelftools raise: its own errors, construct's, or a plain KeyError.
    except Exception as error:
        raise ImageError(f"{source.name}: the section headers are damaged: {error}") from error
    return None


def _contents(source: SynchronousSource, header: Mapping[str, int]) -> bytes:
    offset, size = header["sh_offset"], header["sh_size"]
    if offset + size > source.size:
        raise ImageError(f"{source.name}: sh_offset {offset:#x} + sh_size {size:#x} exceeds the file's size {source.size:#x}")
    data = bytearray(size)
    read_exactly(source, offset, memoryview(data))
    return bytes(data)


def _parse(bits: int, table: bytes, names: bytes) -> Iterator[Symbol]:
    entry = _ELF32_SYM if bits == 32 else _ELF64_SYM
    for fields in entry.iter_unpack(table[: len(table) - len(table) % entry.size]):
        name, info, section, value, size = _ELF32_ORDER(fields) if bits == 32 else _ELF64_ORDER(fields)
        if info & 0xF in _NAMED_TYPES and section not in _NOT_ADDRESSES and (text := _string(names, name)):
            yield Symbol(Gva(value), size, text)


def _string(names: bytes, offset: int) -> str:
    end = names.find(b"\0", offset)
    return names[offset : end if end >= 0 else None].decode("utf-8", "replace")
