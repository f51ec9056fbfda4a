"""Programs with something left out."""

from collections.abc import Iterator, Sequence

import attrs

from kev.race.trace.program import ORDINARY, Action, Page, Program, Verb


def smaller_programs(program: Program) -> Iterator[Program]:
    """Programs that do less: first without a vCPU, then without an action, then with a page less, then with simpler pages."""
    yield from _without_vcpus(program)
    yield from _without_actions(program)
    yield from _with_pages_merged(program)
    yield from _with_simpler_pages(program)


def idle_removed(program: Program) -> tuple[Program, dict[int, int]]:
    """The program without vCPUs that do nothing and pages that nobody touches, and the new numbers of the vCPUs that are left."""
    observers = {observation.vcpu for observation in program.forbidden}
    vcpus = _renumbered(index for index, actions in enumerate(program.vcpus) if actions or index in observers)
    pages = _renumbered(sorted(_used_pages(program)))
    lists = tuple(
        tuple(_renumber(action, vcpus, pages) for action in actions if action.verb is not Verb.CANCEL or action.target in vcpus)
        for index, actions in enumerate(program.vcpus)
        if index in vcpus
    )
    forbidden = tuple(attrs.evolve(seen, vcpu=vcpus[seen.vcpu], page=pages[seen.page]) for seen in program.forbidden)
    kinds = tuple(_page(program.pages[page], pages) for page in pages)
    return attrs.evolve(program, vcpus=lists, pages=kinds, forbidden=forbidden), vcpus


def _without_vcpus(program: Program) -> Iterator[Program]:
    """The others keep their numbers."""
    for index, actions in enumerate(program.vcpus):
        if actions:
            yield _with_actions(program, index, ())


def _without_actions(program: Program) -> Iterator[Program]:
    for index, actions in enumerate(program.vcpus):
        for position in range(len(actions)):
            yield _with_actions(program, index, (*actions[:position], *actions[position + 1 :]))


def _with_pages_merged(program: Program) -> Iterator[Program]:
    """What was done to one page is done to another."""
    used = sorted({page for action in program.actions() for page in action.pages})
    for page in used:
        for other in used:
            if other < page:
                yield from _with_page_replaced(program, page, other)
    for index, actions in enumerate(program.vcpus):
        for position, action in enumerate(actions):
            if action.count > 1:
                fewer = attrs.evolve(action, count=action.count - 1)
                yield _with_actions(program, index, (*actions[:position], fewer, *actions[position + 1 :]))


def _with_simpler_pages(program: Program) -> Iterator[Program]:
    if program.tso:
        yield attrs.evolve(program, tso=False)
    if program.short_cut:
        yield attrs.evolve(program, short_cut=False)
    for number, page in enumerate(program.pages):
        for simpler in (ORDINARY, attrs.evolve(page, failures=0), attrs.evolve(page, needs=None)):
            if simpler != page:
                yield attrs.evolve(program, pages=(*program.pages[:number], simpler, *program.pages[number + 1 :]))


def _with_actions(program: Program, vcpu: int, actions: Sequence[Action]) -> Program:
    return attrs.evolve(program, vcpus=(*program.vcpus[:vcpu], tuple(actions), *program.vcpus[vcpu + 1 :]))


def _with_page_replaced(program: Program, page: int, other: int) -> Iterator[Program]:
    def replace(action: Action) -> Action:
        return attrs.evolve(action, target=other) if action.pages == range(page, page + 1) else action

    vcpus = tuple(tuple(map(replace, actions)) for actions in program.vcpus)
    if vcpus != program.vcpus:
        yield attrs.evolve(program, vcpus=vcpus)


def _used_pages(program: Program) -> set[int]:
    used = {page for action in program.actions() for page in action.pages}
    used.update(observation.page for observation in program.forbidden)
    for page in sorted(used, reverse=True):
        needed = program.pages[page].needs
        while needed is not None:
            used.add(needed)
            needed = program.pages[needed].needs
    return used or {0}


def _renumbered(numbers: Iterator[int] | Sequence[int]) -> dict[int, int]:
    return {old: new for new, old in enumerate(numbers)}


def _renumber(action: Action, vcpus: dict[int, int], pages: dict[int, int]) -> Action:
    if action.verb is Verb.FENCE:
        return action
    return attrs.evolve(action, target=(vcpus if action.verb is Verb.CANCEL else pages)[action.target])


def _page(page: Page, pages: dict[int, int]) -> Page:
    return page if page.needs is None else attrs.evolve(page, needs=pages[page.needs])
