"""`kev snapshot`: saves a machine of a service."""

import click

from kev.cli.service import asks_service, machine_argument
from kev.service.client import client_of


@click.command
@machine_argument
@click.argument("name")
@click.option("--compress", is_flag=True, help="Compress its pages by zstd.")
@asks_service
def command(machine: str, name: str, compress: bool, service: str | None, token_file: str | None) -> None:
    """Save MACHINE, which goes on, as the snapshot NAME: `kev start --snapshot NAME` goes on from there."""
    with client_of(service, token_file) as client:
        client.save(client.machine(machine)["id"], name, compress=compress)
