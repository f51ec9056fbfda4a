"""Programs from a seed."""

from random import Random
from typing import Final

from kev.race.trace.program import Action, Page, Program, Verb

_VERBS: Final = {Verb.READ: 8, Verb.WRITE: 6, Verb.FETCH: 3, Verb.EVICT: 4, Verb.PREFETCH: 2, Verb.CANCEL: 2}
"""How often each is chosen, compared to the others."""


def random_program(random: Random, vcpus: int = 3, pages: int = 4, actions: int = 4) -> Program:
    """A program of so many vCPUs and pages; each vCPU has one to `actions` actions."""
    lists = (tuple(_action(random, vcpu, vcpus, pages) for _ in range(random.randint(1, actions))) for vcpu in range(vcpus))
    return Program(tuple(lists), tuple(_page(random, number) for number in range(pages)), random.random() < 0.3)


def _action(random: Random, vcpu: int, vcpus: int, pages: int) -> Action:
    (verb,) = random.choices(list(_VERBS), list(_VERBS.values()))
    if verb is Verb.CANCEL and vcpus > 1:
        return Action(verb, random.choice([other for other in range(vcpus) if other != vcpu]))
    page = random.randrange(pages)
    if verb is Verb.PREFETCH:
        return Action(verb, page, random.randint(1, pages - page))
    return Action(Verb.READ if verb is Verb.CANCEL else verb, page)


def _page(random: Random, number: int) -> Page:
    kind = random.random()
    if kind < 0.15 and number > 0:
        return Page(needs=random.randrange(number))
    return Page(instant=kind > 0.75, failures=random.choice((0, 0, 0, 1, 2)))
