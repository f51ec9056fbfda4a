"""`kev run`: launches a guest."""

import sys
from pathlib import Path

import click

from kev import log
from kev.cli.sizes import Size
from kev.ending import EndingKind
from kev.images import DEFAULT_IMAGE, open_image
from kev.report import RunReport


@click.command
@click.argument("image", default=DEFAULT_IMAGE)
@click.option("-m", "--memory", type=Size(), help="RAM, such as 256M.  [default: what the guest asks for, or 256M]")
@click.option("--smp", type=click.IntRange(1, 64), help="vCPUs.  [default: what the guest asks for, or 1]")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End the run after so long.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.json", help="Write the run's figures.")
@click.option("--lenient-msr", is_flag=True, help="Unknown MSRs read as 0 instead of raising #GP.")
@click.option("--strict-ports", is_flag=True, help="Ports without a device end the run instead of reading all ones.")
@click.option("--log-level", type=click.Choice(log.LEVELS), help="Write events of this level and above to stderr.")
@click.pass_context
def command(
    context: click.Context,
    image: str,
    memory: int | None,
    smp: int | None,
    timeout: float | None,
    report: Path | None,
    lenient_msr: bool,
    strict_ports: bool,
    log_level: str | None,
) -> None:
    """Launch IMAGE, loading each of its pages when it is first touched.

    IMAGE is a file, or the name of a guest on the root file system. The exit code is the guest's own; 2 for a mistake on the
    command line, 3 if the guest died, 124 on a timeout, 130 on Ctrl-C.
    """
    from kev.builder import MachineOptions
    from kev.launch import DEFAULT_MEMORY, prepare, run

    if log_level is not None:
        log.configure(log_level)
    if report is not None:
        from kev.cli.output import check_writable

        check_writable(report)
    with open_image(image) as (source, guest):
        options = MachineOptions(vcpus=smp or (guest.smp if guest else 1), lenient_msr=lenient_msr, strict_ports=strict_ports)
        wanted = memory or (guest.memory_mib << 20 if guest else DEFAULT_MEMORY)
        machine = prepare(source, memory=wanted, options=options, output=_write)
        outcome = run(machine, timeout=timeout, input_descriptor=_standard_input())
    if report is not None:
        from kev.cli.output import write_json

        write_json(report, outcome.as_dict())
    _conclude(outcome)
    context.exit(outcome.exit_code)


def _standard_input() -> int | None:
    """The descriptor of standard input, or None if the process has none."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):
        return None


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _conclude(outcome: RunReport) -> None:
    """The closing lines on stderr."""
    if outcome.ending.kind is not EndingKind.EXITED:
        click.echo(f"kev: {outcome.ending.message}", err=True)
    first = "" if outcome.first_output_ms is None else f", first output after {outcome.first_output_ms:.0f} ms"
    click.echo(
        f"kev: loaded {outcome.pages_loaded:,} of {outcome.ram_pages:,} pages ({outcome.image_pages:,} in the image){first}, "
        f"ended after {outcome.run_ms:.0f} ms",
        err=True,
    )
