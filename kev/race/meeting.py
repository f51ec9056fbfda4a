"""Where the vCPUs of a race test wait for each other."""

from collections.abc import Generator
from types import coroutine
from typing import Final, Protocol


class Machine(Protocol):
    """Whoever resumes vCPUs."""

    def wake(self, vcpu: int) -> None:
        """A vCPU that was blocked can go on."""


class Meeting:
    """A rendezvous: those who wait are up to the scheduler again after `set`. The machine notes in `waiting` who does."""

    __slots__ = ("_happened", "_machine", "waiting")

    def __init__(self, machine: Machine) -> None:
        self._machine: Final = machine
        self._happened = False
        self.waiting: Final[list[int]] = []

    def set(self) -> None:
        self._happened = True
        while self.waiting:
            self._machine.wake(self.waiting.pop(0))

    async def wait(self) -> None:
        if not self._happened:
            await _block(self)


@coroutine
def _block(meeting: Meeting) -> Generator[Meeting, None, None]:
    yield meeting
