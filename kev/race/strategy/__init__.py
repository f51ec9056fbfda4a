"""Strategies: which schedules a race test tries."""

from typing import Final

from kev.errors import nearest_of
from kev.race.errors import RaceError
from kev.race.strategy.base import Strategy
from kev.race.strategy.exhaustive import Exhaustive
from kev.race.strategy.free import Free
from kev.race.strategy.pct import Pct
from kev.race.strategy.placed_pct import PlacedPct
from kev.race.strategy.portfolio import Portfolio
from kev.race.strategy.pos import Pos
from kev.race.strategy.seeded import SeededRandom
from kev.race.strategy.surw import Surw
from kev.spec.errors import refusal, shown
from kev.spec.values import integer, positive

NAMES: Final = ("free", "random", "pct", "pos", "surw", "places", "portfolio", "exhaustive")

_DEEPEST: Final = 1000

__all__ = [
    "NAMES",
    "Exhaustive",
    "Free",
    "Pct",
    "PlacedPct",
    "Portfolio",
    "Pos",
    "SeededRandom",
    "Strategy",
    "Surw",
    "make_strategy",
]


def make_strategy(name: str, seed: int = 0, depth: int = 3, preemptions: int | None = 2) -> Strategy:
    """The strategy called `name`; `depth` is for PCT and the portfolio, `preemptions` for the exhaustive one.

    RaceError for a name that there is not, and for a depth of more than 1,000; SpecError, naming the keyword, for what is no such
    number.
    """
    seed, depth = integer("seed", seed), positive("depth", depth)
    if depth > _DEEPEST:
        raise RaceError(f"depth: {depth}: a bug may need {_DEEPEST:,} ordered events at most")
    preemptions = None if preemptions is None else integer("preemptions", preemptions)
    if preemptions is not None and preemptions < 0:
        raise refusal("preemptions", preemptions, "it must be 0 or more, or None for as many as there can be")
    match name:
        case "free":
            return Free()
        case "random":
            return SeededRandom(seed)
        case "pct":
            return Pct(seed, depth)
        case "pos":
            return Pos(seed)
        case "surw":
            return Surw(seed)
        case "places":
            return PlacedPct(seed, depth)
        case "portfolio":
            return Portfolio(seed, depth)
        case "exhaustive":
            return Exhaustive(preemptions)
        case _:
            nearest = nearest_of(str(name), NAMES)
            hint = "" if nearest is None else f" is it {nearest!r}?"
            raise RaceError(f"there is no strategy {shown(name)}:{hint} there are {', '.join(NAMES)}")
