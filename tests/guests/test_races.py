"""The guests with a race: whether they lose it depends on the schedule, and on nothing else."""

from collections.abc import Sequence

import pytest

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, CountedScheduler, Decision, SeededScheduler
from tests.guests.machines import run_guest

TRIES = 300


class PriorityScheduler:
    """The vCPU that was started last runs whenever it can."""

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        return Decision(runnable[-1], Budget(instructions=1))

    def cut(self, rest: Decision) -> None:
        """A single instruction has no rest."""


RACES = pytest.mark.parametrize(
    ("guest", "lost"),
    [
        ("lost-update", "increments counted"),
        ("bad-spinlock", "two processors held the lock at once"),
        ("boot-race", "the second processor came before its data"),
    ],
)


def losing_seed(guest: str) -> int:
    return next(seed for seed in range(TRIES) if run_guest(guest, SeededScheduler(seed, longest=50)).ending.exit_code == 1)


@RACES
def test_the_race_is_won_where_each_processor_runs_until_it_waits(guest: str, lost: str) -> None:
    assert run_guest(guest, CountedScheduler()).ending.exit_code == 0


@RACES
def test_some_seed_loses_the_race_and_loses_it_again(guest: str, lost: str) -> None:
    seed = losing_seed(guest)
    runs = [run_guest(guest, SeededScheduler(seed, longest=50)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert lost in runs[0].output


def test_increments_are_lost_when_processors_take_turns_at_every_instruction() -> None:
    assert run_guest("lost-update", CountedScheduler(1)).ending.exit_code == 1


def test_the_boot_race_is_lost_to_a_processor_that_comes_first() -> None:
    assert run_guest("boot-race", PriorityScheduler()).ending.exit_code == 1
