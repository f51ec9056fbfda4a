"""Requests that Schemathesis makes of the service's own description: what it allows, and what it does not.

`python -m tests.service.api.malformed [REQUESTS]` makes 10,000 of them, or so many.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.api.serving import PATIENCE, Server

_STREAMS = ("/v1/events",)
"""Their answers have no end."""
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_OPTIONS = ("--in-process", "--max-memory", "256M", "--max-running", "8", "--max-machines", "32", "--max-jobs", "1")


def make_requests(server: Server, count: int, seed: int) -> int:
    """So many requests over TCP, the same ones for the same seed; how many were answered, each as the description says."""
    answered = 0
    settings = hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )

    @hypothesis.seed(seed)
    @settings
    @hypothesis.given(case=_cases(server))
    def make_one(case: Case) -> None:
        nonlocal answered
        case.call_and_validate(
            base_url=f"http://127.0.0.1:{server.port}",
            headers={"Authorization": f"Bearer {server.token}"},
            checks=_CHECKS,
            timeout=PATIENCE,
        )
        answered += 1

    make_one()
    return answered


def _cases(server: Server) -> st.SearchStrategy[Case]:
    """Half of them are for a machine, a snapshot and a job that are there, or may be."""
    description: dict[str, Any] = server.client.get("/openapi.json").json()
    there = {"machine": "there", "name": "there", "job": "there"}
    strategies = []
    for result in schemathesis.openapi.from_dict(description).get_all_operations():
        operation = result.ok()
        if operation.path in _STREAMS:
            continue
        known = {name: value for name, value in there.items() if f"{{{name}}}" in operation.path}
        for mode in GenerationMode:
            strategies.append(operation.as_strategy(generation_mode=mode))
            if known:
                strategies.append(operation.as_strategy(generation_mode=mode, path_parameters=known))
    return st.one_of(strategies)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with TemporaryDirectory() as folder, Server(Path(folder), *_OPTIONS) as server:
        server.create("hypercalls", name="there", start=False)
        answered = make_requests(server, count, seed=1)
    sys.stdout.write(f"{answered:,} requests were answered as the description says\n")


if __name__ == "__main__":
    main()
