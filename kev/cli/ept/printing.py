"""Tables in lines and as JSON."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from kev.addressing import KIB, MIB, PAGE_SIZE
from kev.errors import printable
from kev.page_tables.mapping import MappedRange, PageSize
from kev.page_tables.table_file import Ept, plan_as_json

EXIT_CODE_DIFFERENT: Final = 1
"""The tables have something wrong, or differ."""
MOST_LINES: Final = 200
"""Of what is wrong, or different."""
_LEVELS: Final = {4: "PML4", 3: "PDPT", 2: "page directories", 1: "page tables"}

json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")
svg_option = click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw it, too; - is standard output."
)


def heading(ept: Ept) -> str:
    """What tables these are, and how large."""
    size = ept.table.tables * PAGE_SIZE
    tables = f"{ept.table.tables:,} tables of 4 KiB" if ept.table.tables != 1 else "1 table of 4 KiB"
    rounded = f"{size / MIB:.1f} MiB" if size >= MIB else f"{size // KIB} KiB"
    return f"EPT of {printable(ept.name)}: {tables}, {size:,} bytes ({rounded}), EPT pointer {ept.eptp:#x}"


def size_lines(ept: Ept, ranges: Sequence[MappedRange]) -> list[str]:
    """How many tables of which level, and how many pages of which size."""
    levels = Counter(level for level, _ in ept.table.links())
    tables = ", ".join(f"{levels[level]:,} {name}" for level, name in _LEVELS.items() if levels[level])
    pages = ", ".join(f"{count:,} x {size}" for size, count in _pages(ranges).items() if count)
    return [heading(ept), f"  {tables}", f"  pages: {pages or 'none'}"]


def size_as_json(ept: Ept, ranges: Sequence[MappedRange]) -> dict[str, Any]:
    levels = Counter(level for level, _ in ept.table.links())
    return {
        "tables": ept.table.tables,
        "bytes": ept.table.tables * PAGE_SIZE,
        "levels": {str(level): levels[level] for level in _LEVELS},
        "pages": {str(size.value): count for size, count in _pages(ranges).items()},
        "mapped": sum(mapped.length for mapped in ranges),
    }


def about_as_json(ept: Ept) -> dict[str, Any]:
    return {"name": ept.name, "format": ept.table.format.name, "eptp": ept.eptp, "plan": plan_as_json(ept.plan)}


def range_as_json(mapped: MappedRange | None) -> dict[str, Any] | None:
    if mapped is None:
        return None
    return {
        "gpa": mapped.gpa,
        "hpa": mapped.hpa,
        "length": mapped.length,
        "page_size": mapped.page_size.value,
        "permissions": str(mapped.permissions),
        "memory_type": mapped.memory_type.name,
    }


def draw(ept: Ept, ranges: Sequence[MappedRange], file: Path) -> None:
    """Writes the picture."""
    from kev.observe.output import name_of_output, write_text
    from kev.observe.page_map import as_svg

    size = ept.table.tables * PAGE_SIZE
    write_text(file, as_svg(f"EPT of {printable(ept.name)}", f"{ept.table.tables:,} tables of 4 KiB, {size:,} bytes", ranges))
    click.echo(f"kev: wrote {name_of_output(file)}", err=True)


def print_lines(lines: Sequence[str]) -> None:
    """The first of them, and how many more there are."""
    for line in lines[:MOST_LINES]:
        click.echo(line)
    if len(lines) > MOST_LINES:
        click.echo(f"and {len(lines) - MOST_LINES:,} more: --json has all")


def _pages(ranges: Sequence[MappedRange]) -> dict[PageSize, int]:
    counts = dict.fromkeys(PageSize, 0)
    for mapped in ranges:
        counts[mapped.page_size] += mapped.length // mapped.page_size
    return counts
