"""`kev ept walk`: the entries for one guest-physical page."""

import json
from typing import Any

import click

from kev.cli.ept.addresses import Address
from kev.cli.ept.printing import about_as_json, heading, json_option
from kev.cli.ept.tables import table_options, tables_meant
from kev.errors import one_line
from kev.page_tables.steps import Walk, walk


@click.command
@click.argument("gpa", type=Address())
@click.argument("file", required=False)
@table_options
@json_option
@click.pass_context
def command(context: click.Context, /, gpa: int, file: str | None, as_json: bool, **given: Any) -> None:
    """Follow the entries for the page at the guest-physical address GPA in FILE, or in the tables of a guest or a machine.

    The exit code is 2 if they lead to no page.
    """
    built = tables_meant(file, given)
    ept = built.ept
    walked = walk(ept.table, gpa)
    click.echo(
        json.dumps(about_as_json(ept) | _as_json(walked), indent=2) if as_json else "\n".join([heading(ept), *_lines(walked)])
    )
    if walked.error is not None:
        if not built.exit_code:
            raise walked.error
        click.echo(f"kev: {one_line(str(walked.error))}", err=True)
    context.exit(built.exit_code)


def _lines(walked: Walk) -> list[str]:
    lines = [f"  {step}" for step in walked.steps]
    lines += [f"  {problem}" for problem in walked.steps[-1].problems]
    return lines if walked.hpa is None else [*lines, f"guest-physical {walked.gpa:#x} leads to host-physical {walked.hpa:#x}"]


def _as_json(walked: Walk) -> dict[str, Any]:
    return {
        "gpa": walked.gpa,
        "hpa": walked.hpa,
        "error": None if walked.error is None else one_line(str(walked.error)),
        "steps": [
            {
                "level": step.level,
                "index": step.number,
                "location": step.location,
                "entry": step.entry,
                "meaning": step.meaning,
                "problems": list(step.problems),
            }
            for step in walked.steps
        ],
    }
