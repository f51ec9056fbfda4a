"""`kev jos run`: several guests under one host."""

import sys
from collections.abc import Callable
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import click

from kev.cli.completion import complete_image, completion_of
from kev.cli.durations import Duration
from kev.cli.interrupts import SIGNALS
from kev.cli.sizes import Size
from kev.cli.standard_output import StandardOutput, StandardOutputError
from kev.errors import KevError
from kev.machine.ending import Ending
from kev.observe.output import write_json
from kev.observe.replacing import check_all_writable
from kev.spec.files import DISK_DEVICES, DiskFile
from kev.user_files import read_user_file
from kev.work.stopping import Stopped, signals_noted

if TYPE_CHECKING:
    from kev.envs.vmx import VmxCapabilities

_MOST_GUESTS: Final = 64
_LARGEST_INPUT: Final = 1 << 20
"""In bytes."""
_IPC: Final = "ipc"
_PROCESSORS: Final = ("vmx", "no-ept", "no-vmx")


class GuestDiskError(KevError):
    """A disk that is no guest's."""


class GuestInputError(KevError):
    """What is to be typed cannot be read, or is too much."""


@click.command
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_image)
@click.option(
    "--disk",
    "disks",
    metavar="FILE[,ro|overlay[=FILE]]",
    multiple=True,
    help="The next guest's disk image, its /vmm/fs1.img, ...",
    shell_complete=completion_of("disks"),
)
@click.option("-m", "--memory", type=Size(), default="16M", show_default=True, help="RAM of each guest.")
@click.option("--input", "typed", metavar="FILE", help="What each guest's serial line is typed, all at once; - is standard input.")
@click.option("--seed", type=int, help="Make the run repeatable: time is derived from instructions.")
@click.option("--timeout", type=Duration(), help="End all guests after so long.")
@click.option(
    "--processor",
    type=click.Choice(_PROCESSORS),
    default="vmx",
    show_default=True,
    help="What the JOS VMM finds when it looks for VMX and EPT.",
)
@click.option(
    "--report", metavar="FILE.json", help="Write the figures of all guests; - is standard output, behind what is printed."
)
@click.pass_context
def command(
    context: click.Context,
    images: tuple[str, ...],
    disks: tuple[str, ...],
    memory: int,
    typed: str | None,
    seed: int | None,
    timeout: float | None,
    processor: str,
    report: str | None,
) -> None:
    """Run each IMAGE as a guest of one host, all of them in turn.

    What several guests print goes to standard output line by line, with the guest's number in front; 0 is the host. The exit code
    is that of the first guest with another one than 0.
    """
    from kev.jos.host import Host

    if len(images) > _MOST_GUESTS:
        raise click.UsageError(f"{len(images)} guests: one host has up to {_MOST_GUESTS}", context)
    if len(disks) > len(images):
        raise GuestDiskError(f"{len(disks)} disks for {len(images)} guests: each has one")
    files = [_disk(text) for text in disks]
    read = [*(("the image of a guest", image) for image in images), *(("the disk of a guest", disk.path) for disk in files)]
    check_all_writable({"--report": report}, read)
    keys = b"" if typed is None else _keys(typed)
    output = _Output(numbered=len(images) > 1)
    with Host(seed=seed, processor=_capabilities(processor), output=output.write) as host:
        for image, disk in zip_longest(images, files):
            guest = host.mkguest(image, memory=memory, disks=() if disk is None else (disk,))
            guest.send(keys or guest.machine.own_input)
        with signals_noted(SIGNALS):
            try:
                reports = host.run(timeout)
            except Stopped as stopped:
                host.end(Ending.by_signal(stopped.signal))
                reports = host.run()
            except StandardOutputError:  # `output` has it
                host.end(Ending.stopped())
                reports = host.run()
            finally:
                output.flush()
    if report is not None:
        write_json(report, {"guests": [each.as_dict() for each in reports]})
    output.check()
    for guest, each in zip(host.guests, reports, strict=True):
        said = "is in the background, and ends with its host" if guest.in_background else each.ending
        if guest.in_background or each.ending.message or each.exit_code:
            click.echo(f"kev: guest {guest.number}, {each.image}: {said}", err=True)
    context.exit(next((each.exit_code for each in reports if each.exit_code), 0))


def _keys(file: str) -> bytes:
    """GuestInputError if it is neither a regular file nor standard input, or has more than may be typed."""
    if file != "-":
        return read_user_file(file, _LARGEST_INPUT, GuestInputError)
    keys = sys.stdin.buffer.read(_LARGEST_INPUT + 1)
    if len(keys) > _LARGEST_INPUT:
        raise GuestInputError(f"--input: standard input has more than {_LARGEST_INPUT:,} bytes, which is what may be typed at once")
    return keys


def _disk(text: str) -> DiskFile:
    disk = DiskFile.parse("disk", text)
    if disk.device not in (DISK_DEVICES[0], _IPC):
        raise GuestDiskError(f"disk {text}: a guest of the JOS VMM has its disk behind {_IPC}, not {disk.device}")
    return disk._replace(device=_IPC)


def _capabilities(processor: str) -> "VmxCapabilities":
    from kev.envs.vmx import VmxCapabilities

    if processor == "no-vmx":
        return VmxCapabilities(cpuid_1_ecx=0)
    return VmxCapabilities(procbased_ctls2=0) if processor == "no-ept" else VmxCapabilities()


class _Output:
    """What guests print, so that each line is one's."""

    def __init__(self, *, numbered: bool) -> None:
        self._numbered: Final = numbered
        self._lines: Final[dict[int, bytearray]] = {}
        self._standard: Final = StandardOutput()
        self._write: Final[Callable[[bytes], None]] = self._standard.write

    def write(self, number: int, data: bytes) -> None:
        if not self._numbered:
            self._write(data)
            return
        line = self._lines.setdefault(number, bytearray())
        line += data
        end = line.rfind(b"\n") + 1
        if end:
            self._print(number, bytes(line[:end]))
            del line[:end]

    def flush(self) -> None:
        """Lines that have not ended are printed, too."""
        for number, line in self._lines.items():
            if line:
                self._print(number, bytes(line) + b"\n")
        self._lines.clear()

    def check(self) -> None:
        """StandardOutputError if something could not be written."""
        if self._standard.error is not None:
            raise self._standard.error

    def _print(self, number: int, lines: bytes) -> None:
        self._write(b"".join(b"%d: %s" % (number, line) for line in lines.splitlines(keepends=True)))
