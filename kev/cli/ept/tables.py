"""Which tables the commands of `kev ept` are about: options, and what they come to."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

import click

from kev.addressing import GIB
from kev.cli.click_options import add_options
from kev.cli.options import described, machine_options
from kev.errors import KevError
from kev.machine.ending import Ending, EndingKind
from kev.page_tables.identity import LIMITS, MIXED, QUICK, SHIFT, WholeMachine
from kev.page_tables.mapping import PageSize
from kev.page_tables.memory_map import read_memory_map
from kev.page_tables.table_file import MAGIC, Ept, read_table
from kev.spec import values
from kev.spec.sizes import size_text
from kev.user_files import open_storage

C = TypeVar("C", bound=Callable[..., Any])

_OF_RUNS: Final = ("vcpus", "seed", "timeout", "command_line")
_PLAN: Final = ("memory", "shift", "e820", "style")
_DEVICES_END: Final = 4 * GIB


class EptCommandError(KevError):
    """The command line does not say which tables are meant."""


class Built(NamedTuple):
    """Tables, and how long it took to make them."""

    ept: Ept
    seconds: float
    exit_code: int = 0
    """Of a command that has found nothing else to say; not 0 if a signal has ended the run whose tables these are."""


def plan_options(function: C) -> C:
    """A decorator of a command that is given `memory`, `shift`, `e820` and `style`."""
    for option in (
        click.option("--style", type=click.Choice(tuple(LIMITS)), help="Of the map: see docs/ept.md.  [default: mixed]"),
        click.option("--e820", metavar="FILE", help="The host's memory map: lines START-END TYPE, or of Linux's log."),
        click.option("--shift", metavar="SIZE", help="RAM above 1 MiB lies so much higher in the host, such as 64M."),
        click.option("-m", "--memory", metavar="SIZE", help="Where guest-physical memory ends; of --run IMAGE, its RAM."),
    ):
        function = option(function)
    return function


def table_options(function: C) -> C:
    """A decorator of a command that is given all that `tables_meant` wants but the file."""
    of_runs = [option._replace(help=f"--run: {option.help}") for option in machine_options() if option.name in (*_OF_RUNS, "spec")]
    function = add_options(of_runs)(function)
    for option in (
        click.option(
            "--at", metavar="CONDITION", help="--run: look when the run comes to this, as `kev run --snapshot-at` has it."
        ),
        click.option("--run", "image", metavar="IMAGE", help="Run a guest, and look at its tables at the end."),
    ):
        function = option(function)
    return plan_options(function)


def tables_meant(file: str | None, given: Mapping[str, Any]) -> Built:
    """The tables of a file, of a run, or built by rule: what exactly one of them is asked for. KevError."""
    wants_plan = [name for name in _PLAN if given.get(name) is not None]
    image = given.get("image")
    if file is not None and (image is not None or wants_plan):
        other = f"--{wants_plan[0]}" if image is None else "--run"
        raise EptCommandError(f"{file}: has tables of its own: {other} asks for others")
    if image is None and (surplus := [name for name in (*_OF_RUNS, "spec", "at") if given.get(name) is not None]):
        raise EptCommandError(f"--{surplus[0].replace('_', '-')}: there is no guest to run: add --run IMAGE")
    began = time.perf_counter()
    exit_code = 0
    if file is not None:
        ept = of_file(file)
    elif image is not None:
        ept, exit_code = _of_run(image, given)
    elif wants_plan:
        ept = of_plan(plan_meant(given))
    else:
        raise EptCommandError("no tables: name a file or a snapshot, or say --memory SIZE, --e820 FILE or --run IMAGE")
    return Built(ept, time.perf_counter() - began, exit_code)


def plan_meant(given: Mapping[str, Any]) -> WholeMachine:
    """The whole machine that the plan's options describe. KevError."""
    style = given["style"] or MIXED
    regions = () if given["e820"] is None else read_memory_map(given["e820"])
    if given["memory"] is not None:
        memory = values.memory("--memory", given["memory"])
    elif regions:
        memory = _rounded(max((region.end for region in regions if region.is_ram), default=0))
    elif style == QUICK:
        memory = _DEVICES_END
    else:
        raise EptCommandError("--memory: how much is there? Say --memory SIZE, or --e820 FILE")
    return WholeMachine(memory, _shift(given["shift"], style), regions, style).checked()


def of_plan(plan: WholeMachine) -> Ept:
    """The tables, built."""
    moved = f", shifted by {size_text(plan.shift)}" if plan.shift else ""
    return Ept(f"a machine of {size_text(plan.memory)}{moved}, {plan.style}", plan.build(), plan)


def of_file(file: str) -> Ept:
    """The tables in a file, or of the machine in a snapshot. KevError."""
    from kev.pager.source import FileSource, is_snapshot

    if _begins_with_magic(file):
        return read_table(file)
    with FileSource(file) as source:
        if not is_snapshot(source):
            raise EptCommandError(f"{file}: neither tables that `kev ept build` wrote, nor a snapshot")
        from kev.machine.nested_map import ept_of_snapshot

        return Ept(file, ept_of_snapshot(source))


def _begins_with_magic(file: str) -> bool:
    try:
        storage = open_storage(file, writes=False)
    except (OSError, ValueError) as error:
        raise EptCommandError(f"{file}: cannot be read: {getattr(error, 'strerror', error)}") from error
    if storage is None:
        raise EptCommandError(f"{file}: cannot be read: is neither a regular file nor a block device")
    with storage:
        return storage.read(len(MAGIC)) == MAGIC


def _of_run(image: str, given: Mapping[str, Any]) -> tuple[Ept, int]:
    """The tables of a guest that is run, and the exit code if a signal has ended it, or 0; what it prints goes to stderr."""
    from kev.machine.nested_map import ept_of_run

    if surplus := [name for name in _PLAN[1:] if given.get(name) is not None]:
        raise EptCommandError(f"--{surplus[0]}: not with --run, whose tables are made as the guest touches its pages")
    spec = described({**given, "image": image})
    exit_code = 0

    def ended(ending: Ending) -> None:
        nonlocal exit_code
        if ending.kind is EndingKind.INTERRUPTED:
            exit_code = ending.exit_code
        click.echo(f"kev: {ending}", err=True)

    try:
        return Ept(image, ept_of_run(spec, given["at"], _show, ended)), exit_code
    except KevError as error:
        if error.report is None or error.report.ending.kind is not EndingKind.INTERRUPTED:
            raise
        click.echo(f"kev: {error}", err=True)
        raise click.exceptions.Exit(error.report.exit_code) from error


def _show(printed: bytes) -> None:
    """On standard error: the tables have standard output."""
    with suppress(OSError):  # nobody reads it
        while printed:
            printed = printed[sys.stderr.buffer.write(printed) :]
        sys.stderr.buffer.flush()


def _shift(text: str | None, style: str) -> int:
    if text is None:
        return SHIFT if style == QUICK else 0
    return 0 if text == "0" else values.size("--shift", text)


def _rounded(end: int) -> int:
    return -(-end // PageSize.SIZE_2M) * PageSize.SIZE_2M
