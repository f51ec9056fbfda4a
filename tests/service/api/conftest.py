from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.api.serving import Server


@pytest.fixture(scope="session")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service for all tests, since one takes a second to begin. Its machines live in its process: that begins sooner."""
    with Server(tmp_path_factory.mktemp("service"), "--in-process", "--max-memory", "512M", "--console-size", "4K") as server:
        yield server


@pytest.fixture(scope="module")
def server(in_process: Server) -> Server:
    """The same, without what other modules have left."""
    in_process.clear()
    return in_process


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder for services that come one after the other."""
    return tmp_path
