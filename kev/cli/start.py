"""`kev start`: starts a machine on a service."""

import os
from typing import Any

import click

from kev.cli.click_options import add_options, image_argument
from kev.cli.options import described, machine_options
from kev.cli.service import asks_service
from kev.service.client import Client, client_of
from kev.spec.errors import SpecError


@click.command
@image_argument
@add_options(machine_options())
@click.option("--name", metavar="NAME", help="What the machine is called besides its id.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Something to remember about it.")
@click.option("--snapshot", metavar="NAME", help="Go on from this snapshot of the service (`kev snapshot`).")
@click.option("--on-shutdown", type=click.Choice(["snapshot", "stop"]), help="What becomes of it when the service ends.")
@click.option("-a", "--attach", "attached", is_flag=True, help="Go on as `kev attach`, instead of printing the id.")
@asks_service
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    name: str | None,
    labels: tuple[str, ...],
    snapshot: str | None,
    on_shutdown: str | None,
    attached: bool,
    service: str | None,
    token_file: str | None,
    **given: Any,
) -> None:
    """Start IMAGE on a service, which `kev serve` is, and print the id of the machine. It goes on without this command.

    IMAGE and the options that describe the machine are those of `kev run`. Over TCP, names of files are those of its host.
    """
    with client_of(service, token_file) as client:
        wish: dict[str, Any] = {"labels": dict(map(_label, labels)), "name": name, "on_shutdown": on_shutdown, "snapshot": snapshot}
        wish["spec"] = _spec(client, given, is_restored=snapshot is not None)
        machine = client.create({key: value for key, value in wish.items() if value is not None})
        if attached:
            from kev.cli.attaching import attach

            context.exit(attach(client, machine, None))
    click.echo(machine["id"])


def _spec(client: Client, given: dict[str, Any], *, is_restored: bool) -> dict[str, Any]:
    """The machine's description; what files are called here, the service calls them, too."""
    if is_restored and given["image"] is not None:
        raise SpecError(f"--snapshot: it is what is started: {given['image']!r} cannot be, too")
    spec = described(given, may_start_disk=True)
    if is_restored:
        spec = spec.replace(image=None)
    if client.address.socket is not None:
        from kev.guests.spec_files import is_guest

        spec = spec.in_folder(os.getcwd(), is_guest)
    return spec.to_dict()


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise SpecError(f"--label: {text!r}: it must be NAME=VALUE")
    return name, value
