"""The small devices that kernels expect of any PC: keyboard controller, port 0x92, CRT controller, parallel port, fw_cfg."""

import pytest

from kev.clock import TimerQueue, VirtualClock
from kev.dev.buses.ports import PortBus
from kev.dev.chipset.fw_cfg import FirmwareConfiguration
from kev.dev.chipset.keyboard import KeyboardController
from kev.dev.chipset.keys import strokes
from kev.dev.chipset.parallel import ParallelPort
from kev.dev.chipset.system_control import SystemControlPort
from kev.dev.display.attribute_controller import AttributeController
from kev.dev.display.crt_controller import CrtController
from kev.dev.display.graphics_controller import GraphicsController
from tests.dev.screen import Screen


class Keyboard:
    """A controller with its interrupt line and what it resets."""

    def __init__(self) -> None:
        self.resets = 0
        self.interrupt = False
        self.mouse_interrupt = False
        self.edges = 0
        self.clock = VirtualClock()
        self.timers = TimerQueue(self.clock)
        self.controller = KeyboardController(self.clock, self.timers, self._set_interrupt, self._set_mouse_interrupt, self._reset)

    def _reset(self) -> None:
        self.resets += 1

    def _set_interrupt(self, asserted: bool) -> None:
        self.edges += asserted and not self.interrupt
        self.interrupt = asserted

    def _set_mouse_interrupt(self, asserted: bool) -> None:
        self.mouse_interrupt = asserted

    @property
    def status(self) -> int:
        return self.controller.read_port(0x64, 1)

    def command(self, value: int) -> None:
        self.controller.write_port(0x64, 1, value)

    def send(self, value: int) -> None:
        self.controller.write_port(0x60, 1, value)

    def wait(self, milliseconds: int) -> None:
        self.clock.advance_to(self.clock.now() + milliseconds * 1_000_000)
        self.timers.run_due()

    def keys(self, milliseconds: int = 100) -> list[int]:
        """What comes while the guest polls for so long."""
        found = []
        for _ in range(milliseconds):
            found += self.replies()
            self.wait(1)
        return found

    def replies(self) -> list[int]:
        replies = []
        while self.status & 1:
            replies.append(self.controller.read_port(0x60, 1))
        return replies


@pytest.fixture
def keyboard() -> Keyboard:
    return Keyboard()


def test_an_idle_keyboard_has_nothing_to_say_and_can_take_a_byte(keyboard: Keyboard) -> None:
    assert keyboard.status & 0x03 == 0
    assert keyboard.controller.read_port(0x60, 1) == 0


@pytest.mark.parametrize(("command", "reply"), [(0xAA, 0x55), (0xAB, 0x00), (0xA9, 0x00)])
def test_the_controllers_tests_pass(keyboard: Keyboard, command: int, reply: int) -> None:
    keyboard.command(command)
    assert keyboard.status & 0x09 == 0x09
    assert keyboard.replies() == [reply]


def test_the_command_byte_reads_back(keyboard: Keyboard) -> None:
    keyboard.command(0x60)
    keyboard.send(0x30)
    keyboard.command(0x20)
    assert keyboard.replies() == [0x30]


def test_every_reply_interrupts_if_the_command_byte_says_so(keyboard: Keyboard) -> None:
    keyboard.send(0xFF)
    assert keyboard.interrupt
    assert keyboard.replies() == [0xFA, 0xAA]
    assert keyboard.edges == 2
    assert not keyboard.interrupt
    keyboard.command(0x60)
    keyboard.send(0x00)
    keyboard.send(0xF4)
    assert not keyboard.interrupt
    assert keyboard.replies() == [0xFA]


@pytest.mark.parametrize(
    ("sent", "replies"), [(0xF2, [0xFA, 0xAB, 0x83]), (0xEE, [0xEE]), (0xED, [0xFA]), (0xF5, [0xFA])], ids=lambda v: str(v)
)
def test_the_keyboard_answers_its_commands(keyboard: Keyboard, sent: int, replies: list[int]) -> None:
    keyboard.send(sent)
    assert keyboard.replies() == replies


@pytest.mark.parametrize(("command", "resets"), [(0xFE, 1), (0xF0, 1), (0xFF, 0), (0xFD, 0), (0xAE, 0)])
def test_pulsing_the_reset_line_resets_the_machine(keyboard: Keyboard, command: int, resets: int) -> None:
    keyboard.command(command)
    assert keyboard.resets == resets


def test_a_key_is_held_unless_another_one_follows(keyboard: Keyboard) -> None:
    keyboard.wait(1000)
    keyboard.controller.press(strokes(b"a"))
    assert keyboard.keys(20) == [0x1E]
    assert keyboard.keys(50) == [0x9E]
    keyboard.controller.press(strokes(b"a"))
    assert keyboard.keys(20) == [0x1E]
    keyboard.controller.press(strokes(b"bc"))
    assert keyboard.keys(20) == [0x9E, 0x30, 0xB0, 0x2E]


def test_the_data_port_keeps_its_last_byte(keyboard: Keyboard) -> None:
    """A program that polls it finds the last key, which the BIOS has read already."""
    keyboard.controller.press(strokes(b"a"))
    assert keyboard.keys(2000)[-1] == 0x9E
    assert keyboard.status & 1 == 0
    assert [keyboard.controller.read_port(0x60, 1) for _ in range(2)] == [0x9E, 0x9E]


def test_address_line_20_is_enabled_through_the_output_port(keyboard: Keyboard) -> None:
    keyboard.command(0xD1)
    keyboard.send(0xDF)
    keyboard.command(0xD0)
    assert keyboard.replies() == [0xDF]
    assert keyboard.resets == 0
    keyboard.command(0xD1)
    keyboard.send(0xDE)
    assert keyboard.resets == 1


def test_a_command_that_waits_for_a_byte_is_forgotten_by_the_next(keyboard: Keyboard) -> None:
    keyboard.command(0xD1)
    keyboard.command(0xAD)
    keyboard.send(0x00)
    assert keyboard.resets == 0
    assert keyboard.replies() == [0xFA]


def test_the_status_tells_the_mouse_from_the_keyboard(keyboard: Keyboard) -> None:
    keyboard.command(0xD4)
    keyboard.send(0xF4)
    assert keyboard.status & 0x21 == 0x21
    assert not keyboard.interrupt
    assert keyboard.replies() == [0xFA]
    keyboard.send(0xF4)
    assert keyboard.status & 0x21 == 0x01
    assert keyboard.replies() == [0xFA]
    assert keyboard.status & 0x21 == 0


@pytest.mark.parametrize(
    ("sent", "replies"),
    [
        ([0xFF], [0xFA, 0xAA, 0x00]),
        ([0xF2], [0xFA, 0x00]),
        ([0xE8, 0xFF], [0xFA, 0xFA]),
        ([0xF3, 0xC8], [0xFA, 0xFA]),
        ([0xEB], [0xFA, 0, 0, 0]),
    ],
    ids=str,
)
def test_the_mouse_answers_its_commands(keyboard: Keyboard, sent: list[int], replies: list[int]) -> None:
    for byte in sent:
        keyboard.command(0xD4)
        keyboard.send(byte)
    assert keyboard.replies() == replies


def test_the_mouse_has_an_interrupt_of_its_own(keyboard: Keyboard) -> None:
    keyboard.command(0x60)
    keyboard.send(0x47)
    keyboard.command(0xD4)
    keyboard.send(0xF4)
    assert (keyboard.interrupt, keyboard.mouse_interrupt) == (False, True)
    keyboard.send(0xEE)
    assert (keyboard.interrupt, keyboard.mouse_interrupt) == (False, True), "one after the other"
    assert keyboard.controller.read_port(0x60, 1) == 0xFA
    assert (keyboard.interrupt, keyboard.mouse_interrupt) == (True, False)
    assert keyboard.replies() == [0xEE]
    assert (keyboard.interrupt, keyboard.mouse_interrupt) == (False, False)


@pytest.mark.parametrize(
    ("sent", "replies"),
    [
        ([0xF0, 0x00], [0xFA, 0xFA, 0x02]),
        ([0xF0, 0x02], [0xFA, 0xFA]),
        ([0xED, 0x00], [0xFA, 0xFA]),
        ([0xF0, 0xF2], [0xFA, 0xFA, 0xAB, 0x83]),
        ([0xF0, 0x01, 0x00], [0xFA, 0xFA, 0xFA]),
    ],
    ids=["which scan codes", "set them", "lights", "a command instead", "a byte too many"],
)
def test_a_keyboards_command_may_take_a_byte(keyboard: Keyboard, sent: list[int], replies: list[int]) -> None:
    for byte in sent:
        keyboard.send(byte)
    assert keyboard.replies() == replies


@pytest.mark.parametrize(("command", "byte"), [(0xA7, 0x65), (0xAD, 0x55)], ids=["mouse", "keyboard"])
def test_a_port_is_disabled_and_enabled_again(keyboard: Keyboard, command: int, byte: int) -> None:
    keyboard.command(command)
    keyboard.command(0x20)
    assert keyboard.replies() == [byte]
    keyboard.command(command + 1)
    keyboard.command(0x20)
    assert keyboard.replies() == [0x45]


def test_what_is_sent_to_a_device_enables_its_port(keyboard: Keyboard) -> None:
    keyboard.command(0xA7)
    keyboard.command(0xAD)
    keyboard.command(0xD4)
    keyboard.send(0xF4)
    assert keyboard.replies() == [0xFA]
    keyboard.send(0xF4)
    assert keyboard.replies() == [0xFA]
    keyboard.command(0x20)
    assert keyboard.replies() == [0x45]


@pytest.mark.parametrize(("command", "status"), [(0xD2, 0x01), (0xD3, 0x21)], ids=["keyboard", "mouse"])
def test_the_controller_answers_for_either_device(keyboard: Keyboard, command: int, status: int) -> None:
    keyboard.command(command)
    keyboard.send(0x5A)
    assert keyboard.status & 0x21 == status
    assert keyboard.replies() == [0x5A]


def test_the_scan_code_set_is_kept_until_a_reset(keyboard: Keyboard) -> None:
    for byte in (0xF0, 0x01, 0xF0, 0x00, 0xFF, 0xF0, 0x00):
        keyboard.send(byte)
    assert keyboard.replies() == [0xFA, 0xFA, 0xFA, 0xFA, 0x01, 0xFA, 0xAA, 0xFA, 0xFA, 0x02]


@pytest.mark.parametrize(
    ("typed", "codes"),
    [
        (b"a", [0x1E, 0x9E]),
        (b"A", [0x2A, 0x1E, 0x9E, 0xAA]),
        (b"?", [0x2A, 0x35, 0xB5, 0xAA]),
        (b"\n", [0x1C, 0x9C]),
        (b"\x7f", [0x0E, 0x8E]),
        (b"\x03", [0x1D, 0x2E, 0xAE, 0x9D]),
        (b"\x1b", [0x01, 0x81]),
        (b"\x1b[A", [0xE0, 0x48, 0xE0, 0xC8]),
        (b"\xc3\x00", []),
    ],
    ids=repr,
)
def test_what_is_typed_presses_keys(keyboard: Keyboard, typed: bytes, codes: list[int]) -> None:
    assert keyboard.status & 1 == 0
    keyboard.controller.receive(typed)
    assert keyboard.keys() == codes
    assert keyboard.controller.backlog == 0


def test_every_printable_character_has_a_key_of_its_own() -> None:
    pressed = {tuple(strokes(bytes([character]))) for character in range(0x20, 0x7F)}
    assert len(pressed) == 0x7F - 0x20
    assert () not in pressed


def test_untranslated_keys_come_in_set_2(keyboard: Keyboard) -> None:
    keyboard.command(0x60)
    keyboard.send(0x05)
    keyboard.controller.receive(b"a\x1b[B")
    assert keyboard.keys() == [0x1C, 0xF0, 0x1C, 0xE0, 0x72, 0xE0, 0xF0, 0x72]


def test_a_key_interrupts_a_guest_that_never_looked_for_a_keyboard(keyboard: Keyboard) -> None:
    keyboard.controller.receive(b"a")
    keyboard.wait(10)
    assert not keyboard.interrupt
    keyboard.wait(1_000)
    assert keyboard.interrupt
    assert keyboard.controller.read_port(0x60, 1) == 0x1E


def test_keys_do_not_come_between_a_command_and_its_answer(keyboard: Keyboard) -> None:
    keyboard.controller.receive(b"a")
    keyboard.send(0xF5)
    assert keyboard.keys() == [0xFA]
    keyboard.command(0xAD)
    keyboard.send(0xF4)
    assert keyboard.replies() == [0xFA]
    keyboard.command(0xAD)
    assert keyboard.keys() == []
    keyboard.command(0xAE)
    assert keyboard.keys() == [0x1E, 0x9E]


def test_a_key_waits_until_the_one_before_was_read(keyboard: Keyboard) -> None:
    told: list[int] = []
    keyboard.controller.taken.subscribe(lambda: told.append(keyboard.controller.backlog))
    assert keyboard.replies() == []
    keyboard.controller.receive(b"ab")
    keyboard.wait(50)
    keyboard.wait(50)
    assert (keyboard.controller.backlog, told) == (3, [3])
    assert keyboard.keys() == [0x1E, 0x9E, 0x30, 0xB0]
    assert told == [3, 2, 1, 0]


def test_replies_that_nobody_reads_do_not_pile_up(keyboard: Keyboard) -> None:
    for _ in range(1000):
        keyboard.send(0xF2)
    assert len(keyboard.replies()) == 16


def test_port_0x92_enables_address_line_20_and_resets() -> None:
    resets: list[None] = []
    port = SystemControlPort(lambda: resets.append(None))
    assert port.read_port(0x92, 1) & 3 == 2
    port.write_port(0x92, 1, 0x02)
    assert (port.read_port(0x92, 1), len(resets)) == (0x02, 0)
    port.write_port(0x92, 1, 0x03)
    assert len(resets) == 1


def test_the_start_address_moves_the_screen() -> None:
    bus, screen = PortBus(strict=True), Screen()
    bus.attach(CrtController(screen))
    bus.write(0x3D4, 2, 0x120C)
    bus.write(0x3D4, 2, 0x340D)
    bus.write(0x3D4, 2, 0x560F)
    assert screen.crt_controller[0x0C:0x0E] == b"\x12\x34"


def test_the_cursor_position_reads_back() -> None:
    bus = PortBus(strict=True)
    bus.attach(CrtController(Screen()))
    bus.write(0x3D4, 1, 14)
    bus.write(0x3D5, 1, 0x07)
    bus.write(0x3D4, 2, 0xCF0F)  # Index and value at once.
    assert bus.read(0x3D5, 1) == 0xCF
    bus.write(0x3D4, 1, 14)
    assert (bus.read(0x3D4, 1), bus.read(0x3D5, 1)) == (14, 0x07)


def test_the_graphics_controller_says_whether_text_is_shown() -> None:
    bus, screen = PortBus(strict=True), Screen()
    bus.attach(GraphicsController(screen))
    bus.write(0x3CE, 2, 0x0506)
    assert screen.graphics_controller[6] == 5
    bus.write(0x3CE, 2, 0x0E06)
    assert [graphics[6] for _, graphics in screen.arranged] == [5, 0x0E]
    assert (bus.read(0x3CE, 1), bus.read(0x3CF, 1)) == (6, 0x0E)
    bus.write(0x3CE, 2, 0xFF09)  # which does not exist
    assert bus.read(0x3CF, 1) == 0


def test_a_crt_register_that_does_not_exist_reads_as_0() -> None:
    crt = CrtController(Screen())
    crt.write_port(0x3D4, 1, 0xFF)
    crt.write_port(0x3D5, 1, 0x55)
    assert crt.read_port(0x3D5, 1) == 0


def test_the_vertical_retrace_begins_and_ends_for_whoever_waits_for_it() -> None:
    attributes = AttributeController(Screen())
    assert {attributes.read_port(0x3DA, 1) & 8 for _ in range(2)} == {0, 8}


def test_the_parallel_port_is_ready_and_its_registers_read_back() -> None:
    bus = PortBus(strict=True)
    bus.attach(ParallelPort())
    assert bus.read(0x379, 1) & 0xF8 == 0xD8
    bus.write(0x378, 1, 0x41)
    bus.write(0x37A, 1, 0x0D)
    assert (bus.read(0x378, 1), bus.read(0x37A, 1) & 0x3F) == (0x41, 0x0D)


class Firmware:
    """A guest that asks fw_cfg."""

    def __init__(self) -> None:
        self.bus = PortBus(strict=True)
        self.bus.attach(FirmwareConfiguration(vcpus=5, ram_size=3 << 32))

    def item(self, key: int, length: int) -> bytes:
        self.bus.write(0x510, 2, key)
        return bytes(self.bus.read(0x511, 1) for _ in range(length))


@pytest.mark.parametrize(
    ("key", "contents"),
    [
        (0x00, b"QEMU"),
        (0x01, b"\1\0\0\0"),
        (0x03, (3 << 32).to_bytes(8, "little")),
        (0x05, b"\5\0"),
        (0x0F, b"\5\0"),
        (0x19, b"\0\0\0\1\0\0\0\x08\0\x20\0\0" + b"etc/sercon-port".ljust(56, b"\0")),
        (0x20, b"\xf8\3\0\0\0\0\0\0"),
        (0x7777, b"\0"),
    ],
)
def test_fw_cfg_tells_the_machines_size_and_reads_0_after_an_item(key: int, contents: bytes) -> None:
    assert Firmware().item(key, len(contents) + 3) == contents + bytes(3)


def test_selecting_an_item_again_starts_at_its_beginning() -> None:
    firmware = Firmware()
    assert firmware.item(0, 2) == b"QE"
    assert firmware.item(0, 4) == b"QEMU"
