"""The devices of a PC, and where they are."""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from kev.addressing import Gpa
from kev.clock import Clock, TimerQueue
from kev.console import Console
from kev.dev.base import GuestMemory
from kev.dev.block_device import BlockBackend
from kev.dev.debug_exit import DebugExit, exit_code
from kev.dev.fw_cfg import FirmwareConfiguration
from kev.dev.ignored import IgnoredPorts
from kev.dev.irq import CASCADE_IRQ, InterruptControllers
from kev.dev.keyboard import KeyboardController
from kev.dev.kvmclock import KvmClock
from kev.dev.mmio import MmioBus
from kev.dev.msrs import MsrBus
from kev.dev.parallel import ParallelPort
from kev.dev.pc_testdev import IRQ_LINES, PcTestDevice, PcTestMemory
from kev.dev.pci import EmptyPciBus
from kev.dev.pit8254 import Pit8254
from kev.dev.ports import PortBus
from kev.dev.poweroff import AcpiPowerOff, BochsShutdown
from kev.dev.processor import ProcessorMsrs
from kev.dev.rtc import Rtc
from kev.dev.serial import SerialPort
from kev.dev.system_control import SystemControlPort
from kev.dev.vga import CrtController

VIRTIO_BLOCK_GPA: Final = Gpa(0xD000_0000)
VIRTIO_BLOCK_IRQ: Final = 10
_TIMER_IRQ: Final = 0
_KEYBOARD_IRQ: Final = 1
_COM1_IRQ: Final = 4
_RTC_IRQ: Final = 8
_IDE_IRQ: Final = 14


@attrs.frozen(slots=True)
class Buses:
    """What devices are attached to."""

    ports: PortBus
    msrs: MsrBus
    mmio: MmioBus


@attrs.frozen(slots=True, kw_only=True)
class Surroundings:
    """What devices are handed: the rest of the machine, as they see it."""

    vcpus: int
    ram: Sequence[range]
    """The guest-physical addresses of RAM."""
    clock: Clock
    timers: TimerQueue
    boot_time: int
    """In seconds since 1970."""
    memory: GuestMemory
    controllers: InterruptControllers
    processors: ProcessorMsrs
    console: Console
    end: Callable[[int], None]
    """Ends the run with an exit code."""


def attach_platform(buses: Buses, machine: Surroundings) -> SerialPort:
    """Attaches what every machine has; returns COM1, whose line is the console."""
    _attach_interrupts(buses, machine)
    _attach_time(buses, machine)
    _attach_ways_out(buses, machine)
    _attach_legacy(buses, machine)
    _attach_test_device(buses, machine)
    serial = SerialPort(machine.console.put, machine.controllers.line(_COM1_IRQ), machine.clock, machine.timers)
    buses.ports.attach("COM1", serial)
    return serial


def _attach_interrupts(buses: Buses, machine: Surroundings) -> None:
    controllers = machine.controllers
    buses.ports.attach("8259 interrupt controllers", controllers.pic)
    buses.msrs.attach("local APICs", controllers.local_apics)
    buses.mmio.attach("local APICs", controllers.local_apics)
    buses.mmio.attach("I/O APIC", controllers.io_apic)


def _attach_time(buses: Buses, machine: Surroundings) -> None:
    clock, timers, line = machine.clock, machine.timers, machine.controllers.line
    below, *above = (len(region) for region in machine.ram)
    buses.ports.attach("8254 timer", Pit8254(clock, timers, line(_TIMER_IRQ)))
    buses.ports.attach("real-time clock", Rtc(clock, timers, line(_RTC_IRQ), machine.boot_time, below, sum(above)))
    buses.msrs.attach("processors", machine.processors)
    buses.msrs.attach("kvmclock", KvmClock(machine.vcpus, clock, machine.boot_time, machine.memory))


def _attach_ways_out(buses: Buses, machine: Surroundings) -> None:
    buses.ports.attach("power-off", AcpiPowerOff(machine.end))
    buses.ports.attach("Bochs shutdown", BochsShutdown(machine.end))
    buses.ports.attach("debug exit", DebugExit(lambda value: machine.end(exit_code(value))))
    buses.ports.attach("system control port", SystemControlPort(lambda: machine.end(0)))
    keyboard = KeyboardController(machine.controllers.line(_KEYBOARD_IRQ), lambda: machine.end(0))
    buses.ports.attach("keyboard controller", keyboard)


def _attach_legacy(buses: Buses, machine: Surroundings) -> None:
    buses.ports.attach("PCI configuration", EmptyPciBus())
    buses.ports.attach("firmware configuration", FirmwareConfiguration(machine.vcpus, sum(map(len, machine.ram))))
    buses.ports.attach("CRT controller", CrtController())
    buses.ports.attach("parallel port", ParallelPort())
    buses.ports.attach("delay", IgnoredPorts())


def _attach_test_device(buses: Buses, machine: Surroundings) -> None:
    """What kvm-unit-tests expect of the machine they run on."""
    line = machine.controllers.line
    lines = [None if irq == CASCADE_IRQ else line(irq) for irq in range(IRQ_LINES)]
    buses.ports.attach("pc-testdev", PcTestDevice(lines))
    buses.mmio.attach("pc-testdev", PcTestMemory())


def attach_printer(buses: Buses, machine: Surroundings) -> None:
    """KeV's printer, which has the same address as svirtb."""
    from kev.dev.printer import Printer

    buses.mmio.attach("printer", Printer(machine.memory, machine.console.write))


def attach_virtio_block(buses: Buses, machine: Surroundings, disk: BlockBackend) -> None:
    from kev.dev.virtio.block import VirtioBlock
    from kev.dev.virtio.mmio import VirtioMmio

    line = machine.controllers.line(VIRTIO_BLOCK_IRQ)
    buses.mmio.attach("virtio-blk", VirtioMmio(VIRTIO_BLOCK_GPA, VirtioBlock(disk), machine.memory, line))


def attach_ide(buses: Buses, machine: Surroundings, disks: Sequence[BlockBackend | None]) -> None:
    from kev.dev.ide import IdeChannel

    buses.ports.attach("IDE channel", IdeChannel(disks, machine.controllers.line(_IDE_IRQ)))
