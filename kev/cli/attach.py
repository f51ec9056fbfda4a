"""`kev attach`: a terminal for a machine of a service."""

import click

from kev.cli.attaching import attach
from kev.cli.counts import Count
from kev.cli.service import asks_service, machine_argument
from kev.service.client import client_of


@click.command
@machine_argument
@click.option("-n", "--tail", type=Count(0), default=10, show_default=True, metavar="N", help="Begin with its last N lines.")
@asks_service
@click.pass_context
def command(context: click.Context, /, machine: str, tail: int, service: str | None, token_file: str | None) -> None:
    """Show what MACHINE prints, and type what is typed here, until it ends.

    On a terminal, every key goes to the guest, Ctrl-C too; Ctrl-A x leaves, and the machine goes on. The exit code is the guest's.
    """
    with client_of(service, token_file) as client:
        context.exit(attach(client, client.machine(machine), tail))
