"""What a guest wrote to COM1, and when."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from kev.abi.base import Controller
from kev.dev.serial.uart16550 import COM1
from kev.engine.base import VcpuState
from kev.exits import IoOut, Reply
from kev.machine.vm import Vm

_TIMED_LINE: Final = re.compile(rb"([ -~]+): ([0-9]+) <>\n")


@attrs.frozen(slots=True)
class TimedLine:
    """A line `NAME: COUNT <>`: something was done COUNT times between the two marks."""

    name: str
    count: int
    seconds: float


class Transcript:
    """The bytes, each with its time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` in seconds."""
        self.text: Final = bytearray()
        self._clock: Final = clock
        self._times: Final[list[float]] = []

    def add(self, text: bytes) -> None:
        """Appends what was written just now."""
        self.text.extend(text)
        self._times.extend([self._clock()] * len(text))

    def record(self, vm: Vm) -> None:
        """Appends what the guest is going to write."""

        def recording(controller: Controller) -> Controller:
            def write(vcpu: VcpuState, exit: IoOut) -> Reply | None:
                if exit.port == COM1:
                    self.text.append(exit.value)
                    self._times.append(self._clock())
                return controller(vcpu, exit)

            return write

        vm.handle(IoOut, recording(vm.controller(IoOut)))

    def seconds_between(self, first: bytes, last: bytes) -> float:
        """From the first time that `first` was written to the first time that `last` was. ValueError if one was not."""
        return self._times[self.text.index(last)] - self._times[self.text.index(first)]

    def timed_lines(self) -> Iterator[TimedLine]:
        for match in _TIMED_LINE.finditer(self.text):
            last = match.end() - len(">\n")
            seconds = self._times[last] - self._times[last - 1]
            yield TimedLine(match[1].decode(), int(match[2]), seconds)
