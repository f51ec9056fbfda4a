from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.folders import folder_in_memory
from tests.service.api.serving import Server


@pytest.fixture(scope="session")
def in_process() -> Iterator[Server]:
    """A service for all tests, since one takes a second to begin. Its machines live in its process: that begins sooner."""
    words = ("--in-process", "--max-memory", "512M", "--console-size", "4K")
    with folder_in_memory() as folder, Server(folder, *words) as server:
        yield server


@pytest.fixture(scope="module")
def server(in_process: Server) -> Server:
    """The same, without what other modules have left."""
    in_process.clear()
    return in_process


@pytest.fixture
def state(folder: Path) -> Path:
    """A folder for services that come one after the other."""
    return folder
