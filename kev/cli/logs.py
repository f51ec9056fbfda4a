"""`kev logs`: what a machine of a service has printed."""

import click

from kev.cli.console_reader import ConsoleReader
from kev.cli.counts import Count
from kev.cli.service import asks_service, machine_argument
from kev.cli.standard_output import StandardOutput
from kev.service.client import client_of


@click.command
@machine_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints, until it ends.")
@click.option("-n", "--tail", type=Count(0), metavar="N", help="Only its last N lines.")
@asks_service
def command(machine: str, follow: bool, tail: int | None, service: str | None, token_file: str | None) -> None:
    """Print what MACHINE has printed, as far as the service keeps it."""
    output = StandardOutput()
    with client_of(service, token_file) as client:
        reader = ConsoleReader(client, client.machine(machine))
        output.write(reader.past() if tail is None else reader.last_lines(tail))
        while follow and not reader.is_over:
            output.write(reader.more())
    if reader.lost:
        click.echo(f"kev: {reader.lost:,} bytes are not kept any more", err=True)
