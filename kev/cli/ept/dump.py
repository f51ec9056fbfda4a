"""`kev ept dump`: what is mapped, range by range."""

import json
from pathlib import Path
from typing import Any

import click

from kev.cli.ept.printing import about_as_json, draw, heading, json_option, range_as_json, size_as_json, svg_option
from kev.cli.ept.tables import table_options, tables_meant
from kev.observe.output import STANDARD_OUTPUT
from kev.observe.replacing import check_all_writable
from kev.page_tables.table_file import check_tree


@click.command
@click.argument("file", required=False)
@table_options
@svg_option
@json_option
@click.pass_context
def command(context: click.Context, /, file: str | None, svg: Path | None, as_json: bool, **given: Any) -> None:
    """List what the tables in FILE map: addresses, number and size of pages, permissions, memory type.

    FILE is one that `kev ept build -o` wrote, or a snapshot, whose pages are shown at their own addresses. Without it, the tables
    are those of a guest that is run (--run), or of a whole machine (--memory).
    """
    read = [] if file is None else [("the file of the tables", file)]
    aside = check_all_writable({"--json": STANDARD_OUTPUT if as_json else None, "--svg": svg}, read) and not as_json
    built = tables_meant(file, given)
    ept = built.ept
    check_tree(ept)
    ranges = list(ept.table.ranges())
    if svg is not None:
        draw(ept, ranges, svg)
    if as_json:
        about = about_as_json(ept) | size_as_json(ept, ranges)
        click.echo(json.dumps(about | {"ranges": [range_as_json(mapped) for mapped in ranges]}, indent=2), err=aside)
    else:
        click.echo("\n".join([heading(ept), *map(str, ranges)]), err=aside)
    context.exit(built.exit_code)
