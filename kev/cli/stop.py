"""`kev stop`: ends machines of a service."""

import click

from kev.cli.service import asks_service, for_each, machines_argument
from kev.service.client import client_of


@click.command
@machines_argument
@asks_service
def command(machines: tuple[str, ...], service: str | None, token_file: str | None) -> None:
    """End each MACHINE, as if its power was switched off. What it has printed, and its report, are kept."""
    with client_of(service, token_file) as client:
        for_each(client, machines, lambda machine: client.act(machine["id"], "stop"))
