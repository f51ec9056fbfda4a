"""`kev race detect`: data races by the order of accesses, whatever came of them."""

import json
from collections.abc import Iterator
from typing import Any, Final

import click

from kev.cli.click_options import add_options
from kev.cli.completion import complete_image
from kev.cli.counts import Count
from kev.cli.interrupts import SIGNALS
from kev.cli.numbers import counted
from kev.cli.options import described
from kev.cli.race.options import first_given, guest_options
from kev.cli.race.printing import EXIT_CODE_FAILED
from kev.cli.race.progress import ProgressLine
from kev.cli.signals import say_stopped
from kev.machine.schedule import Scheduler
from kev.race.errors import RaceError
from kev.race.guest.data_races import DataRace, DataRaces, find_data_races, schedules
from kev.race.guest.subject import GuestSubject
from kev.race.stories.words import conflict_in_words
from kev.race.strategy.replay import RoughScheduler
from kev.race.targets import find_subject
from kev.race.token import Token, names_token
from kev.work.stopping import Stopped, signals_noted

_RUNS: Final = 10


@click.command
@click.argument("target", required=False, shell_complete=complete_image)
@add_options(guest_options())
@click.option("--from", "snapshot", type=click.Path(dir_okay=False), metavar="SNAPSHOT", help="Go on from a snapshot in every run.")
@click.option("--after", metavar="CONDITION", help="Begin every run where this is met, as in `kev race explore`.")
@click.option("--runs", type=Count(min=1), default=_RUNS, show_default=True, help="Look at so many schedules.")
@click.option("--seed", type=Count(min=0), default=0, show_default=True, help="What random choices come from.")
@click.option("--locked-only", is_flag=True, help="Flags that vCPUs wait for by PAUSE or HLT order nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    target: str | None,
    snapshot: str | None,
    after: str | None,
    runs: int,
    seed: int,
    locked_only: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find accesses in TARGET that nothing orders, though one is a store: data races, even where the outcome is right.

    TARGET is a guest: schedules are looked at in which nobody is interrupted, first, and then random ones. Or it is the token of a
    guest, or a file that holds one: its schedule is followed. The exit code is 1 if there is a data race.
    """
    line = ProgressLine()
    try:
        with signals_noted(SIGNALS):
            if not target and snapshot is None and given["spec"] is None:
                raise RaceError("no guest is named, and no token: kev race detect TARGET")
            if target is not None and names_token(target):
                others = (name for name in context.params if name not in ("target", "locked_only", "as_json"))
                if (option := first_given(context, others)) is not None:
                    raise RaceError(f"{option} has no meaning with a token, which says what is run, and how")
                subject, schedulers = _of_token(Token.read(target))
            else:
                spec = described({"image": target or snapshot, **given})
                subject = GuestSubject.find(spec, seed, after=after, snapshot=snapshot)
                schedulers = schedules(subject, runs, seed)
            found = find_data_races(
                subject, schedulers, locked_only=locked_only, progress=lambda found: line.done(found.runs, "looked at")
            )
    except Stopped as stopped:
        context.exit(say_stopped(stopped.signal, "before there was anything to tell"))
    line.clear()
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(_lines(found)))
    if found.stopped is not None:
        context.exit(say_stopped(found.stopped, f"{counted(found.runs, 'run was', 'runs were')} looked at"))
    if found.races:
        context.exit(EXIT_CODE_FAILED)


def _of_token(token: Token) -> tuple[GuestSubject, Iterator[Scheduler]]:
    if token.identity.kind != "guest":
        raise RaceError(f"the token is about a {token.identity.kind}: accesses are looked at in guests only")
    subject = find_subject(token)
    assert isinstance(subject, GuestSubject)
    return subject, iter([RoughScheduler(token.schedule)])


def _lines(found: DataRaces) -> list[str]:
    lines = [line for race in found.races for line in (*_in_words(race), "")]
    races = counted(len(found.races), "data race", "data races")
    runs = counted(found.runs, "run", "runs")
    part = "" if found.is_whole else "; of the longest, only the first 2,000,000 accesses were looked at"
    return [*lines, f"{races} in {runs}, of which {found.failed} ended wrong{part}"]


def _in_words(race: DataRace) -> Iterator[str]:
    yield from conflict_in_words(race.conflict)
    if race.pairs > 1:
        yield f"  nor {counted(race.pairs - 1, 'more pair', 'more pairs')} of these lines' instructions"
