"""How often benchmarks measure, what signals end of them, and where their results go."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from kev.cli.counts import Count
from kev.cli.interrupts import SIGNALS
from kev.cli.run_files import inputs_of
from kev.cli.signals import say_stopped
from kev.cli.terminals import has_cursor
from kev.observe.output import is_standard_output, write_json
from kev.observe.replacing import check_all_writable
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import Stopped, signals_noted

if TYPE_CHECKING:
    from kev.measure.case import Case
    from kev.measure.result import BenchResult
    from kev.measure.targets import Target

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_EXIT_CODE_MISSED: Final = 1
_MEASURING: Final = "kev: measuring"


@attrs.frozen(slots=True)
class ResultFiles:
    """Where results are written, if they are."""

    json: Path | None
    csv: Path | None
    parquet: Path | None
    picture: Path | None

    def check(self, machines: Iterable[MachineSpec], description: str | None) -> None:
        """KevError, before the first round, if one cannot be written, or is one that machines or descriptions are read from."""
        check_all_writable(
            {"--json": self.json, "--csv": self.csv, "--parquet": self.parquet, "--picture": self.picture},
            [read for machine in machines for read in inputs_of(machine, description)],
        )
        if self.parquet is not None:
            from kev.measure.export import check_parquet

            check_parquet(self.parquet)
        if self.picture is not None:
            from kev.measure.chart import check_picture

            check_picture(self.picture)

    @property
    def are_printed(self) -> bool:
        """One of them is standard output."""
        return any(map(is_standard_output, (self.json, self.csv, self.parquet, self.picture)))

    def write(self, result: "BenchResult", chart: str) -> None:
        """`chart` is the module that draws."""
        from kev.measure.export import write_csv, write_parquet

        if self.json is not None:
            write_json(self.json, result.to_json(), compact=True)
        if self.csv is not None:
            write_csv(result, self.csv)
        if self.parquet is not None:
            write_parquet(result, self.parquet)
        if self.picture is not None:
            import_module(chart).draw(result, self.picture)


def results_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a benchmark that say how often, which is `rounds`, and where its results go, which is `files`.

    One of them may be -, which is standard output: the table goes to stderr then.
    """
    picture = click.option(
        "--picture", "--png", "picture", type=_FILE, metavar="FILE",
        help="Draw the medians: SVG in a FILE.svg, else PNG (needs `pip install kev-hypervisor[bench]`).",
    )  # fmt: skip
    return _with_options(picture(_with_files(function)), rounds=11)


def table_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for one that draws no picture and takes long."""
    return _with_options(_with_files(function), rounds=5)


def _with_files(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def with_files(
        *arguments: Any, json: Path | None, csv: Path | None, parquet: Path | None, picture: Path | None = None, **others: Any
    ) -> Any:
        return function(*arguments, files=ResultFiles(json, csv, parquet, picture), **others)

    return with_files


def _with_options(function: Callable[..., Any], rounds: int) -> Callable[..., Any]:
    for option in (
        click.option("--parquet", type=_FILE, metavar="FILE", help="As --csv (needs `pip install kev-hypervisor[parquet]`)."),
        click.option("--csv", type=_FILE, metavar="FILE", help="Write a table with a row for each value, of single runs."),
        click.option("--json", type=_FILE, metavar="FILE", help="Write all values; - is standard output, as for the others."),
        click.option("--rounds", type=Count(1), default=rounds, show_default=True, help="How often each case is measured."),
    ):
        function = option(function)
    return function


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the benchmark between two runs, and the process with a line that says so."""
    with signals_noted(SIGNALS):
        try:
            yield
        except Stopped as stopped:
            sys.exit(say_stopped(stopped.signal, "before a round was measured"))


@attrs.frozen(slots=True)
class Measured:
    """What a benchmark came to, and the signal that ended it early, if one did."""

    result: "BenchResult"
    stopped: int | None = None


def measured(cases: "Sequence[Case]", rounds: int, notes: Mapping[str, str]) -> Measured:
    """Measures in this process. `notes` stand beside the versions of all programs. Stopped if there is not one round to tell of."""
    from kev.measure.case import Rounds
    from kev.measure.processes import version_of
    from kev.measure.result import BenchResult

    peers = {what: version_of(case.command) for case in cases if (what := str(case.parameters.get("what"))).startswith("QEMU")}
    made, stopped = Rounds(cases), None
    hidden = sys.stderr.isatty() and not has_cursor(sys.stderr)
    if hidden:
        click.echo(_MEASURING, err=True)
    with click.progressbar(length=rounds, label=_MEASURING, file=sys.stderr, hidden=hidden) as bar:
        try:
            made.measure(rounds, lambda done: _note_round(bar, done, rounds))
        except Stopped as reason:
            if not made.done:
                raise
            stopped = reason.signal
    return Measured(BenchResult.of(made, {**peers, **notes}), stopped)


def _note_round(bar: Any, done: int, rounds: int) -> None:
    """A bar shows nothing where there is no terminal."""
    from kev.observe.progress import progress_seconds

    bar.update(done - bar.pos)
    if progress_seconds() is not None:
        click.echo(f"kev: {done} of {rounds} rounds are measured", err=True)


def show(found: Measured, targets: "Sequence[Target]", files: ResultFiles, rounds: int, chart: str) -> None:
    """Prints the table and writes the files. Ends with 1 if a target is missed, and as a signal wants it if one has come."""
    from kev.measure.table import table

    try:
        for line in table(found.result, targets):
            click.echo(line, err=files.are_printed)
    finally:  # also if nobody reads the table
        files.write(found.result, chart)
    if found.stopped is not None:
        sys.exit(say_stopped(found.stopped, f"{found.result.rounds} of {rounds} rounds were measured"))
    if not all(target.met for target in targets):
        sys.exit(_EXIT_CODE_MISSED)
