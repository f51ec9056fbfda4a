"""Numbers that a guest's image tells, as absolute symbols."""

import io

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kev.guests.images import open_root_file_system


def read_constant(guest: str, name: str) -> int:
    """The value of the symbol `name` of one of kev's guests. LookupError if it has none."""
    with open_root_file_system() as files:
        symbols = ELFFile(io.BytesIO(files.open(guest).read())).get_section_by_name(".symtab")
    if isinstance(symbols, SymbolTableSection):
        for symbol in symbols.get_symbol_by_name(name) or ():
            return int(symbol["st_value"])
    raise LookupError(f"{guest} has no symbol {name}")
