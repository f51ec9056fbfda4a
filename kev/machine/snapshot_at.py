"""A snapshot where a run comes to a condition: the run goes on behind it."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from kev.errors import KevError
from kev.machine.at_once import finished
from kev.machine.conditions import Condition, ConditionError, KeyPressed, condition
from kev.machine.snapshots import spec_to_save, write_snapshot
from kev.observe.output import check_writable
from kev.snapshot.errors import SnapshotError

if TYPE_CHECKING:
    from kev.machine.machine import Machine


class SnapshotAt:
    """Writes a snapshot of one machine when a condition is met: once, or for the condition `key` as often as that is."""

    def __init__(self, text: str, file: str | os.PathLike[str]) -> None:
        """`text` is one of `kev.machine.conditions.FORMS`. ConditionError; OutputError if `file` cannot be written."""
        self._condition: Final[Condition] = condition(text)
        self._file: Final = os.fspath(file)
        self._written = 0
        self._failure: KevError | None = None
        check_writable(file, "a snapshot")

    def arm(self, machine: "Machine") -> None:
        """To be called once, before the run.

        ConditionError if the machine can never meet the condition, SnapshotError if it cannot be saved.
        """
        spec_to_save(machine, self._file)
        disarm = self._condition.arm(machine)
        stays = isinstance(self._condition, KeyPressed)

        def write() -> None:
            if not stays:
                forget()
                disarm()
            if machine.vm.pager.waits:
                machine.stand_still(partial(self._write_and_wait, machine))
            else:
                self._write_at_once(machine)

        forget: Callable[[], None] = machine.stopped.subscribe(write)

    def _write_at_once(self, machine: "Machine") -> None:
        """Where no source waits."""
        try:
            with finished(write_snapshot(machine, self._file, None, False)) as writer:
                writer.commit()
            self._written += 1
        except KevError as error:
            self._failure = error

    async def _write_and_wait(self, machine: "Machine") -> None:
        before, self._failure = self._failure, SnapshotError(f"{self._file}: the run has ended while the snapshot was written")
        try:
            await machine.snapshot(self._file)
            self._written += 1
            self._failure = before
        except KevError as error:
            self._failure = error

    @property
    def problem(self) -> KevError | None:
        """When the run is over: why there is no snapshot. A key need not have been pressed."""
        if self._failure is None and not self._written and not isinstance(self._condition, KeyPressed):
            return ConditionError(f"{self._file}: there is no snapshot: the run has ended before {self._condition}")
        return self._failure
