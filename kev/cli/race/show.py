"""`kev race show`: a run in words and as a picture."""

from pathlib import Path

import click

from kev.cli.race.tokens import pager_option


@click.command
@click.argument("token")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw it, too; - is standard output.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@pager_option
def command(token: str, svg: Path | None, *, as_json: bool, pager: str | None) -> None:
    """Tell the run of TOKEN step by step."""
    from kev.race.token import Token

    wanted = Token.read(token)
    from kev.cli.race.printing import print_story
    from kev.cli.signals import ended_by_signals
    from kev.observe.output import STANDARD_OUTPUT
    from kev.observe.replacing import check_all_writable
    from kev.race.strategy.replay import ReplayScheduler
    from kev.race.targets import find_subject
    from kev.work.stopping import check

    check_all_writable({"--json": STANDARD_OUTPUT if as_json else None, "--svg": svg}, [("the file of the token", token)])
    with ended_by_signals(lambda: "before there was anything to tell"):
        subject = find_subject(wanted, pager)
        subject.replay(ReplayScheduler(wanted.schedule))  # a schedule that cannot be followed has no story
        check()
        story = subject.tell(wanted.schedule)
    print_story(story, svg, as_json=as_json)
