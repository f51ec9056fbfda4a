"""What is said of a guest that waits for input when there will be no more."""

from typing import TYPE_CHECKING, Final

from kev import log

if TYPE_CHECKING:
    from kev.machine.machine import Machine

LOOK_EVERY: Final = 1.0  # seconds
_MANY_LOOKS: Final = 100
"""In that time: a guest that looks for input so often, and prints nothing, does nothing else."""


class ClosedInput:
    """Notices a guest that does nothing but ask for input, which has ended: it would do that for ever."""

    __slots__ = ("_before", "_forget", "_machine", "_printed")

    def __init__(self, machine: "Machine") -> None:
        self._machine: Final = machine
        self._printed = 0
        self._forget: Final = machine.vm.console.output.subscribe(self._note_output)
        self._before = self._now()

    def look(self) -> bool:
        """To be called every `LOOK_EVERY` seconds. Says so, and True, if it does nothing else; that is once enough."""
        machine, line, before = self._machine, self._machine.vm.input_line, self._before
        assert line is not None
        looks, printed = self._before = self._now()
        if looks - before[0] < _MANY_LOOKS or printed != before[1] or line.backlog:
            return False
        warn(machine, "the input has ended, and the guest waits for more; --timeout SECONDS would end it")
        return True

    def forget(self) -> None:
        """It is of no interest any more."""
        self._forget()

    def _now(self) -> tuple[int, int]:
        line = self._machine.vm.input_line
        assert line is not None
        return line.looks, self._printed

    def _note_output(self, _data: bytes) -> None:
        self._printed += 1


def warn(machine: "Machine", text: str) -> None:
    """A line for whoever waits for the run, and in the log."""
    log.warning(text, image=machine.image)
    if machine.warn is not None:
        machine.warn(f"{machine.image}: {text}")
