"""Tells what happens in a machine: as events of the log, as lines of a trace, and the last of it when something has failed."""

from collections import deque
from collections.abc import Callable
from typing import Final

from kev import log
from kev.addressing import Gpa
from kev.exits import Exit, Reply
from kev.machine.exit_text import describe_exit, describe_reply
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm, VmObserver
from kev.pager.pages import PageEvent

_REMEMBERED: Final = 16


class EventLog(VmObserver):
    """Writes exits, slices, interrupts, waits and loads to the log, at level debug. A `kev.pager.protocols.LoadObserver`, too."""

    @classmethod
    def attach(cls, vm: Vm) -> None:
        """From now on, what happens in `vm` is logged."""
        events = cls()
        vm.observe(events)
        vm.pager.observe(events)

    def exit_ended(self, vcpu: Vcpu, exit: Exit, reply: Reply | None) -> None:
        log.debug("exit", vcpu=vcpu.index, rip=hex(vcpu.state.rip), exit=_text(vcpu, exit), reply=describe_reply(reply))

    def slice_ended(self, vcpu: Vcpu, exit: Exit) -> None:
        log.debug("slice", vcpu=vcpu.index, rip=hex(vcpu.state.rip), ended_by=_text(vcpu, exit))

    def interrupted(self, vcpu: Vcpu, vector: int) -> None:
        log.debug("interrupt", vcpu=vcpu.index, vector=vector)

    def suspended(self, vcpu: Vcpu, gpa: Gpa) -> None:
        log.debug("wait", vcpu=vcpu.index, gpa=hex(gpa))

    def resumed(self, vcpu: Vcpu) -> None:
        log.debug("resume", vcpu=vcpu.index)

    def began(self, pages: range) -> None:
        log.debug("load", gpa=hex(pages.start), pages=len(pages))

    def waited(self, gpa: Gpa) -> None:
        log.debug("wait for another's load", gpa=hex(gpa))

    def ended(self, pages: range, event: PageEvent) -> None:
        log.debug("load ended", gpa=hex(pages.start), pages=len(pages), outcome=event.name.lower())


class ExitTrace(VmObserver):
    """Gives every exit to `write` as a line: `vCPU 0  0x100018  IoOut port 0x3f8 size 1 value 0x41 -> 0x0`."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write: Final = write
        self._began = ""
        self._last: Exit | None = None

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        self._began = _line(vcpu, exit)

    def exit_ended(self, vcpu: Vcpu, exit: Exit, reply: Reply | None) -> None:
        self._write(f"{self._began} -> {describe_reply(reply)}")
        self._last = exit

    def slice_ended(self, vcpu: Vcpu, exit: Exit) -> None:
        if exit is not self._last:  # else it has its line
            self._write(f"{_line(vcpu, exit)} -> ends the slice")

    def interrupted(self, vcpu: Vcpu, vector: int) -> None:
        self._write(f"vCPU {vcpu.index}  interrupt {vector:#x}")


class LastExits(VmObserver):
    """Remembers the last exits of each vCPU."""

    def __init__(self, vcpus: int) -> None:
        self._exits: Final = tuple(deque[tuple[int, Exit, int]](maxlen=_REMEMBERED) for _ in range(vcpus))

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        state = vcpu.state
        self._exits[vcpu.index].append((state.rip, exit, state.rax))

    def lines(self, vcpu: int) -> list[str]:
        """Those of one vCPU, by its number, the oldest first."""
        return [f"{rip:#x}  {describe_exit(exit, rax)}" for rip, exit, rax in self._exits[vcpu]]


def _line(vcpu: Vcpu, exit: Exit) -> str:
    return f"vCPU {vcpu.index}  {vcpu.state.rip:#x}  {_text(vcpu, exit)}"


def _text(vcpu: Vcpu, exit: Exit) -> str:
    return describe_exit(exit, vcpu.state.rax)
