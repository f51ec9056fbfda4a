"""A Dask scheduler with two workers, for all tests of a process."""

from collections.abc import Iterator

import pytest

from tests.fleet.clusters import cluster


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `--on` calls it."""
    with cluster(2, str(tmp_path_factory.mktemp("fleet"))) as made:
        yield made.on
