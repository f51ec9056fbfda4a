"""`kev bench`: measures, and compares what was measured."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from kev.cli.bench_results import Measured, ResultFiles, ended_by_signals, measured, results_options, show, table_options
from kev.cli.click_options import add_options, image_argument
from kev.cli.counts import Count
from kev.cli.options import described, machine_options
from kev.cli.own_objects import is_own, own_callable, own_policy
from kev.cli.places import on_options, place_of
from kev.cli.sizes import Size
from kev.guests.catalogue import root_file_system
from kev.guests.images import open_image_or_url
from kev.measure.errors import BenchError
from kev.spec.machine_spec import MachineSpec

if TYPE_CHECKING:
    from kev.fleet.measuring import BenchOptions

_LONGEST_LATENCY = 1e6
_FILE = click.Path(dir_okay=False, path_type=Path)


class _Latency(click.ParamType[float]):
    """Milliseconds."""

    name = "latency"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            latency = float(value)
        except ValueError:
            latency = nan
        if not 0 <= latency <= _LONGEST_LATENCY:
            self.fail(f"{value!r} is not 0 to {_LONGEST_LATENCY:g} milliseconds", param, ctx)
        return latency


@click.group
def command() -> None:
    """Measure how soon guests boot, or go on from snapshots, compare measurements, and count page tables."""


@command.command
@image_argument
@add_options(machine_options(without=("timeline",)))
@results_options
@on_options
@click.option("--image", "images", multiple=True, type=Size(), metavar="SIZE", help="Size of an image.  [default: 1M 16M 256M 4G]")
@click.option("--ram", "memories", multiple=True, type=Size(), metavar="SIZE", help="Size of RAM.  [default: 64M 1G 16G 1T]")
@click.option("--latency", "latencies", multiple=True, type=_Latency(), metavar="MS", help="Of the source.  [default: 0 and 1 ms]")
@click.option("--only", multiple=True, metavar="SCENARIO", help="launch, image, memory, source, cache, violation.  [default: all]")
@click.option("--cold", is_flag=True, help="Of IMAGE: measure it with a cold page cache of the host, too.")
@click.option("--source", metavar="MODULE:NAME", help="Of IMAGE: read it through NAME(source), which makes a source of a source.")
def boot(
    rounds: int,
    images: tuple[int, ...],
    memories: tuple[int, ...],
    latencies: tuple[float, ...],
    only: tuple[str, ...],
    files: ResultFiles,
    cold: bool,
    source: str | None,
    on: str | None,
    store: str | None,
    **given: Any,
) -> None:
    """Measure the time from a launch to the guest's first output, by paging policy, image, RAM and source.

    With IMAGE, which is a file or the name of a guest, or with a description, that machine is measured instead, by paging policy.
    --paging MODULE:NAME is a policy of one's own (`kev.pager.policy.PagingPolicy`), which is measured beside kev's.
    QEMU is measured in the same rounds if it is installed. The exit code is 1 if kev misses what it promises.
    """
    from kev.measure.boot import BootBenchOptions, boot_cases
    from kev.measure.targets import boot_targets

    policies = {}
    if is_own(given["paging"]):
        policies[given["paging"]] = own_policy(given["paging"])
        given["paging"] = None
    machine = described(given) if _is_described(given) or policies or cold or source is not None else None
    chosen: dict[str, Any] = {
        "image_sizes": images,
        "memory_sizes": memories,
        "latencies": _seconds(latencies),
        "scenarios": only,
        "machine": machine,
        "policies": policies,
        "source": None if source is None else own_callable("--source", source),
        "cold_file": _file_of(machine) if cold and machine is not None else None,
    }
    options = BootBenchOptions(**{name: value for name, value in chosen.items() if value})
    files.check(filter(None, [machine]), given["spec"])
    if options.machine is not None:
        with open_image_or_url(options.machine.image):
            """It is there: better said before the first round."""
    with ended_by_signals():
        if on is not None or store is not None:
            found = _measure_on(options, rounds, on, store)
        else:
            with _folder() as folder:
                found = measured(list(boot_cases(options, folder)), rounds, {})
    show(found, list(boot_targets(found.result)), files, rounds, "kev.measure.chart")


@command.command
@click.argument("guests", nargs=-1, metavar="[SNAPSHOT|GUEST]...")
@add_options(machine_options(without=("timeline", "paging", "source_latency")))
@results_options
@on_options
@click.option("--at", metavar="CONDITION", help="Where a GUEST is saved and forked, as for `kev run --snapshot-at`.")
@click.option("--until", metavar="TEXT", help="Measure to this output, and no further.  [default: to the first, and to the end]")
@click.option("--image", "images", multiple=True, type=Size(), metavar="SIZE", help="Size of an image.  [default: 1M 256M 4G]")
@click.option("--ram", "memories", multiple=True, type=Size(), metavar="SIZE", help="Size of RAM.  [default: 64M 16G 1T]")
@click.option("--touched", multiple=True, type=Size(), metavar="SIZE", help="RAM that was touched.  [default: 64M 1G 64G]")
@click.option("--latency", "latencies", multiple=True, type=_Latency(), metavar="MS", help="Of the source.  [default: 0 and 2 ms]")
@click.option("--only", multiple=True, metavar="SCENARIO", help="ways, source, image, memory or touched.  [default: all]")
def restore(
    guests: tuple[str, ...],
    rounds: int,
    at: str | None,
    until: str | None,
    images: tuple[int, ...],
    memories: tuple[int, ...],
    touched: tuple[int, ...],
    latencies: tuple[float, ...],
    only: tuple[str, ...],
    files: ResultFiles,
    on: str | None,
    store: str | None,
    **given: Any,
) -> None:
    """Measure how soon a machine that was saved goes on, beside booting it and forking it, by paging policy, source, image and RAM.

    With a SNAPSHOT, or a GUEST, which is saved --at a condition, that machine is measured instead, by paging policy and latency.
    QEMU's own snapshots are measured in the same rounds if it is installed. The exit code is 1 if kev misses what it promises.
    """
    from kev.measure.restore import RestoreBench, RestoreBenchOptions
    from kev.measure.targets import restore_targets

    described_guests = guests or ((None,) if _is_described(given) else ())
    chosen: dict[str, Any] = {
        "image_sizes": images,
        "memory_sizes": memories,
        "touched_sizes": touched,
        "latencies": _seconds(latencies),
        "scenarios": only,
        "machines": tuple(described({**given, "image": guest}) for guest in described_guests),
        "at": at,
        "until": until,
    }
    options = RestoreBenchOptions(**{name: value for name, value in chosen.items() if value})
    files.check(options.machines, given["spec"])
    with ended_by_signals():
        if on is not None or store is not None:
            found = _measure_on(options, rounds, on, store)
        else:
            with _folder() as folder:
                bench = RestoreBench(options, folder)
                cases = list(bench.cases())
                found = measured(cases, rounds, bench.notes)
    show(found, list(restore_targets(found.result)), files, rounds, "kev.measure.restore_chart")


@command.command
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@add_options(machine_options(without=("timeline", "seed")))
@table_options
@click.option("--until", default="", metavar="TEXT", help="Measure to this output.  [default: to the first]")
@click.option(
    "--answer",
    "answers",
    type=(str, str),
    multiple=True,
    metavar="PROMPT TEXT",
    help="When the guest prints PROMPT, type TEXT, in which \\n ends a line. Several follow one another.",
)
def kernels(
    images: tuple[str, ...],
    rounds: int,
    until: str,
    answers: tuple[tuple[str, str], ...],
    files: ResultFiles,
    **given: Any,
) -> None:
    """Measure kernels to a line of output, beside QEMU, in time of processors and by the clock, and where kev's time goes.

    The options are those of `kev run`, and count for every IMAGE, which is a file or the name of a guest. kev and QEMU, by TCG and
    where it works by KVM, run in turns; the output has the command lines of both. What a guest writes to disks is forgotten.
    """
    from kev.measure.dialogue import Dialogue
    from kev.measure.kernels import KernelBench

    machines = tuple(described({**given, "image": image}, may_start_disk=True) for image in images or (None,))
    files.check(machines, given["spec"])
    typed = tuple((prompt, text.replace("\\n", "\n")) for prompt, text in answers)
    dialogue = Dialogue(until, typed, next((spec.timeout for spec in machines if spec.timeout), Dialogue().timeout))
    with ended_by_signals(), _folder() as folder:
        bench = KernelBench.of(machines, dialogue, folder)
        found = measured(list(bench.cases()), rounds, bench.notes)
        found = attrs.evolve(found, result=bench.completed(found.result))
    show(found, [], files, rounds, "")


@command.command
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.option("--all", "everything", is_flag=True, help="Also what did not change beyond noise.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.option("--fail", is_flag=True, help="End with 1 if a figure has grown beyond noise, with 2 if none can be compared.")
def compare(old: Path, new: Path, everything: bool, as_json: bool, fail: bool) -> None:
    """Say what changed from the results in OLD to those in NEW, beyond noise.

    A difference counts if the 95 % intervals of the medians have nothing in common. Fewer than 6 rounds allow no such interval.
    """
    from kev.measure.compare import changes, only_in
    from kev.measure.result import BenchResult
    from kev.measure.table import change_text
    from kev.observe.output import json_text

    before, after = BenchResult.read(str(old)), BenchResult.read(str(new))
    found = list(changes(before, after))
    significant = [change for change in found if change.significant]
    shown, lost, added = found if everything else significant, only_in(before, after), only_in(after, before)
    untold = sum(change.significant is None for change in found)
    if as_json:
        counts = {"figures": len(found), "changed": len(significant), "untold": untold}
        listed = {"changes": [change.as_dict() for change in shown], "only_in_old": lost, "only_in_new": added}
        click.echo(json_text(counts | listed), nl=False)
    else:
        for change in shown:
            click.echo(change_text(change))
        for label, names in ((f"only in {old}", lost), (f"only in {new}", added)):
            for name in names:
                click.echo(f"{label}: {name}")
        click.echo(f"{len(significant)} of {len(found)} figures changed beyond noise{_untold_text(untold)}")
    if fail and untold == len(found):
        raise BenchError("--fail: there is nothing to judge by: both results must have cases in common, and 6 rounds or more")
    if fail and any(change.is_worse for change in found):
        sys.exit(1)


def _untold_text(untold: int) -> str:
    return f"; {untold} cannot be told: of fewer than 6 rounds" if untold else ""


@command.command
@click.option("--guests", type=Count(1), default=10, show_default=True, metavar="N", help="Guests of the host.")
@click.option("--processes", type=Count(1), default=20, show_default=True, metavar="N", help="Processes of each guest.")
@click.option("--pages", type=Count(1), default=256, show_default=True, metavar="N", help="Pages of each process.")
@click.option("--kernel-pages", type=Count(1), default=512, show_default=True, metavar="N", help="Pages of each kernel.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def tables(guests: int, processes: int, pages: int, kernel_pages: int, as_json: bool) -> None:
    """Count the page tables of many guests, with shadow paging and with nested paging.

    All of them are built: the guests' own, their shadows, and EPT. Pages of processes lie together, from 4 MiB on; processes of a
    guest share its kernel's tables. Nothing is executed.
    """
    from kev.page_tables.shadowing import Population, count_tables

    counts = count_tables(Population(guests, processes, pages, kernel_pages))
    if as_json:
        import json

        kinds = {"guest": counts.guest, "shadow": counts.shadow, "nested": counts.nested}
        click.echo(json.dumps(counts._asdict() | {name: kind._asdict() for name, kind in kinds.items()}))
        return
    click.echo(f"{guests:,} guests of {processes:,} processes, of {pages:,} pages each, and of kernels of {kernel_pages:,} pages")
    click.echo(f"{'':24}{'page tables':>12}{'pages of them':>15}{'KiB':>10}")
    for name, kind in (("the guests' own", counts.guest), ("shadows of them", counts.shadow), ("EPT instead", counts.nested)):
        click.echo(f"{name:24}{kind.trees:12,}{kind.pages:15,}{kind.pages * 4:10,}")
    reads = f"{counts.shadow_reads} by a shadow, {counts.nested_reads} by EPT"
    click.echo(f"entries that a walk reads where nothing is cached: {reads}")
    click.echo(f"{counts.translations:,} addresses were looked up both ways, and lie at the same place")


def _file_of(machine: MachineSpec) -> Path:
    """The file that holds its image. BenchError if that is not one of this host."""
    path = Path(machine.image)
    if path.is_file():
        return path
    if "://" in machine.image or not machine.image:
        raise BenchError(f"--cold: {machine.image or 'a disk'}: only of an image in a file the page cache can be made cold")
    return Path(root_file_system())


def _seconds(latencies: Iterable[float]) -> tuple[float, ...]:
    return tuple(latency / 1e3 for latency in latencies)


def _is_described(given: Mapping[str, Any]) -> bool:
    """Whether the command line says anything of a machine."""
    return any(value not in (None, ()) for value in given.values())


@contextmanager
def _folder() -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kev-bench-") as name:
        yield Path(name)


def _measure_on(options: "BenchOptions", rounds: int, on: str | None, store: str | None) -> Measured:
    """By the workers of a place, a scenario each."""
    from kev.fleet.measuring import measure
    from kev.measure.boot import BootBenchOptions

    if isinstance(options, BootBenchOptions) and (options.policies or options.source or options.cold_file):
        raise BenchError("--on: what is one's own, and --cold, are measured here, and not by workers")
    with place_of(None, on, store) as place:
        return Measured(
            measure(options, rounds, place, lambda done, of: click.echo(f"kev: {done} of {of} scenarios are measured", err=True))
        )
