"""What outlives a service of a run that is over: its report, pages and picture, and the end of what it has printed."""

import base64
import binascii
import json
from typing import Final

from kev import log
from kev.addressing import MIB
from kev.service.errors import ServiceError
from kev.service.machines.console import Console
from kev.service.machines.machine import Documents
from kev.service.machines.state_directory import MachineFiles, StateError, read_file, write_file
from kev.user_json import parse_user_json, record, text

MOST: Final = 4 * MIB
"""Bytes of the documents of one machine. Longer ones, as of long timelines, are not kept, so that all of them are bounded."""
_SHAPE: Final = record({"report": record({}), "pages": record({}), "screenshot": text})


def keep(files: MachineFiles, documents: Documents | None, console: Console) -> None:
    """Writes what there is. StateError, StorageFull."""
    write_file(files.console, console.read(console.start, console.end).data, lasting=False)
    if documents is None:
        return
    told = documents._replace(screenshot=base64.b64encode(documents.screenshot).decode())._asdict()  # type: ignore[arg-type]
    data = json.dumps(told, separators=(",", ":")).encode()
    if len(data) > MOST:
        log.info("documents are not kept", file=str(files.documents), size=len(data), most=MOST)
        return
    write_file(files.documents, data, lasting=False)


def kept_documents(files: MachineFiles) -> Documents | None:
    """None if they are not there as they were written."""
    try:
        told = parse_user_json(read_file(files.documents), files.documents.name, StateError, "what a service keeps", _SHAPE)
        return Documents(told["report"], told["pages"], base64.b64decode(told["screenshot"], validate=True))
    except (ServiceError, binascii.Error):
        return None


def kept_console(files: MachineFiles, most: int, end: int) -> Console:
    """What was printed last, of `end` bytes in all; nothing of it if it is not there."""
    try:
        data = read_file(files.console)[-most:]
    except ServiceError:
        data = b""
    return Console(most, max(end - len(data), 0), data)
