"""Guests that may take the emulator down, in processes that are forked for some of them at a time."""

import os
import select
import signal
import struct
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, NoReturn

from kev.machine.api import rest
from kev.service.workers.dying import how_it_ended

_BATCH: Final = 25
_NUMBER: Final = struct.Struct("<q")
_FAILED: Final = 97
"""Exit code of a process in which kev itself has raised what it should not."""


class Loss(NamedTuple):
    """A guest that has taken its process with it."""

    number: int
    how: str
    is_ours: bool
    """It was an exception of Python's, which `how` ends with."""


def run_contained(run: Callable[[int], str], numbers: Sequence[int], patience: float) -> Iterator[tuple[int, str] | Loss]:
    """What `run` says of each number, or how the process ended that it was run in.

    `patience`: seconds that one may take.
    """
    left = list(numbers)
    while left:
        batch = left[:_BATCH]
        for result in _forked(run, batch, patience):
            yield result
            left.pop(0)


def tally(results: Iterator[tuple[int, str] | Loss]) -> tuple[Counter[str], list[Loss]]:
    """How often what was said, and what was lost."""
    counts: Counter[str] = Counter()
    losses: list[Loss] = []
    for result in results:
        if isinstance(result, Loss):
            losses.append(result)
        else:
            counts[result[1]] += 1
    return counts, losses


def _forked(run: Callable[[int], str], numbers: Sequence[int], patience: float) -> Iterator[tuple[int, str] | Loss]:
    """As far as one process comes."""
    sys.stdout.flush()
    rest()
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        _work(run, numbers, writing)
    os.close(writing)
    try:
        for number in numbers:
            said = _read(reading, patience)
            if not said:
                yield _end(process, number, is_late=said is None)
                process = 0
                return
            yield number, said.decode()
    finally:
        os.close(reading)
        if process:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _read(descriptor: int, patience: float) -> bytes | None:
    """The next message; empty at the end, None if it does not come in time."""
    if not select.select([descriptor], [], [], patience)[0]:
        return None
    head = os.read(descriptor, _NUMBER.size)
    return os.read(descriptor, _NUMBER.unpack(head)[0]) if head else b""


def _end(process: int, number: int, *, is_late: bool) -> Loss:
    if is_late:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    how = "did not end in time" if is_late else how_it_ended(code)
    return Loss(number, how, code == _FAILED)


def _work(run: Callable[[int], str], numbers: Sequence[int], writing: int) -> NoReturn:
    code = 0
    try:
        for number in numbers:
            said = run(number).encode()
            os.write(writing, _NUMBER.pack(len(said)) + said)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        code = _FAILED
    finally:
        os._exit(code)
