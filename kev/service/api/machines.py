"""Operations on machines."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from kev.addressing import MIB
from kev.dev.base import DeviceError
from kev.pager.image import PHYSICAL_ADDRESS_LIMIT
from kev.service.api import kinds
from kev.service.api.call import Body, Call, Parameter
from kev.service.api.kinds import Kind, Member, Schema
from kev.service.api.operation import BYTES, Answer, Operation, bytes_response, json_response, no_content
from kev.service.api.schemas import list_of, named
from kev.service.api.spec_kind import LARGEST_BODY, SPEC_TEXT, described_machine, spec_kind
from kev.service.errors import Invalid
from kev.service.machines.machine import ServedMachine
from kev.service.machines.registry import Wish
from kev.service.page_cells import CellsWanted
from kev.spec.machine_spec import MachineSpec

_STATES: Final = ("created", "running", "paused", "ended", "lost")
_MOST_LISTED: Final = 1000
_MOST_INPUT: Final = 64 << 10
_MOST_MEMORY: Final = 16 * MIB
_MOST_CELLS: Final = 1 << 16
_DEFAULT_CELLS: Final = 4096

NEW_MACHINE: Final = kinds.record(
    {
        "spec": Member(spec_kind(), SPEC_TEXT),
        "snapshot": Member(kinds.name(), "The name of a snapshot to go on from; `spec` then says what a snapshot does not fix."),
        "name": Member(kinds.name(), "What it is called besides its id, which no other machine may be.  [default: its id]"),
        "start": Member(kinds.flag(), "It runs at once.", default=True),
        "labels": Member(kinds.labels(), "Whatever its client wants to say about it."),
        "on_shutdown": Member(kinds.choice("snapshot", "stop"), "What becomes of it when the service ends."),
    }
)
FORK: Final = kinds.record({"count": Member(kinds.integer(1, 256), "How many copies.", default=1)})


def one_of(*words: str) -> Callable[[str], str]:
    """Reads a word of a query."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return text

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Reads a number of a query, in decimal digits."""

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
        if not low <= number <= high:
            raise ValueError(f"it must be a number from {low} to {high}")
        return number

    return parse


def number_parameter(name: str, description: str, low: int, high: int, default: int | None) -> Parameter:
    schema: Schema = {"type": "integer", "minimum": low, "maximum": high}
    if default is not None:
        schema["default"] = default
    return Parameter(name, description, schema, whole_number(low, high), default)


_ADDRESS: Final[Schema] = {"type": "string", "pattern": "^(0x[0-9a-fA-F]{1,12}|0|[1-9][0-9]{0,13})$"}


def _address(text: str) -> int:
    try:
        address = int(text, 0) if text.isascii() and len(text) < 20 and text[:1].isdigit() and "_" not in text else -1
    except ValueError:
        address = -1
    if not 0 <= address < PHYSICAL_ADDRESS_LIMIT:
        raise ValueError(f"it must be a guest-physical address, such as 0x100000, below {PHYSICAL_ADDRESS_LIMIT:#x}")
    return address


async def list_machines(call: Call) -> Response:
    state, after = call.query["state"], call.query["after"]
    machines = list(call.service.registry)
    if after is not None:
        last = call.service.registry[after]
        machines = machines[machines.index(last) + 1 :]
    found = [
        machine
        for machine in machines
        if state in (None, machine.state) and all(_has(machine, label) for label in call.query["label"])
    ]
    return json_response({"machines": [machine.describe() for machine in found[: call.query["limit"]]]})


def _has(machine: ServedMachine, label: str) -> bool:
    name, equals, value = label.partition("=")
    return machine.identity.labels.get(name) == value if equals else name in machine.identity.labels


async def create_machine(call: Call) -> Response:
    body = call.body
    if "snapshot" not in body and "spec" not in body:
        raise Invalid("spec: is missing: a machine is made as it says, or from a snapshot", field="spec", limit="there")
    machine = await call.service.registry.create(
        Wish(
            spec=described_machine(body["spec"]) if "spec" in body else MachineSpec(),
            snapshot=body.get("snapshot"),
            name=body.get("name"),
            start=body.get("start", True),
            labels=body.get("labels", {}),
            on_shutdown=body.get("on_shutdown"),
            trusted=call.trusted,
        )
    )
    return json_response(machine.describe(), HTTPStatus.CREATED, location=f"/v1/machines/{machine.id}")


def _machine(call: Call) -> ServedMachine:
    return call.service.registry[call.path["machine"]]


async def show_machine(call: Call) -> Response:
    return json_response(_machine(call).describe())


async def delete_machine(call: Call) -> Response:
    await call.service.registry.remove(_machine(call))
    return no_content()


async def start_machine(call: Call) -> Response:
    machine = _machine(call)
    await call.service.registry.start(machine)
    return json_response(machine.describe())


async def pause_machine(call: Call) -> Response:
    machine = _machine(call)
    await machine.pause()
    return json_response(machine.describe())


async def resume_machine(call: Call) -> Response:
    machine = _machine(call)
    await call.service.registry.resume(machine)
    return json_response(machine.describe())


async def stop_machine(call: Call) -> Response:
    machine = _machine(call)
    await machine.stop()
    return json_response(machine.describe())


async def type_input(call: Call) -> Response:
    await _machine(call).send(call.body)
    return no_content()


def without_timeline(report: dict[str, Any]) -> dict[str, Any]:
    """What is told of a report: its timeline is long, and told alone."""
    return {name: value for name, value in report.items() if name != "timeline"}


async def show_report(call: Call) -> Response:
    return json_response(without_timeline(await _machine(call).report()))


async def show_timeline(call: Call) -> Response:
    machine = _machine(call)
    report = await machine.report()
    if "timeline" not in report:
        problem = "the machine's description does not ask for it: give it timeline"
        raise Invalid(f"timeline: {machine.name}: {problem}", field="spec.timeline", value=False, limit=True)
    return json_response(report["timeline"])


async def show_pages(call: Call) -> Response:
    return json_response(await _machine(call).pages())


async def show_page_cells(call: Call) -> Response:
    wanted = CellsWanted(call.query["count"], call.query["start"], call.query["end"])
    return json_response(await _machine(call).page_cells(wanted))


async def show_registers(call: Call) -> Response:
    return json_response({"vcpus": await _machine(call).registers()})


async def show_screen(call: Call) -> Response:
    return bytes_response(await _machine(call).screenshot(), "image/png")


async def read_memory(call: Call) -> Response:
    gpa = call.query["gpa"]
    try:
        return bytes_response(await _machine(call).read_memory(gpa, call.query["length"]))
    except DeviceError as error:
        raise Invalid(f"gpa: {gpa:#x}: {error}", field="gpa", value=gpa) from error


async def fork_machine(call: Call) -> Response:
    count = call.body.get("count", 1)
    most = call.service.registry.limits.forks
    if count > most:
        raise Invalid(f"count: {count}: one request makes {most} forks at most", field="count", value=count, limit=most)
    forks = await call.service.registry.fork(_machine(call), count)
    return json_response({"machines": [fork.describe() for fork in forks]}, HTTPStatus.CREATED)


_MACHINE: Final = Answer("The machine.", named("Machine"))
_FULL: Final = (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INSUFFICIENT_STORAGE)
_GONE: Final = (HTTPStatus.GONE,)
_STATE: Final = (HTTPStatus.CONFLICT, HTTPStatus.GONE)


def _action(name: str, summary: str, handler: Callable[[Call], Any], problems: tuple[HTTPStatus, ...] = _STATE) -> Operation:
    return Operation(f"{name}_machine", "POST", f"/v1/machines/{{machine}}/{name}", summary, handler, (_MACHINE,), problems)


def _document(name: str, summary: str, handler: Callable[[Call], Any], schema: Schema, *more: HTTPStatus) -> Operation:
    path = f"/v1/machines/{{machine}}/{name}"
    return Operation(f"show_{name}", "GET", path, summary, handler, (Answer(summary, schema),), (*_STATE, *more))


def _bytes(description: str, media_type: str) -> Answer:
    kind: Kind = Kind(lambda _value, _where: None, {"type": "string", "format": "binary"})
    return Answer(description, kind.schema, media_type)


OPERATIONS: Final = (
    Operation(
        "list_machines",
        "GET",
        "/v1/machines",
        "The machines, in the order in which they were made.",
        list_machines,
        (Answer("The machines.", list_of("machines", named("Machine"))),),
        (HTTPStatus.NOT_FOUND,),
        (
            Parameter("state", "Only those in this state.", {"type": "string", "enum": list(_STATES)}, one_of(*_STATES)),
            Parameter(
                "label",
                "Only those with this label, as `name` or `name=value`; may be given several times.",
                {"type": "array", "items": {"type": "string"}},
                many=True,
            ),
            Parameter("after", "Only those made after this one: its id or name.", {"type": "string"}),
            number_parameter("limit", "At most so many.", 1, _MOST_LISTED, _MOST_LISTED),
        ),
    ),
    Operation(
        "create_machine",
        "POST",
        "/v1/machines",
        "Makes a machine of its description, or of a snapshot.",
        create_machine,
        (
            Answer(
                "The machine.",
                named("Machine"),
                status=HTTPStatus.CREATED,
                headers={"Location": "Its path."},
            ),
        ),
        (HTTPStatus.NOT_FOUND, *_FULL),
        body=Body(LARGEST_BODY, NEW_MACHINE),
    ),
    Operation("show_machine", "GET", "/v1/machines/{machine}", "One machine.", show_machine, (_MACHINE,)),
    Operation(
        "delete_machine",
        "DELETE",
        "/v1/machines/{machine}",
        "Stops the machine, if it has not ended, and forgets it.",
        delete_machine,
        (Answer("It is gone.", status=HTTPStatus.NO_CONTENT),),
    ),
    _action("start", "Lets a machine that was created run.", start_machine, (*_STATE, HTTPStatus.TOO_MANY_REQUESTS)),
    _action("pause", "Its vCPUs and its time stand still.", pause_machine),
    _action("resume", "It goes on.", resume_machine, (*_STATE, HTTPStatus.TOO_MANY_REQUESTS)),
    _action("stop", "Ends the run; nothing happens if it has ended.", stop_machine, ()),
    Operation(
        "type_input",
        "POST",
        "/v1/machines/{machine}/input",
        "Types the bytes of the body on the machine's line, or its keyboard.",
        type_input,
        (Answer("They are typed.", status=HTTPStatus.NO_CONTENT),),
        (*_STATE, HTTPStatus.TOO_MANY_REQUESTS),
        body=Body(_MOST_INPUT),
    ),
    _document("report", "The figures of the run, so far or of all of it.", show_report, named("Report")),
    _document("timeline", "Every violation and load.", show_timeline, {"type": "object"}, HTTPStatus.UNPROCESSABLE_ENTITY),
    _document("pages", "Which pages of guest memory are there.", show_pages, named("Pages")),
    Operation(
        "show_page_cells",
        "GET",
        "/v1/machines/{machine}/pages/cells",
        "The same in cells of equal size, however large the memory is.",
        show_page_cells,
        (Answer("How many pages of each cell are there.", named("PageCells")),),
        (*_STATE, HTTPStatus.UNPROCESSABLE_ENTITY),
        (
            number_parameter("count", "At most so many cells.", 1, _MOST_CELLS, _DEFAULT_CELLS),
            Parameter("start", "The guest-physical address of the first one.", _ADDRESS, _address, 0),
            Parameter("end", "The address behind the last one.  [default: where RAM ends]", _ADDRESS, _address),
        ),
    ),
    _document(
        "registers",
        "The registers of every vCPU.",
        show_registers,
        list_of("vcpus", {"type": "object", "additionalProperties": {"type": "integer"}}),
    ),
    Operation(
        "show_screen",
        "GET",
        "/v1/machines/{machine}/screenshot",
        "What the guest shows.",
        show_screen,
        (_bytes("A picture.", "image/png"),),
        _STATE,
    ),
    Operation(
        "read_memory",
        "GET",
        "/v1/machines/{machine}/memory",
        "Bytes of guest memory; absent pages are loaded.",
        read_memory,
        (_bytes("The bytes.", BYTES),),
        (*_STATE, HTTPStatus.UNPROCESSABLE_ENTITY),
        (
            Parameter(
                "gpa",
                "The guest-physical address, in decimal or with 0x.",
                _ADDRESS,
                _address,
                required=True,
            ),
            number_parameter("length", "How many bytes.", 1, _MOST_MEMORY, 4096),
        ),
    ),
    Operation(
        "fork_machine",
        "POST",
        "/v1/machines/{machine}/fork",
        "Makes copies of the machine as it is now, which are paused.",
        fork_machine,
        (Answer("The copies.", list_of("machines", named("Machine")), status=HTTPStatus.CREATED),),
        (*_FULL, *_GONE),
        body=Body(1024, FORK, may_be_empty=True),
    ),
)
