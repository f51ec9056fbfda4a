"""Paging policies and sources of the user's own: `module:name` on a command line."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kev.errors import KevError, one_line

if TYPE_CHECKING:
    from kev.pager.policy import PagingPolicy

_NAME: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class OwnObjectError(KevError):
    """There is nothing of that name, or it is not what it has to be."""


def is_own(text: str | None) -> bool:
    """Whether it is written as `module:name`."""
    return text is not None and _NAME.fullmatch(text) is not None


def own_policy(text: str) -> "Callable[[], PagingPolicy]":
    """What makes a policy for each run. OwnObjectError."""
    from kev.pager.policy import PagingPolicy

    found = own_callable("--paging", text)

    def make() -> PagingPolicy:
        try:
            policy = found()
        except KevError:
            raise
        except Exception as error:  # it may raise anything
            raise OwnObjectError(f"--paging: {text!r}: {type(error).__name__}: {one_line(str(error))}") from error
        if not isinstance(policy, PagingPolicy):
            raise OwnObjectError(f"--paging: {text!r}: makes a {type(policy).__name__}, and no kev.pager.policy.PagingPolicy")
        return policy

    return make


def own_callable(option: str, text: str) -> Callable[..., Any]:
    """What a module has under a name; the module is looked for in the working directory first. OwnObjectError."""
    from kev.race.working_directory import import_module

    if not is_own(text):
        raise OwnObjectError(f"{option}: {text!r}: it must be module:name")
    module, _, name = text.partition(":")
    if module.endswith(".py"):
        raise OwnObjectError(f"{option}: {text!r}: a module is named without its ending: {module.removesuffix('.py')}:{name}")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module may raise anything
        raise OwnObjectError(f"{option}: {text!r}: {type(error).__name__}: {one_line(str(error))}") from error
    if not callable(found):
        raise OwnObjectError(f"{option}: {text!r}: is a {type(found).__name__}, and cannot be called")
    return found  # type: ignore[no-any-return]
