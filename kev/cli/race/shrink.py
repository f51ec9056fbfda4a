"""`kev race shrink`: the smallest case of a failure."""

from pathlib import Path
from typing import Any

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
    from kev.race.shrink import Shrunk, shrink
    from kev.race.store import FailureStore
    from kev.race.strategy.replay import ReplayScheduler
    from kev.race.targets import find_subject

    smaller: list[Shrunk[Any]] = []

    def reached() -> str:
        if not smaller:
            return "nothing smaller was found until then"
        return f"the smallest until then: {measured(smaller[-1])}:\n  {line_of(smaller[-1])}"

    def measured(case: Shrunk[Any]) -> str:
        before, after = wanted.schedule.switches, case.schedule.switches
        return f"{before} switches, now {after}; {subject.vcpus} vCPUs, now {case.subject.vcpus}"

    def line_of(case: Shrunk[Any]) -> str:
        return command_line("replay", Token(case.subject.identity, case.schedule), FailureStore(state))

    with ended_by_signals(reached):
        subject = find_subject(wanted, pager)
        failure = subject.replay(ReplayScheduler(wanted.schedule)).failure
        if failure is None:
            raise NothingToShrink("the run of this token ends well: there is nothing to shrink")
        smallest = shrink(subject, wanted.schedule, failure, smaller.append)
        story = smallest.subject.tell(smallest.schedule)
    click.echo(f"{measured(smallest)}:")
    click.echo(f"  {line_of(smallest)}\n")
    print_story(story, None)
