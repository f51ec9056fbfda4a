"""Writes down the turns of a guest's vCPUs, for people."""

from typing import Final

from kev.exits import EptViolation, Exit, Hlt, Pause
from kev.race.outcome import Failure
from kev.race.report.story import Kind, Moment, Story
from kev.vcpu import ActivityState, Vcpu
from kev.vm import Vm


class TurnRecorder:
    """A `kev.race.guest.machine.Witness` that collects a `Story`: a moment for each turn, however many exits it had."""

    def __init__(self, vm: Vm) -> None:
        self._vm: Final = vm
        self._moments: Final[list[Moment]] = []
        self._number = 0
        self._instructions = self._pager_steps = 0
        self._vcpu: Vcpu | None = None
        self._exit: Exit | None = None

    def turned(self, vcpu: Vcpu, ticks: int, exit: Exit | None) -> None:
        if self._vcpu is not None and vcpu is not self._vcpu:
            self._finish_turn()
        self._vcpu, self._exit = vcpu, exit
        if exit is None:
            self._pager_steps += ticks
        else:
            self._instructions += ticks

    def story(self, title: str, failure: Failure | None) -> Story:
        """What has happened so far."""
        self._finish_turn()
        return Story(title, len(self._vm.vcpus), 0, tuple(self._moments), failure)

    def _finish_turn(self) -> None:
        if self._vcpu is None:
            return
        text, kind = self._describe(self._vcpu)
        waiting = frozenset(vcpu.index for vcpu in self._vm.vcpus if vcpu.activity is not ActivityState.ACTIVE)
        self._moments.append(Moment(self._number, self._vcpu.index, text, kind, waiting=waiting))
        self._number += self._instructions + self._pager_steps
        self._instructions = self._pager_steps = 0
        self._vcpu = None

    def _describe(self, vcpu: Vcpu) -> tuple[str, Kind]:
        place = self._place(vcpu.state.rip)
        ran = f"runs {self._instructions:,} to {place}" if self._instructions else f"is at {place}"
        loads = f", {self._pager_steps} steps of loading" if self._pager_steps else ""
        if isinstance(self._exit, Hlt):
            return f"{ran}{loads}: halts", Kind.WAIT
        if isinstance(self._exit, Pause):
            return f"{ran}{loads}: spins", Kind.WAIT
        if isinstance(self._exit, EptViolation):
            return f"{ran}{loads}: wants page {self._exit.gpa >> 12:#x}", Kind.LOAD
        return f"{ran}{loads}", Kind.LOAD if self._exit is None else Kind.ACCESS

    def _place(self, address: int) -> str:
        """`function+0x12`, or the address where the image has no name for it."""
        found = self._vm.pager.image.symbols.at(address)
        if found is None:
            return f"{address:#x}"
        symbol, offset = found
        return f"{symbol.name}+{offset:#x}" if offset else symbol.name
