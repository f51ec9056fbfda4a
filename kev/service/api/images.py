"""The operation that says what can be launched by name."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import trio
from starlette.responses import Response

from kev.addressing import MIB
from kev.guests.catalogue import guests
from kev.service.api.call import Call
from kev.service.api.kinds import answer, nullable
from kev.service.api.operation import Answer, Operation, json_response
from kev.service.api.schemas import list_of

_MOST_FILES: Final = 1000


async def list_images(call: Call) -> Response:
    return json_response({"images": await trio.to_thread.run_sync(_images, call.service.registry.files.folders)})


def _images(folders: Sequence[str]) -> list[dict[str, Any]]:
    described = [
        {"name": guest.name, "description": guest.description, "memory": guest.memory_mib * MIB, "vcpus": guest.smp}
        for guest in guests()
    ]
    files = sorted(set(islice(_names(folders), _MOST_FILES)))
    return [*described, *({"name": name, "description": "", "memory": None, "vcpus": None} for name in files)]


def _names(folders: Sequence[str]) -> Iterator[str]:
    """Of the files in the folders themselves. A folder that cannot be read has none."""
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                yield from (entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
        except OSError:
            continue


_IMAGE: Final = answer(
    name={"type": "string"},
    description={"type": "string", "description": "What a guest does; empty for a file."},
    memory={**nullable({"type": "integer"}), "description": "Bytes of RAM that a guest asks for; null for a file."},
    vcpus=nullable({"type": "integer"}),
)
OPERATIONS: Final = (
    Operation(
        "list_images",
        "GET",
        "/v1/images",
        "What a machine's `image` can name: the guests of kev, and files in the folders of images.",
        list_images,
        (Answer("The images.", list_of("images", _IMAGE)),),
        tag="service",
    ),
)
