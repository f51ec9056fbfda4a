"""What commands have in common that ask a service."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from kev.errors import KevError
from kev.service.client import Client, client_of

C = TypeVar("C", bound=Callable[..., Any])

_PATIENCE: Final = 1.0
"""Seconds that somebody waits who has pressed Tab."""

_SERVICE: Final = click.option(
    "--service",
    metavar="URL",
    help="Where the service is: unix:PATH or http://HOST:PORT.  [default: KEV_SERVICE, or unix:$XDG_RUNTIME_DIR/kev.sock]",
)
_TOKEN_FILE: Final = click.option(
    "--token-file", metavar="FILE", help="Has the token that the service wants over TCP.  [default: KEV_TOKEN]"
)


def asks_service(function: C) -> C:
    """A decorator of a command's function, which gets `service` and `token_file`, both for `client_of`."""
    return _SERVICE(_TOKEN_FILE(function))


def complete_machine(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names and ids of machines. Nothing, if no service answers."""
    try:
        with client_of(context.params.get("service"), context.params.get("token_file"), _PATIENCE) as client:
            machines = list(client.machines())
    except KevError:
        return []
    found = {machine["name"]: f"{machine['state']}, {image_of(machine)}" for machine in machines}
    found |= {machine["id"]: found[machine["name"]] for machine in machines}
    return [CompletionItem(name, help=text) for name, text in found.items() if name.startswith(begun)]


machine_argument: Final = click.argument("machine", metavar="MACHINE", shell_complete=complete_machine)
"""An id, the beginning of one, or a name."""
machines_argument: Final = click.argument(
    "machines", metavar="MACHINE...", nargs=-1, required=True, shell_complete=complete_machine
)
"""The same, one or more."""


def image_of(machine: dict[str, Any]) -> str:
    """What a machine was started from, as far as its description says."""
    spec = machine["spec"]
    return str(spec.get("image") or spec.get("firmware") or next(iter(spec.get("disks", ())), ""))


def for_each(client: Client, names: tuple[str, ...], act: Callable[[dict[str, Any]], object]) -> None:
    """Does something about each machine. All are found before anything is done."""
    for machine in [client.machine(name) for name in names]:
        act(machine)
