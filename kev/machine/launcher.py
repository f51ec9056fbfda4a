"""Launches a guest: from an image to a report."""

import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kev.abi.selection import abi_named, default_abi
from kev.addressing import PAGE_SIZE
from kev.boot.base import BootOptions, VirtioTransport
from kev.boot.detection import open_kernel
from kev.clock import WallClock
from kev.engine.base import Budget
from kev.exits import EptViolation, Exit, PreemptionTimer
from kev.machine.builder import DriveKind, GuestAddressSpace, MachineOptions, VmBuilder
from kev.machine.ending import Ending, EndingKind
from kev.machine.launch_times import LaunchTimes
from kev.machine.pc import VIRTIO_BLOCK_GPA, VIRTIO_BLOCK_IRQ
from kev.machine.vcpu import ActivityState
from kev.machine.vm import Vm
from kev.pager.policy import PagingPolicy
from kev.pager.source import AsynchronousSource, SynchronousSource

if TYPE_CHECKING:
    from kev.dev.storage.block_device import BlockBackend
    from kev.engine.amdv.pool import HostPool
    from kev.machine.run_report import RunReport
    from kev.observe.timeline import Timeline

DEFAULT_MEMORY: Final = 256 << 20
"""Bytes of RAM of a guest that does not say what it wants."""
_HEAD_START: Final = 0.02  # seconds
_VIRTIO_BLOCK: Final = VirtioTransport(range(VIRTIO_BLOCK_GPA, VIRTIO_BLOCK_GPA + PAGE_SIZE), VIRTIO_BLOCK_IRQ)


class LaunchedMachine(NamedTuple):
    """A machine that is ready to run."""

    vm: Vm
    image: str
    times: LaunchTimes
    policy: PagingPolicy
    timeline: "Timeline | None"
    seed: int | None = None


def prepare(
    source: SynchronousSource | AsynchronousSource,
    *,
    memory: int = DEFAULT_MEMORY,
    options: MachineOptions | None = None,
    boot: BootOptions | None = None,
    protocol: str | None = None,
    abi: str | None = None,
    policy: PagingPolicy | None = None,
    timeline: "Timeline | None" = None,
    seed: int | None = None,
    output: Callable[[bytes], object],
    hosts: "HostPool | None" = None,
) -> LaunchedMachine:
    """Builds a machine of `memory` bytes of RAM around the kernel in `source`, of which only headers are read.

    `protocol` names a boot protocol; by default the image says which. `abi` names a guest ABI; by default it follows the protocol.
    `policy` says which pages to load besides those the guest
    touches; by default none. `timeline` writes down what happens to pages. `seed` makes the run repeatable, bit for bit: it
    chooses the schedule, and time is derived from instructions. `output` is given what the guest prints. The machine runs
    on one of `hosts`, which gets it back when it has run; by default on a host of its own. KevError for whatever is wrong with the
    image or the wishes.
    """
    began = time.perf_counter()
    options = options or MachineOptions()
    if seed is not None:
        options = options._replace(virtual_time=True, boot_time=0)
    policy = policy or PagingPolicy()
    ram_kib = memory >> 10
    kernel = open_kernel(source.blocking if isinstance(source, AsynchronousSource) else source, protocol)
    guest_abi = abi_named(abi or default_abi(kernel.name))
    if kernel.boot_disk is not None:
        options = options._replace(boot_disk=_disk(kernel.boot_disk))
    parsed = time.perf_counter()
    space = GuestAddressSpace.reserve(ram_kib, hosts)
    pager = space.pager(kernel.image, ram_kib, source)
    entry = kernel.prepare(pager, (boot or BootOptions())._replace(vcpus=options.vcpus, virtio=_virtio(options)))
    policy.attach(pager)
    registered = time.perf_counter()
    vm = VmBuilder(pager, space, options, guest_abi, output).build(entry)
    if timeline is not None:
        timeline.attach(vm)
    times = LaunchTimes(began, parsed, registered, time.perf_counter())
    return LaunchedMachine(vm, source.name, times, policy, timeline, seed)


def _disk(source: SynchronousSource) -> "BlockBackend":
    from kev.dev.storage.source_disk import SourceDisk

    return SourceDisk(source)


def _virtio(options: MachineOptions) -> tuple[VirtioTransport, ...]:
    return (_VIRTIO_BLOCK,) if any(drive.kind is DriveKind.VIRTIO for drive in options.drives) else ()


def run(machine: LaunchedMachine, *, timeout: float | None = None, input_descriptor: int | None = None) -> "RunReport":
    """Runs a machine to its end. `timeout` in seconds of the host's clock; input for COM1 comes from `input_descriptor`."""
    vm = machine.vm
    try:
        with _interrupts_end(vm):
            _run_vm(machine, timeout, input_descriptor)
        ended = time.perf_counter()
        ending = _ending(vm)
        screen = vm.screen.text
    finally:
        vm.console.close()
        vm.engine.close()
        vm.pager.close()
    return _report(machine, ending, ended, screen)


def _run_vm(machine: LaunchedMachine, timeout: float | None, input_descriptor: int | None) -> None:
    vm = machine.vm
    exit = None
    if not isinstance(vm.pager.source, AsynchronousSource) and machine.seed is None:
        _run_without_waiting(machine.policy.before_run())
        if vm.ending is None:
            exit = _run_head_start(vm)
        if vm.ending is not None:
            return
    # The imports take longer than what a guest waits for when it measures time.
    with vm.clock.standing_still() if isinstance(vm.clock, WallClock) else nullcontext():
        import trio

        from kev.machine.runtime import Runtime
        from kev.machine.schedule import FreeScheduler, SeededScheduler

    policy = machine.policy if exit is None else None
    scheduler = FreeScheduler() if machine.seed is None else SeededScheduler(machine.seed)
    trio.run(Runtime(vm, scheduler, policy).run, timeout, input_descriptor, exit)


def _run_head_start(vm: Vm) -> Exit:
    """Most of what a short run needs is over before the runtime, which takes longer to import, would have been there."""
    remaining, end = _HEAD_START, time.perf_counter() + _HEAD_START
    while True:
        exit = vm.run_slice(vm.vcpus[0], Budget(seconds=remaining))
        remaining = end - time.perf_counter()
        runs = vm.ending is None and vm.vcpus[0].activity is ActivityState.ACTIVE
        if not runs or remaining <= 0 or not isinstance(exit, PreemptionTimer):
            return exit
        vm.timers.run_due()


def _run_without_waiting(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs what awaits nothing that is not there, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError(f"{coroutine} waits, though no source does")


@contextmanager
def _interrupts_end(vm: Vm) -> Iterator[None]:
    """Makes Ctrl-C end the run, also while there is no runtime yet to see it. In other threads nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: vm.end(Ending.interrupted()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ending(vm: Vm) -> Ending:
    """How the run ended; if it was cut short, with the place of every vCPU."""
    ending = vm.ending
    assert ending is not None
    if ending.kind in (EndingKind.TIMED_OUT, EndingKind.INTERRUPTED) and ending.exit_code:
        return ending._replace(message=f"{ending.message}: {vm.places()}")
    return ending


def _report(machine: LaunchedMachine, ending: Ending, ended: float, screen: str) -> "RunReport":
    from kev.machine.run_report import RunReport

    vm, times = machine.vm, machine.times
    first_output = vm.console.first_output
    timeline = machine.timeline
    return RunReport(
        image=machine.image,
        ending=ending,
        pages_loaded=vm.pager.statistics.loads,
        image_pages=vm.pager.image_pages,
        ram_pages=vm.pager.ram_pages,
        violations=vm.exits[EptViolation],
        page_waits=vm.page_waits,
        paging={"policy": machine.policy.name, **machine.policy.figures()},
        exits={kind.__name__: count for kind, count in vm.exits.items() if count},
        phases=times.phases(vm.first_instruction, first_output, ended),
        screen=screen,
        timeline=None if timeline is None else _describe(timeline, machine),
    )


def _describe(timeline: "Timeline", machine: LaunchedMachine) -> dict[str, Any]:
    from kev.observe.timeline_json import describe

    return describe(timeline, machine.vm.pager, machine.times.began)
