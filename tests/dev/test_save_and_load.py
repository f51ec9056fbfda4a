"""Every device, saved in the middle of whatever it does and loaded into another one: the guest cannot tell them apart."""

import ast
import struct
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.dev.base import Device
from kev.dev.chipset.fw_cfg import FirmwareConfiguration
from kev.dev.chipset.keyboard import KeyboardController
from kev.dev.chipset.poweroff import AcpiPowerManagement, BochsShutdown
from kev.dev.chipset.processor import ProcessorMsrs
from kev.dev.chipset.system_control import SystemControlPort
from kev.dev.clocks.hpet import Hpet
from kev.dev.clocks.kvmclock import KvmClock
from kev.dev.clocks.pit8254 import Pit8254
from kev.dev.clocks.rtc import Rtc
from kev.dev.debug.pc_testdev import PcTestDevice, PcTestMemory
from kev.dev.debug.printer import Printer
from kev.dev.display.bochs_display import bochs_display
from kev.dev.display.crt_controller import CrtController
from kev.dev.display.graphics_controller import GraphicsController
from kev.dev.display.mode_registers import ModeRegisters
from kev.dev.display.palette import Palette
from kev.dev.display.sequencer import Sequencer
from kev.dev.pci.function import InterruptPin, PciFunction, PciIdentity
from kev.dev.serial.uart16550 import SerialPort
from kev.dev.storage.ide import IdeChannel, SecondaryIdeChannel
from kev.dev.storage.ide_dma import ide_function
from kev.dev.storage.svirtb import SimpleVirtioBlock
from kev.dev.storage.virtio import VirtioBlock, VirtioMmio
from kev.dev.storage.virtio.pci import VirtioPciPlaces, virtio_pci_function
from kev.machine.pc import SELDOM_USED
from kev.state import State, StateError
from tests.dev.rig import Access, Build, Moves, Rig, accesses, bytes_to, indexed, words
from tests.examples import examples

VIRTIO, VIRTIO_PCI, VIRTIO_VECTORS, VIRTIO_PORTS = 0xD000_0000, 0xFE00_0000, 0xFE10_0000, 0xC100
DESCRIPTORS, AVAILABLE, USED, HEADER, STATUS, DATA = 0x10000, 0x11000, 0x12000, 0x14000, 0x15000, 0x16000


def svirtb(rig: Rig) -> Sequence[Device]:
    return (SimpleVirtioBlock(memoryview(bytearray(4096)), rig.disks[0].disk, rig.ram),)


def virtio_mmio(rig: Rig) -> Sequence[Device]:
    return (VirtioMmio(Gpa(VIRTIO), VirtioBlock(rig.disks[0].disk), rig.ram, rig.line(10)),)


def virtio_pci(rig: Rig) -> Sequence[Device]:
    block, pin = VirtioBlock(rig.disks[0].disk), InterruptPin(11, rig.line(11))
    bridge = PciFunction("host bridge", PciIdentity(0x8086, 0x1237, 0x06_0000))
    places = VirtioPciPlaces(Gpa(VIRTIO_PCI), Gpa(VIRTIO_VECTORS), VIRTIO_PORTS)
    disk = virtio_pci_function("disk", block, rig.ram, rig.buses, places, pin, lambda message: rig.events.append(message))
    for number, function in ((0, bridge), (4, disk)):
        rig.buses.pci.attach(number, function)
    return (rig.buses.pci, bridge, disk)


def ide_pci(rig: Rig) -> Sequence[Device]:
    channels = [IdeChannel.built_for(rig.machine), SecondaryIdeChannel.built_for(rig.machine)]
    function, masters = ide_function("IDE", channels, rig.ram, rig.buses.ports, BUS_MASTER_PORTS)
    for channel, master in zip(channels, masters, strict=True):
        channel.dma = master
    rig.buses.pci.attach(1, function)
    return (rig.buses.pci, *channels, function)


def bochs(rig: Rig) -> Sequence[Device]:
    mode = ModeRegisters.built_for(rig.machine)
    function = bochs_display("display", lambda: mode, rig.buses.ports, rig.buses.mmio)
    rig.buses.pci.attach(2, function)
    return (rig.buses.pci, mode, function)


def interrupt_controllers(rig: Rig) -> Sequence[Device]:
    controllers = rig.controllers
    return (rig.counters, controllers.pic, controllers.io_apic, controllers.local_apics, ProcessorMsrs(rig.counters))


def kvmclock(rig: Rig) -> Sequence[Device]:
    clock = KvmClock(rig.counters, rig.clock, rig.machine.boot_time, rig.ram)
    return (rig.counters, ProcessorMsrs(rig.counters), clock)


def built_later(path: str) -> Build:
    module, _, name = path.partition(":")
    return lambda rig: [getattr(import_module(module), name).built_for(rig.machine)]


class Kind(NamedTuple):
    """A device, or several that belong together."""

    build: Build
    values: Sequence[int] = ()
    """What is worth writing to it."""
    moves: Moves | None = None
    """Accesses that belong together."""
    host: Sequence[str] = ()
    """What else happens to it: see `tests.dev.rig`."""
    start: Sequence[Access] = ()
    """What its driver does first."""


def writes_to(port: int, *values: int) -> list[Access]:
    return [Access("port", port, 1, value) for value in values]


def words_to(gpa: int, *pairs: tuple[int, int]) -> list[Access]:
    return [Access("mmio", gpa + register, 4, value) for register, value in pairs]


BUS_MASTER_PORTS = 0xC000
BUS_MASTER = st.builds(
    lambda register, value: [Access("port", BUS_MASTER_PORTS + register[0], register[1], value)],
    st.sampled_from(((0, 1), (2, 1), (4, 4), (8, 1))),
    st.sampled_from((None, 0, 1, 8, 9, 0x66, DESCRIPTORS, STATUS)),
)


def legacy_start() -> list[Access]:
    """A driver of before version 1.0 has set its queue up."""
    return [
        Access("port", VIRTIO_PORTS + offset, size, value)
        for offset, size, value in ((18, 1, 3), (4, 4, 0), (14, 2, 0), (8, 4, DESCRIPTORS >> 12), (18, 1, 7), (16, 2, 0))
    ]


PIT = st.one_of(
    st.builds(
        lambda counter, access, mode, low, high: [
            *writes_to(0x43, counter << 6 | access << 4 | mode),
            *writes_to(0x40 + counter, low, high)[: 2 if access == 3 else 1],
        ],
        st.sampled_from((0, 2)),
        st.integers(1, 3),
        st.integers(0, 15),
        st.integers(0, 0xFF),
        st.integers(0, 3),
    ),
    bytes_to((0x43, (0x00, 0x80, 0xC8, 0xE2, 0xC2))),
    bytes_to((0x61, range(2))),
    st.builds(lambda port: [Access("port", port)], st.sampled_from((0x40, 0x42, 0x61))),
)
APIC = words(
    0xFEE0_0000,
    (0x80, 0xB0, 0xD0, 0xE0, 0xF0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x370, 0x380, 0x390, 0x3E0),
    (0, 1, 0x20, 0x1FF, 0x0F, 0x40020, 0x2_0040, 0x8021, 0x5031, 0x4608, 0x700, 0x0100_0000, 100_000),
)
APIC_TIMER = st.builds(
    lambda mode, divide, count, deadline, vcpu: [
        *(
            Access("mmio", 0xFEE0_0000 + register, 4, value, vcpu)
            for register, value in ((0xF0, 0x1FF), (0x320, mode), (0x3E0, divide))
        ),
        Access("mmio", 0xFEE0_0380, 4, count, vcpu),
        Access("msr", 0x6E0, 8, deadline, vcpu),
        *([Access("wait", value=deadline), Access("take", vcpu=vcpu)] if count & 1 else []),
    ],
    st.sampled_from((0x30, 0x2_0040, 0x4_0050, 0x3_0060)),
    st.sampled_from((0, 3, 0xB)),
    st.integers(1, 3_000_000),
    st.integers(1, 5_000_000_000),
    st.integers(0, 1),
)
INTERRUPTS = st.builds(
    lambda line, service: [Access("line", line, value=0), Access("line", line, value=1), Access("take"), *service],
    st.sampled_from((1, 3, 9, 11)),
    st.sampled_from(([], writes_to(0x20, 0x20), writes_to(0xA0, 0xA0), writes_to(0x20, 0xA0), writes_to(0x20, 0xC2))),
)
IPI = st.builds(
    lambda command, vcpu, service: [*words_to(0xFEE0_0000, (0xF0, 0x1FF), (0x300, command)), Access("take", vcpu=vcpu), *service],
    st.sampled_from((0x4_0045, 0x8_0052, 0x8_0063, 0x4_0701)),
    st.integers(0, 1),
    st.sampled_from(([], words_to(0xFEE0_0000, (0xB0, 0)))),
)
IO_APIC = st.tuples(
    words(0xFEC0_0000, (0,), (0, *range(0x10, 0x40))), words(0xFEC0_0000, (0x10,), (0x31, 0x8042, 0x1_0051, 0x0100_0000, 0x700))
).map(lambda pair: pair[0] + pair[1])
PIC = bytes_to(
    (0x20, (0x11, 0x13, 0x19)), (0x21, (0x20, 0x28)), (0x21, (4,)), (0x21, (1, 3, 0x11)), (0x20, (0x68, 0x0B, 0x80, 0x0C))
)
COUNTERS = st.builds(
    lambda index, value, vcpu: [Access("msr", index, 8, value, vcpu)],
    st.sampled_from((0x10, 0x3B, 0x6E0, 0x1B, 0x12, 0x11)),
    st.sampled_from((0, 1_000_000, 1 << 63, 0xFEE0_0800, 0xFEE0_0C00, 0x8001, 0x9001)),
    st.integers(0, 1),
)
PCI = st.builds(
    lambda register, value: [
        Access("port", 0xCF8, 4, 0x8000_2000 | register),
        Access("port", 0xCFC, 4, value),
    ],
    st.sampled_from((0x04, 0x10, 0x14, 0x20, 0x3C, 0x40)),
    st.sampled_from((0xFE01_0000, 0xFE00_0000, 0xD000, 0x407, 0x007, 0x000, 0x8001_0011)),
)
PCI_DISPLAY = st.builds(
    lambda register, value: [Access("port", 0xCF8, 4, 0x8000_1000 | register), Access("port", 0xCFC, 4, value)],
    st.sampled_from((0x00, 0x04, 0x10, 0x18)),
    st.sampled_from((None, 0xFD00_0000, 0xFEBF_0000, 0xFEBE_0000, 0xFFFF_FFFF, 0x006, 0x000)),
)
LEGACY = st.builds(
    lambda field, value: [Access("port", VIRTIO_PORTS + field[0], field[1], value)],
    st.sampled_from(((4, 4), (8, 4), (14, 2), (16, 2), (18, 1), (19, 1), (20, 2), (22, 2), (24, 4))),
    st.sampled_from((None, 0, 1, 3, 7, 15, DESCRIPTORS >> 12)),
)
VIRTIO_REGISTERS = (0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x90, 0xA0)
VIRTIO_VALUES = (0, 1, 3, 8, 11, 15, 16, DESCRIPTORS, AVAILABLE, USED)
NEGOTIATED = (
    (0x24, 1),
    (0x20, 1),
    (0x70, 11),
    (0x38, 16),
    (0x80, DESCRIPTORS),
    (0x90, AVAILABLE),
    (0xA0, USED),
    (0x44, 1),
    (0x70, 15),
)
HPET = words(
    Hpet.gpa,
    (0x10, 0x20, 0xF0, 0x100, 0x108, 0x108, 0x10C, 0x120, 0x128, 0x148, 0x140),
    (0, 1, 3, 4, 6, 0x0C, 0x4C, 0x104, 0x14E, 0x2A06, 0x2C0C, 1000, 5000, 200_000, 0xFFFF_FFFF),
)
RTC = (0, 2, 4, 1, 3, 5, 0x0A, 0x0B, 0x0C, 0x32, 0x0F)
RTC_VALUES = (0x00, 0x04, 0x10, 0x12, 0x26, 0x2F, 0x42, 0x72, 0x82, 0xC0)
IDE_REGISTERS = st.one_of(
    bytes_to((0x1F2, (1, 2, 16)), (0x1F6, (0xE0, 0xF0, 0xA0, 0xA7)), (0x1F7, (0x20, 0x30, 0x91, 0xC4, 0xC5, 0xC6, 0xEC))),
    bytes_to((0x3F6, (0, 2, 4))),
)
PACKETS = st.builds(
    lambda packet, limit, words: [
        *writes_to(0x176, 0xA0),
        *writes_to(0x174, limit & 0xFF, 0)[:1],
        *writes_to(0x175, limit >> 8),
        *writes_to(0x177, 0xA0),
        *(Access("port", 0x170, 2, int.from_bytes(packet[at : at + 2], "little")) for at in range(0, 12, 2)),
        *[Access("port", 0x170, 4)] * words,
    ],
    st.sampled_from(
        (
            bytes((0x28, 0, 0, 0, 0, 1, 0, 0, 2)).ljust(12, b"\0"),
            bytes((0x28, 0, 0, 0, 9)).ljust(12, b"\0"),
            bytes((0x12, 0, 0, 0, 36)).ljust(12, b"\0"),
            bytes((0x03, 0, 0, 0, 18)).ljust(12, b"\0"),
            bytes(12),
        )
    ),
    st.sampled_from((0, 512, 2048, 0xFFFF)),
    st.integers(0, 20),
)
KEYBOARD = st.one_of(
    bytes_to((0x64, (0xD4,)), (0x60, (0xE8, 0xF3, 0xF4, 0xFF))),
    bytes_to((0x64, (0x60, 0xD1)), (0x60, (0x47, 0x30, 0xDF, 0x03))),
    bytes_to((0x60, (0xF0, 0xED, 0xF2))),
)

KINDS = {path.partition(":")[2]: Kind(built_later(path)) for path in SELDOM_USED} | {
    "Pit8254": Kind(lambda rig: [Pit8254.built_for(rig.machine)], (0xE2, 0xC8, 0x80, 0x10, 0x20), PIT),
    "8259s and APICs": Kind(
        interrupt_controllers,
        (0x20, 0x4608),
        st.one_of(APIC, APIC_TIMER, IPI, INTERRUPTS, IO_APIC, PIC, COUNTERS),
        ("line", "take"),
    ),
    "BochsShutdown": Kind(
        lambda rig: [BochsShutdown.built_for(rig.machine)], (*b"Shut",), bytes_to((0x8900, b"S"), (0x8900, b"h"))
    ),
    "COM1": Kind(lambda rig: [SerialPort.built_for(rig.machine)], (0x80, 0x03, 0x10, 0x0F, 0xC7, 0x07), host=("receive",)),
    "GraphicsController": Kind(lambda rig: [GraphicsController.built_for(rig.machine)], moves=indexed(0x3CE, 0x3CF, (0, 6, 8))),
    "CrtController": Kind(lambda rig: [CrtController.built_for(rig.machine)], moves=indexed(0x3D4, 0x3D5, (0x0C, 0x0D, 0x0E))),
    "Sequencer": Kind(lambda rig: [Sequencer.built_for(rig.machine)], moves=indexed(0x3C4, 0x3C5, (0, 2, 4))),
    "Palette": Kind(lambda rig: [Palette.built_for(rig.machine)], (0, 1, 63, 255)),
    "FirmwareConfiguration": Kind(lambda rig: [FirmwareConfiguration.built_for(rig.machine)], (3, 5, 0x19)),
    "Hpet": Kind(lambda rig: [Hpet.built_for(rig.machine)], moves=HPET),
    "Hpet, running": Kind(
        lambda rig: [Hpet.built_for(rig.machine)],
        moves=HPET,
        start=words_to(Hpet.gpa, (0x100, 0x4C), (0x108, 5000), (0x120, 0x2A06), (0x128, 40_000), (0x10, 3)),
    ),
    "IdeChannel": Kind(lambda rig: [IdeChannel.built_for(rig.machine)], moves=IDE_REGISTERS),
    "IDE, reading": Kind(
        lambda rig: [IdeChannel.built_for(rig.machine)], start=writes_to(0x1F6, 0xE0) + writes_to(0x1F2, 3) + writes_to(0x1F7, 0x20)
    ),
    "IDE, writing": Kind(
        lambda rig: [IdeChannel.built_for(rig.machine)], start=writes_to(0x1F6, 0xF0) + writes_to(0x1F2, 4) + writes_to(0x1F7, 0xC5)
    ),
    "SecondaryIdeChannel": Kind(lambda rig: [SecondaryIdeChannel.built_for(rig.machine)], moves=PACKETS),
    "ModeRegisters": Kind(
        lambda rig: [ModeRegisters.built_for(rig.machine)],
        moves=st.builds(
            lambda register, value: [Access("port", 0x1CE, 2, register), Access("port", 0x1CF, 2, value)],
            st.sampled_from((1, 2, 3, 4, 9, 15)),
            st.sampled_from((None, 0, 1, 24, 32, 640, 480, 0xFFFF)),
        ),
    ),
    "Bochs' display": Kind(
        bochs,
        moves=st.one_of(
            st.builds(
                lambda register, value: [Access("mmio", 0xFEBF_0500 + 2 * register, 2, value)],
                st.sampled_from((1, 2, 3, 4, 6, 8, 9)),
                st.sampled_from((None, 0, 1, 0x41, 32, 640, 480)),
            ),
            PCI_DISPLAY,
        ),
    ),
    "KeyboardController": Kind(lambda rig: [KeyboardController.built_for(rig.machine)], (0x20, 0xD0, 0xAA), KEYBOARD, ("receive",)),
    "kvmclock": Kind(kvmclock, (0x8001, 0x9001, 0x9000), COUNTERS),
    "PcTestDevice": Kind(lambda rig: [PcTestDevice.built_for(rig.machine), PcTestMemory()]),
    "AcpiPowerManagement": Kind(lambda rig: [AcpiPowerManagement.built_for(rig.machine)], (0x2000, 0x0121)),
    "printer": Kind(lambda rig: [Printer(rig.ram, rig.output.write)], moves=words(0xCAFE_0000, (0, 8, 16), (0, 16, HEADER))),
    "Rtc": Kind(lambda rig: [Rtc.built_for(rig.machine)], moves=indexed(0x70, 0x71, RTC, RTC_VALUES)),
    "svirtb": Kind(svirtb, moves=words(SimpleVirtioBlock.gpa, range(0, 24, 4), (0, 1, 2, 8, DESCRIPTORS))),
    "svirtb, ready": Kind(
        svirtb,
        moves=words(SimpleVirtioBlock.gpa, (0, 16), (2, 3, 5)),
        start=words_to(SimpleVirtioBlock.gpa, (0, 0), (12, DESCRIPTORS), (4, 8), (0, 1)),
    ),
    "SystemControlPort": Kind(lambda rig: [SystemControlPort.built_for(rig.machine)], (2, 3)),
    "virtio over MMIO": Kind(virtio_mmio, moves=words(VIRTIO, VIRTIO_REGISTERS, VIRTIO_VALUES)),
    "virtio over MMIO, ready": Kind(
        virtio_mmio, moves=words(VIRTIO, VIRTIO_REGISTERS, VIRTIO_VALUES), start=words_to(VIRTIO, *NEGOTIATED, (0x50, 0))
    ),
    "virtio over PCI": Kind(
        virtio_pci,
        (0, 3, 11, 15),
        st.one_of(
            PCI,
            LEGACY,
            words(VIRTIO_PCI, range(0, 0x38, 4), VIRTIO_VALUES),
            words(VIRTIO_VECTORS, (0, 8, 12, 28), (0, 1, 0xFEE0_0000)),
        ),
    ),
    "virtio over PCI, legacy": Kind(virtio_pci, (0, 1), st.one_of(PCI, LEGACY), start=legacy_start()),
    "IDE behind PCI": Kind(ide_pci, moves=st.one_of(IDE_REGISTERS, BUS_MASTER)),
    "IDE behind PCI, reading": Kind(
        ide_pci,
        moves=BUS_MASTER,
        start=writes_to(0x1F6, 0xE0) + writes_to(0x1F2, 3) + writes_to(0x1F7, 0xC8),
    ),
}
"""Every device there is. Those of `SELDOM_USED` come by themselves; some are given more sense here, under the name of the class."""


def poke(rig: Rig, gpa: int, data: bytes) -> None:
    rig.ram.bytes[gpa : gpa + len(data)] = data


def rig_of(kind: Kind) -> Rig:
    """The devices after their driver has started, with requests for disks in memory."""
    rig = Rig(kind.build)
    if "virtio" in str(kind.build):
        for index, descriptor in enumerate(((HEADER, 16, 1, 1), (DATA, 512, 3, 2), (STATUS, 1, 2, 0))):
            poke(rig, DESCRIPTORS + 16 * index, struct.pack("<QIHH", *descriptor))
        poke(rig, AVAILABLE + 2, struct.pack("<H", 1))
    else:
        for slot in range(8):
            poke(rig, DESCRIPTORS + 32 * slot, struct.pack("<QQQI4x", DATA + 512 * slot, 512, slot, slot & 1))
    for access in kind.start:
        rig.do(access)
    return rig


def saved(rig: Rig) -> dict[str, State]:
    """The states of the devices, which prove to be plain data: nothing in them is shared with the devices or has a type of ours."""
    states = rig.devices.save()
    copied: dict[str, State] = ast.literal_eval(repr(states))
    assert copied == states
    return copied


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=examples(30))
@given(st.data())
def test_a_device_that_was_loaded_goes_on_like_the_one_that_was_saved(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    sequences = accesses(kind.build, kind.values, kind.moves, kind.host)
    first = rig_of(kind)
    first.witness(data.draw(sequences))
    states = saved(first)
    second = Rig(kind.build)
    second.copy_surroundings(first)
    second.devices.load(states)
    assert second.levels == first.levels
    assert second.screen.registers == first.screen.registers
    assert second.shown == first.shown
    assert second.inside() == first.inside()
    assert saved(second) == states
    following = data.draw(sequences)
    assert second.witness(following) == first.witness(following)
    assert saved(second) == saved(first)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=15)
@given(st.data())
def test_a_device_that_was_reset_is_as_when_it_was_made(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    sequences = accesses(kind.build, kind.values, kind.moves, kind.host)
    used, new = rig_of(kind), Rig(kind.build)
    used.witness(data.draw(sequences))
    used.devices.reset()
    new.copy_surroundings(used)
    assert used.timers.next_deadline() is None
    assert used.inside() == new.inside()
    assert saved(used) == saved(new)
    assert used.levels == new.levels
    following = data.draw(sequences)
    assert used.witness(following) == new.witness(following)


WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(1 << 65, 1 << 70),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.just([]),
)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=15)
@given(st.data())
def test_nonsense_is_refused_by_name_or_is_a_state_that_can_be_saved_again(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    first = rig_of(kind)
    first.witness(data.draw(accesses(kind.build, kind.values, kind.moves, kind.host)))
    states = saved(first)
    device = data.draw(st.sampled_from(sorted(states)))
    spoilt, fields = states[device], sorted(states[device])
    for _ in range(data.draw(st.integers(0, 2))):
        for inner in (item for value in spoilt.values() for item in (value if isinstance(value, list) else [value])):
            if isinstance(inner, dict):
                spoilt, fields = inner, sorted(inner)
                break
    field = data.draw(st.sampled_from([*fields, "nothing"]))
    spoilt[field] = data.draw(WRONG)
    second = Rig(kind.build)
    second.copy_surroundings(first)
    try:
        second.devices.load(states)
    except StateError as error:
        message = str(error)
        # What contradicts another field may be found at either.
        assert any(name in message for name in [*fields, field, "timer"])
    else:
        assert saved(second) == states
        second.witness(data.draw(accesses(kind.build, kind.values, kind.moves, kind.host)))
