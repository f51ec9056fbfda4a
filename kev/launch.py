"""Launches a guest: from an image to a report."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from kev.builder import GuestAddressSpace, MachineOptions, VmBuilder
from kev.ending import Ending
from kev.engine.base import Budget
from kev.exits import EptViolation
from kev.report import RunReport
from kev.vm import Vm
from pager.image import KernelImage
from pager.source import SynchronousSource

DEFAULT_MEMORY: Final = 256 << 20
"""Bytes of RAM of a guest that does not say what it wants."""
_HEAD_START: Final = Budget(seconds=0.02)


@attrs.frozen(slots=True)
class LaunchedMachine:
    """A machine that is ready to run, and when its launch began (`time.perf_counter`)."""

    vm: Vm
    image: str
    began: float


def prepare(
    source: SynchronousSource,
    *,
    memory: int = DEFAULT_MEMORY,
    options: MachineOptions | None = None,
    output: Callable[[bytes], object],
) -> LaunchedMachine:
    """Builds a machine of `memory` bytes of RAM around the kernel in `source`, of which only headers are read."""
    began = time.perf_counter()
    ram_kib = memory >> 10
    image = KernelImage.from_elf(source)
    space = GuestAddressSpace.reserve(ram_kib)
    pager = space.pager(image, ram_kib)
    builder = VmBuilder(pager, space.table, options or MachineOptions(), output)
    from kev.engine.base import EntryState, Segment

    info = pager.finalize_mem()
    entry = EntryState(
        rip=pager.entry,
        cs=Segment(0x10, 0, 0xFFFF_FFFF, 0xC09B),
        data=Segment(0x18, 0, 0xFFFF_FFFF, 0xC093),
        cr0=0x31,
        rax=0x36D76289,
        rbx=info,
        rsi=info,
        rsp=0xA0000,
    )
    return LaunchedMachine(builder.build(entry), source.name, began)


def run(machine: LaunchedMachine, *, timeout: float | None = None, input_descriptor: int | None = None) -> RunReport:
    """Runs a machine to its end. `timeout` in seconds of the host's clock; input for COM1 comes from `input_descriptor`."""
    vm = machine.vm
    try:
        with _interrupts_end(vm):
            _run_vm(vm, timeout, input_descriptor)
    finally:
        vm.console.flush()
        vm.engine.close()
        vm.pager.close()
    return _report(machine)


def _run_vm(vm: Vm, timeout: float | None, input_descriptor: int | None) -> None:
    # Most of what a short run needs is over before the runtime, which takes longer to import, would have been there.
    exit = vm.run_slice(vm.vcpus[0], _HEAD_START)
    if vm.ending is not None:
        return
    import trio

    from kev.runtime import Runtime
    from kev.schedule import FreeScheduler

    trio.run(Runtime(vm, FreeScheduler()).run, timeout, input_descriptor, exit)


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


def _report(machine: LaunchedMachine) -> RunReport:
    vm = machine.vm
    assert vm.ending is not None
    assert vm.first_instruction is not None
    first_output = vm.console.first_output
    return RunReport(
        image=machine.image,
        ending=vm.ending,
        pages_loaded=vm.pager.statistics.loads,
        image_pages=vm.pager.image_pages,
        ram_pages=vm.pager.ram_pages,
        violations=vm.exits[EptViolation],
        exits={kind.__name__: count for kind, count in vm.exits.items() if count},
        launch_ms=(vm.first_instruction - machine.began) * 1e3,
        first_output_ms=None if first_output is None else (first_output - machine.began) * 1e3,
        run_ms=(time.perf_counter() - machine.began) * 1e3,
    )
