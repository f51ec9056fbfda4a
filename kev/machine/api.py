"""Launching a guest in one call, which is what the command line does: see `launch`."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kev.addressing import MIB
from kev.boot.base import BootOptions, Module
from kev.engine.amdv.pool import HostPool
from kev.fs.disk import Disk
from kev.guests.catalogue import UNKNOWN, Guest
from kev.guests.disk import drives_of
from kev.guests.images import open_image_or_url, open_root_file_system
from kev.machine.builder import MachineError, MachineOptions
from kev.machine.disks import Drive, DriveKind
from kev.machine.launcher import prepare, run
from kev.pager.source import AsynchronousSource, FileSource, SourceError, SynchronousSource

if TYPE_CHECKING:
    from kev.machine.machine import Machine
    from kev.machine.run_report import RunReport
    from kev.observe.timeline import Timeline
    from kev.pager.policy import PagingPolicy
    from kev.pager.slow_source import SourceDelay

StrPath: TypeAlias = str | os.PathLike[str]
_Source: TypeAlias = SynchronousSource | AsynchronousSource
Image: TypeAlias = StrPath | _Source
"""A file, the name of a guest that comes with kev, a URL, or a source of bytes."""

_HOSTS: Final = HostPool()


def launch(
    image: Image,
    *,
    timeout: float | None = None,
    output: Callable[[bytes], object] | None = None,
    input_descriptor: int | None = None,
    interrupt_ends: bool = False,
    **wishes: Any,
) -> "RunReport":
    """Launches a kernel, loading each of its pages when it is first touched, and runs it to its end.

    `image` is a file, the name of a guest that comes with kev, a URL that fsspec reads, or a source of bytes. What is not said
    about the machine is as the guest wants it, or else 256 MiB, one vCPU, no disk, and the protocol that the image is made for;
    `opened` has the keywords that say it.

    - `timeout`: ends the run after so many seconds.
    - `output` is given what the guest prints, as it comes; without it, the report has it. Input for COM1 is read from
      `input_descriptor`.
    - `interrupt_ends`: Ctrl-C is an `Ending` like others; without it, a KeyboardInterrupt when the machine is closed.

    KevError if the image or a wish is at fault; a guest that dies is no error, but an `Ending` in the report.

    May be called from several threads: guest code runs without the interpreter's lock. In a trio program, use `kev.start`.
    Launching takes less once a guest has run in this process.
    """
    with opened(image, **wishes) as machine:
        if output is None:
            machine.keep_output()
        else:
            machine.vm.console.output.subscribe(output)
        return run(machine, timeout=timeout, input_descriptor=input_descriptor, interrupt_ends=interrupt_ends)


@contextmanager
def opened(
    image: Image,
    *,
    memory: int | None = None,
    vcpus: int | None = None,
    boot: str | None = None,
    abi: str | None = None,
    command_line: str | None = None,
    modules: Sequence[tuple[StrPath, str]] = (),
    disks: Sequence[tuple[StrPath, str]] = (),
    paging: "PagingPolicy | None" = None,
    source_delay: "SourceDelay | None" = None,
    timeline: bool = False,
    seed: int | None = None,
    lenient_msr: bool = False,
    strict_ports: bool = False,
) -> Iterator["Machine"]:
    """A machine that is ready to run, with the files it is made from open; it is closed at the end.

    - `memory`: bytes of RAM. `boot`: the name of a module in `kev.boot`. `abi`: that of a module in `kev.abi`.
    - `command_line`: the kernel's.
    - `modules`: files and the text that goes with each. `disks`: files and "svirtb", "virtio", "virtio-pci" or "ide",
      at most one of each, but several of "virtio-pci" and two of "ide".
    - `paging`: which pages are loaded besides those that are touched. `source_delay`: how slow reading the image is made.
    - `seed`: makes the run repeatable, bit for bit. `timeline`: puts every violation and load into the report.
    - `lenient_msr`: unknown MSRs read as 0 instead of raising #GP. `strict_ports`: ports without a device end the run.
    """
    with ExitStack() as files:
        source, guest = files.enter_context(_opened(image))
        wanted = guest or UNKNOWN
        machine = prepare(
            source if source_delay is None else _slowed(source, source_delay),
            memory=wanted.memory_mib * MIB if memory is None else memory,
            options=MachineOptions(
                vcpus=wanted.smp if vcpus is None else vcpus,
                lenient_msr=lenient_msr,
                strict_ports=strict_ports,
                drives=tuple(files.enter_context(_drive(file, kind)) for file, kind in disks) or drives_of(wanted),
            ),
            boot=BootOptions(
                command_line=wanted.command_line if command_line is None else command_line,
                modules=tuple(files.enter_context(_modules(modules) if modules else _modules_of(wanted))),
            ),
            protocol=boot or wanted.boot or None,
            abi=abi or wanted.abi or None,
            policy=paging,
            timeline=_new_timeline() if timeline else None,
            seed=seed,
            hosts=_HOSTS,
        )
        files.callback(machine.close)
        yield machine


def _opened(image: Image) -> AbstractContextManager[tuple[_Source, Guest | None]]:
    if isinstance(image, str | os.PathLike):
        return open_image_or_url(os.fspath(image))
    return nullcontext((image, None))


def _slowed(source: _Source, delay: "SourceDelay") -> AsynchronousSource:
    from kev.pager.slow_source import SlowSource

    if isinstance(source, AsynchronousSource):
        raise SourceError(f"{source.name}: cannot be made slower: it has a latency of its own")
    return SlowSource(source, delay)


def _new_timeline() -> "Timeline":
    from kev.observe.timeline import Timeline

    return Timeline()


@contextmanager
def _drive(file: StrPath, kind: str) -> Iterator[Drive]:
    name = os.fspath(file)
    try:
        device = DriveKind(kind)
    except ValueError:
        kinds = ", ".join(kind.value for kind in DriveKind)
        raise MachineError(f"disk {name}: there is no device {kind!r} to put it behind, but there are {kinds}") from None
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open(name, "r+b"))
        except OSError as error:
            raise MachineError(f"disk {name}: cannot be opened for reading and writing: {error.strerror}") from error
        yield Drive(Disk(opened, name, any_size=device is DriveKind.SVIRTB), device)


@contextmanager
def _modules(files: Sequence[tuple[StrPath, str]]) -> Iterator[list[Module]]:
    with ExitStack() as sources:
        yield [Module(os.fspath(file), sources.enter_context(FileSource(file)), text) for file, text in files]


@contextmanager
def _modules_of(guest: Guest) -> Iterator[list[Module]]:
    if not guest.modules:
        yield []
        return
    with open_root_file_system() as files:
        yield [Module(name, files.open(name)) for name in guest.modules]
