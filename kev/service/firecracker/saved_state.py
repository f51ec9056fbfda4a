"""A snapshot's two files: the memory file is a snapshot of kev with all there is, and the state file says which one and of what."""

import json
import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from attrs import asdict

from kev.observe.output import write_bytes
from kev.pager.kernel import trio_rendezvous
from kev.pager.source import FileSource
from kev.service.firecracker.bodies import Kind, each, parse_file, record, text, variant
from kev.service.firecracker.faults import Fault
from kev.service.firecracker.resources import DRIVE, MACHINE_CONFIG, Drive, MachineConfig
from kev.snapshot.reader import SnapshotFile
from kev.user_files import real_path

_VERSION: Final = "1"
_LARGEST: Final = 1 << 20
"""Bytes of a state file."""


class SavedState(NamedTuple):
    """What is in a state file."""

    memory: str
    """The id of the snapshot that is the memory file, in hexadecimal digits."""
    machine_config: MachineConfig
    drives: tuple[Drive, ...]


class SnapshotFiles:
    """The two files of a snapshot."""

    def __init__(self, state: str, memory: str) -> None:
        """Fault if they are one."""
        self.state: Final = os.path.abspath(state)
        self.memory: Final = os.path.abspath(memory)
        if real_path(state) == real_path(memory):
            raise Fault(f"{state}: it cannot be both snapshot_path and mem_file_path")

    def write_state(self, machine_config: MachineConfig, drives: Sequence[Drive]) -> None:
        """Beside the memory file, which is there. KevError if it cannot be written."""
        fields = {
            "kev": _VERSION,
            "memory": self._id(),
            "machine_config": asdict(machine_config),
            "drives": [asdict(drive) for drive in drives],
        }
        write_bytes(self.state, json.dumps(fields).encode() + b"\n")

    def read_state(self) -> SavedState:
        """KevError if one of the files is missing or none of kev's, or if they do not belong together."""
        state: SavedState = parse_file(self.state, _LARGEST, _STATE)
        if state.memory != self._id():
            raise Fault(f"Failed to load guest memory: {self.memory} is not what {self.state} goes with")
        return state

    def _id(self) -> str:
        with FileSource(self.memory) as source:
            return SnapshotFile(source, trio_rendezvous).header.id.hex()


def _state(kev: str, memory: str, machine_config: dict[str, Any], drives: list[dict[str, Any]]) -> SavedState:
    return SavedState(memory, MachineConfig(**machine_config), tuple(Drive(**drive) for drive in drives))


_STATE: Final[Kind] = record(
    "SavedState",
    {"kev": variant(_VERSION), "memory": text, "machine_config": MACHINE_CONFIG, "drives": each(DRIVE)},
    make=_state,
)
