"""Metrics of the service, in the text format of OpenMetrics 1.0."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from kev.service.api.events import Events
from kev.service.jobs.jobs import Jobs
from kev.service.load_times import BOUNDS
from kev.service.machines.registry import Registry

_STATES: Final = ("created", "running", "paused", "ended", "lost")
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Counted(Protocol):
    """Where everything is counted: see `kev.service.api.service.Service`."""

    requests: int

    @property
    def registry(self) -> Registry: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def events(self) -> Events: ...


class Metrics:
    """Counts requests, and knows where everything else is counted."""

    def __init__(self, service: Counted) -> None:
        self._registry: Final = CollectorRegistry(auto_describe=False)
        self._registry.register(_OfService(service))
        ProcessCollector(registry=self._registry)
        self._requests: Final = Histogram(
            "kev_request_seconds",
            "How long requests took, by operation and status; streams are not among them.",
            ("operation", "status"),
            registry=self._registry,
            buckets=_BUCKETS,
        )

    def answered(self, operation: str, status: int, seconds: float) -> None:
        self._requests.labels(operation, str(status)).observe(seconds)

    def text(self) -> bytes:
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return text


class _OfService(Collector):
    def __init__(self, service: Counted) -> None:
        self._service: Final = service

    def collect(self) -> Iterator[Metric]:
        registry, service = self._service.registry, self._service
        states = Counter(machine.state for machine in registry)
        machines = GaugeMetricFamily("kev_machines", "Machines by state.", labels=["state"])
        states["running"] += registry.unlisted
        for state in _STATES:
            machines.add_metric([state], states[state])
        yield machines
        yield GaugeMetricFamily("kev_machines_opening", "Machines that are being made.", registry.opening)
        memory = sum(machine.memory for machine in registry.living)
        yield GaugeMetricFamily("kev_machine_memory_bytes", "RAM that machines were promised.", memory, unit="bytes")
        yield GaugeMetricFamily("kev_snapshot_size_bytes", "Snapshots that have names.", registry.snapshots.size, unit="bytes")
        consoles = sum(machine.console.end - machine.console.start for machine in registry)
        yield GaugeMetricFamily("kev_console_bytes", "Output that is kept.", consoles, unit="bytes")
        yield GaugeMetricFamily("kev_requests_open", "Requests that are being answered, streams among them.", service.requests)
        jobs = GaugeMetricFamily("kev_jobs", "Jobs by state.", labels=["state"])
        for state, count in sorted(Counter(job.state for job in service.jobs).items()):
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily("kev_listeners", "Clients that listen to events.", len(service.events))
        yield from self._totals()

    def _totals(self) -> Iterator[Metric]:
        totals = self._service.registry.totals
        yield CounterMetricFamily("kev_machines_made", "Machines that were made.", totals.machines)
        yield CounterMetricFamily("kev_violations", "EPT violations.", totals.violations)
        yield CounterMetricFamily("kev_pages_loaded", "Pages that were loaded.", totals.pages_loaded)
        exits = CounterMetricFamily("kev_exits", "Exits by kind, by Intel's names.", labels=["kind"])
        for kind, count in sorted(totals.exits.items()):
            exits.add_metric([kind], count)
        yield exits
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        yield HistogramMetricFamily(
            "kev_page_load_seconds",
            "How long loads of pages took.",
            buckets=list(zip(bounds, accumulate(totals.load_counts), strict=True)),
            sum_value=totals.load_seconds,
            unit="seconds",
        )
