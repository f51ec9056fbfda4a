"""Several strategies in turn: what one of them hardly ever finds, another may find soon."""

from collections.abc import Sequence

from kev.machine.schedule import Scheduler
from kev.race.strategy.base import Strategy
from kev.race.strategy.pct import Pct
from kev.race.strategy.placed import PlacedStrategy
from kev.race.strategy.placed_pct import PlacedPct
from kev.race.strategy.pos import Pos
from kev.race.strategy.seeded import SeededRandom
from kev.race.strategy.surw import Surw
from kev.race.subject import Subject


class Portfolio(Strategy):
    """Random choices, PCT of the given depth and of the depth below, and for guests POS, SURW, and PCT at places: run after run by
    the next one."""

    name = "portfolio"

    def __init__(self, seed: int = 0, depth: int = 3) -> None:
        depths = sorted({depth, max(depth - 1, 1)}, reverse=True)
        self.strategies: Sequence[Strategy] = (
            SeededRandom(seed),
            *(Pct(seed, one) for one in depths),
            Pos(seed),
            Surw(seed),
            *(PlacedPct(seed, one) for one in depths),
        )

        self._divisible = 0
        """How many instructions another vCPU could come into on hardware, but not in these runs."""

    def prepare(self, subject: Subject) -> None:
        super().prepare(subject)
        shared = subject.shared_accesses()
        if shared is None:
            self.strategies = [strategy for strategy in self.strategies if not isinstance(strategy, PlacedStrategy)]
        elif subject.actors == subject.vcpus:
            self._divisible = len(shared.divisible)
        for strategy in self.strategies:
            strategy.prepare(subject)

    def scheduler(self, run: int) -> Scheduler | None:
        number, member = divmod(run, len(self.strategies))
        return self.strategies[member].scheduler(number)

    def describe(self) -> str:
        described = "in turn: " + "; ".join(strategy.describe() for strategy in self.strategies)
        if not self._divisible:
            return described
        these = "1 of these instructions changes" if self._divisible == 1 else f"{self._divisible} of these instructions change"
        return f"{described}; {these} memory without LOCK: `--memory-model split` lets others come in between"
