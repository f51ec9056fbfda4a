"""The operation that is a whole run: what `kev.launch` is, over HTTP."""

from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from kev.service.api import kinds
from kev.service.api.call import Body, Call, unless_gone
from kev.service.api.kinds import Member
from kev.service.api.operation import Answer, Operation, json_response
from kev.service.api.schemas import named
from kev.service.api.spec_kind import described_machine, spec_kind
from kev.service.errors import Gone
from kev.service.machines.machine import ServedMachine
from kev.service.machines.registry import Wish

_LARGEST_BODY: Final = 256 << 10
_NEW_RUN: Final = kinds.record(
    {
        "spec": Member(
            spec_kind(), "The machine's description: every field that `kev run` has an option for, and `image`.", required=True
        ),
        "name": Member(kinds.name(), "What the machine is called while it runs.  [default: its id]"),
        "labels": Member(kinds.labels(), "Whatever its client wants to say about it."),
    }
)


async def run(call: Call) -> Response:
    wish = Wish(
        spec=described_machine(call.body["spec"]),
        name=call.body.get("name"),
        labels=call.body.get("labels", {}),
        trusted=call.trusted,
    )
    async with call.service.registry.passing(wish) as machine:
        await unless_gone(call.request.receive, machine.concluded.wait)
        return json_response(await _described(machine) if machine.is_over else {})


async def _described(machine: ServedMachine) -> dict[str, Any]:
    try:
        report = {name: value for name, value in (await machine.report()).items() if name != "timeline"}
    except Gone:
        report = None
    console = machine.console
    output = console.read(console.start, console.end - console.start).data
    return {
        "machine": machine.describe(),
        "report": report,
        "output": output.decode(errors="replace"),
        "output_start": console.start,
    }


OPERATIONS: Final = (
    Operation(
        "run",
        "POST",
        "/v1/runs",
        "Runs a machine to its end, and tells what that was. The machine ends if the client leaves; nothing is kept of it.",
        run,
        (Answer("The run.", named("Run")),),
        (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INSUFFICIENT_STORAGE),
        body=Body(_LARGEST_BODY, _NEW_RUN),
    ),
)
