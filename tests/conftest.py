"""Settings of all property tests, and a folder for what is waited for until it is on the disk.

There are no deadlines, since how long an example takes is the machine's business.

In CI the examples are the same every time: what chance finds is found, and mended, where somebody is looking.

What is marked `exhaustive` proves the same of more cases, and is left out unless `make exhaustive` runs all there is.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.examples import EXHAUSTIVE, MOST_EXAMPLES
from tests.folders import folder_in_memory

settings.register_profile("kev", deadline=None, derandomize="CI" in os.environ, max_examples=MOST_EXAMPLES)
settings.load_profile("kev")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are processors: some tests wait for other processes, or for a time to be over."""
    return (yield) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if EXHAUSTIVE:
        return
    left_out = {item for item in items if item.get_closest_marker("exhaustive") is not None}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    with folder_in_memory() as found:
        yield found
