"""The options that say where work is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kev.cli.counts import Count
from kev.spec.errors import SpecError

if TYPE_CHECKING:
    from kev.work.base import Place

F = TypeVar("F", bound=Callable[..., Any])

_MOST_JOBS: Final = 256


_STORE: Final = click.option(
    "--store",
    metavar="FOLDER|URL",
    help="With --on dask://: where workers find files: a folder that all of them see, or a URL that fsspec writes."
    "  [default: they are sent through the scheduler]",
)
_ON: Final = click.option(
    "--on", metavar="PLACE", help="Work there: local[N] is N processes, dask://HOST:PORT the workers of a Dask scheduler."
)
_JOBS: Final = click.option("--jobs", type=Count(1, _MOST_JOBS), metavar="N", help="Use so many processes: --on local[N].")


def on_options(function: F) -> F:
    """`--on` and `--store`, as `on` and `store`."""
    return _ON(_STORE(function))


def place_options(function: F) -> F:
    """The same, and `--jobs` as `jobs`."""
    return _JOBS(on_options(function))


@contextmanager
def place_of(jobs: int | None, on: str | None, store: str | None, *, default: int = 1) -> "Iterator[Place]":
    """The place that the options say, until the end of the block; `default` is how many processes that is if they say nothing.

    SpecError, FleetError.
    """
    if on is not None and jobs is not None:
        raise SpecError(f"--jobs: {jobs}: --on {on} says where work is done: leave one of them out")
    if on is None and store is not None:
        raise SpecError(f"--store: {store!r}: files are read where they are: it goes with --on dask://HOST:PORT")
    if on is None:
        from kev.work.processes import local

        yield local(default if jobs is None else jobs)
        return
    from kev.fleet.places import place

    with place(on, store) as found:
        yield found
