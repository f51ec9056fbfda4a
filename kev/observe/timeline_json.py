"""A timeline as JSON holds it: columns of numbers, and the names they refer to.

`regions`    what guest memory is made of: the image's segments, then RAM, with `name`, `flags`, `start` and `end` (bytes).
`functions`  the names of the guest's functions that met a violation.
`violations` one entry a violation in each column, in order: `time_us` from the launch; `vcpu`; `rip`; `gpa`; `access`, the bits of
             `kev.exits.Access`, 0 for a device; `service_us` from exit to resume, null if the run ended before; `wait_us` of it
             without the CPU; `load`, index into the loads, -1 for none; `owner`, whether it began that load rather than waited for
             it; `region`; `function`, -1 for none.
`loads`      one entry a load in each column, in order: `time_us`; `duration_us`, null if it did not end; `gpa` of the first page;
             `pages`; `vcpu` that needed it, -1 for the paging policy or a device; `loaded`, whether it succeeded.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from kev.addressing import page_floor
from kev.errors import KevError
from kev.observe.timeline import PageLoad, Timeline, ViolationRecord
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageEvent
from kev.pager.sections import Section, sections
from kev.pager.symbols import SymbolTable

_RAM: Final = "RAM"


def describe(timeline: Timeline, pager: KernelVmPager, began: float) -> dict[str, Any]:
    """The timeline of a run that began at `began`, by the timeline's clock."""
    image = pager.image
    names = _FunctionNames(image)
    loads = {id(load): index for index, load in enumerate(timeline.loads)}
    violations = [_violation(violation, began, loads, image, names) for violation in timeline.violations]
    return {
        "regions": memory_regions(pager),
        "violations": _columns(_VIOLATION_COLUMNS, violations),
        "functions": names.names,
        "loads": _columns(_LOAD_COLUMNS, (_load(load, began) for load in timeline.loads)),
    }


def memory_regions(pager: KernelVmPager) -> list[dict[str, Any]]:
    """What guest memory is made of: see `regions` above."""
    return [*_regions(pager.image), {"name": _RAM, "flags": "rwx", "start": 0, "end": pager.ram[-1].stop}]


_VIOLATION_COLUMNS: Final = (
    "time_us", "vcpu", "rip", "gpa", "access", "service_us", "wait_us", "load", "owner", "region", "function",
)  # fmt: skip
_LOAD_COLUMNS: Final = ("time_us", "duration_us", "gpa", "pages", "vcpu", "loaded")


def _violation(
    violation: ViolationRecord, began: float, loads: dict[int, int], image: KernelImage, names: "_FunctionNames"
) -> tuple[Any, ...]:
    return (
        _microseconds(violation.time - began),
        violation.vcpu,
        violation.rip,
        violation.gpa,
        violation.access,
        _elapsed(violation.time, violation.ended, began),
        0.0 if violation.suspended is None else _elapsed(violation.suspended, violation.ended, began),
        -1 if violation.load is None else loads[id(violation.load)],
        violation.load is not None and violation.load.vcpu == violation.vcpu and violation.load.began >= violation.time,
        _region_of(image, violation.gpa),
        names.index_of(violation.rip),
    )


def _load(load: PageLoad, began: float) -> tuple[Any, ...]:
    return (
        _microseconds(load.began - began),
        _elapsed(load.began, load.ended, began),
        load.pages.start,
        len(load.pages),
        -1 if load.vcpu is None else load.vcpu,
        load.outcome is PageEvent.PUBLISH,
    )


def _columns(names: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    by_row = list(rows)
    return {name: [row[index] for row in by_row] for index, name in enumerate(names)}


def _microseconds(seconds: float) -> float:
    """In whole nanoseconds."""
    return round(seconds * 1e6, 3)


def _elapsed(start: float, end: float | None, began: float) -> float | None:
    """Added to when it started, as that is written, it gives when it ended: so what follows does not overlap."""
    return None if end is None else round(_microseconds(end - began) - _microseconds(start - began), 3)


def _regions(image: KernelImage) -> Iterator[dict[str, Any]]:
    found = _sections_of(image)
    for index, segment in enumerate(image.segments):
        inside = [section.name for section in found if segment.vaddr <= section.address < segment.vaddr + segment.memsz]
        yield {
            "name": " ".join(inside) or f"segment {index}",
            "flags": "".join(letter if segment.flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1))),
            "start": segment.paddr,
            "end": segment.end,
        }


def _sections_of(image: KernelImage) -> list[Section]:
    try:
        return sections(image.source)
    except KevError:
        # A boot sector has none, and a file whose section headers are damaged can be booted all the same.
        return []


def _region_of(image: KernelImage, gpa: int) -> int:
    """The segment of an address, or else of its page; behind all segments there is RAM."""
    page = page_floor(gpa)
    for first, last in ((gpa, gpa), (page, page + 0xFFF)):
        for index, segment in enumerate(image.segments):
            if segment.paddr <= last and first < segment.end:
                return index
    return len(image.segments)


class _FunctionNames:
    """The functions of an image by the linear addresses of their instructions."""

    def __init__(self, image: KernelImage) -> None:
        self.names: Final[list[str]] = []
        self._image: Final = image
        self._symbols: Final = _symbols_of(image)
        self._indices: Final[dict[str, int]] = {}

    def index_of(self, rip: int) -> int:
        name = self._name(rip)
        if name is None:
            return -1
        if name not in self._indices:
            self._indices[name] = len(self.names)
            self.names.append(name)
        return self._indices[name]

    def _name(self, rip: int) -> str | None:
        """Before the guest has its page tables its addresses are physical, and its symbols mostly are not."""
        segment = self._segment_at(rip)
        found = self._symbols.at(rip)
        if found is None and segment is not None:
            found = self._symbols.at(rip - segment.paddr + segment.vaddr)
        return None if found is None else found[0].name

    def _segment_at(self, gpa: int) -> Segment | None:
        return next((segment for segment in self._image.segments if segment.paddr <= gpa < segment.end), None)


def _symbols_of(image: KernelImage) -> SymbolTable:
    try:
        return image.symbols
    except KevError:
        return SymbolTable(())
