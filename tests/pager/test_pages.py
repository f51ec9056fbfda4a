"""The states of pages against a dict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.pager.pages import TRANSITIONS, IllegalTransition, PageEvent, PageState, PageStates

PAGES = st.sampled_from([0, 0x1000, 0x1FF000, 0x200000, 0xFFFFF000, (1 << 48) - 0x1000])


@given(st.lists(st.tuples(PAGES, st.sampled_from(PageEvent)), max_size=40))
def test_pages_follow_the_table_independently_of_each_other(steps: list[tuple[int, PageEvent]]) -> None:
    states = PageStates()
    model: dict[int, PageState] = {}
    for page, event in steps:
        before = model.get(page, PageState.ABSENT)
        if event in TRANSITIONS[before]:
            states.advance(page, event)
            model[page] = TRANSITIONS[before][event]
        else:
            with pytest.raises(IllegalTransition) as raised:
                states.advance(page, event)
            assert (raised.value.page, raised.value.state, raised.value.event) == (page, before, event)
        for known in model:
            assert states[known] is model[known]


@given(st.lists(st.tuples(st.integers(505, 520), st.integers(1, 8), st.sampled_from(PageEvent)), max_size=30))
def test_a_run_of_pages_advances_as_its_pages_would(steps: list[tuple[int, int, PageEvent]]) -> None:
    states, model = PageStates(), PageStates()
    for first, count, event in steps:
        pages = range(first << 12, min(first + count, 512 if first < 512 else 1024) << 12, 0x1000)
        if all(event in TRANSITIONS[model[page]] for page in pages) and len({model[page] for page in pages}) == 1:
            states.advance_run(pages.start, len(pages), event)
            for page in pages:
                model.advance(page, event)
        else:
            with pytest.raises(IllegalTransition):
                states.advance_run(pages.start, len(pages), event)
        assert [states[page << 12] for page in range(504, 530)] == [model[page << 12] for page in range(504, 530)]


@given(st.sets(st.integers(500, 530)), st.integers(500, 530), st.integers(495, 530), st.integers(500, 535))
def test_a_run_of_absent_pages_ends_at_others_at_its_bounds_and_at_2_mib(taken: set[int], page: int, start: int, end: int) -> None:
    start, end = min(start, page), max(end, page + 1)
    states = PageStates()
    for number in taken:
        states.advance(number << 12, PageEvent.CLAIM)
    below, above = page, page
    while page not in taken and below > start and below - 1 not in taken and below % 512:
        below -= 1
    while above < end and above not in taken and (above == page or above % 512):
        above += 1
    run = states.absent_run(page << 12, start << 12, end << 12)
    assert [address >> 12 for address in run] == list(range(below, above))


def test_only_a_claimed_page_can_become_present() -> None:
    sources = {state for state, events in TRANSITIONS.items() for target in events.values() if target is PageState.PRESENT}
    assert sources == {PageState.LOADING}


def test_every_state_has_its_row_and_every_event_its_place() -> None:
    assert set(TRANSITIONS) == set(PageState)
    assert sorted(event for events in TRANSITIONS.values() for event in events) == sorted(PageEvent)


def test_an_illegal_event_says_what_is_the_matter() -> None:
    states = PageStates()
    states.advance(0x5000, PageEvent.CLAIM)
    with pytest.raises(IllegalTransition, match=r"^page 0x5000 is LOADING: CLAIM is not possible$"):
        states.advance(0x5000, PageEvent.CLAIM)
