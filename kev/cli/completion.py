"""What a shell completes a command line of kev with (click, "Shell Completion")."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

import click
from click.shell_completion import CompletionItem

from kev.errors import KevError
from kev.guests.catalogue import guests
from kev.log import LEVELS

Complete: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_FILES = ("spec", "report", "dump", "trace", "screenshot", "modules", "disks", "cdrom", "firmware", "boot_sector", "restore")
_POLICIES = ("lazy", "eager", "around=", "record=", "prefetch=")


def complete_image(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Guests, and files."""
    try:
        names = [(guest.name, guest.description) for guest in guests()]
    except KevError:
        names = []
    found = [CompletionItem(name, help=description) for name, description in names if name.startswith(begun)]
    return [*found, CompletionItem(begun, type="file")]


def completion_of(option: str) -> Complete | None:
    """For the option of this name; None for those whose values nobody can know."""
    if option in _FILES:
        return lambda _context, _parameter, begun: [CompletionItem(begun, type="file")]
    if option == "paging":
        return _complete_paging
    names = _NAMES.get(option)
    if names is None:
        return None
    return lambda _context, _parameter, begun: [CompletionItem(name) for name in names() if name.startswith(begun)]


def _complete_paging(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(policy) for policy in _POLICIES if policy.startswith(begun)]


def _boot_protocols() -> Iterable[str]:
    from kev.boot.protocols import PROTOCOLS

    return PROTOCOLS


def _abis() -> Iterable[str]:
    from kev.abi.selection import ABIS

    return ABIS


_NAMES: Final[Mapping[str, Callable[[], Iterable[str]]]] = {"boot": _boot_protocols, "abi": _abis, "log_level": lambda: LEVELS}
