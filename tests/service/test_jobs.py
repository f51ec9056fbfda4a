"""Jobs of one service: how many there may be, and what becomes of them."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from kev.service.errors import LimitReached, ShuttingDown
from kev.service.jobs.jobs import Jobs
from kev.service.machines.files import HostFiles
from kev.service.machines.limits import Limits
from kev.service.machines.state_directory import StateDirectory
from kev.spec.machine_spec import MachineSpec

_LONG: dict[str, Any] = {"kind": "race", "program": "r0w1/r0", "seconds": 3600}


def jobs_in(folder: Path, nursery: trio.Nursery) -> Jobs:
    """One runs, three wait."""
    return Jobs(nursery, Limits(jobs=1, waiting_jobs=3), HostFiles(), folder, folder)


async def test_no_more_jobs_wait_than_may_however_many_are_asked_for_at_once(folder: Path) -> None:
    refused = 0
    async with trio.open_nursery() as nursery:
        jobs = jobs_in(folder, nursery)

        async def create() -> None:
            nonlocal refused
            try:
                await jobs.create(_LONG, MachineSpec(), trusted=True)
            except LimitReached:
                refused += 1

        async with trio.open_nursery() as clients:
            for _ in range(20):
                clients.start_soon(create)
        assert jobs.waiting <= 3
        assert len(list(jobs)) + refused == 20
        jobs.close()


async def test_jobs_end_with_their_service_and_leave_nothing(folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        jobs = jobs_in(folder, nursery)
        made = [await jobs.create(_LONG, MachineSpec(), trusted=True) for _ in range(2)]
        jobs.close()
        for job in made:
            await job.over.wait()
            assert job.state == "cancelled"
        with pytest.raises(ShuttingDown):
            await jobs.create(_LONG, MachineSpec(), trusted=True)
    assert not os.listdir(folder)


async def test_a_job_without_a_folder_fails_and_says_why(folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        jobs = jobs_in(folder / "nowhere", nursery)
        job = await jobs.create(_LONG, MachineSpec(), trusted=True)
        await job.over.wait()
        assert (job.state, job.describe()["ended"] is not None) == ("failed", True)
        assert "No such file or directory" in job.message


def test_what_jobs_of_a_service_that_was_killed_have_left_goes_when_the_next_one_begins(folder: Path) -> None:
    directory = StateDirectory(folder)
    left = directory.jobs / "left" / "deep"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    directory.close()
    directory = StateDirectory(folder)
    assert not list(directory.jobs.iterdir())
    directory.close()
