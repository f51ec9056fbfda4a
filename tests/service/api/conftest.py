from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.api.serving import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service for the tests of a module, whose machines live in its process: that begins sooner."""
    with Server(tmp_path_factory.mktemp("service"), "--in-process", "--max-memory", "512M", "--console-size", "4K") as server:
        yield server


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder for services that come one after the other."""
    return tmp_path
