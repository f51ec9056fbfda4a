"""`kev run --contained`: the machine is in a process of its own, which is confined, and which its guest may take down."""

import json
import mmap
import os
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from kev.addressing import MIB
from kev.cli.interrupts import SIGNALS, conclude
from kev.errors import KevError, one_line
from kev.machine import driving  # noqa: F401  trio makes files when it is imported, which a confined process cannot
from kev.machine.ending import EXIT_CODE_LOST, EXIT_CODE_MISTAKE, EXIT_CODE_TIMED_OUT
from kev.machine.opening import OpeningTimedOut
from kev.service.workers.confinement import ALL
from kev.service.workers.confinement.machine import MachineConfinement, in_force
from kev.service.workers.dying import die_with_parent, how_it_ended
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import heeded

if TYPE_CHECKING:
    from kev.machine.machine import Machine

_PATIENCE: Final = 5.0
"""Seconds that the process may take to end when it has to."""
_LARGEST_REPORT: Final = 64 * MIB
_PLACE: Final = struct.Struct("<QQ")  # the vCPU and one more, and RIP


class Inside(NamedTuple):
    """What a contained run does besides."""

    spec: MachineSpec
    place: mmap.mmap
    """Shared with the process outside."""
    report: int
    """A descriptor to write it to."""
    confinement: MachineConfinement

    def begin(self, machine: "Machine") -> None:
        """All files are open, and the guest runs next."""
        machine.vm.note_place = lambda vcpu, rip: _PLACE.pack_into(self.place, 0, vcpu + 1, rip)
        self.confinement.after(self.spec, machine)

    def tell(self, report: dict[str, Any]) -> None:
        """`report` is for the process outside, which can write files."""
        with open(self.report, "wb", closefd=False) as stream:
            stream.write(json.dumps(report).encode())


class Outcome(NamedTuple):
    """What came of it."""

    exit_code: int
    report: dict[str, Any] | None
    """What was told."""


def contained(spec: MachineSpec, run: Callable[[Inside], int]) -> Outcome:
    """Lets `run` run the machine in a forked process: it begins with `Inside.begin`, and returns an exit code.

    KevError and what else ends a command are said there. If the process is lost, this says so, and where its guest was.
    """
    place = mmap.mmap(-1, mmap.PAGESIZE)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    process = os.fork()
    if not process:
        os.close(reading)
        _work(parent, run, Inside(spec, place, writing, MachineConfinement(in_force(ALL))))
    os.close(writing)
    with _terminal_as_it_was(), _Watch(process, spec.timeout) as watch:
        told = watch.read(reading)
    os.close(reading)
    if watch.how is None and watch.exit_code >= 0:
        return Outcome(watch.exit_code, json.loads(told) if told else None)
    vcpu, rip = _PLACE.unpack_from(place, 0)
    where = f"vCPU {vcpu - 1} ran last, from RIP {rip:#x}" if vcpu else "its guest had not begun"
    how = watch.how or how_it_ended(watch.exit_code)
    sys.stderr.write(f"kev: {one_line(spec.image)}: the machine is lost: its process {how}; {where}\n")
    return Outcome(EXIT_CODE_LOST, None)


class _Watch:
    """The process from outside: signals that end a run are its, and it is killed if it does not obey them, or its time limit."""

    def __init__(self, process: int, timeout: float | None) -> None:
        self.exit_code = 0
        """Negative if it was a signal."""
        self.how: str | None = None
        """Why it was killed from here."""
        self._process: Final = process
        self._deadline = None if timeout is None else time.monotonic() + timeout + _PATIENCE

    def read(self, descriptor: int) -> bytes:
        """What it tells, until it ends."""
        told = bytearray()
        while True:
            left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
            ready = select.select([descriptor, self._signalled], [], [], left)[0]
            if not ready:
                self._kill("did not end when it had to, and was killed")
            elif self._signalled in ready:
                os.read(self._signalled, select.PIPE_BUF)
            elif not (more := os.read(descriptor, MIB)):
                return bytes(told)
            elif len(told) + len(more) > _LARGEST_REPORT:
                self._kill(f"has told more than {_LARGEST_REPORT:,} bytes, and was killed")
            else:
                told += more

    def _kill(self, how: str) -> None:
        self.how, self._deadline = self.how or how, None
        os.kill(self._process, signal.SIGKILL)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._deadline = time.monotonic() + _PATIENCE
        os.write(self._signal, b"\0")  # `select` goes on after a signal, with the deadline that it was given
        os.kill(self._process, number)  # a terminal has told it already, which comes to the same

    def __enter__(self) -> "_Watch":
        self._signalled, self._signal = os.pipe()
        self._before = {number: signal.signal(number, self._pass_on) for number in heeded(SIGNALS)}
        return self

    def __exit__(self, *_error: object) -> None:
        _, status = os.waitpid(self._process, 0)
        self.exit_code = os.waitstatus_to_exitcode(status)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._signalled)
        os.close(self._signal)


@contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """A process that is killed cannot give the terminal back."""
    import termios

    try:
        before = termios.tcgetattr(0)
    except termios.error:
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _work(parent: int, run: Callable[[Inside], int], inside: Inside) -> NoReturn:
    code = 1
    try:
        die_with_parent(parent)
        inside.confinement.before(inside.spec)
        code = run(inside)
    except KevError as error:
        sys.stderr.write(f"kev: {error}\n")
        code = EXIT_CODE_MISTAKE
    except OpeningTimedOut as error:
        sys.stderr.write(f"kev: {one_line(str(error))}\n")
        code = EXIT_CODE_TIMED_OUT
    except KeyboardInterrupt as interrupt:
        code = conclude(interrupt)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
