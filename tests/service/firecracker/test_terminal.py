"""Standard input and output as the serial line."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from kev.service.firecracker.terminal import ConsoleOutput, forward_input
from tests.cli.sessions import Session
from tests.service.firecracker.api import guest_file

MUCH = bytes(range(256)) * 2048
"""More than a pipe holds."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


async def read(reader: int, count: int) -> bytes:
    found = b""
    while len(found) < count:
        await trio.lowlevel.wait_readable(reader)
        found += os.read(reader, 1 << 20)
    return found


async def test_all_is_written_however_slowly_it_is_read(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = ConsoleOutput(writer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        output.put(MUCH[:1000])
        assert await read(reader, 1000) == MUCH[:1000]
        output.put(MUCH[1000:])
        output.finish()
        assert await read(reader, len(MUCH) - 1000) == MUCH[1000:]


async def test_what_nobody_reads_is_lost_and_waited_for_no_longer_than_a_second(
    pipe: tuple[int, int], autojump_clock: trio.testing.MockClock
) -> None:
    reader, writer = pipe
    output = ConsoleOutput(writer)
    output.put(MUCH * 4)
    output.finish()
    began = trio.current_time()
    await output.run()
    assert trio.current_time() - began == 1
    assert len(os.read(reader, 1 << 20)) < len(MUCH)


async def test_a_reader_that_is_gone_ends_the_output() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = ConsoleOutput(writer)
    output.put(b"lost")
    await output.run()
    os.close(writer)


async def test_what_is_not_from_a_terminal_is_typed_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(MUCH + b"\x01x")
    typed = bytearray()

    async def send(data: bytes) -> None:
        typed.extend(data)

    with file.open("rb") as opened:
        await forward_input(opened.fileno(), send, lambda: None)
    assert typed == MUCH + b"\x01x"


@pytest.mark.slow
def test_a_terminal_is_left_by_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "configuration"
    file.write_text(json.dumps({"boot-source": {"kernel_image_path": guest_file(tmp_path, "echo")}}))
    session = Session(sys.executable, "-m", "kev", "serve", "--firecracker", "--no-api", "--config-file", str(file))
    try:
        session.expect(b"echo> ")
        os.write(session.terminal, b"typed\n")
        session.expect(b"you said: typed")
        os.write(session.terminal, b"\x01x")
        assert session.end() == 0
        assert session.mode == session.before
    finally:
        session.close()
