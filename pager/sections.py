"""The sections of a kernel that are in memory when it runs, as its linker named them."""

import attrs

from kev.addressing import Gva
from kev.errors import printable
from kev.pager.section_headers import SHF_ALLOC, read_section_headers
from kev.pager.source import SynchronousSource


@attrs.frozen(slots=True)
class Section:
    """A named part of a segment. Bytes."""

    name: str
    address: Gva
    size: int


def sections(source: SynchronousSource) -> list[Section]:
    """The sections with the flag SHF_ALLOC, in the order of their headers. ImageError if those are damaged."""
    table = read_section_headers(source)
    allocated = (header for header in table.headers if header.flags & SHF_ALLOC)
    return [Section(printable(table.name(header)), Gva(header.address), header.size) for header in allocated]
