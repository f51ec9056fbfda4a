"""`kev ept build`: the tables of a whole machine, as a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from kev.addressing import Gpa, Hpa
from kev.cli.ept.addresses import parse_address
from kev.cli.ept.printing import about_as_json, draw, json_option, range_as_json, size_as_json, size_lines, svg_option
from kev.cli.ept.tables import EptCommandError, of_plan, plan_meant, plan_options
from kev.observe.output import STANDARD_OUTPUT, name_of_output, write_bytes
from kev.observe.replacing import check_all_writable
from kev.page_tables.mapping import MemoryType, PageSize, Permissions
from kev.page_tables.table import PageTable
from kev.page_tables.table_file import table_bytes

_SIZES: Final = {"4K": PageSize.SIZE_4K, "2M": PageSize.SIZE_2M, "1G": PageSize.SIZE_1G}


@click.command
@plan_options
@click.option("--unmap", "unmapped", metavar="GPA[,SIZE]", multiple=True, help="Leave a page out: of 4K, 2M or 1G.")
@click.option(
    "--map",
    "mapped",
    metavar="GPA,HPA[,SIZE[,RWX[,TYPE]]]",
    multiple=True,
    help="Map a page besides, where nothing is mapped: TYPE is UC, WC, WT, WP or WB.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the tables; - is standard output.",
)
@svg_option
@json_option
def command(
    unmapped: Sequence[str], mapped: Sequence[str], output: Path | None, svg: Path | None, as_json: bool, **given: Any
) -> None:
    """Build the tables of a whole machine, with its memory types, and say what they map.

    Pages that --unmap takes out and --map puts in are no part of the rule by which `kev ept audit` judges the file.
    """
    printed = STANDARD_OUTPUT if as_json else None
    aside = check_all_writable({"--json": printed, "--output": output, "--svg": svg}) and not as_json
    ept = of_plan(plan_meant(given))
    for text in unmapped:
        _unmap(ept.table, text)
    for text in mapped:
        _map(ept.table, text)
    ranges = list(ept.table.ranges())
    if output is not None:
        write_bytes(output, table_bytes(ept))
    if svg is not None:
        draw(ept, ranges, svg)
    if as_json:
        about = about_as_json(ept) | size_as_json(ept, ranges)
        click.echo(json.dumps(about | {"ranges": [range_as_json(each) for each in ranges]}, indent=2), err=aside)
    else:
        click.echo("\n".join([*size_lines(ept, ranges), *map(str, ranges)]), err=aside)
    if output is not None:
        click.echo(f"kev: wrote {name_of_output(output)}", err=True)


def _unmap(table: PageTable, text: str) -> None:
    address, *rest = text.split(",")
    if len(rest) > 1:
        raise EptCommandError(f"--unmap {text}: it must be GPA[,SIZE]")
    table.unmap(Gpa(_address("--unmap", text, address)), _size("--unmap", text, rest[0] if rest else "4K"))


def _map(table: PageTable, text: str) -> None:
    parts = text.split(",")
    if not 2 <= len(parts) <= 5:
        raise EptCommandError(f"--map {text}: it must be GPA,HPA[,SIZE[,RWX[,TYPE]]]")
    gpa, hpa, size, permissions, memory_type = (*parts, *("", "", "4K", "RWX", "WB")[len(parts) :])
    table.map(
        Gpa(_address("--map", text, gpa)),
        Hpa(_address("--map", text, hpa)),
        _permissions(text, permissions),
        _size("--map", text, size),
        _memory_type(text, memory_type),
    )


def _address(option: str, text: str, address: str) -> int:
    found = parse_address(address)
    if found is None:
        raise EptCommandError(f"{option} {text}: {address!r} is no address: it must be a number, hexadecimal with 0x")
    return found


def _size(option: str, text: str, size: str) -> PageSize:
    if size.upper() not in _SIZES:
        raise EptCommandError(f"{option} {text}: {size!r} is no size of a page: there are {', '.join(_SIZES)}")
    return _SIZES[size.upper()]


def _permissions(text: str, letters: str) -> Permissions:
    if not letters or set(letters.upper()) - set("RWX-"):
        raise EptCommandError(f"--map {text}: {letters!r} are no permissions: they must be of R, W and X")
    found = Permissions(0)
    for bit, letter in enumerate("RWX"):
        if letter in letters.upper():
            found |= Permissions(1 << bit)
    return found


def _memory_type(text: str, name: str) -> MemoryType:
    if name.upper() not in MemoryType.__members__:
        raise EptCommandError(f"--map {text}: {name!r} is no memory type: there are {', '.join(MemoryType.__members__)}")
    return MemoryType[name.upper()]
