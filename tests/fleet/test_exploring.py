"""Exploring on a fleet finds what one process finds."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import kev
from kev.fleet import api
from kev.fleet.errors import FleetError
from kev.fleet.streaming import streamed
from kev.guests.images import open_root_file_system
from kev.machine.snapshot_at import SnapshotAt
from kev.race.errors import RaceError
from kev.race.explore import Exploration
from kev.race.guest.subject import GuestSubject
from kev.race.store import FailureStore
from kev.race.strategy import Exhaustive, SeededRandom
from kev.race.token import Token
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import stopped_when
from tests.fleet.clusters import cluster
from tests.race.mutants.filling import EvictionAgainstStore
from tests.race.subjects import subject

pytestmark = pytest.mark.slow
POINT = "work"
"""Where the processors of the guest begin to do what they race with."""


@pytest.fixture
def guest(tmp_path: Path) -> GuestSubject:
    """One that loses updates, from a file that a worker does not know."""
    image = tmp_path / "here" / "lost-update"
    image.parent.mkdir()
    with open_root_file_system() as files:
        image.write_bytes(files.open("lost-update").read())
    return GuestSubject.find(MachineSpec(str(image), vcpus=2), after=POINT)


@pytest.mark.parametrize("on", ["local[2]", "fleet"])
def test_the_failure_the_token_and_the_smallest_case_are_the_same_everywhere(on: str, fleet: str, tmp_path: Path) -> None:
    race = subject("w0/e0r0/r0r1", EvictionAgainstStore)
    alone = api.detect(race, SeededRandom(11), 3_000, failures=FailureStore(tmp_path / "alone"))
    where = fleet if on == "fleet" else on
    shared = api.detect(race, SeededRandom(11), 3_000, failures=FailureStore(tmp_path / "shared"), on=where)
    assert alone.first is not None
    assert shared.first is not None
    assert shared.exploration.found == alone.exploration.found
    assert shared.exploration.runs == alone.exploration.runs
    assert shared.exploration.interleavings == alone.exploration.interleavings
    assert shared.first.token == alone.first.token
    assert shared.first.shrunk == alone.first.shrunk
    assert str(shared.first.shrunk_token) == str(alone.first.shrunk_token)


def test_a_guest_whose_file_workers_do_not_know_fails_in_the_same_way_there(
    guest: GuestSubject, fleet: str, tmp_path: Path
) -> None:
    alone = api.explore(guest, SeededRandom(5), 40, keep_going=True)
    shared = api.explore(guest, SeededRandom(5), 40, keep_going=True, on=fleet)
    stored = api.explore(guest, SeededRandom(5), 40, keep_going=True, on=fleet, store=str(tmp_path / "store"))
    assert alone.found is not None
    assert shared.found == stored.found == alone.found
    assert shared.interleavings == stored.interleavings == alone.interleavings
    assert Token(guest.identity, shared.found.schedule) == Token(guest.identity, alone.found.schedule)
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_the_run_with_the_lowest_number_is_what_is_found_however_many_fail(fleet: str) -> None:
    race = subject("w0/e0r0/r0r1", EvictionAgainstStore)
    every = api.explore(race, SeededRandom(11), 400, keep_going=True)
    found = api.explore(race, SeededRandom(11), 400, on=fleet).found
    assert found == every.found
    assert sum(finds.times for finds in every.kinds.values()) > 1


def test_a_worker_that_is_killed_costs_a_retry(guest: GuestSubject, tmp_path: Path) -> None:
    alone = api.explore(guest, SeededRandom(2), 40, keep_going=True)
    with cluster(2, str(tmp_path)) as made:
        killed: list[int] = []

        def kill_one(_seen: Exploration) -> None:
            if not killed:
                killed.append(made.workers[0])
                os.kill(made.workers[0], signal.SIGKILL)

        shared = api.explore(guest, SeededRandom(2), 40, keep_going=True, on=made.on, progress=kill_one)
    assert killed
    assert shared.runs == alone.runs
    assert shared.found == alone.found
    assert shared.interleavings == alone.interleavings


def test_a_snapshot_goes_there_with_the_files_that_it_is_made_of(guest: GuestSubject, fleet: str, tmp_path: Path) -> None:
    saved = str(tmp_path / "saved.snap")
    kev.launch(guest.spec, seed=1, snapshot_at=SnapshotAt("symbol:work", saved))
    subject = GuestSubject.find(MachineSpec(saved))
    alone = api.explore(subject, SeededRandom(1), 10, keep_going=True)
    shared = api.explore(subject, SeededRandom(1), 10, keep_going=True, on=fleet)
    assert shared.interleavings == alone.interleavings
    assert shared.found == alone.found


def test_runs_that_depend_on_each_other_are_not_shared_out() -> None:
    with pytest.raises(RaceError, match=r"^local\[2\]: what a run of `exhaustive` does depends on those before it"):
        api.explore(subject("r0/r0"), Exhaustive(1), on="local[2]")


def test_exploring_ends_when_nobody_wants_it_any_more(guest: GuestSubject, fleet: str) -> None:
    left = threading.Event()
    with stopped_when(left.is_set):
        exploration = api.explore(guest, SeededRandom(0), None, keep_going=True, on=fleet, progress=lambda _seen: left.set())
    assert exploration.stopped == signal.SIGTERM
    assert exploration.runs


async def test_a_trio_program_is_told_what_is_seen_and_leaves_when_it_likes() -> None:
    race = subject("r0/r0")

    def work(send: Callable[[int], None]) -> None:
        api.explore(race, SeededRandom(0), None, on="local[2]", progress=lambda seen: send(seen.runs))

    async with streamed(work) as counts:
        async for runs in counts:
            if runs > 50:
                break


async def nothing_from(on: str) -> None:
    def work(_send: Callable[[int], None]) -> None:
        api.explore(subject("r0/r0"), on=on)

    async with streamed(work) as nothing:
        async for _ in nothing:
            pass


async def test_a_trio_program_is_told_of_errors() -> None:
    with pytest.raises(FleetError, match="is no place to work at"):
        await nothing_from("moon")


def test_a_pager_that_workers_do_not_have_is_named(fleet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pager.py").write_text("from kev.pager.kernel import KernelVmPager\nclass Own(KernelVmPager): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from own_pager import Own  # type: ignore[import-not-found]

    with pytest.raises(FleetError, match="ModuleNotFoundError: No module named 'own_pager'"):
        api.explore(subject("r0/r0", Own), on=fleet)
