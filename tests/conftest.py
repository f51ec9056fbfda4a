"""Settings of all property tests, and a folder for what is waited for until it is on the disk.

There are no deadlines, since how long an example takes is the machine's business.

In CI the examples are the same every time: what chance finds is found, and mended, where somebody is looking.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.folders import folder_in_memory

settings.register_profile("kev", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("kev")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    with folder_in_memory() as found:
        yield found
