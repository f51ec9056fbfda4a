"""`kev run`: launches a guest."""

from typing import Any

import click

from kev.cli.click_options import add_options, image_argument
from kev.cli.launch import RUN_OPTIONS, run


@click.command
@image_argument
@add_options(RUN_OPTIONS)
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Launch IMAGE, loading each of its pages when it is first touched.

    IMAGE is a file, the name of a guest on the root file system (by default gKeOS), or a URL that fsspec reads. What the guest
    writes to COM1 or to port 0xe9 goes to standard output, and standard input goes to COM1; on a terminal, Ctrl-A x leaves. Of a
    guest that writes to nothing but the VGA text screen, the screen is printed at the end. --paging may also name a policy of one's
    own, as MODULE:NAME, which is imported from the working directory (`kev.pager.policy.PagingPolicy`). The exit code is the
    guest's own; 2 for a mistake on the command line, 3 if the guest died, 124 at a limit, 130 on Ctrl-C, 143 on
    SIGTERM, 129 on SIGHUP.
    """
    context.exit(run(given))
