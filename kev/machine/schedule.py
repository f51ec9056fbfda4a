"""Who runs next, and for how long."""

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kev.engine.base import Budget
from kev.named_tuple import NamedTuple
from kev.state import WORDS, Fields, State, StateError, bits, integers, optional, record

ANYTHING: Final = -1
"""The accesses of a slice of which they are not known: all bits are set."""


class Decision(NamedTuple):
    """One decision: this vCPU runs until an exit or until its budget is used up."""

    vcpu: int
    budget: Budget
    keeps_pauses: bool = False
    """PAUSE does not end the turn, whoever else could run."""


class Scheduler(Protocol):
    """Decides at every switch. The machine shortens the budget where a timer is due earlier."""

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        """Chooses among the vCPUs that can run, ascending and at least one.

        `executed` and `accesses` tell what the slice before came to: how many instructions it took, where they are counted, and
        which pages it touched, a bit for each. In a trace program a step, from one scheduling point to the next, is an instruction.
        """


class TurnScheduler(Scheduler, Protocol):
    """One that lets a turn go on which was cut short by what is none of the guest's doing, so that this changes no schedule."""

    def cut(self, rest: Decision) -> None:
        """What was decided last is not over: so much is left of it. Told by `Vm.step`, where instructions are counted.

        Where `kept_loads` are, the clock has to say how much is left.
        """


class RunScheduler(TurnScheduler, Protocol):
    """One that a run can be saved with."""

    def prefer(self, vcpu: int) -> None:
        """Another vCPU has sent it something."""

    def save(self) -> State:
        """All that its next decisions come from."""

    def load(self, state: State) -> None:
        """Goes on as the one that was saved would. StateError if none of this kind can be so."""


_DECISION: Final = record(
    lambda vcpu, instructions: Decision(vcpu, Budget(instructions=instructions)),
    bits(16),
    integers(1, (1 << 63) - 1),
    values=lambda decision: (decision.vcpu, decision.budget.instructions),
)
_LAST: Final = integers(-1, (1 << 16) - 1)


_SHORTEST_TURN: Final = 0.0001
_MOST_OUT_OF_TURN: Final = 8
_SHORTENED_BY: Final = 32
_LOADS_OF_ONE_THAT_WAITS: Final = 32
"""From its local APIC, as a rule: many a kernel asks at each lock who it is."""
_LOADS_BEFORE_A_LOOK: Final = 512
"""Of the others, before it is looked whether they wait, for the first time in a turn."""
_MOST_PLACES: Final = 256
_GIVEN_UP_BEFORE_A_TRIAL: Final = 8
"""Turns, before it is tried whether who gives them up by PAUSE gets on alone; twice as many each time that it did not, up to"""
_MOST_BEFORE_A_TRIAL: Final = 8192
_TURNS_OF_A_DELAY: Final = 8
"""So many turns keep their PAUSEs before one shows whether there still are any."""
_LONGEST_DELAY: Final = 4
"""By so much shorter is a turn that keeps its PAUSEs."""


class _Delay:
    """A vCPU that has given up turns by PAUSE.

    Who counts PAUSEs is elsewhere in the middle of a turn that keeps them and at its end; who waits for another is not.
    """

    __slots__ = ("_given_up", "_needed", "_place", "_turns", "half", "seconds")

    def __init__(self) -> None:
        self._given_up = 0
        """How many turns, since it was tried last."""
        self._needed = _GIVEN_UP_BEFORE_A_TRIAL
        self._place = 0
        """Where it was in the middle of the turn."""
        self._turns = 0
        """How many have kept their PAUSEs since one that kept none."""
        self.seconds = 0.0
        """How long its next turn lasts, if that keeps its PAUSEs. 0: it keeps none."""
        self.half = 0
        """Of such a turn, the half that was last; 0 if it was none."""

    def note_given_up(self) -> None:
        self._given_up += 1
        if not self.seconds and self._given_up >= self._needed:
            self.seconds = _SHORTEST_TURN

    def note_used_up(self) -> None:
        """The turn has kept no PAUSEs, and there were none."""
        self._given_up = 0
        self.seconds = 0.0

    def note_half(self, place: int, longest: float) -> None:
        """Half a turn that keeps them is over: it was found there."""
        if self.half == 1:
            self._place = place
        elif place != self._place:
            self._needed = _GIVEN_UP_BEFORE_A_TRIAL
            self.seconds = min(2 * self.seconds, longest)
        else:
            self._needed = min(2 * self._needed, _MOST_BEFORE_A_TRIAL)
            self.note_used_up()

    def begin_turn(self) -> bool:
        """Whether the turn that begins keeps its PAUSEs."""
        if not self.seconds or self._turns == _TURNS_OF_A_DELAY:
            self._turns = self.half = 0
            return False
        self._turns += 1
        self.half = 1
        return True


class FreeScheduler:
    """Fair and fast: round robin by the host's clock.

    A vCPU that has been sent something by the one that runs goes next, and then the sender goes on. Turns are short at first behind
    that, because each of the two may be waiting for what the other does, without saying so by PAUSE.

    A vCPU that has not given up its turn at once and is found where it was at the end of another, with the same in registers and on
    the stack, waits for something as well: a lock, or work. Its next turns are short, until it is found elsewhere; and while
    others do not wait, only one of those that do has a turn in each round, besides those that an interrupt waits for.

    A vCPU that gives up its turns by PAUSE, again and again, may count: it delays something by so many PAUSEs, of which each would
    take a turn of the others. If it gets on alone, its turns keep them; they are shorter, as it may be a wait that ends some time.
    """

    __slots__ = (
        "_began",
        "_clock",
        "_delays",
        "_end",
        "_full",
        "_interrupted",
        "_is_called",
        "_last",
        "_last_waiting",
        "_loads",
        "_out_of_turn",
        "_paused",
        "_place_of",
        "_places",
        "_running",
        "_seconds",
        "_urgent",
        "_waits",
        "_was_cut",
    )

    _FIELDS: Final = Fields({"_last": _LAST})

    def __init__(
        self,
        seconds: float = 0.005,
        place_of: Callable[[int], int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        is_called: Callable[[int], bool] = lambda _: False,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """`seconds` is how long a turn lasts otherwise; `place_of` gives the `kev.engine.base.Engine.place` of a vCPU.

        `is_called` says whether an interrupt waits for a vCPU: it has a turn in each round, also while it waits. `paused` says
        whether the turn that was last has ended by PAUSE.
        """
        self._paused: Final = paused
        self._delays: Final[dict[int, _Delay]] = {}
        self._is_called: Final = is_called
        self._clock: Final = clock
        self._place_of: Final = place_of
        self._places: Final[dict[int, set[int]]] = {}
        """Where each vCPU has been at the ends of its turns."""
        self._waits: Final[set[int]] = set()
        self._running: int | None = None
        """The one whose turn it is, or was last."""
        self._began = self._end = 0.0
        """When that began, and ends."""
        self._loads = 0
        """How many it may make before it is looked at."""
        self._was_cut = False
        self._full: Final = seconds
        self._seconds = seconds
        self._last = self._last_waiting = -1
        self._urgent: int | None = None
        self._interrupted = False
        """The one whose turn it was gave the CPU to another, and comes again."""
        self._out_of_turn = 0
        """How many decisions have been made since the order was kept last."""

    def prefer(self, vcpu: int) -> None:
        """Another vCPU has sent it something."""
        self._urgent = vcpu
        self._seconds = _SHORTEST_TURN

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        running, was_cut = self._running, self._was_cut
        self._was_cut = False
        if len(runnable) == 1:
            self._running = None
            return self._decide(runnable)
        now = self._clock()
        if running is not None and (was_cut or now - self._began >= _SHORTEST_TURN):
            self._look(running)
            if was_cut and self._urgent is None and running in runnable and running not in self._waits and now < self._end:
                self._loads *= 2
                return Decision(running, Budget(seconds=self._end - now, kept_loads=self._loads))
        if running is not None and self._place_of is not None:
            rest = self._note_pauses(running, self._place_of)
            if rest is not None and self._urgent is None and running in runnable:
                return rest
        decision = self._decide(runnable)
        delay = self._delays.get(decision.vcpu)
        if delay is not None and delay.begin_turn():
            seconds = min(decision.budget.seconds or 0, delay.seconds / 2)
            decision = Decision(decision.vcpu, decision.budget._replace(seconds=seconds), keeps_pauses=True)
        self._running, self._began, self._end = decision.vcpu, now, now + (decision.budget.seconds or 0)
        self._loads = decision.budget.kept_loads or 0
        return decision

    def _decide(self, runnable: Sequence[int]) -> Decision:
        urgent, self._urgent = self._urgent, None
        seconds, self._seconds = self._seconds, min(2 * self._seconds, self._full)
        if self._out_of_turn < _MOST_OUT_OF_TURN:
            self._out_of_turn += 1
            if urgent is not None and urgent in runnable:
                self._interrupted = True
                return Decision(urgent, Budget(seconds=seconds))
            if self._interrupted and self._last in runnable:
                self._interrupted = False
                return Decision(self._last, Budget(seconds=seconds))
        self._out_of_turn = 0
        self._interrupted = False
        waiting = [vcpu for vcpu in runnable if vcpu in self._waits]
        if len(waiting) == len(runnable):
            waiting = []
        idle = [vcpu for vcpu in waiting if not self._is_called(vcpu)]
        busy = [vcpu for vcpu in runnable if vcpu not in idle]
        following = next((vcpu for vcpu in busy if vcpu > self._last), None)
        if not busy or (following is None and idle and self._running not in idle):
            chosen = self._last_waiting = next((vcpu for vcpu in idle if vcpu > self._last_waiting), idle[0])
        else:
            chosen = self._last = busy[0] if following is None else following
        loads = _LOADS_BEFORE_A_LOOK if len(runnable) > 1 else None
        if chosen in waiting:
            seconds, loads = min(seconds, self._full / _SHORTENED_BY), _LOADS_OF_ONE_THAT_WAITS
        return Decision(chosen, Budget(seconds=seconds, kept_loads=loads))

    def _look(self, vcpu: int) -> None:
        """Its turn is over."""
        if self._place_of is None:
            return
        place, places = self._place_of(vcpu), self._places.setdefault(vcpu, set())
        if place in places:
            self._waits.add(vcpu)
            return
        self._waits.discard(vcpu)
        if len(places) == _MOST_PLACES:
            places.clear()
        places.add(place)

    def _note_pauses(self, vcpu: int, place_of: Callable[[int], int]) -> Decision | None:
        """Its turn is over, or half of it: the other half then."""
        delay = self._delays.get(vcpu)
        if delay is not None and delay.half:
            delay.note_half(place_of(vcpu), self._full / _LONGEST_DELAY)
            delay.half = 2 if delay.half == 1 else 0
            return Decision(vcpu, Budget(seconds=delay.seconds / 2), keeps_pauses=True) if delay.half else None
        if self._paused():
            if delay is None:
                delay = self._delays[vcpu] = _Delay()
            delay.note_given_up()
        elif delay is not None:
            delay.note_used_up()
        return None

    def cut(self, rest: Decision) -> None:
        """It goes on until the host's clock says so, unless it is found to wait."""
        self._was_cut = True

    def save(self) -> State:
        return self._FIELDS.save(self)

    def load(self, state: State) -> None:
        self._FIELDS.load(self, "scheduler", state)


class CountedScheduler:
    """Fair and repeatable: round robin in slices of a fixed number of instructions."""

    __slots__ = ("_budget", "_last", "_rest")

    def __init__(self, instructions: int = 20_000) -> None:
        self._budget = Budget(instructions=instructions)
        self._last = -1
        self._rest: Decision | None = None

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        rest, self._rest = self._rest, None
        if rest is not None and rest.vcpu in runnable:
            return rest
        last, self._last = self._last, runnable[0]
        for vcpu in runnable:
            if vcpu > last:
                self._last = vcpu
                break
        return Decision(self._last, self._budget)

    def cut(self, rest: Decision) -> None:
        self._rest = rest


class SeededScheduler:
    """Random and repeatable: any vCPU that can run, for a random number of instructions."""

    __slots__ = ("_draw", "_longest", "_longest_bits", "_random", "_rest")

    _FIELDS: Final = Fields({"_rest": optional(_DECISION)}, generator=WORDS)

    def __init__(self, seed: int, longest: int = 20_000) -> None:
        """`longest` is the most instructions of a slice."""
        from random import Random  # a run without a seed needs none of it

        self._random = Random(seed)
        self._draw: Final = self._random.getrandbits
        self._longest = longest
        self._longest_bits: Final = longest.bit_length()
        self._rest: Decision | None = None

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        rest, self._rest = self._rest, None
        if rest is not None and rest.vcpu in runnable:
            return rest
        # As `Random.choice` and `Random.randint` draw, in a fifth of their time.
        draw, count = self._draw, len(runnable)
        bits = count.bit_length()
        chosen = draw(bits)
        while chosen >= count:
            chosen = draw(bits)
        bits, longest = self._longest_bits, self._longest
        instructions = draw(bits)
        while instructions >= longest:
            instructions = draw(bits)
        return Decision(runnable[chosen], Budget(instructions + 1))

    def prefer(self, vcpu: int) -> None:
        """Nothing: the schedule is the seed's."""

    def cut(self, rest: Decision) -> None:
        self._rest = rest

    def save(self) -> State:
        return self._FIELDS.save(self, generator=list(self._random.getstate()[1]))

    def load(self, state: State) -> None:
        numbers = self._FIELDS.load(self, "scheduler", state)["generator"]
        version, _, gauss = self._random.getstate()
        try:
            self._random.setstate((version, tuple(numbers), gauss))
        except ValueError as error:
            raise StateError("scheduler", "generator", numbers, "the state of a Mersenne twister") from error
