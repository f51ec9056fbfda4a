"""The schemas of what is answered with."""

from typing import Any, Final

from kev.machine.ending import EndingKind
from kev.service.api.kinds import Schema, answer, nullable

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_OBJECT: Final[Schema] = {"type": "object"}

_ENDING: Final = nullable(
    answer(
        kind={"type": "string", "enum": [kind.value for kind in EndingKind]},
        exit_code=_NUMBER,
        message=_TEXT,
    )
)
MACHINE: Final = answer(
    id=_TEXT,
    name=_TEXT,
    state={"type": "string", "enum": ["created", "running", "paused", "ended", "lost"]},
    spec={**_OBJECT, "description": "The description of the machine, as it was asked for."},
    labels={"type": "object", "additionalProperties": _TEXT},
    on_shutdown={"type": "string", "enum": ["snapshot", "stop"]},
    created=_TIME,
    started=nullable(_TIME),
    ended=nullable(_TIME),
    ending=_ENDING,
    message={**_TEXT, "description": "Why the machine is lost."},
    console={**answer(start=_NUMBER, end=_NUMBER), "description": "The offsets of the output that is kept."},
    process={**nullable(_NUMBER), "description": "The process that the machine lives in."},
    pages_loaded=_NUMBER,
    violations=_NUMBER,
)
_OUTPUT: Final[dict[str, Schema]] = {
    "output": {**_TEXT, "description": "The end of what the guest has printed, as UTF-8; what is none is U+FFFD."},
    "output_start": {**_NUMBER, "description": "How many bytes were printed before that and are not kept."},
}
ONE_OF_MANY: Final = answer(
    ending=_ENDING,
    message={**_TEXT, "description": "Why there is no ending: the machine could not be made, or is lost."},
    report=nullable({"$ref": "#/components/schemas/Report"}),
    **_OUTPUT,
)
RUN: Final = answer(
    machine={"$ref": "#/components/schemas/Machine"},
    report={**nullable({"$ref": "#/components/schemas/Report"}), "description": "Null if the machine is lost."},
    **_OUTPUT,
)
SNAPSHOT: Final = answer(
    name=_TEXT,
    machine={**_TEXT, "description": "The id of the machine that was saved."},
    machine_name=_TEXT,
    created=_TIME,
    size={**_NUMBER, "description": "Bytes."},
    spec=_OBJECT,
)
JOB: Final = answer(
    id=_TEXT,
    kind={"type": "string", "enum": ["race", "bench"]},
    state={"type": "string", "enum": ["waiting", "running", "done", "failed", "cancelled"]},
    request=_OBJECT,
    created=_TIME,
    ended=nullable(_TIME),
    progress=_TEXT,
    result={"description": "What the command prints as JSON; null until it is done."},
    message={**_TEXT, "description": "Why it failed."},
)
REPORT: Final = answer(
    exit_code={"type": "integer"},
    ending=_OBJECT,
    image=_TEXT,
    pages_loaded=_NUMBER,
    violations=_NUMBER,
    exits=_OBJECT,
)
PAGES: Final = answer(
    page_size=_NUMBER,
    regions={},
    present={"type": "array", "items": {"type": "array", "items": _NUMBER}},
    loading={"type": "array", "items": {"type": "array", "items": _NUMBER}},
)
PAGE_CELLS: Final = answer(
    page_size={**_NUMBER, "description": "Bytes."},
    regions={},
    start=_NUMBER,
    end=_NUMBER,
    cell_pages={**_NUMBER, "description": "Pages of each cell, a power of two; the last one may have fewer."},
    present={"type": "array", "items": _NUMBER, "description": "For each cell, how many of its pages are there."},
    loading={"type": "array", "items": _NUMBER},
    present_pages={**_NUMBER, "description": "Of all memory."},
)


def list_of(name: str, schema: Schema) -> Schema:
    """An object with one member, a list."""
    return answer(**{name: {"type": "array", "items": schema}})


COMPONENTS: Final[dict[str, Any]] = {
    "Machine": MACHINE,
    "Run": RUN,
    "OneOfMany": ONE_OF_MANY,
    "Snapshot": SNAPSHOT,
    "Job": JOB,
    "Report": REPORT,
    "Pages": PAGES,
    "PageCells": PAGE_CELLS,
}


def named(component: str) -> Schema:
    """A reference to one of `COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{component}"}
