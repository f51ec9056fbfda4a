"""The accesses of a run, as far as its schedule goes, and what vCPUs send each other."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from kev.addressing import Hpa, page_floor
from kev.dev.interrupts.local_apic.apic import BASE_ADDRESS
from kev.engine.base import VcpuState
from kev.exits import Access, Exit, IoIn, IoOut, MmioRead, MmioWrite, Reply
from kev.machine.vcpu import Vcpu
from kev.machine.vm import VmObserver
from kev.race.guest.frames import GuestPhysical
from kev.race.guest.instructions import Effect, Instructions
from kev.race.guest.machine import GuestMachine
from kev.race.guest.store_buffers import StoreBuffers
from kev.race.guest.synchronizing import Synchronizing

_MOST: Final = 2_000_000
"""Accesses that are kept: the first ones."""
_PORTS: Final = 1 << 52
"""What a port is numbered from in `Accessed.gpa`: physical addresses are below."""


class Accessed(NamedTuple):
    """An access to memory, or to a device."""

    step: int
    """In which it was made, from 0."""
    vcpu: int
    instruction: int
    """Its linear address."""
    gpa: int
    size: int
    """In bytes, from `gpa` on."""
    writes: bool
    before: int
    """What was there; of a device's, what is written, too."""
    after: int
    locked: bool
    device: bool = False
    """It is to a port, or to a register in memory."""

    @property
    def port(self) -> int | None:
        """The number of the port; None if it is to none."""
        return self.gpa - _PORTS if self.gpa >= _PORTS else None

    @property
    def changes(self) -> bool:
        return self.before != self.after


class Sent(NamedTuple):
    """What one vCPU did reached another by an interrupt, an NMI, INIT or a start-up IPI."""

    step: int
    vcpu: int
    receiver: int


DeviceExit: TypeAlias = IoIn | IoOut | MmioRead | MmioWrite


def register_of(exit: DeviceExit) -> int:
    """Where a device was accessed: a guest-physical address, or what stands for a port."""
    return int(exit.gpa) if isinstance(exit, MmioRead | MmioWrite) else _PORTS + exit.port


class DeviceAccesses(VmObserver):
    """Hears of the accesses to devices that vCPUs share: not to those to the local APICs, of which each has its own."""

    def __init__(self, accessed: Callable[[Vcpu, DeviceExit, int], None]) -> None:
        self._accessed: Final = accessed

    def exit_ended(self, vcpu: Vcpu, exit: Exit, reply: Reply | None) -> None:
        if isinstance(exit, MmioRead | MmioWrite) and page_floor(exit.gpa) == BASE_ADDRESS:
            return
        if isinstance(exit, IoOut | MmioWrite):
            self._accessed(vcpu, exit, exit.value)
        elif isinstance(exit, IoIn | MmioRead) and isinstance(reply, int):
            self._accessed(vcpu, exit, reply)


class Recording:
    """Watches a machine that is about to run."""

    def __init__(self, machine: GuestMachine, *, devices: bool = False) -> None:
        """Of a machine that no other run uses. `devices`: accesses to devices are among those that are kept."""
        self.events: Final[list[Accessed | Sent]] = []
        self.synchronizing: Final = Synchronizing(len(machine.vm.vcpus))
        self.is_whole = True
        """There were not more accesses than are kept."""
        self.overlooked: Final[list[tuple[Accessed, Accessed]]] = []
        """A store, and another vCPU's load of the same bytes while that was still in its store buffer."""
        self._stores: Final[defaultdict[tuple[int, int], list[Accessed]]] = defaultdict(list)
        """Of each vCPU to each address, where there are store buffers."""
        self._machine: Final = machine
        self._frames: Final = GuestPhysical(machine.vm)
        self._buffers: Final = machine.stage.buffers
        self._memory: Final = machine.vm.pager.memory.view
        self._instructions: Final = Instructions(machine.vm)
        self._effect = Effect.NONE
        machine.vm.engine.trace_accesses(self._accessed, self._executed)
        machine.vm.interrupts.sent.subscribe(self._sent)
        if devices:
            machine.vm.observe(DeviceAccesses(self.device_accessed))

    @property
    def accesses(self) -> Sequence[Accessed]:
        return [event for event in self.events if isinstance(event, Accessed)]

    @property
    def _step(self) -> int:
        """The number of the instruction that is being executed."""
        machine = self._machine
        return machine.ticks + machine.ticks_of_turn + machine.vm.engine.instructions_in_slice() - 1

    def _executed(self, state: VcpuState, address: int, size: int) -> None:
        self._effect = effect = self._instructions.effect(state, address, size)
        if effect is not Effect.NONE:
            self.synchronizing.executed(state.index, effect)

    def _accessed(self, state: VcpuState, address: int, hpa: Hpa, size: int, access: Access, value: int) -> None:
        gpa = self._frames.gpa(hpa)
        if gpa is None or self._machine.fair is not None:
            return
        effect, vcpu, writes = self._effect, state.index, access is Access.WRITE
        self.synchronizing.accessed(vcpu, address, gpa, size, access, effect)
        if len(self.events) >= _MOST:
            self.is_whole = False
            return
        before = int.from_bytes(self._memory[hpa : hpa + size], "little")
        locked = effect is Effect.LOCKED
        made = Accessed(self._step, vcpu, address, gpa, size, writes, before, value if writes else before, locked)
        self.events.append(made)
        if self._buffers is not None:
            if writes:
                self._stores[vcpu, gpa].append(made)
            else:
                self._look_into_buffers(self._buffers, made, hpa)

    def device_accessed(self, vcpu: Vcpu, exit: DeviceExit, value: int) -> None:
        """A vCPU has read `value`, or written it, by the instruction that it is at."""
        if self._machine.fair is None and len(self.events) < _MOST:
            place, writes = vcpu.state.instruction_address, isinstance(exit, IoOut | MmioWrite)
            made = Accessed(self._step, vcpu.index, place, register_of(exit), exit.size, writes, value, value, False, device=True)
            self.events.append(made)

    def _look_into_buffers(self, buffers: StoreBuffers, load: Accessed, hpa: int) -> None:
        for vcpu in buffers.waiting():
            later: Counter[int] = Counter()
            for store in reversed(buffers.of(vcpu)) if vcpu != load.vcpu else ():
                made = self._stores[vcpu, load.gpa + store.hpa - hpa]
                later[store.hpa] += 1
                if len(made) >= later[store.hpa] and store.hpa < hpa + load.size and hpa < store.hpa + len(store.data):
                    self.overlooked.append((made[-later[store.hpa]], load))

    def _sent(self, vcpu: int, receiver: int) -> None:
        self.events.append(Sent(self._step, vcpu, receiver))


def shared_only(accesses: Sequence[Accessed]) -> list[Accessed]:
    """Those to bytes that several vCPUs access, and one writes."""
    users: dict[int, int] = {}
    written: set[int] = set()
    for access in accesses:
        for byte in range(access.gpa, access.gpa + access.size):
            users[byte] = users.get(byte, 0) | 1 << access.vcpu
            if access.writes:
                written.add(byte)
    shared = {byte for byte in written if users[byte] & users[byte] - 1}
    return [access for access in accesses if not shared.isdisjoint(range(access.gpa, access.gpa + access.size))]
