"""Launching a guest in one call, which is what the command line does: see `launch`."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kev.boot.base import BootOptions, Module
from kev.engine.factory import engine_named
from kev.errors import KevError, one_line
from kev.guests.catalogue import Guest
from kev.guests.disk import drives_of
from kev.guests.images import open_root_file_system
from kev.machine.builder import MachineOptions
from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.machine.launcher import prepare, run
from kev.machine.opening import opening_within
from kev.machine.paging import paging_policy
from kev.machine.starting import Start, start_of
from kev.named_tuple import NamedTuple
from kev.pager.policy import PagingPolicy
from kev.pager.source import AsynchronousSource, FileSource, SourceError, SynchronousSource, is_snapshot
from kev.spec.errors import SpecError, refusal
from kev.spec.files import ModuleFile
from kev.spec.machine_spec import MachineSpec

if TYPE_CHECKING:
    from typing import Unpack

    from kev.dev.storage.drive import Drive
    from kev.machine.family import Built
    from kev.machine.host_environments import GuestHost
    from kev.machine.machine import Machine
    from kev.machine.run_report import RunReport
    from kev.machine.snapshot_at import SnapshotAt
    from kev.machine.snapshots import SavedMachine
    from kev.machine.vm import Vm
    from kev.observe.timeline import Timeline
    from kev.spec.wishes import Wishes

StrPath: TypeAlias = str | os.PathLike[str]
_Source: TypeAlias = SynchronousSource | AsynchronousSource
Image: TypeAlias = StrPath | MachineSpec | _Source
"""A file, the name of a guest that comes with kev, a URL, a whole description, or a source of bytes."""

_ENGINES: Final = engine_named(keeps_hosts=True)
_CO_COROUTINE: Final = 0x80
"""The flag of a coroutine function's code (Python documentation, "inspect")."""


def launch(
    image: Image,
    *,
    output: Callable[[bytes], object] | None = None,
    logs: Sequence[str] = (),
    log: Callable[[bytes], object] | None = None,
    trace_exits: Callable[[str], object] | None = None,
    warn: Callable[[str], object] | None = None,
    input_descriptor: int | None = None,
    interrupt_ends: bool = False,
    at_start: "Callable[[Machine], object] | None" = None,
    at_end: "Callable[[Machine], object] | None" = None,
    snapshot_at: "SnapshotAt | None" = None,
    **wishes: "Unpack[Wishes]",
) -> "RunReport":
    """Launches a kernel, loading each of its pages when it is first touched, and runs it to its end.

    `image` is a file, the name of a guest that comes with kev, a URL that fsspec reads, a `kev.MachineSpec`, or a source of bytes
    (an object with `name`, `size` and `read_into`); if that is a snapshot, the machine that was saved goes on. A description
    without an image, but with disks, is started from the first. `wishes` are the keywords of `kev.MachineSpec`, and say what the
    machine is like; what is not said is as the guest wants it, or else 256 MiB (16 MiB for a guest of the JOS VMM), one vCPU, no
    disk, the protocol that the image is made for:

    - `memory`: bytes of RAM, or "256M". `vcpus`: 1 to 64. `command_line`: the kernel's. `boot`: the name of a boot protocol.
    - `modules`: files, or pairs of a file and its text. `disks`: files, or tuples of a file, then "svirtb", "virtio", "virtio-pci"
      or "ide" (one "svirtb", five "virtio", two "ide", and several "virtio-pci"), then perhaps "ro" for a disk that cannot be
      written, or "overlay" for one whose file stays as it is. A text is read as on the command line.
    - `paging`: which pages are loaded besides those that are touched: "lazy", "eager", "around=16", "record=FILE", "prefetch=FILE",
      or a policy of `kev.pager`. `source_latency`: how slow reading the image is made, such as "2ms,100MB/s".
    - `seed`: makes the run repeatable, bit for bit. `timeout`: ends the run after so many seconds; `max_pages`, before more pages
      are loaded; `max_output`, when more bytes are printed. `retry`: how often what the image's source cannot give is asked for
      again. `timeline`: puts every violation and load into the report.
    - `firmware`: a ROM to start instead, which finds the image, if there is one, as a disk. `boot_sector`: what enters a guest of
      the JOS VMM.
    - `lenient_msr`: unknown MSRs read as 0 instead of raising #GP. `strict_ports`, `strict_memory`: ports without a device, and
      addresses without memory or a device, end the run instead of reading all ones.
    - `abi`: the name of a guest ABI. `syscall`: who carries SYSCALL out, "native", "emulate" or "intercept".

    `output` is given what the guest prints, as it comes; without it, the report has it, up to `max_output`. `logs` names what is
    logged of the guest ("cr3": every write to CR3), and `log` is given its lines. `trace_exits` is given a line for every exit,
    `warn` one for whatever looks wrong with how the image is booted, or with the run. Input is read from `input_descriptor`: for
    COM1, or with `keyboard` for the keyboard. `interrupt_ends`: Ctrl-C is an `Ending` like others; without it, a KeyboardInterrupt
    when the machine is closed. `at_start` is given the machine before its first instruction. `at_end` is given it when the run has
    ended, before it is closed: the last chance to look into it. `snapshot_at` writes a snapshot on the way.

    KevError if the image or a wish is at fault, or if what was recorded cannot be written: then its `report` has how the run ended.
    A guest that dies is no error, but an `Ending` in the report.

    May be called from several threads: guest code runs without the interpreter's lock. In a trio program, use `kev.start`.
    Launching takes less once a guest has run in this process.
    """
    refuse_in_trio("`kev.launch`", "`async with kev.start(...)`")
    check_callbacks(output=output, log=log, trace_exits=trace_exits, warn=warn, at_start=at_start, at_end=at_end)
    check_how(logs, input_descriptor)
    if snapshot_at is not None and not hasattr(snapshot_at, "arm"):
        raise refusal("snapshot_at", snapshot_at, "it must be a kev.machine.snapshot_at.SnapshotAt")
    began = time.perf_counter()
    wanted = wanted_machine(image, wishes)
    timeout = wanted.spec.timeout
    with _report_in_errors() as note, ExitStack() as stack:
        with opening_within(timeout if interrupt_ends else None):
            machine = stack.enter_context(opened(wanted, logs, warn))
        if timeout is not None:
            machine.set_time_limit(timeout - (time.perf_counter() - began))
        if output is None:
            machine.keep_output()
        else:
            machine.vm.console.output.subscribe(output)
        if log is not None:
            machine.vm.log.subscribe(log)
        if trace_exits is not None:
            from kev.machine.event_log import ExitTrace

            machine.observe(ExitTrace(trace_exits))
        if at_start is not None:
            at_start(machine)
        if snapshot_at is not None:
            snapshot_at.arm(machine)
        report = run(
            machine,
            timeout=timeout,
            input_descriptor=input_descriptor,
            interrupt_ends=interrupt_ends,
            at_end=at_end,
        )
        note(report)
        return report


@contextmanager
def _report_in_errors() -> Iterator[Callable[["RunReport"], None]]:
    """What is wrong behind a run does not hide how it has ended: the block notes its report."""
    reports: list[RunReport] = []
    try:
        yield reports.append
    except KevError as error:
        if reports:
            error.report = reports[0]
            error.context = f"the run had ended: {reports[0].ending.verdict}"
        raise


def rest() -> None:
    """Ends the threads that wait for the next machine. While there is no machine, this process can be forked then."""
    _ENGINES.rest()


def refuse_in_trio(what: str, instead: str) -> None:
    """MachineError in a task of trio, whose other tasks would stand still."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        raise MachineError(f"{what} waits for a machine, which a task of trio must not: use {instead}")


def refuse_outside_trio() -> None:
    """MachineError in a coroutine that trio does not run."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        raise MachineError("`async with kev.start(...)` runs in trio: elsewhere, as in asyncio, use `with kev.start(...)`")


def check_callbacks(*needed: str, **callbacks: object) -> None:
    """SpecError, naming the keyword, for what cannot be called; None is as good, unless the callback is `needed`."""
    for name, callback in callbacks.items():
        if not callable(callback) and (callback is not None or name in needed):
            raise refusal(name, callback, "it must be something to call")


def check_how(logs: object, input_descriptor: object) -> None:
    """SpecError, naming the keyword, for what says how a run is watched, and does not."""
    if not isinstance(logs, str) and not (isinstance(logs, Sequence) and all(isinstance(name, str) for name in logs)):
        raise refusal("logs", logs, "it must be names of logs")
    if input_descriptor is not None and type(input_descriptor) is not int:
        raise refusal("input_descriptor", input_descriptor, "it must be the number of a descriptor")


class WantedMachine(NamedTuple):
    """What is asked for by an image and keywords."""

    spec: MachineSpec
    source: _Source | None
    """The image's bytes, if they are not those of what `spec` names."""
    policy: PagingPolicy | None
    """The paging policy, if it is not the one that `spec` names. It serves one run."""
    host: "GuestHost | None" = None
    """Whose guest it is, if that has several."""
    read_through: Callable[[_Source], _Source] | None = None
    """Makes of a source what image and snapshots are read from, before that is made slow."""


def wanted_machine(image: Image, wishes: Mapping[str, Any]) -> WantedMachine:
    """What a caller asks for. SpecError, naming the keyword, if it cannot be."""
    policy = wishes.get("paging")
    if isinstance(policy, PagingPolicy):
        wishes = {**wishes, "paging": None}
    else:
        policy = None
    if isinstance(image, MachineSpec):
        spec = MachineSpec.of(wishes).over(image)
        if not (spec.image or spec.disks or spec.firmware):
            raise SpecError("image: the description names none, and no disk or firmware to start instead")
        return WantedMachine(spec, None, policy)
    if isinstance(image, str | os.PathLike):
        return WantedMachine(MachineSpec.of({**wishes, "image": image}), None, policy)
    return WantedMachine(MachineSpec.of(wishes), _checked_source(image), policy)


def _checked_source(image: Any) -> _Source:
    if not (hasattr(image, "read_into") and isinstance(getattr(image, "name", None), str) and hasattr(image, "size")):
        raise refusal("image", image, "it must be a file, the name of a guest, a URL, or a source with name, size and read_into")
    if not isinstance(image.size, int) or image.size < 0:
        raise refusal("image", image.size, f"the size of {one_line(image.name)} must be a number of bytes")
    code = getattr(image.read_into, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE and not isinstance(image, AsynchronousSource):
        problem = "read_into is a coroutine function, but headers cannot be awaited: derive it from AsynchronousSource"
        raise refusal("image", image.name, problem)
    source: _Source = image
    return source


@contextmanager
def opened(wanted: WantedMachine, logs: Sequence[str] = (), warn: Callable[[str], object] | None = None) -> Iterator["Machine"]:
    """A machine that is ready to run, with the files it is made from open; it is closed at the end. KevError.

    `logs` names what is logged of its guest; `warn` is given what looks wrong, as in `launch`.
    """
    with ExitStack() as files:
        start = files.enter_context(start_of(wanted.spec, wanted.source))
        slowed = partial(_slowed, wanted)
        spec, saved = wanted.spec, None
        if start.may_be_snapshot and is_snapshot(_retried(start.source, spec.retry)):
            from kev.machine.snapshots import restored

            spec, source, guest, saved = files.enter_context(restored(spec, start.source, slowed))
            start = Start(source, guest, spec.disks)
        wish = None if start.guest is None else start.guest.spec
        says_memory = (spec if wish is None else spec.over(wish)).memory is not None
        spec = spec.resolved(wish)
        assert spec.paging is not None
        modules = tuple(files.enter_context(_modules(spec.modules) if spec.modules else _modules_of(start.guest)))
        sector = None if spec.boot_sector is None else files.enter_context(_file_source("boot sector", spec.boot_sector))
        boot = BootOptions(command_line=spec.command_line or "", modules=modules, boot_sector=sector)
        start = start._replace(source=_retried(slowed(start.source), spec.retry))
        build = partial(_built, spec if says_memory else spec._replace(memory=None), start, boot, saved, wanted.host)
        machine = build(
            files,
            logs=(logs,) if isinstance(logs, str) else logs,
            policy=wanted.policy or files.enter_context(paging_policy(spec.paging)),
            timeline=_new_timeline() if spec.timeline else None,
            warn=warn,
        )
        machine.build_alike = partial(_built_alike, build, machine.vm.boot_time)
        spec = spec._replace(memory=spec.memory if says_memory else sum(map(len, machine.vm.pager.ram)))
        machine.spec = spec if spec.image and spec.firmware is None else None
        if start.guest is not None and saved is None:
            machine.own_input = start.guest.input.encode()
        machine.name_places()
        files.callback(machine.close)
        yield machine


def _built(
    spec: MachineSpec,
    start: Start,
    boot: BootOptions,
    saved: "SavedMachine | None",
    host: "GuestHost | None",
    files: ExitStack,
    boot_time: int | None = None,
    **others: Any,
) -> "Machine":
    """A machine as `spec`, which is resolved, describes it; its disks are opened, and closed with `files`."""
    assert spec.vcpus is not None
    assert spec.syscall is not None
    machine = prepare(
        start.source,
        memory=spec.memory,
        options=MachineOptions(
            vcpus=spec.vcpus,
            syscall=spec.syscall,
            lenient_msr=bool(spec.lenient_msr),
            strict_ports=bool(spec.strict_ports),
            strict_memory=bool(spec.strict_memory),
            keyboard=bool(spec.keyboard),
            drives=_drives(start, files),
            boot_disk=None if start.open_boot_disk is None else files.enter_context(start.open_boot_disk()),
            boots_from_drives=start.boots_from_drives,
            boot_time=boot_time,
            host=host,
        ),
        boot=boot,
        protocol=start.protocol or spec.protocol,
        abi=spec.abi,
        seed=spec.seed,
        engines=_ENGINES,
        saved=saved,
        **others,
    )
    if spec.max_pages is not None:
        machine.vm.pager.limit(spec.max_pages)
    if spec.max_output is not None:
        _limit_output(machine.vm, spec.max_output)
    return machine


def _drives(start: Start, files: ExitStack) -> tuple["Drive", ...]:
    """The disks that are asked for, or else the guest's own."""
    if not start.disks:
        return drives_of(start.guest)
    from kev.machine.disk_files import open_drive

    return tuple(files.enter_context(open_drive(disk)) for disk in start.disks)


def _limit_output(vm: "Vm", size: int) -> None:
    ending = Ending.limited(f"more than the {size:,} bytes were printed that may be")
    vm.console.exceeded.subscribe(lambda: vm.cut_short(ending))
    vm.console.limit(size)


def _built_alike(build: Callable[..., "Machine"], boot_time: int) -> "Built":
    """Another machine that is as new, for what is forked. It loads pages as they are touched."""
    from kev.machine.family import Built

    with ExitStack() as files:
        return Built(build(files, boot_time=boot_time).vm, files.pop_all().close)


def _slowed(wanted: WantedMachine, source: _Source) -> _Source:
    """What pages are read from."""
    if wanted.read_through is not None:
        source = wanted.read_through(source)
    latency = wanted.spec.source_latency
    if latency is None:
        return source
    from kev.pager.slow_source import SlowSource
    from kev.spec.source_latency import parse_source_latency

    if isinstance(source, AsynchronousSource):
        raise SourceError(f"{source.name}: cannot be made slower: it has a latency of its own")
    return SlowSource(source, parse_source_latency(latency))


def _retried(source: _Source, times: int | None) -> _Source:
    if times is None:
        return source
    from kev.pager.retrying_source import RetryingSource

    return RetryingSource(source, times)


def _new_timeline() -> "Timeline":
    from kev.observe.timeline import Timeline

    return Timeline()


@contextmanager
def _modules(files: Sequence[ModuleFile]) -> Iterator[list[Module]]:
    with ExitStack() as sources:
        yield [Module(file.path, sources.enter_context(_file_source("module", file.path)), file.text) for file in files]


def _file_source(what: str, path: str) -> FileSource:
    try:
        return FileSource(path)
    except SourceError as error:
        raise SourceError(f"{what} {error}") from error


@contextmanager
def _modules_of(guest: Guest | None) -> Iterator[list[Module]]:
    if guest is None or not guest.modules:
        yield []
        return
    with open_root_file_system() as files:
        yield [Module(name, files.open(name)) for name in guest.modules]
