"""A walk of a nested page table entry by entry, as a person checks it. The table may be damaged."""

from collections.abc import Iterator
from typing import NamedTuple

from kev.addressing import PAGE_SIZE, Gpa, Hpa, is_page_aligned, page_floor
from kev.page_tables.errors import AddressOutOfRange, Misconfigured, NotPresent, PagingError, UnalignedAddress
from kev.page_tables.format import ADDRESS_BITS, ADDRESS_MASK, ENTRY_NAMES, LEVELS, is_leaf, level_shift
from kev.page_tables.mapping import PageSize, Permissions
from kev.page_tables.table import PageTable


class Step(NamedTuple):
    """One entry on the way."""

    level: int
    number: int
    """Of the entry in its table."""
    location: Hpa
    entry: int
    meaning: str
    problems: tuple[str, ...] = ()
    """Why the walk ends here without a page; none if it does not."""

    def __str__(self) -> str:
        name = f"{ENTRY_NAMES[self.level]}[{self.number}]"
        return f"{name:10} at {self.location:#x}: {self.entry:#018x}  {self.meaning}"


class Walk(NamedTuple):
    """What the entries for one guest-physical page say."""

    gpa: Gpa
    steps: tuple[Step, ...]
    hpa: Hpa | None
    """Where the page lies; None if the walk comes to no page."""
    error: PagingError | None
    """NotPresent or Misconfigured, if the walk comes to no page."""


def walk(table: PageTable, gpa: int) -> Walk:
    """The walk for the page at `gpa`. UnalignedAddress or AddressOutOfRange if there is no such page."""
    if not is_page_aligned(gpa):
        refusal = UnalignedAddress("guest-physical address", gpa, PAGE_SIZE)
        refusal.context = f"its page begins at {page_floor(gpa):#x}"
        raise refusal
    if not 0 <= gpa < 1 << ADDRESS_BITS:
        raise AddressOutOfRange("guest-physical address", gpa, PAGE_SIZE, 1 << ADDRESS_BITS)
    steps = tuple(_steps(table, gpa))
    last = steps[-1]
    if last.problems:
        place = f"{table.format.name} {ENTRY_NAMES[last.level]} {last.entry:#x} at {last.location:#x}"
        problem = f"{place}: {', '.join(last.problems)}"
        is_present = bool(last.entry & table.format.present)
        error = Misconfigured(f"guest-physical address {gpa:#x}: {problem}") if is_present else NotPresent(gpa, problem)
        return Walk(Gpa(gpa), steps, None, error)
    size = 1 << level_shift(last.level)
    return Walk(Gpa(gpa), steps, Hpa(last.entry & ADDRESS_MASK & -size | gpa & size - 1), None)


def _steps(table: PageTable, gpa: int) -> Iterator[Step]:
    """The entries from the root on, up to a page or to where it does not go on."""
    place: int = table.root
    for level in range(LEVELS, 0, -1):
        index = gpa >> level_shift(level) & 511
        step = _step(table, level, index, Hpa(place + 8 * index))
        yield step
        if step.problems or is_leaf(step.entry, level):
            return
        place = step.entry & ADDRESS_MASK


def _step(table: PageTable, level: int, index: int, location: Hpa) -> Step:
    entry = table.memory.words[location >> 3]
    format = table.format
    if not entry & format.present:
        return Step(level, index, location, entry, "not present", ("nothing is mapped there",))
    problems = list(format.problems(entry, level))
    permissions = Permissions(format.permission_bits(entry))
    place = entry & ADDRESS_MASK
    if is_leaf(entry, level):
        words = [f"page at {place:#x}", str(PageSize(1 << level_shift(level))), str(permissions)]
        if not problems:
            words.append(format.memory_type(entry).name)
    else:
        words = [f"table at {place:#x}", str(permissions)]
        if not 0 < place < table.memory.size:
            problems.append(f"its table is outside host memory of {table.memory.size:#x} bytes")
    return Step(level, index, location, entry, ", ".join([*words, *format.other_bits(entry)]), tuple(problems))
