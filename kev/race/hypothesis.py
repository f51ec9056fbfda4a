"""Trace programs for Hypothesis."""

from hypothesis import strategies as st

from kev.race.trace.program import Action, Page, Program, Verb

_ON_PAGES = st.sampled_from([Verb.READ, Verb.WRITE, Verb.FETCH, Verb.EVICT])


def programs(vcpus: int = 3, pages: int = 3, actions: int = 4) -> st.SearchStrategy[Program]:
    """Programs of up to so many vCPUs, pages, and actions of each vCPU. They shrink to fewer and plainer ones."""
    return st.integers(1, vcpus).flatmap(lambda count: st.integers(1, pages).flatmap(lambda size: _programs(count, size, actions)))


def _programs(vcpus: int, pages: int, actions: int) -> st.SearchStrategy[Program]:
    lists = [st.lists(_actions(vcpu, vcpus, pages), max_size=actions).map(tuple) for vcpu in range(vcpus)]
    return st.builds(Program, st.tuples(*lists), st.tuples(*(_pages(number) for number in range(pages))), st.booleans())


def _actions(vcpu: int, vcpus: int, pages: int) -> st.SearchStrategy[Action]:
    page = st.integers(0, pages - 1)
    kinds = [st.builds(Action, _ON_PAGES, page), page.flatmap(lambda first: _prefetches(first, pages))]
    others = [other for other in range(vcpus) if other != vcpu]
    if others:
        kinds.append(st.builds(Action, st.just(Verb.CANCEL), st.sampled_from(others)))
    return st.one_of(kinds)


def _prefetches(first: int, pages: int) -> st.SearchStrategy[Action]:
    return st.builds(Action, st.just(Verb.PREFETCH), st.just(first), st.integers(1, pages - first))


def _pages(number: int) -> st.SearchStrategy[Page]:
    needing = [st.builds(Page, needs=st.integers(0, number - 1))] if number else []
    return st.one_of(st.builds(Page, instant=st.booleans(), failures=st.integers(0, 2)), *needing)
