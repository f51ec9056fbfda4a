"""The devices of a PC, and where they are."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from kev.addressing import Gpa
from kev.clock import Clock, TimerQueue
from kev.dev.base import GuestMemory, PortDevice
from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.msrs import MsrBus
from kev.dev.buses.ports import PortBus
from kev.dev.chipset.processor import ProcessorMsrs
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.debug.pc_testdev import PcTestMemory
from kev.dev.interrupts.irq import CASCADE_IRQ, InterruptControllers
from kev.dev.pci.bus import PciBus
from kev.dev.serial.uart16550 import SerialPort
from kev.dev.storage.block_device import BlockBackend
from kev.machine.console import Console

if TYPE_CHECKING:
    from kev.dev.display.vga import Screen

VIRTIO_BLOCK_GPA: Final = Gpa(0xD000_0000)
VIRTIO_BLOCK_IRQ: Final = 10
FIRST_PCI_DISK: Final = 4
"""The number of the PCI device that the first disk is; the others follow."""
_PCI_MEMORY: Final = Gpa(0xFE00_0000)
"""Where the memory of the first disk is; that of the others follows."""
_PCI_IRQ: Final = 11
_TIMER_IRQ: Final = 0
_KEYBOARD_IRQ: Final = 1
_COM1_IRQ: Final = 4
_RTC_IRQ: Final = 8
_IDE_IRQ: Final = 14


class Buses(NamedTuple):
    """What devices are attached to."""

    ports: PortBus
    msrs: MsrBus
    mmio: MmioBus
    pci: PciBus


class Surroundings(NamedTuple):
    """What devices are handed: the rest of the machine, as they see it."""

    vcpus: int
    counters: TimeStampCounters
    ram: Sequence[range]
    """The guest-physical addresses of RAM."""
    clock: Clock
    timers: TimerQueue
    boot_time: int
    """In seconds since 1970."""
    memory: GuestMemory
    controllers: InterruptControllers
    console: Console
    screen: "Screen"
    end: Callable[[int], None]
    """Ends the run with an exit code."""


def attach_platform(buses: Buses, machine: Surroundings) -> SerialPort:
    """Attaches what every machine has; returns COM1, whose line is the console."""
    controllers = machine.controllers
    buses.ports.attach("8259 interrupt controllers", controllers.pic)
    buses.msrs.attach("local APICs", controllers.local_apics)
    buses.mmio.attach("local APICs", controllers.local_apics)
    buses.mmio.attach("I/O APIC", controllers.io_apic)
    buses.msrs.attach("processors", ProcessorMsrs(machine.counters))
    buses.ports.attach("PCI configuration", buses.pci)
    buses.mmio.attach("pc-testdev", PcTestMemory())
    for name, ports, build in _SELDOM_USED:
        buses.ports.attach_later(name, ports, partial(build, machine))
    serial = SerialPort(machine.console.put, controllers.line(_COM1_IRQ), machine.clock, machine.timers)
    buses.ports.attach("COM1", serial)
    return serial


def _pit(machine: Surroundings) -> PortDevice:
    from kev.dev.clocks.pit8254 import Pit8254

    return Pit8254(machine.clock, machine.timers, machine.controllers.line(_TIMER_IRQ))


def _keyboard(machine: Surroundings) -> PortDevice:
    from kev.dev.chipset.keyboard import KeyboardController

    return KeyboardController(machine.controllers.line(_KEYBOARD_IRQ), lambda: machine.end(0))


def _rtc(machine: Surroundings) -> PortDevice:
    from kev.dev.clocks.rtc import Rtc

    below_4_gib, *above = (len(region) for region in machine.ram)
    line = machine.controllers.line(_RTC_IRQ)
    return Rtc(machine.clock, machine.timers, line, machine.boot_time, below_4_gib, sum(above))


def _delay(_machine: Surroundings) -> PortDevice:
    from kev.dev.chipset.ignored import IgnoredPorts

    return IgnoredPorts()


def _system_control(machine: Surroundings) -> PortDevice:
    from kev.dev.chipset.system_control import SystemControlPort

    return SystemControlPort(lambda: machine.end(0))


def _test_device(machine: Surroundings) -> PortDevice:
    from kev.dev.debug.pc_testdev import IRQ_LINES, PcTestDevice

    line = machine.controllers.line
    return PcTestDevice([None if irq == CASCADE_IRQ else line(irq) for irq in range(IRQ_LINES)])


def _debug_console(machine: Surroundings) -> PortDevice:
    from kev.dev.debug.debug_console import DebugConsole

    return DebugConsole(machine.console.put_debug)


def _debug_exit(machine: Surroundings) -> PortDevice:
    from kev.dev.debug.debug_exit import DebugExit, exit_code

    return DebugExit(lambda value: machine.end(exit_code(value)))


def _secondary_ide(_machine: Surroundings) -> PortDevice:
    from kev.dev.storage.ide import EmptyIdeChannel

    return EmptyIdeChannel()


def _parallel(_machine: Surroundings) -> PortDevice:
    from kev.dev.chipset.parallel import ParallelPort

    return ParallelPort()


def _crt_controller(machine: Surroundings) -> PortDevice:
    from kev.dev.display.vga import CrtController

    return CrtController(machine.screen)


def _firmware_configuration(machine: Surroundings) -> PortDevice:
    from kev.dev.chipset.fw_cfg import FirmwareConfiguration

    return FirmwareConfiguration(machine.vcpus, sum(map(len, machine.ram)))


def _acpi_power_off(machine: Surroundings) -> PortDevice:
    from kev.dev.chipset.poweroff import AcpiPowerOff

    return AcpiPowerOff(machine.end)


def _bochs_shutdown(machine: Surroundings) -> PortDevice:
    from kev.dev.chipset.poweroff import BochsShutdown

    return BochsShutdown(machine.end)


_SELDOM_USED: Final[tuple[tuple[str, tuple[range, ...], Callable[[Surroundings], PortDevice]], ...]] = (
    ("8254 timer", (range(0x40, 0x44), range(0x61, 0x62)), _pit),
    ("keyboard controller", (range(0x60, 0x61), range(0x64, 0x65)), _keyboard),
    ("real-time clock", (range(0x70, 0x72),), _rtc),
    ("delay", (range(0x80, 0x81), range(0x84, 0x85), range(0xED, 0xEE)), _delay),
    ("system control port", (range(0x92, 0x93),), _system_control),
    (
        "pc-testdev",
        (range(0xE0, 0xE4), range(0xE4, 0xE8), range(0xE8, 0xE9), range(0xEA, 0xEC), range(0x2000, 0x2018)),
        _test_device,
    ),
    ("debug console", (range(0xE9, 0xEA),), _debug_console),
    ("debug exit", (range(0xF4, 0xF5),), _debug_exit),
    ("secondary IDE channel", (range(0x170, 0x178), range(0x376, 0x377)), _secondary_ide),
    ("parallel port", (range(0x378, 0x37B),), _parallel),
    ("CRT controller", (range(0x3D4, 0x3D6), range(0x3DA, 0x3DB)), _crt_controller),
    ("firmware configuration", (range(0x510, 0x512),), _firmware_configuration),
    ("power-off", (range(0x600, 0x604), range(0x604, 0x605), range(0xB004, 0xB005)), _acpi_power_off),
    ("Bochs shutdown", (range(0x8900, 0x8901),), _bochs_shutdown),
)
"""Devices that most guests never touch, so that no launch pays for all of them."""


def attach_printer(buses: Buses, machine: Surroundings) -> None:
    """KeV's printer, which has the same address as svirtb."""
    from kev.dev.debug.printer import Printer

    buses.mmio.attach("printer", Printer(machine.memory, machine.console.write))


def attach_virtio_block(buses: Buses, machine: Surroundings, disk: BlockBackend) -> None:
    from kev.dev.storage.virtio.block import VirtioBlock
    from kev.dev.storage.virtio.mmio import VirtioMmio

    line = machine.controllers.line(VIRTIO_BLOCK_IRQ)
    buses.mmio.attach("virtio-blk", VirtioMmio(VIRTIO_BLOCK_GPA, VirtioBlock(disk), machine.memory, line))


def attach_virtio_pci(buses: Buses, machine: Surroundings, disks: Sequence[BlockBackend]) -> None:
    """Attaches disks to the PCI bus, with the host bridge that a guest expects there. All of them interrupt with one IRQ."""
    from kev.dev.pci.function import InterruptPin, PciFunction, PciIdentity
    from kev.dev.storage.virtio.block import VirtioBlock
    from kev.dev.storage.virtio.pci import MEMORY_SIZE, virtio_pci_function

    buses.pci.attach(0, PciFunction(PciIdentity(0x8086, 0x1237, 0x06_0000, revision=2)))
    machine.controllers.pic.set_level_triggered(_PCI_IRQ)
    for index, disk in enumerate(disks):
        device = FIRST_PCI_DISK + index
        interrupt = InterruptPin(_PCI_IRQ, machine.controllers.line(_PCI_IRQ))
        address = Gpa(_PCI_MEMORY + MEMORY_SIZE * index)
        name = f"virtio-blk at PCI 00:{device:02x}.0"
        function = virtio_pci_function(name, VirtioBlock(disk), machine.memory, buses.mmio, address, interrupt)
        buses.pci.attach(device, function)


def attach_ide(buses: Buses, machine: Surroundings, disks: Sequence[BlockBackend | None]) -> None:
    """The primary channel, which is there with and without disks."""

    def build() -> PortDevice:
        from kev.dev.storage.ide import IdeChannel

        return IdeChannel(disks, machine.controllers.line(_IDE_IRQ))

    buses.ports.attach_later("primary IDE channel", (range(0x1F0, 0x1F8), range(0x3F6, 0x3F7)), build)
