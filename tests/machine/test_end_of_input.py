"""There is no more input, and a guest that waits for some would do that for ever."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

import kev
from kev.machine.ending import Ending
from kev.machine.machine import Machine
from tests.abi.calls import kernel
from tests.boot.images import source
from tests.machine.code import SPIN, code

ASKS_COM1 = code("66 ba fd 03 ec eb fd  ; mov dx, 0x3fd; in al, dx; jmp to it")
ASKS_THE_KEYBOARD = code("e4 64 eb fc  ; in al, 0x64; jmp to it")
ASKS_AND_PRINTS = code("66 ba fd 03 ec 66 ba f8 03 b0 0a ee eb f2")

pytestmark = pytest.mark.slow


@pytest.fixture
def nothing() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def warnings(text: bytes, nothing: int, timeout: float, **wishes: Any) -> list[str]:
    """What is said of a run that is ended by what is said first."""
    said: list[str] = []
    machines: list[Machine] = []

    def warn(line: str) -> None:
        said.append(line)
        machines[0].end(Ending.stopped())

    kev.launch(
        source(kernel(text)),
        memory="16M",
        timeout=timeout,
        input_descriptor=nothing,
        output=len,
        warn=warn,
        at_start=machines.append,
        **wishes,
    )
    return said


@pytest.mark.parametrize("wishes", [{}, {"seed": 1}], ids=str)
@pytest.mark.parametrize(("text", "keyboard"), [(ASKS_COM1, False), (ASKS_THE_KEYBOARD, True)])
def test_a_guest_that_does_nothing_but_ask_for_input_is_told_of(
    nothing: int, text: bytes, keyboard: bool, wishes: dict[str, Any]
) -> None:
    (said,) = warnings(text, nothing, 60, keyboard=keyboard, **wishes)
    assert said.endswith(": the input has ended, and the guest waits for more; --timeout SECONDS would end it")


@pytest.mark.parametrize("text", [SPIN, ASKS_AND_PRINTS])
def test_a_guest_that_does_something_else_is_not(nothing: int, text: bytes) -> None:
    assert warnings(text, nothing, 1.5) == []
