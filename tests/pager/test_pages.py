"""The states of pages against a dict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pager.pages import TRANSITIONS, IllegalTransition, PageEvent, PageState, PageStates

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
