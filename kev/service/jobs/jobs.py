"""All jobs of a service."""

import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs
import trio

from kev.guests.spec_files import resolved
from kev.machine.snapshots import of_snapshot
from kev.service.errors import LimitReached, NotThere, ShuttingDown
from kev.service.jobs.command import Command, bench_command, race_command
from kev.service.jobs.job import Job
from kev.service.machines.files import HostFiles
from kev.service.machines.limits import Limits
from kev.spec.machine_spec import MachineSpec
from kev.subscribers import Subscribers


class Jobs:
    """They run in `nursery`, and end with it."""

    def __init__(self, nursery: trio.Nursery, limits: Limits, files: HostFiles, races: Path, folder: Path) -> None:
        """`races`: the folder where races keep what they have found. `folder`: where jobs write while they are under way."""
        self.changed: Final[Subscribers[[Job]]] = Subscribers()
        self.removed: Final[Subscribers[[Job]]] = Subscribers()
        self._nursery: Final = nursery
        self._limits: Final = limits
        self._files: Final = files
        self._races: Final = races
        self._folder: Final = folder
        self._jobs: Final[dict[str, Job]] = {}
        self._places: Final = trio.CapacityLimiter(limits.jobs)
        self._closing = False

    def __iter__(self) -> Iterator[Job]:
        """In the order in which they were asked for."""
        return iter(tuple(self._jobs.values()))

    def __getitem__(self, id: str) -> Job:
        """NotThere if there is none with this id."""
        job = self._jobs.get(id)
        if job is None:
            raise NotThere(f"job: {id!r}: there is none with this id", field="job", value=id)
        return job

    @property
    def waiting(self) -> int:
        return sum(job.state == "waiting" for job in self._jobs.values())

    async def create(self, asked: dict[str, Any], spec: MachineSpec, *, trusted: bool) -> Job:
        """A job that is under way, or waits until another one is over. `spec`: the machine of `asked`. KevError."""
        self._check_room()
        spec = await trio.to_thread.run_sync(partial(self._checked, spec, trusted=trusted))
        self._check_room()  # others may have come meanwhile
        job = Job(secrets.token_hex(6), asked["kind"], asked, self.changed)
        self._jobs[job.id] = job
        self._forget_oldest()
        self._nursery.start_soon(self._run, job, spec)
        return job

    def close(self) -> None:
        """The service is about to end: all that are under way are cancelled, and none is begun any more."""
        self._closing = True
        for job in self:
            job.cancel()

    def _check_room(self) -> None:
        """LimitReached, ShuttingDown."""
        if self._closing:
            raise ShuttingDown("the service is about to end: it begins no jobs")
        if self.waiting >= self._limits.waiting_jobs:
            most = self._limits.waiting_jobs
            raise LimitReached(f"jobs: {self.waiting} wait already, which is all that may", field="jobs", limit=most)

    async def delete(self, id: str) -> None:
        """Cancels it, if it is not over, and forgets it."""
        job = self[id]
        job.cancel()
        await job.over.wait()
        self._forget(job)

    async def _run(self, job: Job, spec: MachineSpec) -> None:
        try:
            made = TemporaryDirectory(prefix=f"{job.id}-", dir=self._folder, ignore_cleanup_errors=True)
        except OSError as error:
            job.give_up(f"there can be no folder for it: {error.strerror}")
            return
        with made as folder:
            await job.run(self._command(job.asked, spec, Path(folder)), self._places, folder)

    def _command(self, asked: Mapping[str, Any], spec: MachineSpec, folder: Path) -> Command:
        if asked["kind"] == "race":
            return race_command(asked, spec, self._races, folder)
        return bench_command(asked, spec, folder)

    def _checked(self, spec: MachineSpec, *, trusted: bool) -> MachineSpec:
        if not spec.given():
            return spec
        spec = self._files.checked(spec, trusted=trusted)
        limits = attrs.evolve(self._limits, run_time=None, output=None)
        return limits.admitted(spec, resolved(of_snapshot(spec)))

    def _forget_oldest(self) -> None:
        over = [job for job in self._jobs.values() if job.over.is_set()]
        for job in over[: max(len(over) - self._limits.ended, 0)]:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        if self._jobs.pop(job.id, None) is not None:
            self.removed(job)
