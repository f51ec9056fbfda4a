"""`python -m bench [NAME...]`."""

import importlib
import json
from pathlib import Path
from typing import Final

import click

from bench import host, tables
from bench.measurement import Result

_BENCHMARKS: Final = (
    "violations",
    "launch",
    "memory",
    "launches",
    "speed",
    "exits",
    "race",
    "repeats",
    "bugs",
    "imports",
    "walks",
    "fork",
    "snapshots",
    "shortcuts",
    "service",
    "service_api",
    "page_tables",
    "fleet",
)
"""Modules of this package. Each has a `TITLE`, and `measure(quick)` returns its results."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(_BENCHMARKS))
@click.option("--json", "file", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write the results.")
@click.option(
    "--snapshot",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="race: explore the guest in this snapshot, too, which must end by itself.",
)
@click.option("--after", metavar="CONDITION", help="race: from where the guest in the snapshot meets this.")
@click.option("--quick", is_flag=True, help="One round of each: to see that it runs.")
def main(names: tuple[str, ...], file: Path | None, snapshot: str | None, after: str | None, quick: bool) -> None:
    """Measure what kev promises. By default, everything.

    Each figure is the median of several rounds, with the least and the most; what is compared is measured in the same rounds.
    """
    machine = host.describe()
    click.echo(tables.host_lines(machine))
    results: dict[str, list[Result]] = {}
    for name in names or _BENCHMARKS:
        benchmark = importlib.import_module(f"bench.{name}")
        results[name] = benchmark.measure(quick, **({"snapshot": snapshot, "after": after} if name == "race" else {}))
        click.echo("\n" + tables.table(f"{name}: {benchmark.TITLE}", results[name]))
    if file is not None:
        file.write_text(json.dumps(tables.document(machine, results), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(prog_name="python -m bench")
