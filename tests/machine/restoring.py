"""A process that machines go on in which others have saved: a line with a snapshot's name in, a line with how it ended out."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

import attrs
import trio

from kev.machine.api import opened, wanted_machine
from kev.machine.machine import Machine
from kev.machine.saved import save_registers
from kev.machine.snapshots import write_snapshot
from kev.machine.step import Ended, Stopped
from kev.pager.survey import Survey

COUNTED_APART = ("EptViolation", "PreemptionTimer")
"""Exits that say how pages came, and where the run was stopped."""


@attrs.define
class End:
    """All that can be told of a seeded run that is over, or of one that goes on."""

    ending: str
    output: bytes
    time: int
    instructions: int
    registers: str
    memory: dict[int, int]
    """A hash of every page that was ever loaded, by number."""
    exits: dict[str, int]

    def after(self, before: Self) -> Self:
        """The same of a run that went on from `before`: with what had been printed, and how often it had exited."""
        exits = {kind: count + before.exits[kind] for kind, count in self.exits.items()}
        return attrs.evolve(self, output=before.output + self.output, exits=exits)


async def _memory(machine: Machine) -> dict[int, int]:
    import zlib

    survey = Survey(machine.vm.pager)
    return {chunk * 512 + page.number: zlib.crc32(page.contents) for chunk in survey.chunks() for page in await survey.pages(chunk)}


def run(machine: Machine) -> None:
    """To its end, or to where it stops."""
    while not isinstance(machine.vm.step(machine.scheduler), Ended | Stopped):
        pass


def told(machine: Machine) -> End:
    vm = machine.vm
    return End(
        str(vm.ending),
        bytes(machine.output),
        vm.clock.now(),
        vm.instructions,
        repr([save_registers(vcpu.state) for vcpu in vm.vcpus]),
        trio.run(_memory, machine),
        {kind.__name__: count for kind, count in vm.exits.items() if kind.__name__ not in COUNTED_APART},
    )


@contextmanager
def held(image: str | Path, **wishes: Any) -> Iterator[Machine]:
    """A machine that is stepped from outside."""
    with opened(wanted_machine(image, wishes)) as machine:
        machine.keep_output()
        yield machine


@cache
def uninterrupted(guest: str) -> End:
    """How a guest with the seed 1 ends."""
    with held(guest, seed=1) as machine:
        run(machine)
        machine.note_end()
        return told(machine)


def save(machine: Machine, file: Path, *, parent: Path | None = None, compress: bool = False) -> None:
    """Writes a machine that is stepped from outside."""
    with trio.run(write_snapshot, machine, file, parent, compress) as writer:
        writer.commit()


class OtherProcess:
    """The process, from outside."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin = stdin
        self._stdout = stdout

    def end_of(self, snapshot: Path, **wishes: Any) -> End:
        """How a machine ends that goes on from a snapshot there."""
        self._stdin.write(json.dumps([str(snapshot), wishes]) + "\n")
        self._stdin.flush()
        fields = json.loads(self._stdout.readline())
        fields["output"] = bytes.fromhex(fields["output"])
        fields["memory"] = {int(page): contents for page, contents in fields["memory"].items()}
        return End(**fields)


@contextmanager
def other_process() -> Iterator[OtherProcess]:
    program = [sys.executable, "-c", "from tests.machine.restoring import serve; serve()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield OtherProcess(process.stdin, process.stdout)
        process.stdin.close()


def serve() -> None:
    for line in sys.stdin:
        image, wishes = json.loads(line)
        with held(image, **wishes) as machine:
            run(machine)
            machine.note_end()
            fields = attrs.asdict(told(machine))
        fields["output"] = fields["output"].hex()
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()
