"""Who waits for what: the accesses of a run, so that a standstill can be told by the variables that nobody changes any more."""

from typing import Final, NamedTuple

from kev.addressing import Gpa, Hpa, page_floor
from kev.engine.base import VcpuState
from kev.exits import Access
from kev.machine.vcpu import ActivityState, Vcpu
from kev.postmortem.places import Places
from kev.postmortem.variables import Variables
from kev.race.guest.frames import GuestPhysical
from kev.race.guest.machine import GuestMachine

_MOST_VARIABLES: Final = 3
"""That one vCPU is said to wait for."""


class Change(NamedTuple):
    """A store that has changed memory."""

    vcpu: int
    address: int
    """Of the instruction, linear."""
    step: int


class Waits:
    """Watches a machine that is about to run, and says in the end what each of its vCPUs waits for.

    What a vCPU waits for is what it reads in fair turns that have led to nothing so far, and does not change itself: not the
    variables that only it has changed, if it reads others as well.
    """

    def __init__(self, machine: GuestMachine, places: Places) -> None:
        self._machine: Final = machine
        self._vm: Final = machine.vm
        self._places: Final = places
        self._variables: Final = Variables(places)
        self._frames: Final = GuestPhysical(machine.vm)
        self._changes: Final[dict[int, Change]] = {}
        """The last of each byte of memory, by its guest-physical address."""
        self._read: Final[list[dict[tuple[int, int], int]]] = [{} for _ in self._vm.vcpus]
        """What each vCPU reads in fair turns: address and size, and the instruction."""
        self._changed: Final[list[set[int]]] = [set() for _ in self._vm.vcpus]
        """The bytes that each vCPU changes in fair turns."""
        self._vm.engine.trace_accesses(self._accessed)
        machine.waits = self.describe

    def describe(self) -> str:
        """A clause for every vCPU that has begun."""
        return "; ".join(filter(None, map(self._describe, self._vm.vcpus)))

    def _accessed(self, state: VcpuState, address: int, hpa: Hpa, size: int, access: Access, value: int) -> None:
        gpa = self._frames.gpa(hpa)
        if gpa is None or self._machine.tries:
            return
        vcpu = state.index
        fair = self._machine.fair is not None and self._machine.fair.settled
        if access is Access.READ:
            if fair:
                self._read[vcpu].setdefault((gpa, size), address)
            return
        before = self._vm.pager.memory.view[hpa : hpa + size]
        if int.from_bytes(before, "little") == value:
            return
        machine = self._machine
        change = Change(vcpu, address, machine.ticks + machine.ticks_of_turn + self._vm.engine.instructions_in_slice() - 1)
        for byte in range(gpa, gpa + size):
            self._changes[byte] = change
            if fair:
                self._changed[vcpu].add(byte)

    def _describe(self, vcpu: Vcpu) -> str:
        if vcpu.activity is ActivityState.HLT:
            interrupts = "on" if vcpu.state.interrupts_enabled else "off"
            return f"{self._vm.where(vcpu)} is halted with interrupts {interrupts}"
        if vcpu.activity is not ActivityState.ACTIVE:
            return ""
        variables = [self._describe_variable(*variable) for variable in self._awaited(vcpu)]
        waits = f" waits for {', and '.join(variables)}" if variables else " spins"
        return f"{self._vm.where(vcpu)}{self._describe_pending(vcpu)}{waits}"

    def _describe_pending(self, vcpu: Vcpu) -> str:
        """An interrupt that waits as well: who sent it may be waiting for what its handler does."""
        interrupts = self._vm.interrupts
        interrupts.synchronize(vcpu)
        vector = interrupts.offered[vcpu.index]
        if vector is None or vcpu.state.interrupts_enabled:
            return ""
        return f", with interrupts off while interrupt {vector:#x} is pending,"

    def _awaited(self, vcpu: Vcpu) -> list[tuple[int, int]]:
        """Addresses and sizes of what it may wait for, what others have changed first."""
        index = vcpu.index
        stack = self._vm.engine.translate(vcpu.state, vcpu.state.rsp)
        ranked = []
        for (gpa, size), address in self._read[index].items():
            if self._changed[index].isdisjoint(range(gpa, gpa + size)):
                change = self._changes.get(gpa)
                own = change is not None and change.vcpu == index
                on_stack = stack is not None and page_floor(gpa) == page_floor(stack)
                ranked.append((own, on_stack, change is None, address, gpa, size))
        ranked.sort()
        foreign = [entry for entry in ranked if not entry[0] and not entry[1]]
        return [(gpa, size) for *_, gpa, size in (foreign or ranked)[:_MOST_VARIABLES]]

    def _describe_variable(self, gpa: int, size: int) -> str:
        hpa = self._vm.pager.gpa2hpa(Gpa(gpa))
        value = 0 if hpa is None else int.from_bytes(self._vm.pager.memory.view[hpa : hpa + size], "little")
        change = self._changes.get(gpa)
        if change is None:
            by = "was changed by no vCPU in this run"
        else:
            by = f"was last changed by vCPU {change.vcpu} at step {change.step:,} in {self._places.at(change.address)}"
        return f"{self._variables.at(gpa, size)}, which is {value:#x} and {by}"
