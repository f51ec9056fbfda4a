"""Operations on snapshots."""

from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from kev.service.api import kinds
from kev.service.api.call import Body, Call
from kev.service.api.kinds import Member
from kev.service.api.operation import Answer, Operation, json_response, no_content
from kev.service.api.schemas import list_of, named

NEW_SNAPSHOT: Final = kinds.record(
    {
        "name": Member(kinds.name(), "What it is called.", required=True),
        "compress": Member(kinds.flag(), "Its pages are compressed.", default=False),
    }
)


async def create_snapshot(call: Call) -> Response:
    registry = call.service.registry
    machine = registry[call.path["machine"]]
    snapshot = await registry.snapshot(machine, call.body["name"], compress=call.body.get("compress", False))
    return json_response(snapshot.describe(), HTTPStatus.CREATED, location=f"/v1/snapshots/{snapshot.name}")


async def list_snapshots(call: Call) -> Response:
    return json_response({"snapshots": [snapshot.describe() for snapshot in call.service.registry.snapshots]})


async def show_snapshot(call: Call) -> Response:
    return json_response(call.service.registry.snapshots[call.path["snapshot"]].describe())


async def delete_snapshot(call: Call) -> Response:
    await call.service.registry.snapshots.delete(call.path["snapshot"])
    return no_content()


OPERATIONS: Final = (
    Operation(
        "create_snapshot",
        "POST",
        "/v1/machines/{machine}/snapshots",
        "Saves the machine, which stands still meanwhile, under a name.",
        create_snapshot,
        (Answer("The snapshot.", named("Snapshot"), status=HTTPStatus.CREATED, headers={"Location": "Its path."}),),
        (HTTPStatus.CONFLICT, HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INSUFFICIENT_STORAGE),
        body=Body(1024, NEW_SNAPSHOT),
        tag="snapshots",
    ),
    Operation(
        "list_snapshots",
        "GET",
        "/v1/snapshots",
        "The snapshots.",
        list_snapshots,
        (Answer("The snapshots.", list_of("snapshots", named("Snapshot"))),),
        tag="snapshots",
    ),
    Operation(
        "show_snapshot",
        "GET",
        "/v1/snapshots/{snapshot}",
        "One snapshot.",
        show_snapshot,
        (Answer("The snapshot.", named("Snapshot")),),
        tag="snapshots",
    ),
    Operation(
        "delete_snapshot",
        "DELETE",
        "/v1/snapshots/{snapshot}",
        "Forgets it. Machines that go on from it do not need its name.",
        delete_snapshot,
        (Answer("It is gone.", status=HTTPStatus.NO_CONTENT),),
        tag="snapshots",
    ),
)
