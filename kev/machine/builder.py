"""Puts a machine together: a PC as far as the guests need one."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from kev.abi.base import Controller, GuestAbi, Services
from kev.addressing import Gpa
from kev.clock import TimerQueue, VirtualClock, WallClock
from kev.dev.base import Device, MmioDevice
from kev.dev.block_device import BlockBackend
from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.msrs import MsrBus
from kev.dev.buses.ports import PortBus
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.devices import Buses, Devices
from kev.dev.interrupts.irq import InterruptControllers
from kev.dev.pci.bus import PciBus
from kev.dev.storage.drive import Drive
from kev.dev.surroundings import Surroundings
from kev.engine.base import EntryState
from kev.engine.factory import GuestAddressSpace
from kev.exits import Cpuid, CrAccess, EptViolation, InvalidOpcode, IoIn, IoOut, MmioRead, MmioWrite, Rdmsr, Rdtsc, Vmcall, Wrmsr
from kev.machine.bios import BiosController
from kev.machine.console import Console
from kev.machine.disks import Disks
from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.machine.exit_costs import CURRENT, EXIT_COSTS
from kev.machine.guest_memory import PagedMemory
from kev.machine.interrupts import Interrupts
from kev.machine.pc import SELDOM_USED, SELDOM_USED_PAGES, attach_platform
from kev.machine.vcpu import ActivityState, Vcpu
from kev.machine.vm import Vm
from kev.named_tuple import NamedTuple
from kev.pager.kernel import KernelVmPager
from kev.vmexit.control_register import Cr8Controller
from kev.vmexit.cpuid import CpuidController, machine_leaves
from kev.vmexit.mmio import MmioController
from kev.vmexit.msr import MsrController
from kev.vmexit.pio import PortController
from kev.vmexit.violation import ViolationController
from kev.x86 import EFER_SCE

if TYPE_CHECKING:
    from kev.bios.drives import BootDrive
    from kev.dev.display.mode_registers import ModeRegisters
    from kev.dev.display.video_memory import VideoMemory
    from kev.dev.pci.function import PciFunction
    from kev.machine.host_environments import GuestHost

MAX_VCPUS: Final = 64
_VIDEO_MEMORY: Final = "video memory"
_DISPLAY_NUMBER: Final = 2
"""Of the PCI device, as on QEMU's PC."""
_DISPLAY: Final = f"display at PCI 00:{_DISPLAY_NUMBER:02x}.0"
_BRIDGE: Final = "host bridge at PCI 00:00.0"


class MachineOptions(NamedTuple):
    """What a machine is like, its memory and its image aside."""

    vcpus: int = 1
    virtual_time: bool = False
    """Time is derived from instructions executed, and repeatable; else it is the host's."""
    exit_costs: int = CURRENT
    """In virtual time: which of the tables `kev.machine.exit_costs.EXIT_COSTS` says what exits take."""
    random_seed: int = 0
    """In virtual time: what RDRAND and RDSEED draw from."""
    syscall: str = "native"
    """How SYSCALL is executed: one of `kev.spec.values.SYSCALLS`."""
    lenient_msr: bool = False
    """Unknown MSRs read as 0 and ignore writes, instead of raising #GP."""
    strict_ports: bool = False
    """An access to a port without a device ends the run, instead of reading all ones."""
    strict_memory: bool = False
    """An access to an address without memory or a device ends the run, instead of reading all ones."""
    keyboard: bool = False
    """Input is typed on the keyboard, not on COM1's line."""
    drives: tuple[Drive, ...] = ()
    """At most one of each kind, but several of VIRTIO_PCI, and two of IDE if the guest was not booted from a disk."""
    boot_disk: BlockBackend | None = None
    """The IDE channel's first disk, or the CD-ROM, from which the guest was booted."""
    boots_from_drives: bool = False
    """The guest is booted from `boot_disk`, or else from the first of `drives`, and not from a copy of its image."""
    has_bios: bool = False
    """Real-mode code can call a BIOS, whose ROM is in memory."""
    booted: "BootDrive | None" = None
    """The BIOS's drive from which the guest was booted; its disk is the first of all."""
    display: bool = False
    """There is a display on the PCI bus."""
    pci_chipset: bool = False
    """There are a host bridge and an IDE controller on the PCI bus, as firmware expects them."""
    firmware_files: Callable[[], Mapping[str, bytes]] = dict
    """What a firmware is given by name, made when it asks."""
    host: "GuestHost | None" = None
    """The host that the guest is one of several of; by default a host with environments has this guest alone."""
    boot_time: int | None = None
    """What the real-time clock shows at the start, in seconds since 1970; None for the host's time."""


class VmBuilder:
    """Builds one machine from a pager whose boot information is complete."""

    def __init__(self, pager: KernelVmPager, space: GuestAddressSpace, options: MachineOptions, abi: type[GuestAbi]) -> None:
        """`abi` is how the guest talks to its hypervisor. MachineError if `options` ask for what there is not."""
        if not 1 <= options.vcpus <= MAX_VCPUS:
            raise MachineError(f"{options.vcpus} vCPUs: a machine has 1 to {MAX_VCPUS}")
        self._options = options
        self._abi = abi
        self._pager = pager
        self._console = Console()
        self._engine = space.make_engine(counted=options.virtual_time)
        if options.virtual_time:
            self._engine.seed_random_numbers(options.random_seed)
        in_slice = self._engine.instructions_in_slice
        self._clock: WallClock | VirtualClock = VirtualClock(in_slice) if options.virtual_time else WallClock()
        self._timers = TimerQueue(self._clock)
        self._vcpus = tuple(Vcpu(index, self._engine.create_vcpu(index)) for index in range(options.vcpus))
        self._interrupts = Interrupts(self._engine, self._vcpus, hurried=not options.virtual_time)
        self._counters = TimeStampCounters(options.vcpus, self._clock)
        self._controllers = InterruptControllers(self._counters, self._clock, self._timers, self._interrupts)
        self._interrupts.connect(self._controllers.local_apics)
        self._buses = Buses(
            PortBus(strict=options.strict_ports),
            MsrBus(lenient=options.lenient_msr),
            MmioBus(strict=options.strict_memory),
            PciBus(),
        )
        self._memory = PagedMemory(pager, self._buses.mmio, space.table, self._engine.written, self._engine.invalidate)
        self._violations = ViolationController(pager, space.table, self._buses.mmio, self._engine)
        pager.unmapped.subscribe(self._engine.invalidate)
        if not options.virtual_time:  # counted slices are told every violation
            pager.fill_by(self._engine, self._buses.mmio.is_among)
            self._buses.mmio.attached.subscribe(pager.withdraw_offers)

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
            memory=self._memory,
            controllers=self._controllers,
            buses=self._buses,
            boot_time=int(time.time()) if self._options.boot_time is None else self._options.boot_time,
            windows=self._violations,
        )
        if self._options.virtual_time:
            vm.charge(EXIT_COSTS[self._options.exit_costs])
        booted = self._options.booted
        disks = Disks(self._options.drives, self._options.boot_disk, boots_from_cd=bool(booted and booted.boot_catalog))
        machine = self._surroundings(vm, disks)
        devices = Devices(self._buses, machine, SELDOM_USED, SELDOM_USED_PAGES)
        vm.disks_in_place = disks.in_place
        vm.screen.make_video_memory = self._video_memory(vm, devices)
        vm.input_line = attach_platform(devices, machine, self._controllers, keyboard=self._options.keyboard)
        disks.attach(devices, machine, self._controllers, self._map_readable, chipset=self._options.pci_chipset)
        if self._options.display:
            self._add_display(devices)
        if self._options.pci_chipset:
            from kev.dev.debug.firmware_log import FirmwareLog

            devices.attach(FirmwareLog.built_for(machine))
        self._connect(vm, self._attach_abi(vm, devices, machine, disks))
        if self._options.has_bios:
            vm.handle(Vmcall, self._bios(vm, devices, machine, disks).handle)
        vm.devices = devices
        return vm

    def _surroundings(self, vm: Vm, disks: Disks) -> Surroundings:
        options = self._options
        return Surroundings(
            vcpus=options.vcpus,
            ram=self._pager.ram,
            clock=self._clock,
            timers=self._timers,
            boot_time=vm.boot_time,
            memory=self._memory,
            line=self._controllers.line,
            replacing_line=self._controllers.replacing_line,
            console=self._console,
            screen=vm.screen,
            display=vm,
            end=vm.exit,
            reset=lambda: self._reset(vm),
            ide_disks=disks.ide,
            secondary_ide=disks.secondary_ide,
            firmware_files=options.firmware_files,
        )

    def _video_memory(self, vm: Vm, devices: Devices) -> Callable[[], object]:
        """What makes the planes of the VGA, which most guests never see."""

        def place(device: MmioDevice, in_front: bool) -> None:
            if in_front:
                self._violations.put_in_front(device)
            else:
                self._violations.take_from_front(device, self._memory.before_write)

        def make() -> "VideoMemory":
            from kev.dev.display.video_memory import VideoMemory

            return VideoMemory(vm.screen, self._memory, place)

        devices.add_later(_VIDEO_MEMORY, make)
        return lambda: devices.inner(_VIDEO_MEMORY)

    def _add_display(self, devices: Devices) -> None:
        """It is made when the guest looks for it, and so is the host bridge, where nothing else is on the bus."""
        pci = self._buses.pci

        def find_mode() -> "ModeRegisters":
            from kev.dev.display.mode_registers import ModeRegisters

            mode = devices.build(ModeRegisters.name)
            assert isinstance(mode, ModeRegisters)
            return mode

        def make_display() -> Device:
            from kev.dev.display.bochs_display import bochs_display

            return bochs_display(_DISPLAY, find_mode, self._buses.ports, self._buses.mmio)

        def make_bridge() -> Device:
            from kev.dev.pci.host_bridge import host_bridge

            return host_bridge()

        for name, number, identity, make in (
            (_DISPLAY, _DISPLAY_NUMBER, 0x1111_1234, make_display),
            (_BRIDGE, 0, 0x1237_8086, make_bridge),
        ):
            if not pci.has(number):
                devices.add_later(name, make)
                pci.attach_later(number, identity, partial(self._pci_function, devices, name))

    @staticmethod
    def _pci_function(devices: Devices, name: str) -> "PciFunction":
        from kev.dev.pci.function import PciFunction

        function = devices.inner(name)
        assert isinstance(function, PciFunction)
        return function

    def _reset(self, vm: Vm) -> None:
        """What resets the machine on a PC comes to the processor as INIT."""
        if self._interrupts.initialized is not None:
            self._interrupts.initialized(self._vcpus[0].state)
        else:
            vm.cut_short(Ending.reset())

    def _bios(self, vm: Vm, devices: Devices, machine: Surroundings, disks: Disks) -> BiosController:
        return BiosController(vm, devices, machine, disks.numbered, self._options.booted, vm.controller(Vmcall))

    def _attach_abi(self, vm: Vm, devices: Devices, machine: Surroundings, disks: Disks) -> GuestAbi:
        host = None
        if disks.ipc is not None and not self._abi.has_host:
            raise MachineError(f"a disk behind ipc: a guest with the ABI {self._abi.name} has no host that would serve it")
        if self._abi.has_host:
            from kev.machine.host_environments import HostEnvironments

            host = HostEnvironments(vm, machine, disks.ipc, self._options.host)
        services = Services(
            end=machine.end,
            write=machine.console.write,
            memory=self._memory,
            read_virtual=self._memory.read_virtual,
            ram=machine.ram,
            clock=machine.clock,
            counters=self._counters,
            boot_time=machine.boot_time,
            send_interrupt=self._controllers.local_apics.deliver,
            write_apic=lambda register, value: self._controllers.local_apics.write_mmio(0, register, 4, value),
        )
        if host is not None:
            services = services._replace(ipc=host.port, guest_number=host.port.number)
        abi = self._abi(services)
        if host is not None:
            host.connect(abi)
            devices.attach(host.state)
        for device in abi.devices():
            devices.attach(device)
        return abi

    def _map_readable(self, gpa: Gpa) -> memoryview:
        memory = self._pager.memory
        page = memory.allocate()
        self._violations.map_readable(gpa, page)
        return memory.page(page)

    def _connect(self, vm: Vm, abi: GuestAbi) -> None:
        buses = self._buses
        ports = PortController(buses.ports)
        mmio = MmioController(buses.mmio, self._violations.stored)
        msrs = MsrController(buses.msrs, self._counters)
        vcpus = len(self._vcpus)
        has_apic = self._controllers.local_apics.is_enabled
        cpuid = CpuidController(abi.cpuid_leaves(machine_leaves(vcpus)), vcpus, has_apic, abi.own_leaves())
        if abi.ends_by_halt:
            vm.halted = abi.halted
        if abi.handles_init:
            self._interrupts.initialized = abi.initialized
        if abi.handles_violations:
            self._violations.at_nothing = abi.violated
        if abi.sees_msrs:
            self._engine.intercept_msrs()
        if abi.extra_cr4:
            self._engine.permit_cr4(abi.extra_cr4)
        controllers: dict[type, Controller] = {
            EptViolation: self._violations.handle,
            IoIn: ports.read,
            IoOut: ports.write,
            MmioRead: mmio.load,
            MmioWrite: mmio.store,
            Rdmsr: msrs.read,
            Wrmsr: msrs.write,
            Rdtsc: msrs.read_time_stamp_counter,
            Cpuid: cpuid.handle,
            CrAccess: Cr8Controller(self._controllers.local_apics).handle,
            Vmcall: abi.hypercall,
        }
        for kind, controller in (controllers | dict(abi.controllers(controllers))).items():
            vm.handle(kind, controller)
        for register, value in abi.apic.items():
            abi.services.write_apic(register, value)
        self._prepare_shortcuts()
        if self._options.syscall != "native":
            self._take_system_calls(vm, abi)

    def _take_system_calls(self, vm: Vm, abi: GuestAbi) -> None:
        """SYSCALL is no longer the processor's: the ABI serves it, or else the guest does as it would without a hypervisor."""
        from kev.abi.selection import INTERCEPT
        from kev.vmexit.system_call import SystemCallController

        self._engine.withhold_efer(EFER_SCE)
        self._engine.intercept_invalid_opcodes()
        controller = SystemCallController(
            self._memory.read_virtual, abi.system_call if self._options.syscall == INTERCEPT else None
        )
        vm.handle(InvalidOpcode, controller.handle)

    def _prepare_shortcuts(self) -> None:
        """Tells the engine what it may answer without asking, in host time."""
        engine, clock, counters, apics = self._engine, self._clock, self._counters, self._controllers.local_apics
        if isinstance(clock, VirtualClock):
            return
        states = [vcpu.state for vcpu in self._vcpus]

        def set_counters() -> None:
            for state, offset in zip(states, counters.offsets, strict=True):
                engine.set_time_stamp_counter(state, clock.offset + offset)

        def forget_counts() -> None:
            for state in states:
                engine.forget_loads(state)

        set_counters()
        clock.moved.subscribe(forget_counts)
        clock.moved.subscribe(set_counters)
        counters.moved.subscribe(set_counters)
        apics.steady_read.subscribe(lambda vcpu, gpa, value: engine.keep_load(states[vcpu], gpa, value))
        apics.count_read.subscribe(
            lambda vcpu, gpa, count: engine.keep_count(
                states[vcpu], gpa, count.deadline - clock.offset, count.divisor, count.period
            )
        )
        apics.steady_changed.subscribe(lambda vcpu: engine.forget_loads(states[vcpu]))
        self._buses.ports.find_iterations = engine.find_iterations
