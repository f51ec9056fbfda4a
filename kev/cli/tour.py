"""`kev tour`: guided tours of older hypervisors, and checks of exercises."""

import sys
import textwrap
from typing import Final

import click

from kev.addressing import KIB
from kev.errors import KevError
from kev.tour.catalogue import NAMES, exercise_named, judged, tour_named
from kev.tour.exercise import Exercise, Tour

_WIDTH: Final = 100
_LARGEST_FILE: Final = 64 * KIB


class AnswersError(KevError):
    """Answers that cannot be told apart, or a file that holds none."""


@click.command
@click.argument(
    "name",
    required=False,
    metavar="[TOUR]",
    shell_complete=lambda _context, _parameter, begun: [known for known in NAMES if known.startswith(begun)],
)
@click.argument("answers", nargs=-1, metavar="[EXERCISE=ANSWER]...")
@click.option("--answers", "file", type=click.Path(dir_okay=False), metavar="FILE.toml", help="Answers by the names of exercises.")
def command(name: str | None, answers: tuple[str, ...], file: str | None) -> None:
    """List the tours; show the exercises of TOUR; or check answers to them.

    An answer is a text such as a number, or the name of a file. Guests are run to see what they do, always in the same way. The
    exit code is 1 if an answer is wrong.
    """
    if name is None:
        for known in NAMES:
            _show_briefly(tour_named(known))
        return
    tour = tour_named(name)
    given = [*_of_file(file), *map(_split, answers)]
    if not given:
        _show(tour)
        return
    checked = [(exercise_named(tour, exercise), answer) for exercise, answer in given]
    verdicts = [_check(exercise, answer) for exercise, answer in checked]
    if not all(verdicts):
        sys.exit(1)


def _show_briefly(tour: Tour) -> None:
    click.echo(f"{tour.name:<8}  {tour.title} ({tour.document})")
    click.echo(f"{'':<8}  exercises: {', '.join(exercise.name for exercise in tour.exercises)}")


def _show(tour: Tour) -> None:
    click.echo(f"{tour.title} ({tour.document})")
    for exercise in tour.exercises:
        click.echo(f"\n{exercise.name}={exercise.answer}")
        click.echo(textwrap.indent(textwrap.fill(exercise.task, _WIDTH), "  "))
    click.echo(f"\nkev tour {tour.name} EXERCISE=ANSWER checks an answer.")


def _check(exercise: Exercise, answer: str) -> bool:
    right, text = judged(exercise, answer)
    click.echo(f"{'right' if right else 'wrong'}  {exercise.name}: {text}")
    return right


def _split(text: str) -> tuple[str, str]:
    exercise, equals, answer = text.partition("=")
    if not equals:
        raise AnswersError(f"{text!r} is no answer: it must be EXERCISE=ANSWER")
    return exercise, answer


def _of_file(file: str | None) -> list[tuple[str, str]]:
    if file is None:
        return []
    import tomllib

    from kev.user_files import read_user_file

    try:
        answers = tomllib.loads(read_user_file(file, _LARGEST_FILE, AnswersError).decode())
    except (ValueError, RecursionError) as error:
        raise AnswersError(f"{file}: is not TOML: {error}") from None
    for exercise, answer in answers.items():
        if type(answer) not in (str, int):
            raise AnswersError(f"{file}: {exercise}: an answer must be a text or a number")
    return [(exercise, str(answer)) for exercise, answer in answers.items()]
