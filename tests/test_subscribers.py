"""Who is told when something happens."""

import pytest

from kev.subscribers import Subscribers


def test_all_are_called_in_the_order_they_came_with_what_the_caller_says() -> None:
    heard: list[tuple[str, int]] = []
    told: Subscribers[int] = Subscribers()
    told.subscribe(lambda number: heard.append(("first", number)))
    told.subscribe(lambda number: heard.append(("second", number)))
    told(7)
    assert heard == [("first", 7), ("second", 7)]


def test_nobody_listens_to_an_empty_one_which_may_be_called() -> None:
    told: Subscribers[[]] = Subscribers()
    assert not told
    told()
    leave = told.subscribe(lambda: None)
    assert told
    leave()
    assert not told


def test_who_has_left_is_not_called_and_leaving_twice_takes_nobody_else_away() -> None:
    heard: list[int] = []
    told: Subscribers[int] = Subscribers()
    leave = told.subscribe(heard.append)
    told.subscribe(heard.append)
    leave()
    leave()
    told(1)
    assert heard == [1]


def test_the_same_callback_twice_is_called_twice_and_each_leaves_from_its_own_place() -> None:
    heard: list[str] = []
    told: Subscribers[[]] = Subscribers()

    def twice() -> None:
        heard.append("twice")

    told.subscribe(twice)
    told.subscribe(lambda: heard.append("between"))
    leave = told.subscribe(twice)
    told()
    leave()
    told()
    assert heard == ["twice", "between", "twice", "twice", "between"]


def test_who_comes_or_goes_during_a_call_counts_from_the_next_call_on() -> None:
    heard: list[str] = []
    told: Subscribers[[]] = Subscribers()

    def first() -> None:
        heard.append("first")
        leave_second()
        told.subscribe(lambda: heard.append("third"))

    told.subscribe(first)
    leave_second = told.subscribe(lambda: heard.append("second"))
    told()
    assert heard == ["first", "second"]
    heard.clear()
    told()
    assert heard == ["first", "third"]


def test_what_a_callback_raises_reaches_the_caller_before_the_next_is_called() -> None:
    heard: list[str] = []
    told: Subscribers[[]] = Subscribers()

    def fail() -> None:
        raise ValueError("no")

    told.subscribe(fail)
    told.subscribe(lambda: heard.append("second"))
    with pytest.raises(ValueError, match="no"):
        told()
    assert heard == []
