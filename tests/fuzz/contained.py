"""Guests that may take the emulator down, in processes that are forked for some of them at a time."""

import faulthandler
import mmap
import os
import select
import signal
import struct
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, NoReturn, TypeAlias

from kev.machine.api import rest
from kev.service.workers.dying import how_it_ended

_BATCH: Final = 500
_NUMBER: Final = struct.Struct("<q")
_PLACE: Final = struct.Struct("<QQ")  # the vCPU and one more, and RIP
_FAILED: Final = 97
"""Exit code of a process in which kev itself has raised what it should not."""


class Inside(NamedTuple):
    """What a process is told, and tells."""

    numbers: Sequence[int]
    """Of the guests that it runs, in this order."""
    say: Callable[[str], object]
    """Is told what came of each."""
    note_place: Callable[[int, int], object]
    """See `kev.machine.vm.Vm.note_place`."""


Work: TypeAlias = Callable[[Inside], object]


class Loss(NamedTuple):
    """A guest that has taken its process with it."""

    number: int
    how: str
    is_ours: bool
    """It was an exception of Python's, which `how` ends with."""
    place: str = ""
    """Which vCPU ran last, and from where."""


def one_by_one(run: Callable[[int], str]) -> Work:
    """What `run` says of each number."""

    def work(inside: Inside) -> None:
        for number in inside.numbers:
            inside.say(run(number))

    return work


def run_contained(work: Work, numbers: Sequence[int], patience: float) -> Iterator[tuple[int, str] | Loss]:
    """What `work` says of each number, or how the process ended that it was run in.

    `patience`: seconds that one may take.
    """
    at = 0
    while at < len(numbers):
        for result in _forked(work, numbers[at : at + _BATCH], patience):
            yield result
            at += 1


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


def _forked(work: Work, numbers: Sequence[int], patience: float) -> Iterator[tuple[int, str] | Loss]:
    """As far as one process comes."""
    sys.stdout.flush()
    rest()
    place = mmap.mmap(-1, mmap.PAGESIZE)
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        _work(work, numbers, writing, place)
    os.close(writing)
    try:
        for number in numbers:
            said = _read(reading, patience)
            if not said:
                end = _end(process, number, is_late=said is None)
                process = 0
                yield end._replace(place=_place(place))
                return
            yield number, said.decode()
    finally:
        os.close(reading)
        place.close()
        if process:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _place(place: mmap.mmap) -> str:
    vcpu, rip = _PLACE.unpack_from(place, 0)
    return f"vCPU {vcpu - 1} ran last, from RIP {rip:#x}" if vcpu else "its guest had not begun"


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


def _work(work: Work, numbers: Sequence[int], writing: int, place: mmap.mmap) -> NoReturn:
    def say(what: str) -> None:
        _PLACE.pack_into(place, 0, 0, 0)
        os.write(writing, _NUMBER.pack(len(what.encode())) + what.encode())

    def note_place(vcpu: int, rip: int) -> None:
        _PLACE.pack_into(place, 0, vcpu + 1, rip)

    faulthandler.disable()  # how the process ends is told outside
    code = 0
    try:
        work(Inside(numbers, say, note_place))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        code = _FAILED
    finally:
        os._exit(code)
