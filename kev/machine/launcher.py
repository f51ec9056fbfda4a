"""Launches a guest: from an image to a report."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Final

from kev import log
from kev.abi.selection import chosen_abi
from kev.addressing import Gpa
from kev.boot.base import BootOptions, PciRoot, VirtioTransport
from kev.boot.detection import open_detected
from kev.boot.protocols import default_memory
from kev.dev.storage.drive import DriveKind
from kev.dev.surroundings import Picture
from kev.engine.factory import EngineFactory, engine_named
from kev.machine.at_once import finished
from kev.machine.builder import MachineOptions, VmBuilder
from kev.machine.disks import PCI_IRQ, VIRTIO_BLOCKS
from kev.machine.ending import Ending
from kev.machine.input_line import LARGEST_BACKLOG, READ_SIZE
from kev.machine.launch_times import LaunchTimes
from kev.machine.machine import Machine
from kev.machine.step import Ran, Stopped
from kev.pager.kernel import KernelVmPager
from kev.pager.policy import PagingPolicy
from kev.pager.ram import FRAMEBUFFER, MMIO_HOLE
from kev.pager.source import AsynchronousSource, SynchronousSource, blocking
from kev.work.stopping import heeded, note_too

if TYPE_CHECKING:
    from kev.dev.block_device import BlockBackend
    from kev.machine.run_report import RunReport
    from kev.machine.snapshots import SavedMachine
    from kev.observe.timeline import Timeline

_PATIENCE_FOR_NAMES: Final = 1.0
"""Seconds that a source may take for what only names places: symbols and debug information."""
_MOST_RAM: Final = (1 << 40) - len(MMIO_HOLE)
"""In bytes. What would lie behind the 40 bits of the CPU's physical addresses (`kev.vmexit.cpuid`), no guest could reach."""
_EXPECT_DISPLAY: Final = frozenset(("multiboot1", "multiboot2"))
"""Protocols of kernels that look for a display on the PCI bus, whatever else there is."""
_HEAD_START: Final = 0.02  # seconds of the processor's time, so that how busy the host is makes no difference
_LONG_HEAD_START: Final = 0.5
"""The same where nobody else waits: to import trio takes 60 to 110 ms, which a run that ends or is ended soon never gets back."""


def prepare(
    source: SynchronousSource | AsynchronousSource,
    *,
    memory: int | None = None,
    options: MachineOptions | None = None,
    boot: BootOptions | None = None,
    protocol: str | None = None,
    abi: str | None = None,
    logs: Sequence[str] = (),
    policy: PagingPolicy | None = None,
    timeline: "Timeline | None" = None,
    seed: int | None = None,
    output: Callable[[bytes], object] | None = None,
    warn: Callable[[str], object] | None = None,
    engines: EngineFactory | None = None,
    saved: "SavedMachine | None" = None,
) -> Machine:
    """Builds a machine of `memory` bytes of RAM around the kernel in `source`, of which only headers are read.

    Without `memory`, it has as much as the boot protocol says (`kev.boot.protocols.default_memory`).
    `protocol` names a boot protocol; by default the image says which. `abi` names a guest ABI; by default it follows the protocol.
    `logs` names logs to keep of the guest, besides those of its ABI. `policy` says which pages to load besides those the guest
    touches; by default none. `timeline` writes down what happens to pages. `seed` makes the run repeatable, bit for bit: it chooses
    the schedule and what RDRAND draws, and time is derived from instructions and exits. `output` is given what the guest prints,
    `warn` a line for whatever looks wrong with how the image is booted, or with the run. The machine's engine is one of `engines`,
    by default one of its own. `saved` is what was saved of a machine like it, and goes on. KevError for whatever is wrong with the
    image or the wishes.
    """
    began = time.perf_counter()
    options = options or MachineOptions()
    if seed is not None:
        options = options._replace(virtual_time=True, random_seed=seed, boot_time=0)
    if saved is not None:
        options = options._replace(boot_time=saved.boot_time)
    policy = policy or PagingPolicy()
    kernel, detection = open_detected(blocking(source), protocol)
    ram_kib = min(default_memory(kernel.name) if memory is None else memory, _MOST_RAM) >> 10
    guest_abi = chosen_abi(abi, kernel.name, options.syscall)
    log.info("boot", image=source.name, protocol=kernel.name, because=detection.reason, mode=kernel.mode, abi=guest_abi.name)
    for warning in detection.warnings:
        log.warning("boot", image=source.name, warning=warning)
    options = options._replace(has_bios=kernel.has_bios, booted=kernel.booted, pci_chipset=kernel.expects_chipset)
    if kernel.boot_disk is not None and not options.boots_from_drives:
        options = options._replace(boot_disk=_disk(kernel.boot_disk))
    if kernel.expects_chipset:
        options = options._replace(firmware_files=partial(_firmware_files, options.vcpus, _virtio(options), PciRoot(PCI_IRQ)))
    if kernel.has_bios and not kernel.expects_chipset:
        options = options._replace(display=kernel.name in _EXPECT_DISPLAY or _pci(options) is not None)
    parsed = time.perf_counter()
    space = (engines or engine_named()).reserve(ram_kib)
    pager = KernelVmPager(kernel.image, ram_kib, space.memory, space.table, source=source)
    told = (boot or BootOptions())._replace(
        vcpus=options.vcpus,
        virtio=_virtio(options),
        pci=_pci(options),
        hard_disks=_hard_disks(options),
        random=None if options.virtual_time else os.urandom,
    )
    kernel.refuse_boot_sector(told)
    entry = guest_abi.entry(kernel.name, kernel.prepare(pager, told))
    if kernel.has_bios and kernel.video_mode is None:
        pager.loaders.add_ram(Gpa(FRAMEBUFFER.start), Gpa(FRAMEBUFFER.stop))
    if saved is not None:
        pager.restore(saved.memory)
    policy.attach(pager)
    registered = time.perf_counter()
    vm = VmBuilder(pager, space, options, guest_abi).build(entry)
    if kernel.video_mode is not None:
        mode = kernel.video_mode
        vm.show(Picture(mode.width, mode.height, mode.depth, mode.pitch))
    if output is not None:
        vm.console.output.subscribe(output)
    if logs or guest_abi.logs:
        from kev.machine.guest_log import attach_logs

        attach_logs(vm, {*logs, *guest_abi.logs})
    if log.is_debugging():
        from kev.machine.event_log import EventLog

        EventLog.attach(vm)
    if timeline is not None:
        from kev.machine.watching import watch

        watch(vm, timeline)
    times = LaunchTimes(began, parsed, registered, time.perf_counter())
    machine = Machine(vm, source.name, times, policy, timeline, seed)
    if isinstance(source, AsynchronousSource):
        source.hurry(_PATIENCE_FOR_NAMES)
        machine.hurry = source.hurry_all
    if saved is not None:
        saved.load(machine)
    machine.warn = warn
    if warn is not None:
        for warning in detection.warnings:
            warn(f"{source.name}: {warning}")
    return machine


def _disk(source: SynchronousSource) -> "BlockBackend":
    from kev.dev.storage.source_disk import SourceDisk

    return SourceDisk(source)


def _hard_disks(options: MachineOptions) -> int:
    others = (DriveKind.IPC, DriveKind.CDROM)
    disks = sum(drive.kind not in others for drive in options.drives) + (options.boot_disk is not None)
    return disks if options.booted is None or options.booted.is_hard_disk else disks - 1


def _firmware_files(vcpus: int, virtio: Sequence[VirtioTransport], pci: PciRoot) -> Mapping[str, bytes]:
    from kev.boot.firmware_files import acpi_files

    return acpi_files(vcpus, virtio, pci)


def _virtio(options: MachineOptions) -> tuple[VirtioTransport, ...]:
    return VIRTIO_BLOCKS[: sum(drive.kind is DriveKind.VIRTIO for drive in options.drives)]


def _pci(options: MachineOptions) -> PciRoot | None:
    on_bus = (DriveKind.VIRTIO_PCI, DriveKind.IDE, DriveKind.IDE_MASTER, DriveKind.IDE_SECONDARY, DriveKind.CDROM)
    there = options.boot_disk is not None or any(drive.kind in on_bus for drive in options.drives)
    return PciRoot(PCI_IRQ) if there else None


def run(
    machine: Machine,
    *,
    timeout: float | None = None,
    input_descriptor: int | None = None,
    interrupt_ends: bool = True,
    at_end: Callable[[Machine], object] | None = None,
) -> "RunReport":
    """Runs a machine to its end, and closes it. `at_end` is given the machine in between.

    `timeout` in seconds of the host's clock; input for COM1 comes from `input_descriptor`, or else it is the guest's own. Ctrl-C
    ends the run; it is then raised as a KeyboardInterrupt unless `interrupt_ends`: then it is an `Ending` like others, and so are
    SIGTERM and SIGHUP.
    """
    try:
        if timeout is not None and machine.time_left is None:
            machine.set_time_limit(timeout)
        if input_descriptor is None:
            machine.type_own_input()
        signals = signals_that_end(interrupt_ends)
        with _signals_end(machine, signals) as came:
            _run(machine, timeout, input_descriptor, threading.current_thread() is threading.main_thread())
        machine.note_end()
        if at_end is not None:
            at_end(machine)
        report = machine.report()
    finally:
        machine.close()
    if came and not interrupt_ends:  # also if the guest had just ended
        raise KeyboardInterrupt
    return report


def signals_that_end(interrupt_ends: bool) -> Sequence[int]:
    """The signals that end a run, unless they are ignored.

    Other threads than the main one get none; a library leaves all but Ctrl-C to its user.
    """
    if threading.current_thread() is not threading.main_thread():
        return ()
    return heeded((signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if interrupt_ends else (signal.SIGINT,))


def _run(machine: Machine, timeout: float | None, input_descriptor: int | None, job_control: bool) -> None:
    vm = machine.vm
    vm.expects_input = input_descriptor is not None
    policy_has_run = begin(machine, _longer(machine, input_descriptor), _LONG_HEAD_START)
    if vm.ending is not None:
        return
    # The imports take longer than what a guest waits for when it measures time.
    vm.clock.stop()
    began, were_there = time.perf_counter(), "kev.machine.driving" in sys.modules
    import trio

    from kev.machine.driving import drive

    if not were_there:
        machine.imports = (began, time.perf_counter())
    vm.clock.go_on()
    if vm.ending is not None:  # by a signal meanwhile
        return
    trio.run(
        partial(
            drive,
            machine,
            timeout=timeout,
            input_descriptor=input_descriptor,
            job_control=job_control,
            policy_has_run=policy_has_run,
        )
    )


def _longer(machine: Machine, descriptor: int | None) -> Callable[[], bool]:
    """Says, behind the ordinary head start, whether the machine has to be driven: its time is up, a person may type, or input has
    ended. What else there is to read from `descriptor` is passed on to the guest.
    """
    end = time.thread_time() + _HEAD_START
    is_typed = descriptor is not None and os.isatty(descriptor)

    def is_needed() -> bool:
        if time.thread_time() < end:
            return False
        return is_typed or machine.time_left == 0 or (descriptor is not None and not _pass_on(machine, descriptor))

    return is_needed


def _is_readable(descriptor: int) -> bool:
    """Also at the end of a file, and where the operating system cannot say."""
    import select

    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _pass_on(machine: Machine, descriptor: int) -> bool:
    """Gives the guest what there is of its input, if it has taken what was there before. False if that is over."""
    line = machine.vm.input_line
    if line is None or line.backlog >= LARGEST_BACKLOG or not _is_readable(descriptor):
        return line is not None
    try:
        data = os.read(descriptor, READ_SIZE)
    except OSError:
        return False
    if data:
        line.receive(data)
        machine.has_input = True
    return bool(data)


def begin(machine: Machine, until: Callable[[], bool] | None = None, seconds: float = _HEAD_START) -> bool:
    """Runs a new machine for 20 ms of the processor's time, or to its end if that is sooner: most short runs need no runtime.
    Sooner, too, if `until`, which is asked between steps, says that somebody needs the machine. `seconds` is another time.

    Whether what the paging policy does before a run is done. If not, nothing is: there is a seed, or pages have to be waited for.
    """
    if machine.vm.pager.waits or machine.seed is not None:
        return False
    finished(machine.load_ahead())
    _run_head_start(machine, until, seconds)
    return True


def _run_head_start(machine: Machine, until: Callable[[], bool] | None, seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end and not (until is not None and until()):
        step = machine.vm.step(machine.scheduler)
        if not isinstance(step, Ran) and not (isinstance(step, Stopped) and machine.note_stop()):
            return


@contextmanager
def _signals_end(machine: Machine, signals: Sequence[int]) -> Iterator[list[int]]:
    """Makes signals end the run, also where no runtime sees them: before it is there, and while a callback of the machine waits.

    The block is given a list of those that have come.
    """
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in signals}

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        machine.end_soon(Ending.by_signal(number))
        note_too(number, before[number])  # the run may have come to its own end just now

    for number in signals:
        signal.signal(number, end)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
