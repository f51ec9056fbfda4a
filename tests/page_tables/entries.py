"""A second, plain way to an entry, for tests that look at one or damage it."""

from kev.page_tables.table import PageTable


def entry_location(table: PageTable, gpa: int, level: int) -> int:
    """The host-physical address of the entry for `gpa` at `level`, whose upper levels must be tables."""
    location = table.root + (gpa >> 39 & 511) * 8
    for shift in (30, 21, 12)[: 4 - level]:
        location = (table.memory.words[location >> 3] & 0x000F_FFFF_FFFF_F000) + (gpa >> shift & 511) * 8
    return location
