"""Dask schedulers with workers, for tests: in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

_WITH_KEV = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    count, folder = int(sys.argv[1]), sys.argv[2]
    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, local_directory=folder) as cluster:
        print(cluster.scheduler_address, *(nanny.pid for nanny in cluster.workers.values()), flush=True)
        sys.stdin.read()
"""
_WITHOUT_KEV = """
import asyncio, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "kev":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from distributed import Scheduler, Worker
async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        async with Worker(scheduler.address, nthreads=1, dashboard=False, local_directory=sys.argv[2]):
            print(scheduler.address, flush=True)
            await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


SETTINGS: Final = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "2s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
}
"""Those that docs/fleet.md names."""


class Cluster(NamedTuple):
    on: str
    """What `--on` calls it."""
    workers: tuple[int, ...]
    """Their process ids."""
    scheduler: int
    """That of the scheduler."""


@contextmanager
def cluster(workers: int, folder: str, *, with_kev: bool = True) -> Iterator[Cluster]:
    """A scheduler and so many workers, until the end of the block."""
    program = os.path.join(folder, "cluster.py")
    with open(program, "w", encoding="utf-8") as file:
        file.write(_WITH_KEV if with_kev else _WITHOUT_KEV)
    process = subprocess.Popen(
        [sys.executable, program, str(workers), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **SETTINGS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert process.stdout is not None
        address, *pids = process.stdout.readline().decode().split()
        yield Cluster("dask" + address.removeprefix("tcp"), tuple(map(int, pids)), process.pid)
    finally:
        process.communicate()
