"""`kev ept audit`: what is wrong with tables."""

import json
from typing import Any

import click

from kev.cli.ept.printing import EXIT_CODE_DIFFERENT, about_as_json, heading, json_option, print_lines
from kev.cli.ept.tables import table_options, tables_meant
from kev.page_tables.audit import audit
from kev.spec import values


@click.command
@click.argument("file", required=False)
@table_options
@click.option("--host-memory", "host", metavar="SIZE", help="Where the host's memory ends: no page may lie behind.")
@json_option
@click.pass_context
def command(context: click.Context, /, file: str | None, host: str | None, as_json: bool, **given: Any) -> None:
    """Name every wrong entry of the tables in FILE, or of a guest or a machine. The exit code is 1 if there is one.

    Tables that were built by rule are held against the rule, too: holes, pages that lead elsewhere, wrong memory types, devices
    that are cacheable.
    """
    built = tables_meant(file, given)
    ept = built.ept
    found = audit(ept.table, ept.plan, None if host is None else values.memory("--host-memory", host))
    if as_json:
        listed = [
            {"kind": finding.kind.value, "gpa": finding.gpa, "length": finding.length, "problem": finding.problem}
            for finding in found
        ]
        click.echo(json.dumps(about_as_json(ept) | {"findings": listed}, indent=2))
    else:
        click.echo(heading(ept))
        print_lines([str(finding) for finding in found] or ["nothing is wrong"])
    context.exit(built.exit_code or (EXIT_CODE_DIFFERENT if found else 0))
