"""`kev report`: one HTML page of the reports of runs."""

from pathlib import Path

import click

from kev.observe.output import name_of_output, write_text


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
    from kev.observe.replacing import check_all_writable

    check_all_writable({"--output": output}, [("one of the reports", run) for run in runs])
    write_text(output, page([read_run(run) for run in runs], labels(runs)))
    click.echo(f"kev: wrote {name_of_output(output)}", err=True)
