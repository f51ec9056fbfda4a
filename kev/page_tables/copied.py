"""Copies of page tables, in memory of their own, which stay as they are whatever becomes of the original."""

from collections.abc import Iterable
from typing import Final

from kev.addressing import GIB
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.identity import map_ranges
from kev.page_tables.mapping import MappedRange
from kev.page_tables.table import PageTable

_ROOM: Final = 8 * GIB
"""For tables: address space, of which what they need is used."""


def ept_of(ranges: Iterable[MappedRange]) -> PageTable:
    """Extended page tables that map disjoint ranges, as `PageTable.ranges` has them of tables in any format."""
    table = PageTable(HostMemory(_ROOM), EptFormat())
    map_ranges(table, ranges)
    return table
