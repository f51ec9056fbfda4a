"""A description as plain data, as JSON and as TOML."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from kev.spec.errors import SpecError
from kev.spec.files import DISK_ACCESSES, DiskFile, ModuleFile
from kev.spec.sizes import size_text
from kev.user_json import parse_user_json, record

_BARE_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


def to_data(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields of a description say: texts, numbers, and lists of dicts for files. Sizes are written with their units."""
    data = dict(fields)
    for name in ("memory", "max_output"):
        if name in data:
            data[name] = size_text(data[name])
    for name in ("modules", "disks"):
        if name in data:
            data[name] = [_file_data(file) for file in data[name]]
    return data


def _file_data(file: ModuleFile | DiskFile) -> dict[str, str]:
    """What is said of a disk's writes is left out where they are as they always were."""
    data: dict[str, str] = file._asdict()
    if data.get("access") == DISK_ACCESSES[0]:
        del data["access"]
    if not data.get("overlay", "overlay"):
        del data["overlay"]
    return data


def to_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(to_data(fields))


def from_json(text: str | bytes, name: str) -> dict[str, Any]:
    """The names and values in `text`. SpecError, naming `name`, if there are none."""
    data: dict[str, Any] = parse_user_json(text, name, SpecError, "the description of a machine", record({}), typed=True)
    return data


def to_toml(fields: Mapping[str, Any]) -> str:
    lines = "".join(f"{key} = {_toml_value(value)}\n" for key, value in to_data(fields).items())
    try:
        lines.encode()
    except UnicodeEncodeError as error:
        raise SpecError(f"TOML is Unicode: {lines[error.start :].partition(chr(10))[0]!r} cannot be written") from None
    return lines


def from_toml(text: str, name: str) -> dict[str, Any]:
    """The names and values in `text`. SpecError, naming `name`, if there are none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{name}: is not TOML: {error}") from None


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _toml_text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml_value(item)}' for key, item in value.items())} }}"
    return repr(value)


def _toml_text(text: str) -> str:
    return f'"{"".join(map(_toml_character, text))}"'


def _toml_character(character: str) -> str:
    if character in _BARE_ESCAPES:
        return _BARE_ESCAPES[character]
    return character if character >= " " and character != "\x7f" else f"\\u{ord(character):04x}"
