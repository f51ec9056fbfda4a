"""`kev resume`: lets machines of a service go on."""

from typing import Final

import click

from kev.cli.service import asks_service, for_each, machines_argument
from kev.service.client import client_of

_ACTIONS: Final = {"created": "start"}
"""By state."""


@click.command
@machines_argument
@asks_service
def command(machines: tuple[str, ...], service: str | None, token_file: str | None) -> None:
    """Let each MACHINE go on that is paused, or start if it was made without."""
    with client_of(service, token_file) as client:
        for_each(client, machines, lambda machine: client.act(machine["id"], _ACTIONS.get(machine["state"], "resume")))
