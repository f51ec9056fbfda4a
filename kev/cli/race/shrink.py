"""`kev race shrink`: the smallest case of a failure."""

import click

from kev.cli.race.printing import command_line, print_story
from kev.race.errors import RaceError
from kev.race.shrink import shrink
from kev.race.strategy.replay import ReplayScheduler
from kev.race.targets import find_subject
from kev.race.token import Token


class NothingToShrink(RaceError):
    """A run ends well."""


@click.command
@click.argument("token")
def command(token: str) -> None:
    """Leave out of the failure of TOKEN what can be left out: switches first, then vCPUs, then pages."""
    wanted = Token.read(token)
    subject = find_subject(wanted.identity)
    failure = subject.replay(ReplayScheduler(wanted.schedule)).failure
    if failure is None:
        raise NothingToShrink("the run of this token ends well: there is nothing to shrink")
    smallest = shrink(subject, wanted.schedule, failure)
    before, after = wanted.schedule.switches, smallest.schedule.switches
    click.echo(f"{before} switches, now {after}; {subject.vcpus} vCPUs, now {smallest.subject.vcpus}:")
    click.echo(f"  {command_line('replay', Token(smallest.subject.identity, smallest.schedule))}\n")
    print_story(smallest.subject.tell(smallest.schedule), None)
