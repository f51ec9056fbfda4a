"""The files that a run writes, beside those that it is made from."""

import os
from collections.abc import Iterator, Mapping
from typing import Final

from kev.observe.output import check_writable, is_standard_output, write_text
from kev.observe.replacing import check_all_writable, check_none_replaced
from kev.pager.record import Record
from kev.spec.machine_spec import MachineSpec
from kev.user_files import real_path

_REGULAR: Final = {"--dump": "a core file", "--snapshot-at": "a snapshot"}
"""Outputs that are not written from their beginning to their end."""


def check_files(spec: MachineSpec, description: str | None, outputs: Mapping[str, str]) -> None:
    """`outputs` are the files that are written at the end of a run, by option; the machine may come from a `description`.

    OutputError if one cannot be written, or would take the place of another, or of one that the run is made from.
    """
    check_all_writable({switch: file for switch, file in outputs.items() if switch not in _REGULAR})
    for switch, file in outputs.items():
        if switch in _REGULAR:
            check_writable(file, _REGULAR[switch])
    replacing = {switch: file for switch, file in outputs.items() if switch in _REGULAR or not is_standard_output(file)}
    snapshot = outputs.get("--snapshot-at")
    if spec.image and snapshot is not None and real_path(snapshot) == real_path(spec.image):
        del replacing["--snapshot-at"]  # the old file, from which the run goes on, stays open
    check_none_replaced(replacing, inputs_of(spec, description))


def inputs_of(spec: MachineSpec, description: str | None) -> Iterator[tuple[str, str]]:
    """The files that a machine is made from: what each is, and its name. One of them may be that of its `description`."""
    if description is not None:
        yield "the description of the run", description
    if spec.image and os.path.isfile(spec.image):  # and no guest's name
        yield "the image of the run", spec.image
    for disk in spec.disks or ():
        yield "a disk of the run", disk.path
        if disk.overlay:
            yield "the overlay of a disk of the run", disk.overlay
    for module in spec.modules or ():
        yield "a module of the run", module.path
    for what, file in (("the firmware", spec.firmware), ("the boot sector", spec.boot_sector)):
        if file:
            yield f"{what} of the run", file
    kind, _, file = (spec.paging or "").partition("=")
    if kind == "prefetch":
        yield "the working set of the run", file


class Recording:
    """The working set of `--paging record=FILE`. If it cannot be written, that does not hide how the run has ended."""

    def __init__(self, file: str) -> None:
        self.policy: Final = Record()
        self._file: Final = file

    def write(self) -> None:
        """OutputError."""
        write_text(self._file, self.policy.working_set.to_json())
