"""What machines of the service live in."""

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from kev.service.home import Homes
from kev.service.in_process import InProcessHomes
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.homes import worker_homes


@pytest.fixture(scope="session")
def forked_from() -> Iterator[ForkServerProcess]:
    """What workers are forked from: one for all tests, since it takes most of a second to start."""
    with ForkServerProcess() as process:
        yield process


@pytest.fixture(params=["in-process", "workers"])
async def homes(request: pytest.FixtureRequest) -> AsyncIterator[Homes]:
    """Both kinds of homes."""
    if request.param == "in-process":
        async with trio.open_nursery() as nursery:
            yield InProcessHomes(nursery)
            nursery.cancel_scope.cancel()
    else:
        async with worker_homes(ready=1, forked_from=request.getfixturevalue("forked_from")) as made:
            yield made
