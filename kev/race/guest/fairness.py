"""What comes after a schedule: turns in which nobody is kept from going on, until the guest ends or nothing changes any more."""

from collections.abc import Sequence
from random import Random
from typing import Final

from kev.engine.base import Budget
from kev.machine.digest import all_registers, general_registers, memory_checksum
from kev.machine.schedule import ANYTHING, Decision
from kev.machine.vm import Vm
from kev.race.errors import ScheduleOver
from kev.race.guest.spinning import exits_with_effect
from kev.race.strategy.base import UNLIMITED
from kev.race.strategy.free import UnpreemptedScheduler

_LONGEST_LENGTH: Final = 10
"""Turns of random length have up to two to this power of instructions. Most are short: vCPUs may hinder each other in few."""
_RANDOM_ROUNDS: Final = 8
"""Rounds of such turns in a row, at the least."""
_BURSTS: Final = 8
"""How often they are tried in a run that comes to the same state with everybody in turn."""
BETWEEN_COMPARISONS: Final = 1_024
"""Decisions, where few compare equal."""
_TURN: Final = Budget(instructions=UNLIMITED)


class Repetition:
    """Notices a state that comes again: the same registers and memory, while nobody has asked anything of a device or a clock, and
    no timer is set that would do anything. It is compared with one that is moved on after 1, 2, 4, ... times (R. P. Brent: "An
    improved Monte Carlo factorization algorithm", BIT 20, 1980).
    """

    def __init__(self, vm: Vm) -> None:
        self._vm: Final = vm
        self._times = 0
        self._compare_until = 1
        self._seen: tuple[object, ...] | None = None
        self._seen_whole: tuple[object, ...] = ()

    def comes(self) -> bool:
        """Whether the state is now the one that it is compared with."""
        vm = self._vm
        state = (*map(general_registers, vm.vcpus),)
        # In the order of what they cost: where a timer is set, the rest may be the same all the time.
        if state == self._seen and vm.timers.is_idle and self._whole_state() == self._seen_whole:
            return True
        self._times += 1
        if self._times >= self._compare_until:
            self._compare_until *= 2
            self._seen, self._seen_whole = state, self._whole_state()
        return False

    def _whole_state(self) -> tuple[object, ...]:
        vm = self._vm
        return (*map(all_registers, vm.vcpus), *vm.interrupts.offered, memory_checksum(vm), exits_with_effect(vm))


class PatientScheduler(UnpreemptedScheduler):
    """Whoever runs goes on for as long as it can. ScheduleOver if the same state comes again and again."""

    def __init__(self, vm: Vm) -> None:
        super().__init__()
        self._repetition: Final = Repetition(vm)
        self._decisions = 0

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        self._decisions += 1
        # Between two comparisons each vCPU has been chosen that can run, so that none is left that would change the state.
        if self._decisions % BETWEEN_COMPARISONS == 0 and self._repetition.comes():
            raise ScheduleOver("nobody changes anything any more")
        return super().next(runnable, executed, accesses)


class FairTurns:
    """Everybody in turn, until the same state comes again; then some turns of random length, and everybody in turn again.

    What follows from the same state is the same again, so that with everybody in turn the run has no end. Turns of random length
    are for runs whose vCPUs hinder each other just because they take turns so evenly: if they lead out of that, everybody is in
    turn for as long as it takes. Where the same state does not come, that is for `limit` steps, and as many follow in turns of
    random length.
    """

    def __init__(self, vm: Vm, limit: int) -> None:
        self._vm: Final = vm
        self._limit: Final = limit
        self._random: Final = Random(0)
        self._last = -1
        self._steps = 0
        self._even_steps = 0
        """With everybody in turn."""
        self._is_even = True
        self._round: list[int] = []
        self._random_rounds = 0
        """Since vCPUs were in turn last."""
        self._bursts = 0
        """How often turns of random length came behind the same state."""
        self.repeated = False
        """The same state has come again, with everybody in turn, the last time that was tried."""
        self._repetition = Repetition(vm)

    @property
    def over(self) -> bool:
        """The guest had its chance."""
        if self._is_even or self._random_rounds <= _RANDOM_ROUNDS:
            return False
        return self._bursts >= _BURSTS if self.repeated else self._steps >= 2 * self._even_steps

    @property
    def settled(self) -> bool:
        """With everybody in turn, the guest has not ended."""
        return not self._is_even or self._bursts > 0

    @property
    def steps(self) -> int:
        return self._steps

    def settle(self) -> None:
        """It is known that nothing leads out of here: a few rounds more, for whoever looks on."""
        self.repeated = True
        self._even_steps = 0

    def next(self, runnable: Sequence[int]) -> Decision:
        if self.repeated and self._random_rounds > _RANDOM_ROUNDS:
            self._take_turns_again()
        if not self._is_even:
            longest = 1 << self._random.randint(0, _LONGEST_LENGTH)
            return Decision(self._next_by_chance(runnable), Budget(instructions=self._random.randint(1, longest)))
        following = next((vcpu for vcpu in runnable if vcpu > self._last), runnable[0])
        if following <= self._last and self._repetition.comes():
            self.repeated = True
        self._last = following
        return Decision(following, _TURN)

    def _take_turns_again(self) -> None:
        self._is_even, self.repeated = True, False
        self._round, self._random_rounds = [], 0
        self._repetition = Repetition(self._vm)

    def _next_by_chance(self, runnable: Sequence[int]) -> int:
        """Everybody once in each round, in any order."""
        self._round = [vcpu for vcpu in self._round if vcpu in runnable]
        if not self._round:
            self._round = self._random.sample(list(runnable), len(runnable))
            self._random_rounds += 1
        return self._round.pop()

    def went_on(self, steps: int) -> None:
        """The vCPU that was chosen has taken so many steps."""
        self._steps += steps
        if not self._is_even:
            return
        self._even_steps += steps
        if self.repeated or self._even_steps >= self._limit:
            self._is_even = False
            self._bursts += self.repeated
