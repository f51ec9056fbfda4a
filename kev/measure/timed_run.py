"""One run of a machine with a clock at each exit, as a process: it reads what to run, as JSON, and prints what that took.

Of an exit, only the time is noted that this project's answer takes, not that of the way there and back. RDTSC and others that are
answered without Python (`kev.engine.base.Engine.take_shortcuts`) take none. The machine runs as in `kev run`, but for the command
line; what only the measurement needs is not counted.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from kev.exits import Exit, Hlt, PreemptionTimer, TripleFault
from kev.machine.api import launch
from kev.machine.ending import Ending
from kev.machine.machine import Machine
from kev.spec.machine_spec import MachineSpec

_ANSWERED_BY_THE_STEP: Final = {Hlt, PreemptionTimer, TripleFault}


class _TimedRun:
    """Seconds of this process on processors: of all, before the first instruction, and by kind of exit."""

    def __init__(self, texts: list[str], answers: list[str], uncounted: float) -> None:
        """Runs until all of `texts` have been printed, one behind the other; each of `answers` is typed behind one of them."""
        self._texts = [text.encode() for text in texts]
        self._answers = [answer.encode() for answer in answers]
        self._uncounted = uncounted
        self._printed = b""
        self._machine: Machine | None = None
        self._reading, self._typing = os.pipe()
        self.all = self.before = 0.0
        self.exits: dict[str, float] = {}

    def run(self, spec: MachineSpec, timeout: float) -> dict[str, int]:
        """How many exits of each kind there were."""
        spec = spec.replace(timeout=timeout)
        return dict(launch(spec, output=self._print, at_start=self._begin, input_descriptor=self._reading).exits)

    def _begin(self, machine: Machine) -> None:
        self._machine = machine
        self.exits = _time_exits(machine)
        self.before = self._now()

    def _print(self, data: bytes) -> None:
        self._printed += data
        while self._texts and self._texts[0] in self._printed:
            text = self._texts.pop(0)
            self._printed = self._printed[self._printed.index(text) + len(text) :]
            if self._answers:
                os.write(self._typing, self._answers.pop(0))
        if not self._texts and not self.all:
            self.all = self._now()
            assert self._machine is not None
            self._machine.end_soon(Ending.stopped())

    def _now(self) -> float:
        return time.process_time() - self._uncounted


def main() -> None:
    began = time.process_time()
    import json

    wanted = json.load(sys.stdin)
    spec = MachineSpec.from_json(json.dumps(wanted["spec"]))
    prompts, answers = ([pair[index] for pair in wanted["answers"]] for index in (0, 1))
    run = _TimedRun([*prompts, wanted["until"]], answers, time.process_time() - began)
    counts = run.run(spec, wanted["timeout"])
    if not run.all:
        sys.exit(f"{wanted['until']!r} did not come")
    json.dump({"all": run.all, "before": run.before, "exits": run.exits, "counts": counts}, sys.stdout)


def _time_exits(machine: Machine) -> dict[str, float]:
    spent: dict[str, float] = {}
    for kind in set(machine.vm.exits) - _ANSWERED_BY_THE_STEP:
        machine.vm.handle(kind, _timed(machine.vm.controller(kind), kind.__name__, spent))
    return spent


def _timed(controller: Callable[[Any, Any], Any], kind: str, spent: dict[str, float]) -> Callable[[Any, Any], Any]:
    spent[kind] = 0.0
    clock = time.thread_time

    def timed(vcpu: Any, exit: Exit) -> Any:
        began = clock()
        try:
            return controller(vcpu, exit)
        finally:
            spent[kind] += clock() - began

    return timed


if __name__ == "__main__":
    main()
