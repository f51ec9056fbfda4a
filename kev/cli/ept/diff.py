"""`kev ept diff`: in what two tables differ."""

import json
from typing import Any

import click

from kev.cli.ept.printing import EXIT_CODE_DIFFERENT, json_option, print_lines, range_as_json
from kev.cli.ept.tables import of_file, of_plan, plan_meant, plan_options
from kev.errors import printable
from kev.page_tables.audit import Difference, compare
from kev.page_tables.mapping import MappedRange
from kev.page_tables.table_file import check_tree


@click.command
@click.argument("first")
@click.argument("second", required=False)
@plan_options
@json_option
@click.pass_context
def command(context: click.Context, /, first: str, second: str | None, as_json: bool, **given: Any) -> None:
    """Say in what the tables in the files FIRST and SECOND differ; without SECOND, in what FIRST differs from a whole machine.

    A snapshot is as good as a file. The exit code is 1 if they differ.
    """
    one = of_file(first)
    other = of_plan(plan_meant(given)) if second is None else of_file(second)
    for ept in (one, other):
        check_tree(ept)
    found = compare(other.table.ranges(), one.table.ranges())
    if as_json:
        listed = [
            {
                "gpa": difference.gpa,
                "length": difference.length,
                "first": range_as_json(difference.intended),
                "second": range_as_json(difference.found),
            }
            for difference in found
        ]
        click.echo(json.dumps({"first": one.name, "second": other.name, "differences": listed}, indent=2))
    else:
        click.echo(
            f"- {printable(one.name)}: {one.table.tables:,} tables\n+ {printable(other.name)}: {other.table.tables:,} tables"
        )
        print_lines([line for difference in found for line in _lines(difference)] or ["they map the same"])
    context.exit(EXIT_CODE_DIFFERENT if found else 0)


def _lines(difference: Difference) -> list[str]:
    sides = (("-", difference.intended), ("+", difference.found))
    return [f"{sign} {_side(side, difference)}" for sign, side in sides]


def _side(side: MappedRange | None, difference: Difference) -> str:
    end = difference.gpa + difference.length - 1
    return f"{difference.gpa:#018x}-{end:#018x} not mapped" if side is None else str(side)
