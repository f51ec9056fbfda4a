"""The description of a machine in a request: `kev.spec.fields` as a JSON schema, and read field by field."""

from collections.abc import Callable
from typing import Any, Final

from kev.abi.selection import ABIS
from kev.boot.protocols import PROTOCOLS
from kev.service.api.kinds import Kind, Schema, nullable
from kev.service.errors import Invalid
from kev.spec import values
from kev.spec.errors import SpecError
from kev.spec.fields import FIELDS, field_named, names
from kev.spec.files import DISK_ACCESSES, DISK_DEVICES
from kev.spec.machine_spec import MachineSpec
from kev.user_json import Mismatch

LARGEST_BODY: Final = 256 << 10
"""Bytes of a request that describes a machine."""
SPEC_TEXT: Final = "The machine's description: every field that `kev run` has an option for, and `image`."
_DIGITS: Final = {"type": "string", "pattern": "^-?[0-9]{1,900}$"}
_SIZE_TEXT: Final = {"type": "string", "pattern": "^[1-9][0-9]{0,11}([KMGTkmgt]i?)?[Bb]?$"}
_FILE: Final[Schema] = {"type": "string", "minLength": 1, "description": "The name of a file of the host."}


def _file_object(**more: Schema) -> Schema:
    properties = {"path": _FILE, **more}
    return {"type": "object", "properties": properties, "required": ["path"], "additionalProperties": False}


def _list_of(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item}]}


def _number_of(low: int, high: int) -> Schema:
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, _DIGITS]}


_MODULE: Final = _list_of({"anyOf": [_FILE, _file_object(text={"type": "string"})]})
_DISK_WORDS: Final = {"device": list(DISK_DEVICES), "access": list(DISK_ACCESSES)}
_DISK: Final = _list_of(
    {
        "anyOf": [
            _FILE,
            _file_object(overlay=_FILE, **{name: {"type": "string", "enum": words} for name, words in _DISK_WORDS.items()}),
        ]
    }
)
_SCHEMAS: Final[dict[Callable[[str, Any], Any], Schema]] = {
    values.memory: {
        "anyOf": [
            {"type": "integer", "minimum": values.LEAST_MEMORY, "maximum": values.MOST_MEMORY, "multipleOf": 4096},
            _SIZE_TEXT,
        ]
    },
    values.vcpus: _number_of(1, values.MAX_VCPUS),
    values.boot: {"type": "string", "enum": list(PROTOCOLS)},
    values.abi: {"type": "string", "enum": list(ABIS)},
    values.syscall: {"type": "string", "enum": list(values.SYSCALLS)},
    values.text: {"type": "string"},
    values.modules: _MODULE,
    values.disks: _DISK,
    values.path: _FILE,
    values.paging: {"type": "string", "pattern": "^(lazy|eager|around=[0-9]{1,9}|(record|prefetch)=.+)$"},
    values.source_latency: {"type": "string"},
    values.integer: {"anyOf": [{"type": "integer"}, _DIGITS]},
    values.positive: _number_of(1, 1 << 48),
    values.seconds: {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]},
    values.size: {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1 << 48}, _SIZE_TEXT]},
    values.boolean: {"type": "boolean"},
}
"""By the function that checks a field."""


def spec_kind() -> Kind:
    """The description of a machine, by any names of its fields."""
    return Kind(_check, _schema())


def described_machine(value: dict[str, Any], where: str = "spec") -> MachineSpec:
    """Invalid, naming the field, if a value cannot be."""
    for name, item in value.items():
        try:
            MachineSpec.of({name: item}, lambda name: f"{where}.{name}")
        except SpecError as error:
            raise Invalid(str(error), field=f"{where}.{name}", value=item) from error
    try:
        return MachineSpec.of(value, lambda name: f"{where}.{name}")
    except SpecError as error:  # a field that is given twice, by two of its names
        raise Invalid(str(error), field=where) from error


def _check(value: Any, where: str) -> None:
    if type(value) is not dict:
        raise Mismatch.of(where, value, "an object")
    described_machine(value, where)


def _schema() -> Schema:
    properties: dict[str, Schema] = {
        "image": nullable({**_FILE, "description": "A file, the name of a guest, or a URL; what is launched."})
    }
    for name in names():
        field = field_named(name)
        if field is not None:
            summary = field.help if name == field.name else f"`{field.name}` by another name."
            properties[name] = {**nullable(_SCHEMAS[field.convert]), "description": summary}
    assert len(FIELDS) < len(properties)
    return {"type": "object", "properties": properties, "additionalProperties": False}
