"""`kev race shrink`: the smallest case of a failure."""

from pathlib import Path

import click

from kev.cli.race.tokens import pager_option, state_option


@click.command
@click.argument("token")
@pager_option
@state_option
def command(token: str, pager: str | None, state: Path | None) -> None:
    """Leave out of the failure of TOKEN what can be left out: switches first, then vCPUs, then pages."""
    from kev.race.token import Token

    wanted = Token.read(token)
    from kev.cli.race.printing import command_line, print_story
    from kev.cli.signals import ended_by_signals
    from kev.race.errors import NothingToShrink
    from kev.race.shrink import shrink
    from kev.race.store import FailureStore
    from kev.race.strategy.replay import ReplayScheduler
    from kev.race.targets import find_subject

    with ended_by_signals(lambda: "nothing smaller was found"):
        subject = find_subject(wanted, pager)
        failure = subject.replay(ReplayScheduler(wanted.schedule)).failure
        if failure is None:
            raise NothingToShrink("the run of this token ends well: there is nothing to shrink")
        smallest = shrink(subject, wanted.schedule, failure)
        story = smallest.subject.tell(smallest.schedule)
    before, after = wanted.schedule.switches, smallest.schedule.switches
    click.echo(f"{before} switches, now {after}; {subject.vcpus} vCPUs, now {smallest.subject.vcpus}:")
    click.echo(f"  {command_line('replay', Token(smallest.subject.identity, smallest.schedule), FailureStore(state))}\n")
    print_story(story, None)
