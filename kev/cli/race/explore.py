"""`kev race explore`: tries schedule after schedule."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from kev.cli.click_options import add_options
from kev.cli.completion import complete_image
from kev.cli.counts import Count
from kev.cli.durations import Duration
from kev.cli.interrupts import SIGNALS
from kev.cli.numbers import counted
from kev.cli.options import described
from kev.cli.places import place_of, place_options
from kev.cli.race.catalogue import check_catalogue, check_pager
from kev.cli.race.options import first_given, guest_options
from kev.cli.race.printing import EXIT_CODE_FAILED, command_line, picture_file, print_story
from kev.cli.race.progress import ProgressLine, summary
from kev.cli.race.tokens import state_option
from kev.cli.run_files import inputs_of
from kev.cli.signals import say_stopped
from kev.observe.output import STANDARD_OUTPUT, is_standard_output, write_text
from kev.observe.replacing import check_all_writable
from kev.race.catalogue import DEFAULT
from kev.race.detection import Detected, Detection, detect
from kev.race.errors import RaceError
from kev.race.explore import Found
from kev.race.guest.subject import GuestSubject
from kev.race.memory_model import MODELS, MemoryModel, wanted_model
from kev.race.store import FailureStore
from kev.race.stories.picture import as_svg
from kev.race.strategy import NAMES, make_strategy
from kev.race.targets import subject_called
from kev.race.token import Token
from kev.work.stopping import Stopped, signals_noted

_UNBOUNDED = "none"
_RUNS: Final = 1_000
_MOST_DIGITS: Final = 9
_PAGER_RUNS: Final = 100_000
_GUEST_OPTIONS: Final = [option._replace(help=f"Guests: {option.help}") for option in guest_options()]


_OF_ONE_SUBJECT: Final = ("seconds", "keep_going", "strategy", "depth", "preemptions", "memory_model", "svg", "state")
"""Parameters that mean nothing where all pagers are tried."""


class _Preemptions(click.ParamType[int | None]):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == _UNBOUNDED:
            return None
        if not str(value).isdecimal() or len(str(value)) > _MOST_DIGITS:
            self.fail(f"{value!r} is neither a number of preemptions nor `{_UNBOUNDED}`", param, ctx)
        return int(value)


@click.command
@click.argument("target", required=False, shell_complete=complete_image)
@click.option("--all", "everything", is_flag=True, help="The whole catalogue of broken pagers, and kev's own, which must survive.")
@add_options(_GUEST_OPTIONS)
@click.option(
    "--from",
    "snapshot",
    type=click.Path(dir_okay=False),
    metavar="SNAPSHOT",
    help="Guests: go on from a snapshot in every run. TARGET, if it is given, is the image that it was made of.",
)
@click.option(
    "--after",
    metavar="CONDITION",
    help="Guests: begin every run where output:TEXT, symbol:NAME[+OFFSET], instructions:N or hypercall[:NUMBER] is met; a word"
    " alone is a symbol of the image, or else a text.",
)
@click.option("--strategy", type=click.Choice(NAMES), help="How schedules are chosen.  [default: pct; random for guests]")
@click.option("--runs", type=Count(min=1), metavar="N", help="Make so many runs.  [default: 1,000; kev's pager 100,000]")
@click.option("--time", "seconds", type=Duration(), metavar="TIME", help="Make runs for so long: 90s, 10m, 1.5h.")
@click.option("--keep-going", is_flag=True, help="Do not stop at the first failure: tell one of each kind, and how often it came.")
@click.option("--seed", type=Count(min=0), default=0, show_default=True, help="What random choices come from.")
@click.option(
    "--depth",
    type=Count(min=1),
    default=3,
    show_default=True,
    help="pct, places, portfolio: how many ordered events the bug needs.",
)
@click.option("--preemptions", type=_Preemptions(), default="2", show_default=True, help="exhaustive: the bound, or `none`.")
@click.option(
    "--memory-model",
    type=click.Choice(MODELS),
    help="sc: every instruction is a step. split: what changes memory without LOCK is two. tso: store buffers as x86 has, which the"
    " schedule empties.  [default: split for guests that change so what vCPUs share, else sc]",
)
@place_options
@click.option("--catalogue", metavar="MODULE", default=DEFAULT, show_default=True, help="Where the broken pagers are.")
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw a failure into this file; - is standard output.",
)
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    target: str | None,
    everything: bool,
    snapshot: str | None,
    after: str | None,
    strategy: str | None,
    runs: int | None,
    seconds: float | None,
    keep_going: bool,
    seed: int,
    depth: int,
    preemptions: int | None,
    memory_model: str | None,
    jobs: int | None,
    on: str | None,
    store: str | None,
    catalogue: str,
    svg: Path | None,
    state: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Try schedules of TARGET until one fails; that one is then shrunk, told and drawn.

    TARGET is a guest that ends by itself: a file, a snapshot, or a name on the root file system. vCPUs are switched at exact
    instructions. Or
    TARGET is a program for the pager, such as 'r0w1/r0/e0', or the name of a broken pager of the catalogue. Without it, kev's own
    pager runs programs made from the seed. The exit code is 1 if a failure was found; with --all, if a broken pager was not
    caught, or if kev's own failed. Ctrl-C ends it, and what was tried until then is told.
    """
    with signals_noted(SIGNALS):
        if everything or (target is None and given["spec"] is None and snapshot is None):
            if after is not None or any(value not in (None, ()) for value in given.values()):
                raise RaceError("a machine is described, but no guest is named: kev race explore GUEST")
            if target is not None or snapshot is not None:
                raise RaceError(f"--all: it has no meaning with {target or snapshot!r}: the whole catalogue is tried")
            if (option := first_given(context, _OF_ONE_SUBJECT)) is not None:
                raise RaceError(f"{option} is for one subject: name a guest, or a program")
            check = partial(check_catalogue, catalogue) if everything else check_pager
            with place_of(jobs, on, store) as place:
                context.exit(check(runs or _PAGER_RUNS, seed, place, as_json=as_json))
        if target == "":
            raise RaceError("TARGET: '': no file has such a name, no guest and no program")
        spec = described({"image": target or snapshot, **given})
        read = [*inputs_of(spec, given["spec"]), *([("the snapshot", snapshot)] if snapshot is not None else ())]
        aside = check_all_writable({"--json": STANDARD_OUTPUT if as_json else None, "--svg": svg}, read)
        kept = FailureStore(state)
        line = ProgressLine()

        def announce(found: Found, token: Token) -> None:
            line.clear()
            when = "again" if found.run < 0 else f"in run {found.run} (seed {seed})"
            click.echo(f"{found.failure.oracle} {when}: {found.failure.message}", err=aside)
            click.echo(f"  {command_line('replay', token, kept)}", err=aside)

        try:
            model = wanted_model(memory_model, sampled=strategy is None or make_strategy(strategy).sampled)
            subject = subject_called(spec, catalogue, seed, after=after, snapshot=snapshot, model=model)
            chosen = make_strategy(strategy or ("pct" if subject.longest_turn == 1 else "random"), seed, depth, preemptions)
            if on is not None and not chosen.sampled:
                raise RaceError(
                    f"--on: {on}: what a run of `{chosen.name}` does depends on those before it: it cannot be shared out"
                )
            with place_of(jobs, on, store) as place:
                detection = detect(
                    subject,
                    chosen,
                    runs or (None if seconds is not None else _RUNS),
                    seconds=seconds,
                    keep_going=keep_going,
                    place=place,
                    store=kept,
                    progress=line.explored,
                    on_found=announce,
                )
            line.clear()
            doubt, split = "", ""
            if isinstance(subject, GuestSubject):
                doubt, split = subject.doubt, _split_by_itself(subject) if memory_model is None else ""
            if as_json:
                click.echo(json.dumps({"target": spec.image, "seed": seed, "doubt": doubt, **detection.as_dict()}, indent=2))
                if svg is not None and detection.first is not None and detection.first.shrunk is not None:
                    shrunk = detection.first.shrunk
                    write_text(svg, as_svg(shrunk.subject.tell(shrunk.schedule)))
            else:
                _conclude(detection, svg, kept, doubt, split)
        except Stopped as stopped:
            line.clear()
            context.exit(say_stopped(stopped.signal, "before there was anything to tell"))
    if detection.unkept:
        click.echo(f"kev: warning: {detection.unkept}", err=True)
    exploration = detection.exploration
    if exploration.stopped is not None:
        context.exit(say_stopped(exploration.stopped, summary(exploration)))
    if exploration.found is not None or exploration.nondeterminism is not None:
        context.exit(EXIT_CODE_FAILED)


def _split_by_itself(subject: GuestSubject) -> str:
    """Why instructions were split, if they were."""
    if subject.model is not MemoryModel.SPLIT:
        return ""
    count = subject.divisible
    these, it = (
        ("1 instruction changes", "it reads and what it writes")
        if count == 1
        else (f"{count} instructions change", "each reads and writes")
    )
    return f"{these} what vCPUs share without any LOCK: others come in between what {it} (--memory-model split)"


def _conclude(detection: Detection[Any], svg: Path | None, store: FailureStore, doubt: str, split: str) -> None:
    say, exploration = partial(click.echo, err=is_standard_output(svg)), detection.exploration
    if exploration.runs:
        say(summary(exploration))
        say(exploration.strategy)
        if split:
            say(split)
    if doubt and not detection.failures:
        say(doubt)
    if exploration.nondeterminism is not None:
        say(f"not deterministic: run {exploration.nondeterminism.run}: {exploration.nondeterminism.message}")
    if exploration.keep_going:
        say(f"{counted(len(detection.failures), 'distinct failure', 'distinct failures')}")
    for failure in detection.failures:
        _tell(failure, svg, store, is_first=failure is detection.first, often=exploration.keep_going)
        if failure.shrunk is None and exploration.stopped is not None:
            say(f"\nnot shrunk: {command_line('shrink', failure.token, store)}")


def _tell(failure: Detected[Any], svg: Path | None, store: FailureStore, *, is_first: bool, often: bool) -> None:
    say, shrunk, token = partial(click.echo, err=is_standard_output(svg)), failure.shrunk, failure.shrunk_token
    if often:
        times = counted(failure.finds.times, "run", "runs")
        say(f"\n{failure.finds.first.failure.oracle}, in {times}: {failure.finds.first.failure.message}")
    if shrunk is None or token is None:
        return
    switches = counted(shrunk.schedule.switches, "switch", "switches")
    say(f"\nshrunk to {switches} and {counted(shrunk.subject.vcpus, 'vCPU', 'vCPUs')}:")
    say(f"  {command_line('replay', token, store)}\n")
    print_story(
        shrunk.subject.tell(shrunk.schedule),
        (svg if is_first else None) or picture_file(failure.file),
        aside=is_standard_output(svg),
    )
