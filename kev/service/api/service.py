"""What the operations work on."""

from functools import partial
from typing import Final

import trio

from kev.service.api.events import Event, Events, Listener
from kev.service.api.metrics import Metrics
from kev.service.jobs.job import Job
from kev.service.jobs.jobs import Jobs
from kev.service.machines.machine import ServedMachine
from kev.service.machines.registry import Registry
from kev.service.machines.sampling import Rates, watch_rates


class Service:
    """One service: its machines, and who listens to them."""

    def __init__(self, registry: Registry, jobs: Jobs) -> None:
        self.registry: Final = registry
        self.jobs: Final = jobs
        self.events: Final = Events()
        self.metrics: Final = Metrics(self)
        self.stopping: Final = trio.Event()
        """Streams come to their end."""
        self.requests = 0
        """That are being answered, streams among them."""
        registry.changed.subscribe(self._tell_change)
        registry.removed.subscribe(self._tell_removal)
        jobs.changed.subscribe(self._tell_job)
        jobs.removed.subscribe(self._tell_removed_job)

    async def watch(self) -> None:
        """Tells those who listen how fast machines go."""
        await watch_rates(self.registry, self._tell_rates)

    def tell_all(self, listener: Listener) -> None:
        """What there is."""
        for machine in self.registry:
            listener.tell(("machine", machine.id), partial(_event, machine))
        for job in self.jobs:
            listener.tell(("job", job.id), partial(_job_event, job))

    def _tell_change(self, machine: ServedMachine) -> None:
        self.events.tell(("machine", machine.id), partial(_event, machine))

    def _tell_removal(self, machine: ServedMachine) -> None:
        self.events.forget(machine.id)
        self.events.tell(("machine", machine.id), lambda: Event("removed", {"id": machine.id}))

    def _tell_job(self, job: Job) -> None:
        self.events.tell(("job", job.id), partial(_job_event, job))

    def _tell_removed_job(self, job: Job) -> None:
        self.events.forget(job.id)
        self.events.tell(("job", job.id), lambda: Event("removed", {"id": job.id}))

    def _tell_rates(self, machine: ServedMachine, rates: Rates) -> None:
        self.events.tell(("rates", machine.id), lambda: Event("rates", rates.describe()))


def _event(machine: ServedMachine) -> Event:
    return Event("machine", machine.describe())


def _job_event(job: Job) -> Event:
    """Without its result, which may be long."""
    return Event("job", {name: value for name, value in job.describe().items() if name != "result"})
