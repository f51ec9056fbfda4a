"""`kev ps`: the machines of a service."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import click

from kev.cli.service import asks_service, image_of
from kev.errors import printable, shortened
from kev.service.client import client_of

_COLUMNS: Final = ("ID", "NAME", "STATE", "IMAGE", "AGE", "EXIT")
_LONGEST: Final = 40
"""Characters of a cell."""
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@click.command
@click.option("--state", metavar="STATE", help="Only those that are created, running, paused, ended or lost.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list, with all that the service says.")
@asks_service
def command(state: str | None, as_json: bool, service: str | None, token_file: str | None) -> None:
    """List the machines of a service, in the order in which they were made."""
    query = {} if state is None else {"state": state}
    with client_of(service, token_file) as client:
        machines = list(client.machines(**query))
    if as_json:
        click.echo(json.dumps(machines, indent=2))
        return
    rows = [_COLUMNS, *(_row(machine, datetime.now(UTC)) for machine in machines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(machine: dict[str, Any], now: datetime) -> tuple[str, ...]:
    ending = machine["ending"]
    age = age_text((now - datetime.fromisoformat(machine["created"])).total_seconds())
    cells = (machine["name"], machine["state"], image_of(machine), age, "" if ending is None else str(ending["exit_code"]))
    return (machine["id"], *(shortened(printable(cell), _LONGEST) for cell in cells))


def age_text(seconds: float) -> str:
    """In the largest unit that there is one of."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"
