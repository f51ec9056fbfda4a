"""The files that a run writes, beside those that it is made from."""

import os
from collections.abc import Iterator, Mapping
from typing import Final

from kev.observe.output import check_all_writable, check_writable, is_standard_output, write_text
from kev.pager.record import Record
from kev.spec.errors import SpecError
from kev.spec.machine_spec import MachineSpec

_REGULAR: Final = {"--dump": "a core file", "--snapshot-at": "a snapshot"}
"""Outputs that are not written from their beginning to their end."""


def check_files(spec: MachineSpec, outputs: Mapping[str, str]) -> None:
    """`outputs` are the files that are written at the end of a run, by option.

    OutputError if one cannot be written; SpecError if it would take the place of another, or of one that the run is made from.
    """
    taken = {os.path.realpath(file): f"is {what} of the run" for what, file in _inputs(spec)}
    image = os.path.realpath(spec.image or "")
    check_all_writable({switch: file for switch, file in outputs.items() if switch not in _REGULAR})
    for switch, file in outputs.items():
        if is_standard_output(file) and switch not in _REGULAR:
            continue
        check_writable(file, _REGULAR.get(switch))
        path = os.path.realpath(file)
        if os.path.exists(path) and not os.path.isfile(path):
            continue  # is written to, and not replaced
        # What goes on from a snapshot may be saved in its place: the old file stays open.
        if path in taken and not (switch == "--snapshot-at" and path == image):
            raise SpecError(f"{switch}: {file}: {taken[path]}, and would be replaced")
        taken[path] = f"is what {switch} writes"


def _inputs(spec: MachineSpec) -> Iterator[tuple[str, str]]:
    """What each is, and its name."""
    if spec.image and os.path.isfile(spec.image):  # and no guest's name
        yield "the image", spec.image
    for disk in spec.disks or ():
        yield "a disk", disk.path
        if disk.overlay:
            yield "the overlay of a disk", disk.overlay
    for module in spec.modules or ():
        yield "a module", module.path
    for what, file in (("the firmware", spec.firmware), ("the boot sector", spec.boot_sector)):
        if file:
            yield what, file
    kind, _, file = (spec.paging or "").partition("=")
    if kind == "prefetch":
        yield "the working set", file


class Recording:
    """The working set of `--paging record=FILE`. If it cannot be written, that does not hide how the run has ended."""

    def __init__(self, file: str) -> None:
        self.policy: Final = Record()
        self._file: Final = file

    def write(self) -> None:
        """OutputError."""
        write_text(self._file, self.policy.working_set.to_json())
