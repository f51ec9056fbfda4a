"""Whether a nested page table is well-formed, and whether it says what it was meant to say."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import attrs

from kev.addressing import Gpa, Hpa
from kev.page_tables.format import ADDRESS_MASK, ENTRY_NAMES, LEVELS, is_leaf, level_shift, unprotected
from kev.page_tables.mapping import MappedRange, Permissions
from kev.page_tables.table import PageTable

_ROOT: Final = 0  # no entry lies in page 0


@attrs.frozen(slots=True)
class Finding:
    """One thing that is wrong with one entry."""

    format: str
    level: int
    gpa: Gpa
    """The first guest-physical address that the entry is for."""
    location: Hpa
    """Where the entry lies."""
    entry: int
    problem: str

    def __str__(self) -> str:
        name = f"{self.format} {ENTRY_NAMES[self.level]}"
        return f"{name} {self.entry:#018x} at {self.location:#x}, for guest-physical {self.gpa:#x}: {self.problem}"


@attrs.frozen(slots=True)
class Difference:
    """Consecutive guest-physical addresses at which a table does not say what was intended."""

    gpa: Gpa
    length: int
    """In bytes."""
    intended: MappedRange | None
    """What these addresses should be, or None if they should not be mapped."""
    found: MappedRange | None

    def __str__(self) -> str:
        if self.intended is None:
            return f"mapped, though not intended: {self.found}"
        if self.found is None:
            return f"not mapped: {self.intended}"
        return f"intended {self.intended}, found {self.found}"


def audit(table: PageTable, host_limit: int | None = None) -> list[Finding]:
    """Every wrong entry of a table, in the order of guest-physical addresses; none if it is well-formed.

    Checked are reserved bits, encodings that the CPU refuses, the alignment of large pages, tables that lie outside host-physical
    memory, are shared, empty or permit less than everything, and pages that reach beyond `host_limit`, if one is given.
    """
    return list(_Auditor(table, host_limit).findings(table.root, LEVELS, 0))


def differences(table: PageTable, intended: Iterable[MappedRange]) -> list[Difference]:
    """Where a table differs from the disjoint ranges it was meant to map, page sizes included, in the order of addresses."""
    wanted = sorted(intended, key=_start)
    found = list(table.ranges())
    boundaries = sorted({edge for mapped in (*wanted, *found) for edge in (mapped.gpa, mapped.end)})
    result = []
    for start, end in pairwise(boundaries):
        want, have = _part(wanted, start, end), _part(found, start, end)
        if want != have:
            result.append(Difference(start, end - start, want, have))
    return result


def _start(mapped: MappedRange) -> int:
    return mapped.gpa


def _part(ranges: Sequence[MappedRange], start: int, end: int) -> MappedRange | None:
    """What sorted ranges say of [start, end), which none of them covers only in part."""
    position = bisect_right(ranges, start, key=_start) - 1
    if position < 0 or ranges[position].end <= start:
        return None
    return ranges[position].part(start, end)


class _Auditor:
    """Walks a table that may be damaged: follows no pointer out of memory, and none twice."""

    def __init__(self, table: PageTable, host_limit: int | None) -> None:
        self._memory = table.memory
        self._format = table.format
        self._host_limit = host_limit
        self._owners: dict[int, int] = {table.root: _ROOT}  # where the entry lies that points to each table

    def findings(self, table: int, level: int, base: int) -> Iterator[Finding]:
        """What is wrong in the table at `table`, which begins at the guest-physical address `base`, and below it."""
        entries = self._memory.words[table >> 3 : (table >> 3) + 512].tolist()
        for index, entry in enumerate(entries):
            if not entry & self._format.present:
                continue
            gpa = base + (index << level_shift(level))
            location = table + 8 * index
            for problem in self._problems(entry, level, location):
                yield Finding(self._format.name, level, Gpa(gpa), Hpa(location), entry, problem)
            if not is_leaf(entry, level) and self._owners.get(entry & ADDRESS_MASK) == location:
                yield from self.findings(entry & ADDRESS_MASK, level - 1, gpa)

    def _problems(self, entry: int, level: int, location: int) -> Iterator[str]:
        yield from self._format.problems(entry, level)
        if is_leaf(entry, level):
            yield from self._page_problems(entry, level)
        else:
            yield from self._table_problems(entry, location)

    def _page_problems(self, entry: int, level: int) -> Iterator[str]:
        end = (entry & ADDRESS_MASK) + (1 << level_shift(level))
        if self._host_limit is not None and end > self._host_limit:
            yield f"its page ends at {end:#x}, beyond the limit of {self._host_limit:#x}"

    def _table_problems(self, entry: int, location: int) -> Iterator[str]:
        table = entry & ADDRESS_MASK
        if self._format.permission_bits(unprotected(entry)) != Permissions.RWX:
            yield "it permits less than everything, for every page below it"
        if not 0 < table < self._memory.size:
            yield f"its table at {table:#x} is outside host memory of {self._memory.size:#x} bytes"
        elif table in self._owners:
            owner = self._owners[table]
            yield f"its table at {table:#x} is already " + ("the root" if owner == _ROOT else f"that of the entry at {owner:#x}")
        else:
            self._owners[table] = location
            if not any(word & self._format.present for word in self._memory.words[table >> 3 : (table >> 3) + 512].tolist()):
                yield f"its table at {table:#x} is empty"
