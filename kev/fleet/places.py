"""What `--on` says."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kev.fleet.errors import FleetError
from kev.work.base import Place
from kev.work.processes import local

MOST_PROCESSES: Final = 256
_LOCAL: Final = re.compile(r"local(?:\[(\d{1,9})\])?")
_DASK: Final = re.compile(r"dask://(\[[^\]]+\]|[^\[\]/:?#@]+):(\d{1,5})/?")
_FORMS: Final = (
    f"local[N] is N processes of this computer, at most {MOST_PROCESSES}; dask://HOST:PORT is the scheduler of Dask there"
)


@contextmanager
def place(on: str, store: str | None = None) -> Iterator[Place]:
    """The place that `on` names, until the end of the block: `local[N]`, or `dask://HOST:PORT`.

    Files that work needs are put into `store`, a folder that all workers see or a URL that fsspec writes; without it, they go
    through the scheduler. FleetError if there is no such place, or if its workers are not like this process.
    """
    local_place = _LOCAL.fullmatch(on)
    if local_place is not None:
        count = int(local_place[1] or 1)
        if not 1 <= count <= MOST_PROCESSES:
            raise FleetError(f"--on: {on!r}: there may be 1 to {MOST_PROCESSES} processes")
        if store is not None:
            raise FleetError(f"--store: {store!r}: {on} reads files where they are")
        yield local(count)
        return
    dask = _DASK.fullmatch(on)
    if dask is None or not 1 <= int(dask[2]) < 1 << 16:
        raise FleetError(f"--on: {on!r}: is no place to work at: {_FORMS}")
    from kev.fleet.dask import connected

    with connected(dask[1], int(dask[2]), store) as fleet:
        yield fleet
