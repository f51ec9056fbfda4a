"""Proves that nobody gets any further, whatever the schedule, long before a run has become too long.

Where several vCPUs can go on, each is given the steps of a loop, and then everything is put back. If the steps of each lead it back
to the state that it was in, with no exit but PAUSE, and behind every single one of them memory holds what it held before, then each
reads the same for ever, whatever the others do and whoever goes on: nobody changes anything. Nor does anything come from outside,
unless a timer is set or a page is being loaded. Where one alone can go on, it is enough that its state comes again.
"""

from collections.abc import Sequence
from typing import Final

from kev.addressing import Gpa
from kev.engine.base import Budget
from kev.exits import Breakpoint, Exit, IoIn, IoOut, MmioRead, MmioWrite, Pause, PreemptionTimer, Reply
from kev.machine.digest import Registers, all_registers, general_registers, memory_checksum
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm
from kev.pager.write_tracker import MemoryPoint
from kev.race.guest.spinning import exits_with_effect
from kev.race.guest.stage import Stage

_MORE_STEPS: Final = 500
_LONGEST_LOOP: Final = 256
"""Steps of a loop that is taken for one."""
_FINISHED_AT_ONCE: Final = (IoIn, IoOut, MmioRead, MmioWrite)
"""Exits in the middle of an instruction."""
_NOTHING_DONE: Final = (Pause, PreemptionTimer, Breakpoint)
"""What a step ends with that has done nothing but what its instruction does to registers and memory."""
_STEP: Final = Budget(instructions=1)


def first_look(free_steps: int) -> int:
    """The step from which on it is worth while to look, where a free run has so many: few runs that end take longer."""
    return free_steps + free_steps // 4 + _MORE_STEPS


class Standstill:
    """Looks at one run now and then, so that it becomes by half as long from one time to the next."""

    def __init__(self, stage: Stage, first: int) -> None:
        """It is looked at step `first` or soon afterwards."""
        self._stage: Final = stage
        self._vm: Final[Vm] = stage.vm
        self.next = first
        """There is no need to ask before this step."""
        self.pauses: Final[set[int]] = set()
        """RIP behind every PAUSE in the loops of those that stand still."""
        self._alone: _Alone | None = None

    def is_reached(self, step: int, runnable: Sequence[int], chosen: int, last: int) -> bool:
        """Whether nobody will ever get any further. Between two turns, and while no page is being loaded.

        `chosen` is who would go on, `last` who has. Everything is as before, but for what the CPU remembers of translations.
        """
        vm = self._vm
        if len(runnable) == 1 and chosen < len(vm.vcpus):
            return self._comes_again(vm.vcpus[chosen])
        self._alone = None
        if chosen == last:
            return False  # which would remember its translations
        if runnable[-1] < len(vm.vcpus) and vm.timers.is_idle:
            others = (index for index in runnable if index != chosen)
            if self._all_in_loops([vm.vcpus[index] for index in (chosen, *others)]):
                return True
        self.next = step + step // 2 + 1
        return False

    def _comes_again(self, vcpu: Vcpu) -> bool:
        """Nobody else can go on."""
        vm = self._vm
        if not vm.timers.is_idle:
            self._alone = None
        elif self._alone is None or self._alone.vcpu is not vcpu:
            self._alone = _Alone(vm, vcpu)
        else:
            return self._alone.comes_again()
        return False

    def _all_in_loops(self, vcpus: Sequence[Vcpu]) -> bool:
        vm = self._vm
        if not all(self._is_plain(vcpu) for vcpu in vcpus):
            return False
        self.pauses.clear()
        saved = [(vcpu, vm.engine.save_vcpu(vcpu.state)) for vcpu in vcpus]
        point = vm.memory_points.take()
        try:
            return all(self._is_in_loop(vcpu, point) for vcpu in vcpus)
        finally:
            if not self._is_unchanged(point):
                vm.memory_points.restore(point)
            vm.memory_points.release(point)
            for vcpu, registers in saved:
                vm.engine.load_vcpu(vcpu.state, registers)
            if self._stage.buffers is not None:
                self._stage.buffers.clear()  # they were empty

    def _is_plain(self, vcpu: Vcpu) -> bool:
        """Nothing is about to be done to it before its next instruction."""
        events = vcpu.state.read_events()
        waits = events.exception is not None or events.unpushed is not None or events.nmi or events.interrupt_shadow
        taken = self._vm.interrupts.offered[vcpu.index] is not None and vcpu.state.interrupts_enabled
        return not waits and not taken and vcpu.startup is None and vcpu.needs is None

    def _is_in_loop(self, vcpu: Vcpu, point: MemoryPoint) -> bool:
        engine, state = self._vm.engine, vcpu.state
        asks = False

        def service(exit: Exit) -> Reply | None:
            nonlocal asks
            asks = asks or not isinstance(exit, Pause)
            return 0 if isinstance(exit, _FINISHED_AT_ONCE) else None

        general, registers = general_registers(vcpu), all_registers(vcpu)
        for _ in range(_LONGEST_LOOP):
            if self._stage.places:
                engine.pass_breakpoint(state)
            before = state.instructions
            exit = engine.run(state, _STEP, service)
            if asks or not isinstance(exit, _NOTHING_DONE) or state.instructions == before or not self._is_unchanged(point):
                return False
            if isinstance(exit, Pause):
                self.pauses.add(state.rip)
            if general_registers(vcpu) == general and all_registers(vcpu) == registers:
                return True
        return False

    def _is_unchanged(self, point: MemoryPoint) -> bool:
        """Memory holds what it held at `point`."""
        pager = self._vm.pager
        for page, data in point.originals.items():
            hpa = pager.gpa2hpa(Gpa(page))
            if hpa is None or pager.memory.page(hpa) != data:
                return False
        return True


class _Alone:
    """Of a vCPU that goes on alone, a state that is compared with those that follow.

    It is replaced by a later one after 1, 2, 4, ... of them, as in `kev.race.guest.fairness.Repetition`.
    """

    __slots__ = ("_compare", "_compared", "_registers", "_state", "_vm", "vcpu")

    def __init__(self, vm: Vm, vcpu: Vcpu) -> None:
        self._vm: Final = vm
        self.vcpu: Final = vcpu
        self._compared = 0
        self._compare = 1
        self._registers: Registers = general_registers(vcpu)
        self._state = self._whole_state()

    def comes_again(self) -> bool:
        registers = general_registers(self.vcpu)
        if registers == self._registers and self._whole_state() == self._state:
            return True
        self._compared += 1
        if self._compared >= self._compare:
            self._compare *= 2
            self._compared = 0
            self._registers, self._state = registers, self._whole_state()
        return False

    def _whole_state(self) -> tuple[object, ...]:
        vm = self._vm
        return (all_registers(self.vcpu), *vm.interrupts.offered, memory_checksum(vm), exits_with_effect(vm))
