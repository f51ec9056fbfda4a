"""What `kev` promises of boots and of snapshots, as ratios of figures of one run.

Where a promise leaves less room than medians are noisy, the least of all rounds counts: hardly any noise is in that.
"""

from collections.abc import Iterator

import attrs

from kev.measure.result import BenchResult


@attrs.frozen(slots=True)
class Target:
    """A promise, and what the run came to."""

    name: str
    value: float
    limit: float
    at_least: bool
    """`limit` is the least that is good; else it is the most."""
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        return f"{self.name}: {self.value:.3g}{self.unit} ({relation} {self.limit:g}{self.unit})"


def boot_targets(result: BenchResult) -> Iterator[Target]:
    """The promises whose figures this run has."""
    first = "first_output_ms"
    warm = result.median(first, "launch", what="kev, warm process")
    process = result.median(first, "launch", what="kev run")
    qemu = result.median(first, "launch", what="QEMU")
    yield from _ratio("first output in a warm process, sooner than QEMU", qemu, warm, 3, at_least=True)
    yield from _ratio("first output of `kev run`, against QEMU", process, qemu, 2.5, at_least=False)
    lazy, eager = (result.median(first, "image", image="256M", latency="0ms", policy=policy) for policy in ("lazy", "eager"))
    yield from _ratio("first output of a 256 MiB image, lazy sooner than eager", eager, lazy, 5, at_least=True)
    yield from _spread("first output, whatever the size of the image", result, "image", latency="0ms", policy="lazy")
    yield from _spread("first output, whatever the size of RAM", result, "memory")
    yield from _prefetch(result)
    page, zero_fill = (result.median(metric, "violation") for metric in ("zero_page_us", "host_zero_fill_us"))
    if page is not None and zero_fill is not None:
        yield Target("a violation, beyond the host's zero-fill", page - zero_fill, 15, at_least=False, unit=" us")


def restore_targets(result: BenchResult) -> Iterator[Target]:
    """The promises of snapshots whose figures this run has."""
    medians = [case.metrics["first_instruction_ms"].median for case in result.scenario("touched")]
    if len(medians) > 1:
        name = "first instruction, however much RAM was touched: slowest against fastest"
        yield Target(name, max(medians) / min(medians), 1.1, at_least=False)
    for metric, name, limit, at_least in (
        ("line_ms", "last line from a source with 2 ms latency, prefetch sooner than lazy", 3.7, True),
        ("violations", "violations until then, prefetch against lazy", 0.03, False),
    ):
        lazy, prefetch = (
            result.median(metric, "source", what="restore", latency="2ms", policy=policy) for policy in ("lazy", "prefetch")
        )
        upper, lower = (lazy, prefetch) if at_least else (prefetch, lazy)
        yield from _ratio(name, upper, lower, limit, at_least=at_least)


def _prefetch(result: BenchResult) -> Iterator[Target]:
    for metric, name, limit in (("page_waits", "waits", 10), ("end_ms", "end of the boot", 5)):
        lazy, prefetch = (result.median(metric, "source", latency="1ms", policy=policy) for policy in ("lazy", "prefetch"))
        yield from _ratio(f"{name} from a source with 1 ms latency, prefetch against lazy", lazy, prefetch, limit, at_least=True)
    for metric, name in (("first_output_ms", "first output"), ("end_ms", "end of the boot")):
        lazy, prefetch = (result.least(metric, "source", latency="0ms", policy=policy) for policy in ("lazy", "prefetch"))
        yield from _ratio(f"{name} from a local file, prefetch against lazy", prefetch, lazy, 1.05, at_least=False)


def _ratio(name: str, upper: float | None, lower: float | None, limit: float, *, at_least: bool) -> Iterator[Target]:
    if upper is not None and lower is not None:
        yield Target(name, upper / lower if lower else float("inf"), limit, at_least)


def _spread(name: str, result: BenchResult, scenario: str, **parameters: str) -> Iterator[Target]:
    least = [min(case.metrics["first_output_ms"].values) for case in result.scenario(scenario, **parameters)]
    if len(least) > 1:
        yield Target(f"{name}: slowest against fastest", max(least) / min(least), 1.2, at_least=False)
