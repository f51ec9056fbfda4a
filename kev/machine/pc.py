"""The devices that every PC has."""

from typing import Final

from kev.addressing import Gpa
from kev.dev.chipset.processor import ProcessorMsrs
from kev.dev.debug.pc_testdev import PcTestMemory
from kev.dev.devices import Devices, SeldomUsedPage
from kev.dev.interrupts.irq import InterruptControllers
from kev.dev.serial.uart16550 import SerialPort
from kev.dev.surroundings import Surroundings
from kev.machine.input_line import InputDevice

SELDOM_USED: Final = (
    "kev.dev.chipset.delay:DelayPorts",
    "kev.dev.chipset.poweroff:AcpiPowerManagement",
    "kev.dev.debug.debug_exit:DebugExit",
    "kev.dev.clocks.pit8254:Pit8254",
    "kev.dev.chipset.keyboard:KeyboardController",
    "kev.dev.clocks.rtc:Rtc",
    "kev.dev.display.crt_controller:CrtController",
    "kev.dev.display.graphics_controller:GraphicsController",
    "kev.dev.display.mode_registers:ModeRegisters",
    "kev.dev.display.sequencer:Sequencer",
    "kev.dev.display.palette:Palette",
    "kev.dev.chipset.system_control:SystemControlPort",
    "kev.dev.chipset.fw_cfg:FirmwareConfiguration",
    "kev.dev.debug.debug_console:DebugConsole",
    "kev.dev.chipset.parallel:ParallelPort",
    "kev.dev.storage.ide:IdeChannel",
    "kev.dev.storage.ide:SecondaryIdeChannel",
    "kev.dev.display.attribute_controller:AttributeController",
    "kev.dev.display.general_registers:GeneralRegisters",
    "kev.dev.debug.pc_testdev:PcTestDevice",
    "kev.dev.chipset.poweroff:BochsShutdown",
)
"""Port devices that most guests never access, by module and class, so that no launch pays for all of them.

An access that nobody answers imports from the front: those that guests look for most come first, and before those that are large.
"""

SELDOM_USED_PAGES: Final = (SeldomUsedPage("HPET", Gpa(0xFED0_0000), "kev.dev.clocks.hpet:Hpet"),)


def attach_platform(
    devices: Devices, machine: Surroundings, controllers: InterruptControllers, *, keyboard: bool = False
) -> InputDevice:
    """Attaches what every machine has, but for `SELDOM_USED`; returns what takes input: COM1, or the keyboard if that is wanted."""
    counters = controllers.counters
    devices.buses.pci.connect(machine.reset)
    controllers.local_apics.connect(devices.buses.mmio, machine.ram)
    serial = SerialPort.built_for(machine)
    for device in (
        counters,
        controllers.pic,
        controllers.io_apic,
        controllers.local_apics,
        ProcessorMsrs(counters),
        devices.buses.pci,
        PcTestMemory(),
        serial,
    ):
        devices.attach(device)
    if not keyboard:
        return serial
    from kev.dev.chipset.keyboard import KeyboardController

    controller = devices.build(KeyboardController.name)
    assert isinstance(controller, KeyboardController)
    return controller
