"""Writes down the turns of a guest's vCPUs, for people."""

from collections.abc import Sequence
from typing import Final

from kev.addressing import Gpa
from kev.exits import Exit, Hlt, Pause
from kev.machine.step import Ran, Step
from kev.machine.vcpu import ActivityState, Vcpu
from kev.pager.pages import PageEvent
from kev.postmortem.places import Place, Places
from kev.postmortem.variables import Variables
from kev.race.guest.frames import GuestPhysical
from kev.race.guest.machine import ROUNDS_SEEN
from kev.race.guest.stage import Stage
from kev.race.guest.store_buffers import BufferedStore
from kev.race.guest.telling import brief
from kev.race.outcome import Failure
from kev.race.stories.story import Kind, Moment, Story

_MOST_PRINTED: Final = 80
"""Characters that are shown of what one turn prints."""


def place_of(places: Places, vcpu: Vcpu) -> Place:
    """Where a vCPU is in the kernel's code: at its next instruction, or at the HLT that it is in."""
    return places.executed(vcpu.state.instruction_address, halted=vcpu.activity is ActivityState.HLT)


class TurnRecorder:
    """A `kev.race.guest.machine.Witness`, and a `kev.pager.protocols.LoadObserver`: collects a moment for each turn of a vCPU."""

    def __init__(self, stage: Stage) -> None:
        """Of the run that begins on `stage`."""
        self._vm: Final = stage.vm
        self.places: Final = Places(stage.vm.pager.image)
        self._variables: Final = Variables(self.places)
        self._frames: Final = GuestPhysical(stage.vm)
        self._moments: Final[list[Moment]] = []
        self._number = 0
        self._ticks = 0
        self._instructions = 0
        self._loads = 0
        self._awaited: Gpa | None = None
        self._vcpu: Vcpu | None = None
        self._begins = ""
        """Where the turn began."""
        self._output = bytearray()
        """What was printed in the turn."""
        self._interrupts: Final[list[int]] = []
        """The vectors that were taken in the turn."""
        self._stopped_by: Exit | None = None
        self._fair_turns: int | None = None
        """Since the schedule is over."""
        stage.observe_loads(self)
        stage.observe_output(self._output.extend)
        stage.observe_interrupts(self._interrupted)
        stage.vm.place_of = lambda vcpu: self._place(vcpu).text

    def chosen(self, vcpu: Vcpu) -> None:
        if vcpu is not self._vcpu:
            self._finish_turn()
            self._vcpu = vcpu
            self._begins = brief(self._place(vcpu)) if vcpu.startup is None else ""
            if self._fair_turns is not None:
                self._fair_turns += 1

    def drained(self, vcpu: Vcpu, stores: Sequence[BufferedStore]) -> None:
        self._finish_turn()
        told = ", ".join(self._describe_store(store) for store in stores)
        self._moments.append(Moment(self._number, vcpu.index, f"its stores become visible: {told}", Kind.WAKE))
        self._number += len(stores)

    def _describe_store(self, store: BufferedStore) -> str:
        gpa = self._frames.gpa(store.hpa)
        variable = self._variables.at(gpa or 0, len(store.data))
        return f"{variable.name or f'{variable.address:#x}'} = {int.from_bytes(store.data, 'little'):#x}"

    def schedule_over(self) -> None:
        self._finish_turn()
        self._fair_turns = 0

    def went_on(self, ticks: int, step: Step | None) -> None:
        self._stopped_by = step.exit if isinstance(step, Ran) else None
        self._ticks += ticks
        if step is not None:
            self._instructions += ticks

    def _interrupted(self, vcpu: int, vector: int) -> None:
        if self._vcpu is not None and vcpu == self._vcpu.index:
            self._interrupts.append(vector)

    def began(self, pages: range) -> None:
        self._awaited = None

    def waited(self, gpa: Gpa) -> None:
        self._awaited = gpa

    def ended(self, pages: range, event: PageEvent) -> None:
        self._loads += len(pages) if event is PageEvent.PUBLISH else 0

    def story(self, title: str, failure: Failure | None) -> Story:
        """What has happened so far."""
        self._finish_turn()
        return Story(title, len(self._vm.vcpus), 0, tuple(self._moments), failure)

    def _finish_turn(self) -> None:
        vcpu = self._vcpu
        if vcpu is None or (self._fair_turns or 0) > ROUNDS_SEEN * len(self._vm.vcpus):
            return
        waiting = frozenset(other.index for other in self._vm.vcpus if other.activity is not ActivityState.ACTIVE)
        begins = self._begins if self._instructions else ""
        self._moments.append(Moment(self._number, vcpu.index, self._describe(vcpu), self._kind(), waiting=waiting, begins=begins))
        self._output.clear()
        self._interrupts.clear()
        self._number += self._ticks
        self._ticks = self._instructions = self._loads = 0
        self._awaited = self._vcpu = self._stopped_by = None

    def _describe(self, vcpu: Vcpu) -> str:
        place = brief(self._place(vcpu))
        parts = [f"runs {self._instructions:,} to {place}" if self._instructions else f"is at {place}"]
        if self._interrupts:
            vectors = ", ".join(f"{vector:#x}" for vector in self._interrupts)
            parts.append(f"takes interrupt{'s' if len(self._interrupts) > 1 else ''} {vectors}")
        if self._loads:
            parts.append(f"loads {self._loads} page{'s' if self._loads > 1 else ''}")
        if self._awaited is not None:
            parts.append(f"waits for page {self._awaited:#x}")
        if isinstance(self._stopped_by, Hlt):
            parts.append("halts")
        elif isinstance(self._stopped_by, Pause):
            parts.append("spins")
        if self._output:
            printed = self._output.decode(errors="replace")
            parts.append(f"prints {printed if len(printed) <= _MOST_PRINTED else printed[:_MOST_PRINTED] + '...'!r}")
        return ", ".join(parts)

    def _place(self, vcpu: Vcpu) -> Place:
        return place_of(self.places, vcpu)

    def _kind(self) -> Kind:
        if isinstance(self._stopped_by, Hlt | Pause) or self._awaited is not None:
            return Kind.WAIT
        return Kind.LOAD if self._loads and not self._instructions else Kind.ACCESS
