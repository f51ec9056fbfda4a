"""`kev record merge`: one working set of several."""

import click

from kev.observe.output import check_writable, is_standard_output, name_of_output, write_text
from kev.pager.working_set import WorkingSet, merged


@click.command
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(dir_okay=False))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where it is written; - is standard output.",
)
def command(files: tuple[str, ...], output: str) -> None:
    """Make one working set of those in the FILEs, which must be of one image.

    It has every page that any of the runs touched, in the order of the earliest touch. `kev run --paging prefetch=FILE` loads it.
    """
    check_writable(output)
    sets = [WorkingSet.read(file, waits=True) for file in files]
    found = merged(sets)
    write_text(output, found.to_json())
    shared = len(set.intersection(*(set(each.pages) for each in sets)))
    click.echo(
        f"{name_of_output(output)}: {len(found.pages):,} pages, {shared:,} of them in all of {len(sets)} working sets",
        err=is_standard_output(output),
    )
