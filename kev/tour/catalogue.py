"""All tours, by name."""

from importlib import import_module
from typing import Final

from kev.errors import KevError
from kev.spec.errors import unknown
from kev.tour.exercise import Exercise, Tour

NAMES: Final = ("keos", "jos", "jos-vmx", "lvisor")
"""In the order in which they are best taken. Each is `TOUR` of a module of this package."""


def tour_named(name: str) -> Tour:
    """KevError if there is no tour of that name: names the nearest."""
    if name not in NAMES:
        raise unknown("tour", name, "tour", NAMES)
    tour: Tour = import_module(f"kev.tour.{name.replace('-', '_')}").TOUR
    return tour


def exercise_named(tour: Tour, name: str) -> Exercise:
    """KevError if the tour has no such exercise: names the nearest."""
    for exercise in tour.exercises:
        if exercise.name == name:
            return exercise
    raise unknown(tour.name, name, "exercise", [exercise.name for exercise in tour.exercises])


def judged(exercise: Exercise, answer: str) -> tuple[bool, str]:
    """Whether an answer is right, and what there is to say about it."""
    try:
        return True, exercise.check(answer)
    except KevError as error:
        return False, str(error)
