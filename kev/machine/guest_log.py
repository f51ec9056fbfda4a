"""What a hypervisor writes down of its guest if it is asked to. A log that nobody asked for costs nothing."""

from collections.abc import Callable, Iterable
from typing import Final

from kev.abi.base import Controller
from kev.clock import Clock
from kev.engine.base import VcpuState
from kev.errors import KevError, nearest_of
from kev.exits import CrAccess, Reply
from kev.machine.vm import Vm

LOGS: Final = ("cr3",)
"""The names of all logs."""
_CR3: Final = 3


class LogError(KevError):
    """There is no log of that name."""


def attach_logs(vm: Vm, names: Iterable[str]) -> None:
    """`vm.log` is given the lines of these logs from now on. LogError if there is no log of a name: names the nearest."""
    for name in names:
        if name not in LOGS:
            raise LogError(f"no log is named {name!r}: there is {nearest_of(name, LOGS) or ' or '.join(LOGS)}")
        vm.handle(CrAccess, Cr3Log(vm.clock, vm.log, vm.controller(CrAccess)).handle)
        vm.engine.intercept_cr3_writes()


class Cr3Log:
    """The controller of `CrAccess` exits while writes to CR3 are logged, a line each: guest time in seconds, and the value.

    The format is that of the teaching hypervisor lvisor: `[    0.407275] cr3: 101000`.
    """

    __slots__ = ("_clock", "_others", "_write")

    def __init__(self, clock: Clock, write: Callable[[bytes], object], others: Controller) -> None:
        """`others` is the controller of the other control registers."""
        self._clock: Final = clock
        self._write: Final = write
        self._others: Final = others

    def handle(self, state: VcpuState, exit: CrAccess) -> Reply | None:
        if exit.register != _CR3 or exit.value is None:
            return self._others(state, exit)
        seconds, microseconds = divmod(self._clock.now() // 1000, 1_000_000)
        self._write(b"[%5d.%06d] cr3: %x\n" % (seconds, microseconds, exit.value))
        return 0
