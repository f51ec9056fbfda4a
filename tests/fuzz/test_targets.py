"""Every target, for a moment: what it begins from is accepted, and what is made of that is read or refused."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.coverage import lines_reached
from tests.fuzz.targets import TARGETS, Target

BY_NAME = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@BY_NAME
def test_what_it_begins_from_is_well_formed(target: Target) -> None:
    assert target.seeds()
    if target.name not in ("names", "spec"):  # not all seeds are ELF files, or TOML
        assert [target.check(seed) for seed in target.seeds()] == [None] * len(target.seeds())


@BY_NAME
@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_mutated_is_read_or_refused_in_a_line(target: Target, data: st.DataObject) -> None:
    error = target.check(data.draw(target.inputs()))
    assert error is None or str(error)


def test_lines_that_are_reached_are_counted() -> None:
    target = next(target for target in TARGETS if target.name == "simplefs")
    (seed,) = target.seeds()
    reached, lines = lines_reached(target.modules, lambda: target.check(seed))
    assert 0 < reached < lines
    assert lines_reached(target.modules, lambda: None)[0] == 0
