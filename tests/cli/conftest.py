from collections.abc import Iterator

import pytest

from tests.cli.sessions import Session


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    started: list[Session] = []
    yield started
    for session in started:
        session.close()
