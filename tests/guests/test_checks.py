"""The guests that check themselves, in slices of any length: an event may have to wait for the next slice at any instruction."""

import pytest

from kev.machine.schedule import CountedScheduler, SeededScheduler
from tests.guests.machines import run_guest
from tests.guests.protocol import assert_all_checks_hold

GUESTS = pytest.mark.parametrize("guest", ["events", "events32", "events16", "user", "ports", "smp"])


@GUESTS
@pytest.mark.parametrize("seed", range(3))
def test_all_checks_hold_in_slices_of_random_length(guest: str, seed: int) -> None:
    run = run_guest(guest, SeededScheduler(seed, longest=500))
    assert_all_checks_hold(run.output)
    assert run.ending.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("guest", ["events", "events32", "events16"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_events_are_delivered_in_slices_of_an_instruction_or_two(guest: str, length: int) -> None:
    assert_all_checks_hold(run_guest(guest, CountedScheduler(length)).output)


def test_timers_keep_virtual_time() -> None:
    assert_all_checks_hold(run_guest("timer", CountedScheduler(20_000)).output)


@GUESTS
def test_the_same_seed_is_the_same_run(guest: str) -> None:
    assert run_guest(guest, SeededScheduler(7)) == run_guest(guest, SeededScheduler(7))
