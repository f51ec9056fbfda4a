"""The operation that is a whole run: what `kev.launch` is, over HTTP."""

from http import HTTPStatus
from typing import Any, Final

import trio
from starlette.responses import Response

from kev.service.api import kinds
from kev.service.api.call import Body, Call, unless_gone
from kev.service.api.kinds import Member
from kev.service.api.machines import without_timeline
from kev.service.api.operation import Answer, Operation, json_response
from kev.service.api.schemas import list_of, named
from kev.service.api.spec_kind import LARGEST_BODY, SPEC_TEXT, described_machine, spec_kind
from kev.service.endings import described_ending
from kev.service.errors import Gone
from kev.service.home import Run
from kev.service.machines.machine import ServedMachine
from kev.service.machines.registry import Wish

_MOST_RUNS: Final = 1000
_MOST_AT_ONCE: Final = 64
_AT_ONCE: Final = 16
_SOON: Final = 0.05  # seconds
_NEW_RUN: Final = kinds.record(
    {
        "spec": Member(spec_kind(), SPEC_TEXT, required=True),
        "name": Member(kinds.name(), "What the machine is called while it runs.  [default: its id]"),
        "labels": Member(kinds.labels(), "Whatever its client wants to say about it."),
    }
)


_MANY_RUNS: Final = kinds.record(
    {
        "spec": Member(spec_kind(), "The machine's description, as of one run.", required=True),
        "count": Member(kinds.integer(1, _MOST_RUNS), "How many runs.", required=True),
        "at_once": Member(
            kinds.integer(1, _MOST_AT_ONCE),
            "How many of them side by side at most: as many as there are processors, and more if none ends for a while.",
            default=_AT_ONCE,
        ),
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
        # Most runs are soon over: whether the client is still there is looked at behind that.
        with trio.move_on_after(_SOON):
            await machine.over.wait()
        if not machine.is_over:
            await unless_gone(call.request.receive, machine.over.wait)
        if not machine.is_over:
            return json_response({})
        await call.service.registry.conclude_passing(machine)
        return json_response(await _described(machine))


async def run_many(call: Call) -> Response:
    wish = Wish(spec=described_machine(call.body["spec"]), trusted=call.trusted)
    count, at_once = call.body["count"], call.body.get("at_once", _AT_ONCE)
    runs = await unless_gone(call.request.receive, lambda: call.service.registry.run_many(wish, count, at_once))
    return json_response({"runs": [_run(run) for run in runs or ()]})


def _run(run: Run) -> dict[str, Any]:
    return {
        "ending": described_ending(run.ending),
        "message": run.message,
        "report": None if run.report is None else without_timeline(run.report),
        **_text(run.output, run.output_start),
    }


def _text(output: bytes, start: int) -> dict[str, Any]:
    return {"output": output.decode(errors="replace"), "output_start": start}


async def _described(machine: ServedMachine) -> dict[str, Any]:
    try:
        report = without_timeline(await machine.report())
    except Gone:
        report = None
    console = machine.console
    output = console.read(console.start, console.end - console.start).data
    return {"machine": machine.describe(), "report": report, **_text(output, console.start)}


OPERATIONS: Final = (
    Operation(
        "run",
        "POST",
        "/v1/runs",
        "Runs a machine to its end, and tells what that was. The machine ends if the client leaves; nothing is kept of it.",
        run,
        (Answer("The run.", named("Run")),),
        (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INSUFFICIENT_STORAGE),
        body=Body(LARGEST_BODY, _NEW_RUN),
    ),
    Operation(
        "run_many",
        "POST",
        "/v1/runs/many",
        "Runs a machine many times, and tells what each run was. They end if the client leaves; nothing is kept of them.",
        run_many,
        (Answer("The runs, in the order in which they began.", list_of("runs", named("OneOfMany"))),),
        (HTTPStatus.TOO_MANY_REQUESTS,),
        body=Body(LARGEST_BODY, _MANY_RUNS),
    ),
)
