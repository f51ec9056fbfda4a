"""Input from pipes and files, and what else may end a run that waits for it."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import kev
from kev.machine.ending import Ending, EndingKind
from kev.machine.machine import Machine
from kev.machine.run_report import RunReport
from tests.abi.calls import kernel
from tests.boot.images import source
from tests.machine.code import code

HALTS = code("fb f4 eb fd  ; sti; hlt; jmp to it")
ECHOES = code(
    """
    66 ba fd 03 ec a8 01 74 f7 ; mov dx, 0x3fd; in al, dx; test al, 1; jz back
    66 ba f8 03 ec ee          ; mov dx, 0x3f8; in al, dx; out dx, al
    3c 21 75 ed                ; cmp al, '!'; jnz back
    66 ba 01 05 ee             ; mov dx, 0x501; out dx, al
    """
)
"""Says what it reads, up to an exclamation mark."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Whose writing end a test may close."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    yield reading, writing
    os.close(reading)
    with suppress(OSError):
        os.close(writing)


def run(text: bytes, descriptor: int, **wishes: Any) -> RunReport:
    wishes = {"timeout": 60, "output": len, **wishes}
    return kev.launch(source(kernel(text)), memory="16M", input_descriptor=descriptor, **wishes)


def test_a_guest_that_halts_at_once_is_waited_for_while_there_may_be_input(pipe: tuple[int, int]) -> None:
    report = run(HALTS, pipe[0], timeout=0.2)
    assert report.ending.kind is EndingKind.TIMED_OUT


def test_the_end_of_the_input_ends_a_guest_that_waits_for_nothing_else(pipe: tuple[int, int]) -> None:
    closing = threading.Timer(0.1, os.close, [pipe[1]])
    closing.start()
    report = run(HALTS, pipe[0])
    closing.join()
    assert report.ending.message.startswith("halted for ever")


def test_an_end_from_another_thread_reaches_a_machine_that_waits(pipe: tuple[int, int]) -> None:
    def begin(machine: Machine) -> None:
        threading.Timer(0.1, machine.end_soon, [Ending.stopped()]).start()

    assert run(HALTS, pipe[0], at_start=begin).ending.kind is EndingKind.STOPPED


def test_input_beyond_what_the_guest_can_be_behind_with_comes_whole_and_in_order(pipe: tuple[int, int]) -> None:
    said = bytearray()
    typed = b"".join(b"%d " % number for number in range(1100))
    assert os.write(pipe[1], typed + b"!") == len(typed) + 1
    run(ECHOES, pipe[0], output=said.extend)
    assert bytes(said) == typed + b"!"


def test_who_asks_all_the_time_for_input_that_comes_later_gets_it(pipe: tuple[int, int]) -> None:
    said = bytearray()
    typing = threading.Timer(0.1, os.write, [pipe[1], b"late!"])
    typing.start()
    run(ECHOES, pipe[0], output=said.extend)
    typing.join()
    assert bytes(said) == b"late!"


def test_input_that_comes_before_the_runtime_is_the_guests_only_one(pipe: tuple[int, int]) -> None:
    """The guest `echo` types to itself where nobody types: not here, though the input has ended when the runtime looks at it."""
    said = bytearray()
    os.write(pipe[1], b"hello\n")
    os.close(pipe[1])
    kev.launch("echo", input_descriptor=pipe[0], output=said.extend, timeout=3)
    assert said == b"echo> you said: hello\necho> "


def test_a_regular_file_is_read_like_a_pipe(tmp_path: Any) -> None:
    said = bytearray()
    (tmp_path / "typed").write_bytes(b"from a file!")
    with (tmp_path / "typed").open() as file:
        run(ECHOES, file.fileno(), output=said.extend)
    assert bytes(said) == b"from a file!"


def test_where_nothing_is_typed_the_guest_gets_its_own_input(pipe: tuple[int, int]) -> None:
    said = bytearray()

    def begin(machine: Machine) -> None:
        machine.own_input = b"its own!"

    os.close(pipe[1])
    run(ECHOES, pipe[0], output=said.extend, at_start=begin)
    assert bytes(said) == b"its own!"
