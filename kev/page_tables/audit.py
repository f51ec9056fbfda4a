"""Whether a nested page table is well-formed, whether its pages are what they may be, and whether it says what it was meant to say.

`audit` looks for all of that in a table that may be damaged anywhere: it follows no pointer out of memory, and none twice.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise
from typing import Final, NamedTuple

from kev.addressing import Gpa
from kev.page_tables.format import ADDRESS_MASK, ENTRY_NAMES, LEVELS, is_leaf, level_shift, unprotected
from kev.page_tables.identity import WholeMachine
from kev.page_tables.mapping import MappedRange, MemoryType, Permissions
from kev.page_tables.table import Leaf, PageTable, Run, equal_neighbours, merged

_ROOT: Final = 0  # no entry lies in page 0


class Kind(Enum):
    """What can be wrong."""

    ENTRY = "entry"
    """An entry is not as its format wants it: misconfigured, unaligned, or its table is none."""
    OVERLAP = "overlap"
    """Two guest-physical pages lead to the same host-physical memory."""
    DEVICE = "cacheable device"
    """A page of a device is not uncacheable."""
    HOLE = "hole"
    """Nothing is mapped where something was meant to be."""
    SURPLUS = "surplus"
    """Something is mapped where nothing was meant to be."""
    PLACE = "place"
    """A page leads elsewhere."""
    MEMORY_TYPE = "memory type"
    PERMISSIONS = "permissions"
    PAGE_SIZE = "page size"


class Finding(NamedTuple):
    """One thing that is wrong with some consecutive guest-physical addresses."""

    kind: Kind
    gpa: Gpa
    length: int
    """In bytes."""
    problem: str

    @property
    def end(self) -> Gpa:
        return Gpa(self.gpa + self.length)

    def __str__(self) -> str:
        return f"{self.gpa:#018x}-{self.end - 1:#018x}  {self.kind.value}: {self.problem}"


class Difference(NamedTuple):
    """Consecutive guest-physical addresses of which two tables say something else."""

    gpa: Gpa
    length: int
    """In bytes."""
    intended: MappedRange | None
    """What these addresses should be, or None if they should not be mapped."""
    found: MappedRange | None

    @property
    def kind(self) -> Kind:
        if self.found is None:
            return Kind.HOLE
        if self.intended is None:
            return Kind.SURPLUS
        if self.intended.memory_type is not self.found.memory_type:
            return Kind.DEVICE if self.intended.memory_type is MemoryType.UC else Kind.MEMORY_TYPE
        if self.intended.hpa != self.found.hpa:
            return Kind.PLACE
        return Kind.PERMISSIONS if self.intended.permissions != self.found.permissions else Kind.PAGE_SIZE

    def __str__(self) -> str:
        if self.intended is None:
            return f"mapped, though not intended: {self.found}"
        if self.found is None:
            return f"not mapped: {self.intended}"
        return f"intended {self.intended}, found {self.found}"


def audit(table: PageTable, plan: WholeMachine | None = None, host_limit: int | None = None) -> list[Finding]:
    """Everything that is wrong with a table, in the order of guest-physical addresses; nothing if it is good.

    - Entries: reserved bits, encodings that the CPU refuses, the alignment of large pages; tables that lie outside host-physical
      memory, are shared, empty or permit less than everything; pages that reach beyond `host_limit`, if one is given.
    - Pages: two that lead to the same host-physical memory.
    - With a `plan`: what the plan wants and the table does not have, or has otherwise; and devices that are not uncacheable, also
      where the plan wants that.
    """
    auditor = _Auditor(table, host_limit)
    found = list(auditor.findings(table.root, LEVELS, 0))
    ranges = list(merged(auditor.runs, table.format))
    found += _overlaps(ranges)
    if plan is not None:
        intended = plan.ranges()
        found += _deviations(compare(ranges, intended), auditor.unread)
        found += _cacheable(intended, plan.devices())
    return sorted(found, key=_start)


def compare(found: Iterable[MappedRange], intended: Iterable[MappedRange]) -> list[Difference]:
    """Where the ranges of a table differ from those that were meant, page sizes included, in the order of addresses.

    Either are disjoint. What differs in the same way is one difference, as far as neither side has a boundary there.
    """
    have_ranges, want_ranges = sorted(found, key=_start), sorted(intended, key=_start)
    boundaries = sorted({edge for mapped in (*want_ranges, *have_ranges) for edge in (mapped.gpa, mapped.end)})
    result = []
    for start, end in pairwise(boundaries):
        want, have = _part(want_ranges, start, end), _part(have_ranges, start, end)
        if want != have:
            result.append(Difference(Gpa(start), end - start, want, have))
    return result


def _start(something: MappedRange | Finding) -> int:
    return something.gpa


def _part(ranges: Sequence[MappedRange], start: int, end: int) -> MappedRange | None:
    """What sorted ranges say of [start, end), which none of them covers only in part."""
    position = bisect_right(ranges, start, key=_start) - 1
    if position < 0 or ranges[position].end <= start:
        return None
    return ranges[position].part(start, end)


def _overlaps(ranges: Iterable[MappedRange]) -> Iterator[Finding]:
    """Where two ranges lead to the same place: told of the one that lies higher."""
    by_place = sorted(ranges, key=lambda mapped: mapped.hpa)
    highest: MappedRange | None = None  # of those so far, the one that reaches farthest
    for mapped in by_place:
        if highest is not None and mapped.hpa < highest.hpa + highest.length:
            length = min(mapped.length, highest.hpa + highest.length - mapped.hpa)
            one = mapped.part(mapped.gpa, mapped.gpa + length)
            other = highest.gpa + mapped.hpa - highest.hpa
            gpa, twin = (one.gpa, other) if one.gpa > other else (other, one.gpa)
            problem = f"leads to host-physical {one.hpa:#x}, to which guest-physical {twin:#x} leads, too"
            yield Finding(Kind.OVERLAP, Gpa(gpa), length, problem)
        if highest is None or mapped.hpa + mapped.length > highest.hpa + highest.length:
            highest = mapped


def _deviations(differences: Iterable[Difference], wrong: Sequence[range]) -> Iterator[Finding]:
    """What is not as it was meant to be, but for the addresses of entries that are wrong already."""
    for difference in differences:
        for start, end in _without(difference.gpa, difference.gpa + difference.length, wrong):
            part = Difference(Gpa(start), end - start, *(_cut(side, start, end) for side in difference[2:]))
            yield Finding(part.kind, part.gpa, part.length, str(part))


def _cut(side: MappedRange | None, start: int, end: int) -> MappedRange | None:
    return None if side is None else side.part(start, end)


def _without(start: int, end: int, wrong: Sequence[range]) -> Iterator[tuple[int, int]]:
    """[start, end) without the sorted ranges."""
    for each in wrong:
        if start < each.stop and each.start < end:
            if start < each.start:
                yield start, each.start
            start = each.stop
    if start < end:
        yield start, end


def _cacheable(ranges: Iterable[MappedRange], devices: Sequence[range]) -> Iterator[Finding]:
    """Pages that lead to devices and are not uncacheable."""
    for mapped in ranges:
        if mapped.memory_type is MemoryType.UC:
            continue
        for device in devices:
            low, high = max(mapped.hpa, device.start), min(mapped.hpa + mapped.length, device.stop)
            if low < high:
                start = mapped.gpa + low - mapped.hpa
                part = mapped.part(start, start + high - low)
                yield Finding(Kind.DEVICE, part.gpa, part.length, f"devices are there, and must be UC: {part}")


class _Auditor:
    """Walks a table that may be damaged: follows no pointer out of memory, and none twice."""

    def __init__(self, table: PageTable, host_limit: int | None) -> None:
        self._table = table
        self._memory = table.memory
        self._format = table.format
        self._host_limit = host_limit
        self._owners: dict[int, int] = {table.root: _ROOT}  # where the entry lies that points to each table
        self.runs: list[Run] = []
        """The leaves that say something, in order, with what they permit themselves: behind `findings`."""
        self.unread: list[range] = []
        """The guest-physical addresses of which nothing can be said, in order."""

    def findings(self, table: int, level: int, base: int) -> Iterator[Finding]:
        """What is wrong in the table at `table`, which begins at the guest-physical address `base`, and below it."""
        words, shift = self._table.words_of(table), level_shift(level)
        for index, count in equal_neighbours(words, 1 << shift):
            if not words[index] & self._format.present:
                continue
            gpa = base + (index << shift)
            if is_leaf(words[index], level):
                leaf = Leaf(gpa, words[index], level, self._format.permission_bits(words[index]))
                yield from self._leaves(Run(leaf, count), table + 8 * index)
                continue
            for number, entry in enumerate(words[index : index + count].tolist(), index):
                start = base + (number << shift)
                yield from self._link(entry, level, start, table + 8 * number)

    def _leaves(self, run: Run, location: int) -> Iterator[Finding]:
        """Neighbours of which one is as good as the other, but for where they end."""
        gpa, entry, level, _ = run.first
        step = 1 << level_shift(level)
        always = list(self._format.problems(entry, level))
        end = (entry & ADDRESS_MASK) + run.length * step
        if not always and (self._host_limit is None or end <= self._host_limit):
            self.runs.append(run)
            return
        self.unread.append(range(gpa, run.end))
        for number in range(run.length):
            each = entry + number * step
            for problem in (*always, *self._beyond(each, step)):
                yield self._finding(each, level, gpa + number * step, location + 8 * number, problem)

    def _beyond(self, entry: int, size: int) -> Iterator[str]:
        end = (entry & ADDRESS_MASK) + size
        if self._host_limit is not None and end > self._host_limit:
            yield f"its page ends at {end:#x}, beyond the limit of {self._host_limit:#x}"

    def _link(self, entry: int, level: int, gpa: int, location: int) -> Iterator[Finding]:
        """An entry that points to a table, and what is below it."""
        table = entry & ADDRESS_MASK
        pointer = self._pointer_problem(table, location)
        lesser = self._format.permission_bits(unprotected(entry)) != Permissions.RWX
        if lesser:
            yield self._finding(entry, level, gpa, location, "it permits less than everything, for every page below it")
        for problem in (*self._format.problems(entry, level), *([] if pointer is None else [pointer])):
            yield self._finding(entry, level, gpa, location, problem)
        if pointer is None:
            yield from self.findings(table, level - 1, gpa)
        else:
            self.unread.append(range(gpa, gpa + (1 << level_shift(level))))

    def _pointer_problem(self, table: int, location: int) -> str | None:
        """Why there is nothing to be found in a table; None if there may be. Then it is the table of the entry at `location`."""
        if not 0 < table < self._memory.size:
            return f"its table at {table:#x} is outside host memory of {self._memory.size:#x} bytes"
        if table in self._owners:
            owner = self._owners[table]
            return f"its table at {table:#x} is already " + ("the root" if owner == _ROOT else f"that of the entry at {owner:#x}")
        self._owners[table] = location
        words = self._table.words_of(table)
        if not words[0] & self._format.present and not any(word & self._format.present for word in words.tolist()):
            return f"its table at {table:#x} is empty"
        return None

    def _finding(self, entry: int, level: int, gpa: int, location: int, problem: str) -> Finding:
        name = f"{self._format.name} {ENTRY_NAMES[level]}"
        text = f"{name} {entry:#018x} at {location:#x}: {problem}"
        return Finding(Kind.ENTRY, Gpa(gpa), 1 << level_shift(level), text)
