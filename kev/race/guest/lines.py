"""Lines of source code by address, from an image's debug information (DWARF, section .debug_line)."""

from bisect import bisect_right
from io import BytesIO
from os.path import basename
from typing import Any, Final


class SourceLines:
    """`main.c:12` for addresses that the compiler says this of."""

    def __init__(self, image: bytes) -> None:
        """Reads an ELF file; of one without debug information, or whose debug information is damaged, nothing is known."""
        rows = sorted(_rows(image))
        self._addresses: Final = [address for address, _ in rows]
        self._places: Final = [place for _, place in rows]

    def at(self, address: int) -> str | None:
        index = bisect_right(self._addresses, address) - 1
        return self._places[index] if index >= 0 else None


def _rows(image: bytes) -> list[tuple[int, str | None]]:
    """Where the code of each line begins; None where what is known ends."""
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.elf.elffile import ELFFile

    try:
        file = ELFFile(BytesIO(image))
        if not file.has_dwarf_info():
            return []
        information = file.get_dwarf_info()
        return [row for unit in information.iter_CUs() for row in _rows_of(information.line_program_for_CU(unit))]
    except (ELFError, DWARFError, KeyError, ValueError):
        return []


def _rows_of(program: Any) -> list[tuple[int, str | None]]:
    """Those of one line program, of any version of DWARF."""
    if program is None:
        return []
    first = 0 if program.header.version >= 5 else 1
    names = [basename(entry.name.decode(errors="replace")) for entry in program["file_entry"]]
    states = [entry.state for entry in program.get_entries() if entry.state is not None]
    return [(state.address, None if state.end_sequence else f"{names[state.file - first]}:{state.line}") for state in states]
