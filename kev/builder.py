"""Puts a machine together: a PC as far as the guests need one."""

import time
from collections.abc import Callable
from typing import Final, Self

import attrs

from kev.addressing import GIB, KIB, MIB, TIB, page_ceil
from kev.clock import TimerQueue, VirtualClock, WallClock
from kev.console import Console
from kev.dev.debug_exit import DebugExit, exit_code
from kev.dev.ignored import IgnoredPorts
from kev.dev.irq import InterruptControllers
from kev.dev.kvmclock import KvmClock
from kev.dev.mmio import MmioBus
from kev.dev.msrs import MsrBus
from kev.dev.pci import EmptyPciBus
from kev.dev.pit8254 import Pit8254
from kev.dev.ports import PortBus
from kev.dev.poweroff import AcpiPowerOff, BochsShutdown
from kev.dev.rtc import Rtc
from kev.dev.serial import SerialPort
from kev.engine.amdv.engine import AmdvEngine
from kev.engine.base import EntryState
from kev.errors import KevError
from kev.exits import Cpuid, EptViolation, IoIn, IoOut, MmioRead, MmioWrite, Rdmsr, Rdtsc, Vmcall, Wrmsr
from kev.guest_memory import PagedMemory
from kev.interrupts import Interrupts
from kev.memory import HostMemory
from kev.paging.npt import NptFormat
from kev.paging.table import PageTable
from kev.vcpu import ActivityState, Vcpu
from kev.vm import Vm
from kev.vmexit.cpuid import CpuidController
from kev.vmexit.hypercall import KevHypercalls
from kev.vmexit.mmio import MmioController
from kev.vmexit.msr import MsrController
from kev.vmexit.pio import PortController
from kev.vmexit.violation import ViolationController
from pager.image import KernelImage
from pager.kernel import KernelVmPager

MAX_VCPUS: Final = 64
_PHYSICAL_LIMIT: Final = TIB - GIB
"""The emulated CPU has 40 bits of physical address; the last GiB is for windows of devices."""
_TIMER_IRQ: Final = 0
_COM1_IRQ: Final = 4
_RTC_IRQ: Final = 8


class MachineError(KevError):
    """No such machine can be built."""


@attrs.frozen(slots=True, kw_only=True)
class MachineOptions:
    """What a machine is like, its memory and its image aside."""

    vcpus: int = 1
    virtual_time: bool = False
    """Time is derived from instructions executed, and repeatable; else it is the host's."""
    lenient_msr: bool = False
    """Unknown MSRs read as 0 and ignore writes, instead of raising #GP."""
    strict_ports: bool = False
    """An access to a port without a device ends the run, instead of reading all ones."""
    boot_time: int | None = None
    """What the real-time clock shows at the start, in seconds since 1970; None for the host's time."""


@attrs.frozen(slots=True)
class GuestAddressSpace:
    """The memory a machine is built around."""

    memory: HostMemory
    table: PageTable

    @classmethod
    def reserve(cls, ram_kib: int) -> Self:
        """Address space for `ram_kib` KiB of RAM with its tables. HostMemoryError if the host has not so much."""
        wanted = page_ceil(ram_kib * KIB + ram_kib * KIB // 128 + 64 * MIB)
        memory = HostMemory(min(wanted, _PHYSICAL_LIMIT))
        return cls(memory, PageTable(memory, NptFormat()))

    def pager(self, image: KernelImage, ram_kib: int) -> KernelVmPager:
        return KernelVmPager(image, ram_kib, self.memory, self.table)


class VmBuilder:
    """Builds one machine from a pager whose boot information is complete."""

    def __init__(self, pager: KernelVmPager, table: PageTable, options: MachineOptions, output: Callable[[bytes], object]) -> None:
        """MachineError if `options` ask for what there is not."""
        if not 1 <= options.vcpus <= MAX_VCPUS:
            raise MachineError(f"{options.vcpus} vCPUs: a machine has 1 to {MAX_VCPUS}")
        self._options = options
        self._pager = pager
        self._table = table
        self._console = Console(output)
        self._clock: WallClock | VirtualClock = VirtualClock() if options.virtual_time else WallClock()
        self._timers = TimerQueue(self._clock)
        self._engine = AmdvEngine(pager.memory, table)
        self._vcpus = tuple(Vcpu(index, self._engine.create_vcpu(index)) for index in range(options.vcpus))
        self._interrupts = Interrupts(self._engine, self._vcpus)
        self._controllers = InterruptControllers(options.vcpus, self._clock, self._timers, self._interrupts)
        self._interrupts.connect(self._controllers.local_apics)
        self._ports = PortBus(strict=options.strict_ports)
        self._msrs = MsrBus(lenient=options.lenient_msr)
        self._mmio = MmioBus()
        pager.unmapped = self._engine.invalidate

    def build(self, entry: EntryState) -> Vm:
        """The machine, with vCPU 0 about to start in the state `entry`."""
        self._vcpus[0].startup = entry
        self._vcpus[0].activity = ActivityState.ACTIVE
        vm = Vm(
            pager=self._pager,
            engine=self._engine,
            vcpus=self._vcpus,
            interrupts=self._interrupts,
            clock=self._clock,
            timers=self._timers,
            console=self._console,
        )
        self._attach_interrupt_controllers()
        self._attach_time()
        self._attach_ports(vm)
        self._connect(vm)
        return vm

    def _attach_interrupt_controllers(self) -> None:
        controllers = self._controllers
        self._ports.attach("8259 interrupt controllers", controllers.pic)
        self._msrs.attach("local APICs", controllers.local_apics)
        self._mmio.attach("local APICs", controllers.local_apics)
        self._mmio.attach("I/O APIC", controllers.io_apic)

    def _attach_time(self) -> None:
        options = self._options
        boot_time = int(time.time()) if options.boot_time is None else options.boot_time
        clock, timers, line = self._clock, self._timers, self._controllers.line
        below, *above = (len(region) for region in self._pager.ram)
        self._ports.attach("8254 timer", Pit8254(clock, timers, line(_TIMER_IRQ)))
        self._ports.attach("real-time clock", Rtc(clock, timers, line(_RTC_IRQ), boot_time, below, sum(above)))
        self._msrs.attach("kvmclock", KvmClock(options.vcpus, clock, boot_time, PagedMemory(self._pager)))

    def _attach_ports(self, vm: Vm) -> None:
        serial = SerialPort(self._console.put, self._controllers.line(_COM1_IRQ), self._clock, self._timers)
        self._ports.attach("COM1", serial)
        self._ports.attach("PCI configuration", EmptyPciBus())
        self._ports.attach("power-off", AcpiPowerOff(vm.exit))
        self._ports.attach("Bochs shutdown", BochsShutdown(vm.exit))
        self._ports.attach("debug exit", DebugExit(lambda value: vm.exit(exit_code(value))))
        self._ports.attach("delay", IgnoredPorts())

    def _connect(self, vm: Vm) -> None:
        interrupts = self._interrupts
        violations = ViolationController(self._pager, self._table, self._mmio, self._engine)
        ports = PortController(self._ports, interrupts)
        mmio = MmioController(self._mmio, interrupts, violations.stored)
        msrs = MsrController(self._msrs, interrupts, self._clock)
        hypercalls = KevHypercalls(vm.exit, self._console.write, PagedMemory(self._pager).read_virtual)
        vm.handle(EptViolation, violations.handle)
        vm.handle(IoIn, ports.read)
        vm.handle(IoOut, ports.write)
        vm.handle(MmioRead, mmio.load)
        vm.handle(MmioWrite, mmio.store)
        vm.handle(Rdmsr, msrs.read)
        vm.handle(Wrmsr, msrs.write)
        vm.handle(Rdtsc, msrs.read_time_stamp_counter)
        vm.handle(Cpuid, CpuidController(len(self._vcpus)).handle)
        vm.handle(Vmcall, hypercalls.handle)
