"""The machine that the devices make up."""

import pytest

from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.msrs import MsrBus
from kev.dev.buses.ports import PortBus
from kev.dev.devices import Buses, Devices
from kev.dev.pci.bus import PciBus
from kev.dev.surroundings import Picture, Surroundings
from kev.exits import GENERAL_PROTECTION, GuestException
from kev.machine.console import Console
from kev.machine.pc import SELDOM_USED, attach_platform
from tests.dev.board import Board
from tests.dev.ram import Ram
from tests.dev.screen import Screen

PERIODIC, UPDATE = 0x40, 0x10


class Pc:
    def __init__(self) -> None:
        self.output = bytearray()
        self.console = Console()
        self.console.output.subscribe(self.output.extend)
        board = Board()
        self.clock = board.clock
        self.buses = Buses(PortBus(strict=True), MsrBus(), MmioBus(), PciBus())
        self.exit_codes: list[int] = []
        self.machine = Surroundings(
            vcpus=1,
            ram=(range(1 << 28),),
            clock=board.clock,
            timers=board.timers,
            boot_time=0,
            memory=Ram(),
            line=board.controllers.line,
            replacing_line=board.controllers.replacing_line,
            console=self.console,
            screen=Screen(),
            display=self,
            end=self.exit_codes.append,
            reset=lambda: self.exit_codes.append(0),
        )
        self.devices = Devices(self.buses, self.machine, SELDOM_USED)
        attach_platform(self.devices, self.machine, board.controllers)

    def show(self, wanted: Picture | None) -> None:
        pass

    def show_bank(self, start: int | None) -> None:
        pass

    def clear_framebuffer(self) -> None:
        pass

    def read(self, port: int) -> int:
        return self.buses.ports.read(port, 1)

    def write(self, port: int, size: int, value: int) -> None:
        self.buses.ports.write(port, size, value)


def test_every_port_of_every_device_answers() -> None:
    pc = Pc()
    devices = {
        "8259": (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1),
        "8254": (0x40, 0x41, 0x42, 0x43, 0x61),
        "keyboard controller": (0x60, 0x64),
        "real-time clock": (0x70, 0x71),
        "delay": (0x80, 0x84, 0xED),
        "system control": (0x92,),
        "pc-testdev": (*range(0xE0, 0xE9), 0xEA, 0xEB, *range(0x2000, 0x2018)),
        "debug console": (0xE9,),
        "debug exit": (0xF4, 0x501, 0x502),
        "secondary IDE channel": (*range(0x170, 0x178), 0x376),
        "display mode": (0x1CE, 0x1CF, 0x1D0),
        "parallel port": (0x378, 0x379, 0x37A),
        "CRT controller": (0x3D4, 0x3D5, 0x3DA),
        "COM1": range(0x3F8, 0x400),
        "firmware configuration": (0x510, 0x511),
        "power-off": (*range(0x600, 0x605), 0xB004),
        "Bochs shutdown": (0x8900,),
        "PCI": range(0xCF8, 0xD00),
    }
    for ports in devices.values():
        for port in ports:
            assert 0 <= pc.read(port) <= 0xFF


def test_the_clock_that_nobody_looked_at_for_a_second_has_flagged_what_happened() -> None:
    pc = Pc()
    pc.clock.advance(1_500_000_000)
    pc.write(0x70, 1, 0x0C)
    assert pc.read(0x71) == PERIODIC | UPDATE


def test_each_way_out_ends_the_run_at_its_first_access() -> None:
    for port, size, value, exit_code in (
        (0x604, 4, 0x2000, 0),
        (0xB004, 2, 0x2000, 0),
        (0xF4, 4, 1, 3),
        (0x92, 1, 1, 0),
        (0x64, 1, 0xFE, 0),
    ):
        pc = Pc()
        pc.write(port, size, value)
        assert pc.exit_codes == [exit_code], f"port {port:#x}"


def test_what_is_written_to_the_debug_console_is_printed() -> None:
    pc = Pc()
    assert pc.read(0xE9) == 0xE9
    for byte in b"one\ntwo":
        pc.write(0xE9, 1, byte)
    assert pc.output == b"one\n"
    pc.console.close()
    assert pc.output == b"one\ntwo"


COM1, DEBUG_CONSOLE = 0x3F8, 0xE9


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("ports", [(COM1, DEBUG_CONSOLE), (DEBUG_CONSOLE, COM1)], ids=["COM1 first", "debug console first"])
@pytest.mark.parametrize("by", ["byte", "line", "text"])
def test_what_goes_to_com1_and_to_the_debug_console_is_printed_once(by: str, ports: tuple[int, int], flushed: bool) -> None:
    pc = Pc()
    text = b"one\n\ntwo\nthree\n"
    pieces = {"byte": [bytes([byte]) for byte in text], "line": text.splitlines(keepends=True), "text": [text]}[by]
    for piece in pieces:
        for port in ports:
            for byte in piece:
                if port == COM1 and byte == 0x0A:
                    pc.write(port, 1, 0x0D)
                pc.write(port, 1, byte)
                if flushed:
                    pc.console.flush()
    pc.console.close()
    assert pc.output.replace(b"\r", b"") == text


def test_lines_of_either_device_are_printed_whole_and_in_order() -> None:
    pc = Pc()
    for first, second in ((b"one 1\n", b"one 2\n"), (b"two\n", b"two\n"), (b"three\n", b"3\n")):
        for byte in first:
            pc.write(COM1, 1, byte)
            pc.console.flush()
        for byte in second:
            pc.write(DEBUG_CONSOLE, 1, byte)
            pc.console.flush()
    assert pc.output == b"one 1\none 2\ntwo\nthree\n3\n"


def test_a_prompt_behind_a_debug_line_is_printed_at_once() -> None:
    pc = Pc()
    for byte in b"prompt> is coming\n":
        pc.write(DEBUG_CONSOLE, 1, byte)
    for byte in b"> ":
        pc.write(COM1, 1, byte)
    pc.console.flush()
    assert pc.output == b"prompt> is coming\n> "


def test_a_debug_line_that_never_ends_is_printed_in_parts() -> None:
    pc = Pc()
    for _ in range(4096):
        pc.write(0xE9, 1, ord("."))
    assert pc.output == b"." * 4096


def test_the_latch_of_the_test_device_keeps_a_byte_beside_the_debug_console() -> None:
    pc = Pc()
    pc.write(0xE8, 1, 0x5A)
    pc.write(0xE9, 1, ord("!"))
    assert (pc.read(0xE8), pc.read(0xE9)) == (0x5A, 0xE9)
    pc.write(0xE0, 4, 0x12345678)
    assert pc.buses.ports.read(0xE0, 4) == 0x12345678


def test_what_kernels_read_of_any_processor_is_there() -> None:
    msrs = Pc().buses.msrs
    assert not [
        index
        for index in (0x10, 0x17, 0x2A, 0x3A, 0x8B, 0xCE, 0xFE, 0x198, 0x199, 0x1A0, 0x2FF)
        if isinstance(msrs.read(0, index), GuestException)
    ]
    assert msrs.write(0, 0x198, 0) == GENERAL_PROTECTION
