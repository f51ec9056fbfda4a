"""`kev guests`: lists what can be run by name."""

import json

import click

from kev.guests.catalogue import guests


@click.command
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
def command(as_json: bool) -> None:
    """List the guests on the root file system; `kev run NAME` launches one."""
    found = guests()
    if as_json:
        click.echo(json.dumps([guest._asdict() for guest in found], indent=2))
        return
    width = max(len(guest.name) for guest in found)
    for guest in found:
        click.echo(f"{guest.name:<{width}}  {guest.description}")
