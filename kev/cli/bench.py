"""`kev bench`: measures, and compares what was measured."""

import sys
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kev.cli.click_options import add_options, image_argument
from kev.cli.options import described, machine_options
from kev.cli.sizes import Size
from kev.guests.images import open_image_or_url
from kev.observe.output import check_writable, write_json

if TYPE_CHECKING:
    from kev.measure.result import BenchResult

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
    """Measure how soon guests boot, and compare measurements."""


@command.command
@image_argument
@add_options(machine_options(without=("timeline",)))
@click.option("--rounds", type=click.IntRange(1), default=11, show_default=True, help="How often each case is measured.")
@click.option("--image", "images", multiple=True, type=Size(), metavar="SIZE", help="Size of an image.  [default: 1M 16M 256M 4G]")
@click.option("--ram", "memories", multiple=True, type=Size(), metavar="SIZE", help="Size of RAM.  [default: 64M 1G 16G 1T]")
@click.option("--latency", "latencies", multiple=True, type=_Latency(), metavar="MS", help="Of the source.  [default: 0 and 1 ms]")
@click.option("--only", multiple=True, metavar="SCENARIO", help="launch, image, memory, source or violation.  [default: all]")
@click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write all values.")
@click.option("--png", "png_file", type=_FILE, metavar="FILE", help="Draw the medians (needs `pip install kev-hypervisor[bench]`).")
def boot(
    rounds: int,
    images: tuple[int, ...],
    memories: tuple[int, ...],
    latencies: tuple[float, ...],
    only: tuple[str, ...],
    json_file: Path | None,
    png_file: Path | None,
    **given: Any,
) -> None:
    """Measure the time from a launch to the guest's first output, by paging policy, image, RAM and source.

    With IMAGE, which is a file or the name of a guest, or with a description, that machine is measured instead, by paging policy.
    QEMU is measured in the same rounds if it is installed. The exit code is 1 if kev misses what it promises.
    """
    from kev.measure.boot import BootBenchOptions
    from kev.measure.table import table
    from kev.measure.targets import boot_targets

    for file in (json_file, png_file):
        if file is not None:
            check_writable(file)
    chosen: dict[str, Any] = {
        "image_sizes": images,
        "memory_sizes": memories,
        "latencies": tuple(latency / 1e3 for latency in latencies),
        "scenarios": only,
        "machine": described(given) if any(value not in (None, ()) for value in given.values()) else None,
    }
    options = BootBenchOptions(**{name: value for name, value in chosen.items() if value})
    if options.machine is not None:
        with open_image_or_url(options.machine.image):
            """It is there: better said before the first round."""
    result = _measure(options, rounds)
    targets = list(boot_targets(result))
    for line in table(result, targets):
        click.echo(line)
    if json_file is not None:
        write_json(json_file, result.to_json())
    if png_file is not None:
        from kev.measure.chart import draw

        draw(result, png_file)
    if not all(target.met for target in targets):
        sys.exit(1)


@command.command
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.option("--all", "everything", is_flag=True, help="Also what did not change beyond noise.")
def compare(old: Path, new: Path, everything: bool) -> None:
    """Say what changed from the results in OLD to those in NEW, beyond noise.

    A difference counts if the 95 % intervals of the medians have nothing in common.
    """
    from kev.measure.compare import changes, only_in
    from kev.measure.result import BenchResult
    from kev.measure.table import change_text

    before, after = BenchResult.read(str(old)), BenchResult.read(str(new))
    found = list(changes(before, after))
    significant = [change for change in found if change.significant]
    for change in found if everything else significant:
        click.echo(change_text(change))
    for label, names in ((f"only in {old}", only_in(before, after)), (f"only in {new}", only_in(after, before))):
        for name in names:
            click.echo(f"{label}: {name}")
    click.echo(f"{len(significant)} of {len(found)} figures changed beyond noise")


def _measure(options: Any, rounds: int) -> "BenchResult":
    import tempfile

    from kev.measure.boot import boot_cases
    from kev.measure.case import run_rounds
    from kev.measure.processes import version_of
    from kev.measure.result import BenchResult

    with tempfile.TemporaryDirectory(prefix="kev-bench-") as folder:
        cases = list(boot_cases(options, Path(folder)))
        with click.progressbar(length=rounds, label="kev: measuring", file=sys.stderr) as bar:
            values = run_rounds(cases, rounds, lambda done: bar.update(done - bar.pos))
        peers = {case.parameters["what"]: version_of(case.command) for case in cases if case.parameters.get("what") == "QEMU"}
        return BenchResult.of(cases, values, rounds, peers)
