"""Runs that are repeated under disturbance, and told apart."""

from pathlib import Path

import attrs
import pytest

from bench.repeated_run import REPEATED, Repeated, difference, packed, run_forks, run_once, unpacked
from bench.repeats import Tally, campaign, key

RACY = "32- and 16-bit code, 3 vCPUs: lost updates"


def test_a_run_is_the_same_again_traced_or_not_held_or_forked() -> None:
    guest = REPEATED[RACY]
    first = run_once(guest, 1, traced=True)
    again = run_once(guest, 1, traced=True)
    assert first.facts == again.facts
    assert first.lines == again.lines != []
    others = [run_once(guest, 1, traced=False), run_once(guest, 1, traced=True, held=True), *run_forks(guest, 1, first, 3)]
    assert [difference(first, run) for run in others] == [None] * 6


def test_where_runs_part_is_told_by_the_exit() -> None:
    one, other = (run_once(REPEATED[RACY], seed, traced=True) for seed in (1, 2))
    told = difference(one, other)
    assert told is not None
    shared = next(number for number, lines in enumerate(zip(one.lines, other.lines, strict=False)) if lines[0] != lines[1])
    assert f"exit {shared}: {one.lines[shared]!r} and {other.lines[shared]!r}" in told


def test_what_differs_behind_the_same_exits_is_named() -> None:
    run = run_once(REPEATED["a triple fault"], 1, traced=True)
    other = attrs.evolve(run, facts=attrs.evolve(run.facts, memory=run.facts.memory ^ 1))
    told = difference(run, other)
    assert told is not None
    assert told.startswith("memory ")
    assert told.endswith(f"all {len(run.lines)} exits are the same")


def test_input_may_come_when_it_likes() -> None:
    guest = Repeated("echo", data=b"hello\nexit 0\n", holdable=False)
    first = run_once(guest, 1, traced=True)
    assert [difference(first, run_once(guest, 1, traced=True)) for _ in range(3)] == [None] * 3


def test_a_run_that_is_kept_is_read_again() -> None:
    run = run_once(REPEATED["64-bit code: hypercalls"], 1, traced=True)
    assert unpacked(packed(run)) == run


@pytest.mark.slow
def test_a_campaign_goes_on_where_it_was_and_tells_what_differs(tmp_path: Path) -> None:
    tally = Tally.load(tmp_path)
    only = key(RACY, 1)
    for name, group in tally.groups.items():
        if name != only:
            group.runs, group.seconds = 1, 1e6  # nobody takes what is that slow
    tally.save()
    before = campaign(tmp_path, tally.runs + 2)
    assert not before.differences
    first = before.first(only)
    assert first is not None
    before.keep(only, attrs.evolve(first, facts=attrs.evolve(first.facts, time=first.facts.time + 1)))
    after = campaign(tmp_path, before.runs + 2)
    assert after.runs > before.runs > tally.runs
    assert after.processes == before.processes + 1 == 2
    assert after.differences[0].startswith(f"{only}: time ")


def test_every_guest_has_several_seeds(tmp_path: Path) -> None:
    assert {key(name, 1) for name in REPEATED} < Tally.load(tmp_path).groups.keys()
