"""Strategies that switch where it makes a difference."""

from itertools import pairwise
from random import Random

import pytest

from bench import bugs
from kev.race.explore import explore
from kev.race.shared import SharedAccesses
from kev.race.strategy import make_strategy
from kev.race.strategy.placed_pct import PlacedPctScheduler


def test_priorities_change_less_often_than_the_depth() -> None:
    shared = SharedAccesses({1: frozenset({8})}, frozenset({1}), [{8: 20}, {8: 20}])
    for seed in range(20):
        scheduler = PlacedPctScheduler(2, shared, 3, Random(seed))
        order = [scheduler.next([0, 1]).vcpu for _ in range(40)]
        assert sum(before != after for before, after in pairwise(order)) <= 2


def test_an_interrupt_between_a_look_and_the_instruction_that_lets_it_in_is_found() -> None:
    exploration = explore(bugs.subject("late-halt"), make_strategy("places", 1, 2), 100)
    assert exploration.found is not None
    assert exploration.found.failure.oracle in ("guest died", "endless run")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_bug_that_needs_a_long_preemption_is_found_within_some_hundred_runs(seed: int) -> None:
    assert explore(bugs.subject("aba"), make_strategy("places", seed), 400).found is not None
