"""`kev pause`: lets machines of a service stand still."""

import click

from kev.cli.service import asks_service, for_each, machines_argument
from kev.service.client import client_of


@click.command
@machines_argument
@asks_service
def command(machines: tuple[str, ...], service: str | None, token_file: str | None) -> None:
    """Let each MACHINE stand still, and its time with it, until `kev resume`."""
    with client_of(service, token_file) as client:
        for_each(client, machines, lambda machine: client.act(machine["id"], "pause"))
