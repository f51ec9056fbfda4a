"""INT 16h and INT 09h."""

from collections.abc import Sequence

import pytest

from kev.addressing import Gpa
from kev.bios.data_area import DataArea
from kev.bios.keyboard import KeyboardServices
from kev.bios.keys import keys_of
from kev.dev.buses.ports import PortBus
from tests.bios.calls import interrupt, run, text
from tests.machine.code import code

TAKE, LOOK = interrupt(0x16, eax=0x0000), interrupt(0x16, eax=0x0100)
KEEP_IN_SI = code("89 c6 ; mov si, ax")


def test_without_a_key_there_is_none() -> None:
    assert run(LOOK).zero


def test_a_key_that_waits_is_seen_and_taken() -> None:
    called = run(interrupt(0x16, eax=0x0500, ecx=0x1E61), LOOK, KEEP_IN_SI, TAKE)
    assert (called["si"], called["ax"]) == (0x1E61, 0x1E61)
    assert run(interrupt(0x16, eax=0x0500, ecx=0x1E61), TAKE, LOOK).zero


def test_fifteen_keys_wait_in_their_order() -> None:
    pushes = [interrupt(0x16, eax=0x0500, ecx=0x1000 | number) for number in range(15)]
    called = run(*pushes, interrupt(0x16, eax=0x0500, ecx=0xFFFF), KEEP_IN_SI, TAKE, TAKE)
    assert (called["si"] & 0xFF, called["ax"]) == (1, 0x1001)


def test_who_waits_for_a_key_gets_what_comes_over_the_serial_line() -> None:
    called = run(TAKE, KEEP_IN_SI, TAKE, typed=b"a\r", seed=None)
    assert (called["si"], called["ax"]) == (0x1E61, 0x1C0D)


def test_interrupts_go_on_while_somebody_waits_for_a_key() -> None:
    called = run(text("?"), TAKE, interrupt(0x1A, eax=0), typed=b"x", seed=None)
    assert called.output == "?"


def test_the_shift_state_is_told() -> None:
    assert run(interrupt(0x16, eax=0x0200))["al"] == 0


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"a", [0x1E61]),
        (b"A", [0x1E41]),
        (b"1!", [0x0231, 0x0221]),
        (b" \t", [0x3920, 0x0F09]),
        (b"\r\n", [0x1C0D, 0x1C0D]),
        (b"\x08\x7f", [0x0E08, 0x0E08]),
        (b"\x03", [0x2E03]),
        (b"\x1b", [0x011B]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", [0x4800, 0x5000, 0x4D00, 0x4B00]),
        (b"\x1b[5~\x1b[6~", [0x4900, 0x5100]),
        (b"\x1b[x", [0x011B, 0x1A5B, 0x2D78]),
        (b"\xe4", [0x00E4]),
    ],
)
def test_what_a_terminal_sends_stands_for_keys(typed: bytes, keys: list[int]) -> None:
    assert list(keys_of(typed)) == keys


class Keyboard:
    """A keyboard controller with these bytes of its keyboard."""

    name = "keyboard"
    ports = (range(0x60, 0x61), range(0x64, 0x65))

    def __init__(self, codes: Sequence[int]) -> None:
        self.codes = list(codes)

    def read_port(self, port: int, size: int) -> int:
        if port == 0x64:
            return int(bool(self.codes))
        return self.codes.pop(0)

    def write_port(self, port: int, size: int, value: int) -> None:
        raise AssertionError


class Memory:
    """The first page, with an empty buffer for keys."""

    def __init__(self) -> None:
        self.data = bytearray(0x1000)
        self.write(Gpa(0x41A), bytes.fromhex("1e001e00"))

    def read(self, gpa: Gpa, length: int) -> bytes:
        return bytes(self.data[gpa : gpa + length])

    def write(self, gpa: Gpa, data: bytes) -> None:
        self.data[gpa : gpa + len(data)] = data


@pytest.mark.parametrize(
    ("codes", "keys"),
    [
        ([0x1E, 0x9E], [0x1E61]),
        ([0x2A, 0x1E, 0x9E, 0xAA, 0x1E], [0x1E41, 0x1E61]),
        ([0x3A, 0xBA, 0x1E, 0x02], [0x1E41, 0x0231]),
        ([0x3A, 0xBA, 0x36, 0x1E], [0x1E61]),
        ([0x1D, 0x2E], [0x2E03]),
        ([0x38, 0x2E, 0xB8, 0x2E], [0x2E00, 0x2E63]),
        ([0xE0, 0x48, 0xE0, 0xC8, 0x1C], [0x4800, 0x1C0D]),
        ([0x3B, 0x01, 0x55], [0x3B00, 0x011B]),
    ],
    ids=["plain", "shift", "caps lock", "caps lock and shift", "ctrl", "alt", "extended", "function key"],
)
def test_what_the_keyboard_sends_stands_for_keys(codes: list[int], keys: list[int]) -> None:
    ports, memory = PortBus(), Memory()
    ports.attach(Keyboard(codes))
    services = KeyboardServices(DataArea(memory), ports)
    for _ in codes:
        services.interrupted()
    tail = int.from_bytes(memory.read(Gpa(0x41C), 2), "little")
    waiting = memory.read(Gpa(0x41E), tail - 0x1E)
    assert [int.from_bytes(waiting[i : i + 2], "little") for i in range(0, len(waiting), 2)] == keys
