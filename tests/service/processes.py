"""Processes that tests do something to."""

from pathlib import Path

from kev.service.workers.fork_server_process import ForkServerProcess


def workers_of(server: ForkServerProcess) -> list[int]:
    """The processes that were forked from it, and are there."""
    children = Path(f"/proc/{server.number}/task/{server.number}/children").read_text().split()
    return [int(process) for process in children]
