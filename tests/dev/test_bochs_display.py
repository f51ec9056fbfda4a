"""Bochs' display: its registers, behind ports and on the PCI bus, and what they show."""

from collections.abc import Callable

import pytest

import kev
from kev.addressing import Gpa
from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.ports import PortBus
from kev.dev.display.bochs_display import bochs_display
from kev.dev.display.mode_registers import ModeRegisters
from kev.dev.pci.function import PciFunction
from kev.dev.surroundings import Picture
from kev.machine.machine import Machine
from tests.abi.calls import POWER_OFF
from tests.boot.images import elf, multiboot1_header, source

WIDTH, HEIGHT, DEPTH, ENABLE, BANK, VIRTUAL_WIDTH, VIRTUAL_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY = range(1, 11)
SHOWN, LINEAR, KEEPS = 1, 0x40, 0x80
MIB = 1 << 20


class Shown:
    def __init__(self) -> None:
        self.picture: Picture | None = None
        self.bank: int | None = None
        self.cleared = 0

    def show(self, wanted: Picture | None) -> None:
        self.picture = wanted

    def show_bank(self, start: int | None) -> None:
        self.bank = start

    def clear_framebuffer(self) -> None:
        self.cleared += 1


class Display:
    def __init__(self) -> None:
        self.shown = Shown()
        self.mode = ModeRegisters(self.shown)
        self.ports = PortBus(strict=True)
        self.ports.attach(self.mode)

    def __getitem__(self, register: int) -> int:
        self.ports.write(0x1CE, 2, register)
        return self.ports.read(0x1CF, 2)

    def __setitem__(self, register: int, value: int) -> None:
        self.ports.write(0x1CE, 2, register)
        self.ports.write(0x1D0 if register == DEPTH else 0x1CF, 2, value)

    def show(self, width: int, height: int, depth: int, enable: int = SHOWN | LINEAR) -> None:
        self[ENABLE] = 0
        self[WIDTH], self[HEIGHT], self[DEPTH] = width, height, depth
        self[ENABLE] = enable


@pytest.fixture
def display() -> Display:
    return Display()


def test_its_interface_is_the_latest_and_a_driver_may_say_what_it_knows(display: Display) -> None:
    assert display[0] == 0xB0C5
    display[0] = 0xB0C2
    assert display[0] == 0xB0C2
    display[0] = 0xB0C6
    assert display[0] == 0xB0C2
    assert display[MEMORY] == 256, "16 MiB"


def test_the_most_there_is_is_said_when_asked_for(display: Display) -> None:
    display[ENABLE] = 2
    assert (display[WIDTH], display[HEIGHT], display[DEPTH]) == (16_000, 12_000, 32)
    display[ENABLE] = 0
    assert display[WIDTH] == 0


@pytest.mark.parametrize("depth", [8, 15, 16, 24, 32])
def test_a_mode_is_shown_and_cleared(display: Display, depth: int) -> None:
    display.show(800, 600, depth)
    pitch = 800 * ((depth + 7) // 8)
    assert display.shown.picture == Picture(800, 600, depth, pitch)
    assert (display.shown.bank, display.shown.cleared) == (None, 1)
    assert (display[VIRTUAL_WIDTH], display[VIRTUAL_HEIGHT]) == (800, min(16 * MIB // pitch, 12_000))
    display[ENABLE] = 0
    assert display.shown.picture is None


def test_what_was_drawn_can_be_kept(display: Display) -> None:
    display.show(640, 480, 32, SHOWN | LINEAR | KEEPS)
    assert display.shown.cleared == 0


def test_the_memory_can_be_wider_and_higher_than_the_picture(display: Display) -> None:
    display.show(640, 480, 32)
    display[VIRTUAL_WIDTH] = 800
    display[X_OFFSET], display[Y_OFFSET] = 16, 480
    assert display.shown.picture == Picture(640, 480, 32, 3200, 480 * 3200 + 64)
    display[Y_OFFSET] = 5000
    assert (display[X_OFFSET], display[Y_OFFSET]) == (0, 0), "behind the memory"
    display.show(640, 480, 32)
    assert display.shown.picture == Picture(640, 480, 32, 2560)


def test_what_there_cannot_be_becomes_what_can(display: Display) -> None:
    display.show(645, 0, 17)
    assert display.shown.picture == Picture(640, 1, 8, 640)
    display.show(16_008, 12_000, 32)
    assert display.shown.picture == Picture(16_000, 262, 32, 64_000)
    display.show(0, 480, 32)
    assert display.shown.picture == Picture(8, 480, 32, 32)


def test_without_a_linear_framebuffer_there_are_banks(display: Display) -> None:
    display.show(320, 200, 32, SHOWN)
    assert display.shown.bank == 0
    display[BANK] = 3
    assert display.shown.bank == 3 << 16
    display[BANK] = 256
    assert (display[BANK], display.shown.bank) == (0, 0)
    display[ENABLE] = 0
    assert display.shown.bank is None


@pytest.fixture
def function(display: Display) -> PciFunction:
    return bochs_display("display", lambda: display.mode, display.ports, MmioBus())


def test_it_is_found_on_the_pci_bus_with_its_memory(function: PciFunction) -> None:
    assert function.read(0) == 0x1111_1234
    assert function.read(8) >> 16 == 0x0300, "VGA compatible"
    assert (function.read(0x10), function.read(0x18)) == (0xFD00_0008, 0xFEBF_0000)
    for register, size in ((0x10, 0xFF00_0008), (0x18, 0xFFFF_F000)):
        address = function.read(register)
        function.write(register, 0xFFFF_FFFF, 0xFFFF_FFFF)
        assert function.read(register) == size
        function.write(register, address, 0xFFFF_FFFF)
        assert function.read(register) == address


def test_its_registers_are_in_memory_too(display: Display) -> None:
    memory = MmioBus()
    bochs_display("display", lambda: display.mode, display.ports, memory)
    (device,) = set(memory.devices.values())
    for register, value in ((WIDTH, 1024), (HEIGHT, 768), (DEPTH, 16), (ENABLE, SHOWN | LINEAR)):
        device.write_mmio(0, 0x500 + 2 * register, 2, value)
    assert display.shown.picture == Picture(1024, 768, 16, 2048)
    assert device.read_mmio(0, 0x500, 2) == 0xB0C5
    assert device.read_mmio(0, 0x500, 1) == 0xC5
    assert (device.read_mmio(0, 0x600, 4), device.read_mmio(0, 0x604, 4)) == (8, 0x1E1E_1E1E)
    assert device.read_mmio(0, 0, 4) == 0, "no EDID"


def test_the_vgas_ports_are_in_memory_too(display: Display) -> None:
    written: list[tuple[int, int]] = []

    class Vga:
        name = "VGA"
        ports = (range(0x3C4, 0x3C6),)

        def read_port(self, port: int, size: int) -> int:
            return port & 0xFF

        def write_port(self, port: int, size: int, value: int) -> None:
            written.append((port, value))

    display.ports.attach(Vga())
    memory = MmioBus()
    bochs_display("display", lambda: display.mode, display.ports, memory)
    (device,) = set(memory.devices.values())
    device.write_mmio(0, 0x404, 2, 0x0F02)
    assert written == [(0x3C4, 2), (0x3C5, 0x0F)]
    assert device.read_mmio(0, 0x405, 1) == 0xC5


def out(port: int, value: int, size: int) -> bytes:
    """mov edx, port; mov eax, value; out dx, ax or eax"""
    move = b"\xba" + port.to_bytes(4, "little") + b"\xb8" + value.to_bytes(4, "little")
    return move + (b"\x66\xef" if size == 2 else b"\xef")


def launched(text: bytes, look: Callable[[Machine], object]) -> None:
    start = 0x100
    image = bytes(elf(multiboot1_header().ljust(start, b"\0") + text + POWER_OFF, entry=MIB + start))
    report = kev.launch(source(image), memory="16M", timeout=30, at_end=look)
    assert report.exit_code == 0, report.ending.message


def test_a_multiboot_kernel_finds_and_uses_it() -> None:
    """It reads the address of the framebuffer, sets a mode, and draws in the upper left corner."""
    find = out(0xCF8, 0x8000_1010, 4) + b"\xba\xfc\x0c\0\0\xed\x24\xf0\x89\xc7"  # in eax, 0xcfc; and al, 0xf0; mov edi, eax
    mode = b"".join(out(0x1CE, register, 2) + out(0x1CF, value, 2) for register, value in ((1, 640), (2, 480), (3, 32), (4, 0x41)))
    draw = b"\xc7\x07\x33\x22\x11\x00"  # mov dword [edi], 0x112233
    pictures: list[tuple[int, int, bytes]] = []

    def look(machine: Machine) -> None:
        framebuffer = machine.vm.framebuffer
        assert framebuffer is not None
        pictures.append((framebuffer.mode.width, framebuffer.mode.height, framebuffer.pixels()[:6]))

    launched(find + mode + draw, look)
    assert pictures == [(640, 480, b"\x11\x22\x33\0\0\0")]


def test_banks_are_the_framebuffer_s_memory() -> None:
    mode = b"".join(
        out(0x1CE, register, 2) + out(0x1CF, value, 2) for register, value in ((1, 320), (2, 200), (3, 32), (4, 1), (5, 1))
    )
    draw = b"\xc7\x05" + (0xA0004).to_bytes(4, "little") + b"\x33\x22\x11\x00"  # mov dword [0xa0004], 0x112233
    load = b"\xa1" + (0xA0004).to_bytes(4, "little") + b"\xa3" + (0x9000).to_bytes(4, "little")
    found: list[bytes] = []

    def look(machine: Machine) -> None:
        assert machine.vm.framebuffer is not None
        place = 0x10004 // 4 * 3
        found.append(machine.vm.framebuffer.pixels()[place : place + 3])
        found.append(machine.vm.memory.read(Gpa(0x9000), 4))

    launched(mode + draw + load, look)
    assert found == [b"\x11\x22\x33", b"\x33\x22\x11\0"]


def test_a_guest_that_looks_for_it_only_finds_the_function_that_there_will_be() -> None:
    """For each that is made later: what is known of it before is what it says."""
    identities: list[tuple[list[tuple[int, str]], list[tuple[int, str]]]] = []

    def look(machine: Machine) -> None:
        bus = machine.vm.buses.pci
        before = bus.identities()
        for number in (0, 2):
            bus.write_port(0xCF8, 4, 0x8000_0000 | number << 11 | 8)
            bus.read_port(0xCFC, 4)
        identities.append((before, bus.identities()))

    launched(b"", look)
    assert identities == [([(0, "8086:1237"), (2, "1234:1111")],) * 2]
