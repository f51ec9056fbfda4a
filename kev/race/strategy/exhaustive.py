"""Every schedule, as far as a bound on preemptions goes: those with none first, then those with one, and so on.

A preemption is a switch away from a vCPU that could have gone on (M. Musuvathi, S. Qadeer: "Iterative Context Bounding for
Systematic Testing of Multithreaded Programs", PLDI 2007).
"""

from typing import Final

from kev.machine.schedule import Scheduler
from kev.race.outcome import Outcome
from kev.race.strategy.base import Strategy
from kev.race.strategy.step_search import StepSearch
from kev.race.strategy.turn_search import TurnSearch


class Exhaustive(Strategy):
    """Every schedule with at most so many preemptions; every schedule there is if there is no bound.

    In a guest, every instruction is a place for a preemption.
    """

    name = "exhaustive"
    sampled = False

    def __init__(self, preemptions: int | None = 2) -> None:
        self.preemptions: Final = preemptions
        self._search: StepSearch | TurnSearch = StepSearch(preemptions)

    def measure(self, vcpus: int, steps: int, longest_turn: int) -> None:
        super().measure(vcpus, steps, longest_turn)
        if longest_turn > 1:
            self._search = TurnSearch(self.preemptions)

    def scheduler(self, run: int) -> Scheduler | None:
        return self._search.scheduler()

    def learn(self, outcome: Outcome) -> None:
        self._search.learn(outcome)

    def describe(self) -> str:
        bound = self.preemptions
        limit = "every schedule" if bound is None else f"every schedule with at most {bound} preemption{'s' if bound != 1 else ''}"
        if self.longest_turn > 1:
            limit += " (a switch from a vCPU that could go on, neither behind PAUSE nor spinning)"
        waiting = len(self._search)
        return f"{limit}; {f'at least {waiting} runs are left' if waiting else 'nothing is left to try'}"
