"""Standard input as the line of COM1."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

import kev
from kev.machine.ending import EndingKind
from kev.machine.terminal import InputForwarder
from kev.machine.terminal_keys import EscapeFilter, Key
from tests.dev.test_serial import Line

MUCH = bytes(range(256)) * 1024
"""More than anything on the way holds."""
BOUND = 16 << 10

HALTS = b"\xb0\x30\xe6\x43\xfb\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"
"""A boot sector: mov al, 0x30; out 0x43, al, which stops the timer; sti; hlt; jmp to the hlt."""


@pytest.fixture
def much_input(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file; its position says how much was read."""
    file = tmp_path / "input"
    file.write_bytes(MUCH)
    with file.open("rb", buffering=0) as opened:
        yield opened.fileno()


class Host:
    """What forwards input to a line, and what it says."""

    def __init__(self) -> None:
        self.line = Line()
        self.line.program()
        self.expected: list[bool] = []
        self.left = False
        self.found: bool | None = None
        """What came of it."""

    async def forward(self, descriptor: int) -> None:
        forwarder = InputForwarder(descriptor, self.line.port, self._leave, self.expected.append, job_control=False)
        self.found = await forwarder.run()

    def _leave(self) -> None:
        self.left = True


def position(descriptor: int) -> int:
    return os.lseek(descriptor, 0, os.SEEK_CUR)


async def test_input_is_not_read_before_the_guest_has_read_what_is_there(much_input: int) -> None:
    host = Host()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.forward, much_input)
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < position(much_input) <= BOUND
        assert host.expected[-1] is False
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("text", [b"", b"x"])
async def test_it_is_told_whether_there_was_input(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "input"
    file.write_bytes(text)
    host = Host()
    with file.open("rb", buffering=0) as opened:
        await host.forward(opened.fileno())
    assert host.found is bool(text)


async def test_input_of_any_length_arrives_whole_and_in_order(much_input: int) -> None:
    host = Host()
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.forward, much_input)
        while len(received) < len(MUCH):
            await trio.testing.wait_all_tasks_blocked()
            assert position(much_input) - len(received) <= BOUND
            received += host.line.receive_all()
    assert received == MUCH
    assert host.expected[-1] is True


async def test_input_from_a_pipe_waits_for_the_guest_too() -> None:
    host = Host()
    reader, writer = os.pipe()
    data = MUCH[: 32 << 10]  # What fits into a pipe.
    os.write(writer, data)
    os.close(writer)
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.forward, reader)
        await trio.testing.wait_all_tasks_blocked()
        assert host.line.port.backlog <= BOUND
        while len(received) < len(data):
            received += host.line.receive_all()
            await trio.testing.wait_all_tasks_blocked()
    os.close(reader)
    assert received == data


def test_a_guest_that_halts_without_reading_its_input_has_halted_for_ever(much_input: int, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(HALTS)
    report = kev.launch(image, input_descriptor=much_input, timeout=20)
    assert report.ending.kind is EndingKind.DIED
    assert "halted for ever" in report.ending.message
    assert position(much_input) <= BOUND


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({Key.LEAVE, Key.SAVE}, [b"ab", Key.SAVE, b"\x01c", Key.SAVE, b"\x01d", Key.LEAVE]),
        ({Key.LEAVE}, [b"ab\x01s\x01c\x01s\x01d", Key.LEAVE]),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 100])
def test_control_a_is_taken_out_of_what_is_typed_before_a_key_that_somebody_waits_for(
    keys: set[Key], found: list[bytes | Key], piece: int
) -> None:
    typed = b"ab\x01s\x01c\x01s\x01\x01d\x01x"
    taken = EscapeFilter(keys)
    pieces = [part for start in range(0, len(typed), piece) for part in taken.feed(typed[start : start + piece])]
    joined: list[bytes | Key] = []
    for part in pieces:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        else:
            joined.append(part)
    assert joined == found
