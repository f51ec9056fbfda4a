"""`kev run`: launches a guest."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from kev import log
from kev.boot.detection import PROTOCOLS
from kev.cli.paging import paging_policy
from kev.cli.sizes import Size
from kev.ending import EndingKind
from kev.guests import Guest
from kev.images import DEFAULT_IMAGE, open_image_or_url, open_root_file_system

if TYPE_CHECKING:
    from kev.boot.base import BootOptions, Module
    from kev.builder import Drive, MachineOptions
    from kev.report import RunReport
    from kev.timeline import Timeline
    from pager.source import AsynchronousSource, SynchronousSource

_DRIVE_KINDS = ("svirtb", "virtio", "ide")


@click.command
@click.argument("image", default=DEFAULT_IMAGE)
@click.option("-m", "--memory", type=Size(), help="RAM, such as 256M.  [default: what the guest asks for, or 256M]")
@click.option("--smp", type=click.IntRange(1, 64), help="vCPUs.  [default: what the guest asks for, or 1]")
@click.option("--boot", type=click.Choice(list(PROTOCOLS)), help="Boot protocol.  [default: what the image is made for]")
@click.option("--append", metavar="TEXT", help="The kernel's command line.")
@click.option("--module", "modules", multiple=True, metavar="FILE[ TEXT]", help="A boot module, with its command line.")
@click.option(
    "--disk", "disks", multiple=True, metavar="FILE[,svirtb|virtio|ide]", help="A disk; svirtb is KeV's.  [default: svirtb]"
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

    IMAGE is a file, the name of a guest on the root file system, or a URL that fsspec reads. What the guest writes to COM1 goes to
    standard output, and standard input goes to COM1; on a terminal, Ctrl-A x leaves. The exit code is the guest's own; 2 for a
    mistake on the command line, 3 if the guest died, 124 on a timeout, 130 on Ctrl-C.
    """
    from kev.launcher import DEFAULT_MEMORY, prepare, run

    if wishes["log_level"] is not None:
        log.configure(wishes["log_level"])
    report, trace = wishes["report"], wishes["trace"]
    _check_writable(report, trace)
    with ExitStack() as open_files:
        source, guest = open_files.enter_context(open_image_or_url(image))
        machine = prepare(
            _slowed(source, wishes["source_latency"]),
            memory=memory or (guest.memory_mib << 20 if guest else DEFAULT_MEMORY),
            options=_machine_options(guest, wishes, open_files),
            boot=_boot_options(guest, wishes, open_files),
            seed=wishes["seed"],
            protocol=wishes["boot"] or (guest.boot if guest else None),
            policy=open_files.enter_context(paging_policy(wishes["paging"])),
            timeline=_timeline() if wishes["timeline"] or trace is not None else None,
            output=_write,
        )
        outcome = run(machine, timeout=timeout, input_descriptor=_standard_input())
    if report is not None:
        from kev.cli.output import write_json

        write_json(report, outcome.as_dict(), compact=outcome.timeline is not None)
    if trace is not None:
        from kev.cli.output import write_json
        from kev.trace_file import trace_events

        write_json(trace, trace_events(outcome.as_dict()), compact=True)
    _conclude(outcome)
    context.exit(outcome.exit_code)


def _check_writable(*files: str | None) -> None:
    for file in files:
        if file is not None:
            from kev.cli.output import check_writable

            check_writable(file)


def _slowed(source: "SynchronousSource | AsynchronousSource", latency: str | None) -> "SynchronousSource | AsynchronousSource":
    if latency is None:
        return source
    from kev.cli.source_latency import slowed

    return slowed(source, latency)


def _timeline() -> "Timeline":
    from kev.timeline import Timeline

    return Timeline()


def _machine_options(guest: Guest | None, wishes: dict[str, Any], open_files: ExitStack) -> "MachineOptions":
    from kev.builder import MachineOptions

    return MachineOptions(
        vcpus=wishes["smp"] or (guest.smp if guest else 1),
        lenient_msr=wishes["lenient_msr"],
        strict_ports=wishes["strict_ports"],
        drives=tuple(open_files.enter_context(_drive(text)) for text in wishes["disks"]),
    )


def _boot_options(guest: Guest | None, wishes: dict[str, Any], open_files: ExitStack) -> "BootOptions":
    from kev.boot.base import BootOptions

    modules = [open_files.enter_context(_module(text)) for text in wishes["modules"]]
    if guest is not None and guest.modules and not modules:
        modules = list(open_files.enter_context(_guest_modules(guest)))
    command_line = wishes["append"] if wishes["append"] is not None else guest.command_line if guest else ""
    return BootOptions(command_line=command_line, modules=tuple(modules))


@contextmanager
def _drive(text: str) -> Iterator["Drive"]:
    from fs.disk import Disk
    from kev.builder import Drive, DriveKind, MachineError

    name, _, kind = text.rpartition(",")
    if kind not in _DRIVE_KINDS:
        name, kind = text, _DRIVE_KINDS[0]
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(name, "r+b"))
        except OSError as error:
            raise MachineError(f"disk {name}: cannot be opened for reading and writing: {error.strerror}") from error
        yield Drive(Disk(file, name), DriveKind(kind))


@contextmanager
def _module(text: str) -> Iterator["Module"]:
    from kev.boot.base import Module
    from pager.source import FileSource

    name, _, command_line = text.partition(" ")
    with FileSource(name) as source:
        yield Module(name, source, command_line)


@contextmanager
def _guest_modules(guest: Guest) -> Iterator[Iterator["Module"]]:
    from kev.boot.base import Module

    with open_root_file_system() as files:
        yield (Module(name, files.open(name)) for name in guest.modules)


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
    """The closing lines on stderr."""
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
