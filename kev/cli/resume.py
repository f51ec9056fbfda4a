"""`kev resume`: lets machines of a service go on."""

from typing import Any

import click

from kev.cli.service import asks_service, for_each, machines_argument
from kev.service.client import client_of


@click.command
@machines_argument
@asks_service
def command(machines: tuple[str, ...], service: str | None, token_file: str | None) -> None:
    """Let each MACHINE go on that is paused, or start if it was made without."""
    client = client_of(service, token_file)

    def go_on(machine: dict[str, Any]) -> None:
        client.act(machine["id"], "start" if machine["state"] == "created" else "resume")

    for_each(client, machines, go_on)
