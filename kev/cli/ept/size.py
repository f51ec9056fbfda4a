"""`kev ept size`: how much memory the tables take."""

import json
from typing import Any

import click

from kev.cli.ept.printing import about_as_json, json_option, size_as_json, size_lines
from kev.cli.ept.tables import table_options, tables_meant
from kev.page_tables.table_file import check_tree


@click.command
@click.argument("file", required=False)
@table_options
@json_option
@click.pass_context
def command(context: click.Context, /, file: str | None, as_json: bool, **given: Any) -> None:
    """Say how many tables there are in FILE, or of a guest or a machine, and how many pages they map."""
    built = tables_meant(file, given)
    ept, seconds = built.ept, built.seconds
    check_tree(ept)
    ranges = list(ept.table.ranges())
    if as_json:
        click.echo(json.dumps(about_as_json(ept) | size_as_json(ept, ranges) | {"ms": seconds * 1000}, indent=2))
    else:
        made = "built" if ept.plan is not None and file is None else "read"
        click.echo("\n".join([*size_lines(ept, ranges), f"  {made} in {seconds * 1000:.1f} ms"]))
    context.exit(built.exit_code)
