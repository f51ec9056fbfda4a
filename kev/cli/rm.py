"""`kev rm`: makes a service forget machines."""

from functools import partial
from typing import Any, Final

import click

from kev.cli.service import asks_service, for_each, machines_argument
from kev.errors import KevError
from kev.service.client import Client, client_of

_OVER: Final = ("ended", "lost")


class StillThere(KevError):
    """A machine has not ended that is to be forgotten."""


@click.command
@machines_argument
@click.option("-f", "--force", is_flag=True, help="Those that have not ended, too; they are stopped.")
@asks_service
def command(machines: tuple[str, ...], force: bool, service: str | None, token_file: str | None) -> None:
    """Forget each MACHINE, what it has printed, and its report. Snapshots stay."""
    with client_of(service, token_file) as client:
        for_each(client, machines, partial(_remove, client, force=force))


def _remove(client: Client, machine: dict[str, Any], *, force: bool) -> None:
    if machine["state"] not in _OVER and not force:
        raise StillThere(f"{machine['name']}: the machine is {machine['state']}: stop it before, or say --force")
    client.remove(machine["id"])
