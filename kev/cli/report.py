"""`kev report`: one HTML page of the reports of runs."""

from pathlib import Path

import click

from kev.observe.output import OutputError, check_writable, name_of_output, write_text


@click.command
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    default="kev-report.html",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="- is standard output.",
)
def command(runs: tuple[Path, ...], output: Path) -> None:
    """Make one HTML page of reports that `kev run --report RUN` wrote.

    Runs with a timeline (`kev run --timeline`) are shown page by page. The page needs no network.
    """
    from kev.observe.html_report.page import page
    from kev.observe.html_report.runs import labels, read_run

    check_writable(output)
    _check_no_report(output, runs)
    write_text(output, page([read_run(run) for run in runs], labels(runs)))
    click.echo(f"kev: wrote {name_of_output(output)}", err=True)


def _check_no_report(output: Path, runs: tuple[Path, ...]) -> None:
    """OutputError if the page would take the place of a report."""
    for run in runs:
        try:
            is_report = output.samefile(run)
        except (OSError, ValueError):  # one of them is not there
            continue
        if is_report and output.is_file():
            raise OutputError(f"{output}: is one of the reports, and would be replaced by the page")
