"""Which pages of a machine are there, summed up in cells of equal size: as much to tell of 1 TiB as of 16 MiB."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kev.service.errors import Invalid


class CellsWanted(NamedTuple):
    """What is to be summed up."""

    cells: int
    """Cells at most."""
    start: int
    """The first guest-physical address."""
    end: int | None
    """The address behind the last one; None for the end of RAM."""


def in_cells(pages: dict[str, Any], wanted: CellsWanted) -> dict[str, Any]:
    """`pages`, as `kev.service.pages.describe_pages` has them, in cells.

    `page_size`, in bytes, and `regions` are the same. `start` and `end` are the addresses that all cells together cover; each has
    `cell_pages` pages, a power of two, but for the last one, which may have fewer. `present` and `loading` say for each how many
    pages are so. `present_pages` are those of all memory. Invalid if `wanted` begins where it ends, or behind it.
    """
    size = pages["page_size"]
    start = wanted.start // size
    end = -(-(pages["regions"][-1]["end"] if wanted.end is None else wanted.end) // size)
    if start >= end:
        raise Invalid(
            f"start: {wanted.start:#x}: no page lies from there to {end * size:#x}",
            field="start",
            value=wanted.start,
            limit=end * size,
        )
    cell_pages = 1 << (max(-(-(end - start) // wanted.cells), 1) - 1).bit_length()
    cells = range(start, end, cell_pages)
    return {
        "page_size": size,
        "regions": pages["regions"],
        "start": start * size,
        "end": end * size,
        "cell_pages": cell_pages,
        "present": _counts(pages["present"], size, cells),
        "loading": _counts(pages["loading"], size, cells),
        "present_pages": sum(end - start for start, end in pages["present"]) // size,
    }


def _counts(runs: Iterable[Sequence[int]], size: int, cells: range) -> list[int]:
    """How many pages of each cell the runs, which are in bytes, have. `cells`: the number of the first page of each."""
    counts = [0] * len(cells)
    for run in runs:
        first, last = max(run[0] // size, cells.start), min(run[1] // size, cells.stop)
        while first < last:
            cell = (first - cells.start) // cells.step
            behind = min(cells.start + (cell + 1) * cells.step, last)
            counts[cell] += behind - first
            first = behind
    return counts
