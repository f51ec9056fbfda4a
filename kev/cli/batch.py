"""`kev batch`: launches many machines."""

import json
from typing import Any

import click

from kev.cli.click_options import add_options
from kev.cli.completion import complete_image
from kev.cli.interrupts import SIGNALS
from kev.cli.options import described, machine_options
from kev.cli.places import place_of, place_options
from kev.cli.signals import say_stopped
from kev.errors import one_line
from kev.machine.ending import EXIT_CODE_MISTAKE
from kev.work.processors import processors
from kev.work.stopping import Stopped, signals_noted

_EXIT_CODE_FAILED = 1


@click.command
@click.argument("files", nargs=-1, required=True, metavar="FILE|IMAGE...", shell_complete=complete_image)
@add_options(machine_options())
@place_options
@click.pass_context
def command(
    context: click.Context,
    /,
    files: tuple[str, ...],
    jobs: int | None,
    on: str | None,
    store: str | None,
    **given: Any,
) -> None:
    """Launch every machine that is described in the FILEs, and print a line of JSON for each as it ends.

    A FILE.toml has one description, as for `kev run --spec`, or a table [[machine]] for each; a FILE.json one or a list, a
    FILE.jsonl one on each line. Anything else is an IMAGE. Options that describe a machine hold for all, before what the files say.
    A machine has ended well if its guest has ended itself with the `exit_code` in its description, or else with 0. The exit code is
    0 if all have, 1 if not, 2 for a mistake, such as a machine that cannot be launched; the others are launched all the same. By
    default, as many machines run at a time as there are processors.
    """
    from kev.fleet.batch import launch_all, read_batch

    wanted = described({"image": None, **given})._replace(image="")
    machines = [machine._replace(spec=wanted.over(machine.spec)) for file in files for machine in read_batch(file)]
    well = ended = 0
    mistakes: list[str] = []
    with signals_noted(SIGNALS), place_of(jobs, on, store, default=processors()) as place:
        try:
            for result in launch_all(machines, place):
                click.echo(json.dumps(result.as_dict()))
                ended, well = ended + 1, well + result.ok
                if result.error:
                    mistakes.append(result.error)
        except Stopped as stopped:
            context.exit(say_stopped(stopped.signal, f"{ended} of {len(machines)} machines have ended, {well} of them well"))
    outcome = f"{well} of {len(machines)} machines have ended well"
    if mistakes:
        first = ", the first" if len(mistakes) > 1 else ""
        outcome += f"; {len(mistakes)} could not be launched{first}: {mistakes[0]}"
    click.echo(f"kev: {one_line(outcome)}", err=True)
    if well < len(machines):
        context.exit(EXIT_CODE_MISTAKE if mistakes else _EXIT_CODE_FAILED)
