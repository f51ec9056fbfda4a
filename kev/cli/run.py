"""`kev run`: launches a guest."""

import sys
from typing import TYPE_CHECKING, Any

import click

from kev import log
from kev.abi.selection import ABIS
from kev.boot.detection import PROTOCOLS
from kev.cli.paging_policy import paging_policy
from kev.cli.sizes import Size
from kev.guests.images import DEFAULT_IMAGE
from kev.machine.ending import EndingKind

if TYPE_CHECKING:
    from kev.machine.run_report import RunReport
    from kev.pager.slow_source import SourceDelay

_DRIVE_KINDS = ("svirtb", "virtio", "virtio-pci", "ide")


@click.command
@click.argument("image", default=DEFAULT_IMAGE)
@click.option("-m", "--memory", type=Size(), help="RAM, such as 256M.  [default: what the guest asks for, or 256M]")
@click.option("--smp", type=click.IntRange(1, 64), help="vCPUs.  [default: what the guest asks for, or 1]")
@click.option("--boot", type=click.Choice(list(PROTOCOLS)), help="Boot protocol.  [default: what the image is made for]")
@click.option("--abi", metavar="NAME", help=f"Guest ABI: {', '.join(ABIS)}.  [default: what the guest or its protocol asks for]")
@click.option("--append", metavar="TEXT", help="The kernel's command line.")
@click.option("--module", "modules", multiple=True, metavar="FILE[ TEXT]", help="A boot module, with its command line.")
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="FILE[,svirtb|virtio|virtio-pci|ide]",
    help="A disk; svirtb is KeV's, and KeOS's are virtio-pci, of which there can be several.  [default: svirtb]",
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End the run after so long.")
@click.option("--report", type=click.Path(dir_okay=False), metavar="FILE.json", help="Write the run's figures.")
@click.option(
    "--paging",
    default="lazy",
    show_default=True,
    metavar="POLICY",
    help="When pages are loaded: lazy, eager, around=N, record=FILE or prefetch=FILE.",
)
@click.option(
    "--source-latency",
    metavar="TIME[,RATE]",
    help="Make the image's source slow, such as 2ms,100MB/s,jitter=1ms,seed=7.",
)
@click.option("--timeline", is_flag=True, help="Put every violation and load into the report.")
@click.option("--trace", type=click.Path(dir_okay=False), metavar="FILE.json", help="Write a trace for Perfetto.")
@click.option("--seed", type=int, help="Make the run repeatable: the seed chooses the schedule, and time is virtual.")
@click.option("--lenient-msr", is_flag=True, help="Unknown MSRs read as 0 instead of raising #GP.")
@click.option("--strict-ports", is_flag=True, help="Ports without a device end the run instead of reading all ones.")
@click.option("--log-level", type=click.Choice(log.LEVELS), help="Write events of this level and above to stderr.")
@click.pass_context
def command(context: click.Context, /, image: str, memory: int | None, timeout: float | None, **wishes: Any) -> None:
    """Launch IMAGE, loading each of its pages when it is first touched.

    IMAGE is a file, the name of a guest on the root file system, or a URL that fsspec reads. What the guest writes to COM1 or to
    port 0xe9 goes to standard output, and standard input goes to COM1; on a terminal, Ctrl-A x leaves. Of a guest that writes to
    nothing but the VGA text screen, the screen is printed at the end. The exit code is the guest's own; 2 for a mistake on the
    command line, 3 if the guest died, 124 on a timeout, 130 on Ctrl-C.
    """
    from kev.machine.api import launch

    if wishes["log_level"] is not None:
        log.configure(wishes["log_level"])
    report, trace, latency = wishes["report"], wishes["trace"], wishes["source_latency"]
    _check_writable(report, trace)
    with paging_policy(wishes["paging"]) as policy:
        outcome = launch(
            image,
            memory=memory,
            vcpus=wishes["smp"],
            boot=wishes["boot"],
            abi=wishes["abi"],
            command_line=wishes["append"],
            modules=[_file_and_text(text) for text in wishes["modules"]],
            disks=[_file_and_kind(text) for text in wishes["disks"]],
            paging=policy,
            source_delay=None if latency is None else _delay(latency),
            timeline=wishes["timeline"] or trace is not None,
            seed=wishes["seed"],
            timeout=timeout,
            lenient_msr=wishes["lenient_msr"],
            strict_ports=wishes["strict_ports"],
            output=_write,
            input_descriptor=_standard_input(),
            interrupt_ends=True,
        )
    if report is not None:
        from kev.cli.output import write_json

        write_json(report, outcome.as_dict(), compact=outcome.timeline is not None)
    if trace is not None:
        from kev.cli.output import write_json
        from kev.observe.trace_file import trace_events

        write_json(trace, trace_events(outcome.as_dict()), compact=True)
    _conclude(outcome)
    context.exit(outcome.exit_code)


def _check_writable(*files: str | None) -> None:
    for file in files:
        if file is not None:
            from kev.cli.output import check_writable

            check_writable(file)


def _delay(text: str) -> "SourceDelay":
    from kev.cli.source_latency import parse_source_latency

    return parse_source_latency(text)


def _file_and_text(module: str) -> tuple[str, str]:
    name, _, text = module.partition(" ")
    return name, text


def _file_and_kind(disk: str) -> tuple[str, str]:
    name, _, kind = disk.rpartition(",")
    return (name, kind) if kind in _DRIVE_KINDS else (disk, _DRIVE_KINDS[0])


def _standard_input() -> int | None:
    """The descriptor of standard input, or None if the process has none."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):
        return None


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _conclude(outcome: "RunReport") -> None:
    """What only a screen would have shown; the closing lines on stderr."""
    if outcome.first_output_ms is None and outcome.screen:
        _write(f"{outcome.screen}\n".encode())
    if outcome.ending.kind is not EndingKind.EXITED:
        click.echo(f"kev: {outcome.ending.message}", err=True)
    first = "" if outcome.first_output_ms is None else f", first output after {outcome.first_output_ms:.0f} ms"
    click.echo(
        f"kev: loaded {outcome.pages_loaded:,} of {outcome.ram_pages:,} pages ({outcome.image_pages:,} in the image){first}, "
        f"ended after {outcome.run_ms:.0f} ms",
        err=True,
    )
    if "missed" in outcome.paging:
        click.echo(f"kev: {outcome.paging['missed']:,} of them were not in the recorded working set", err=True)
