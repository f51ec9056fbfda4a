"""One run of a machine with a clock at each exit, as a process: it reads what to run, as JSON, and prints what that took.

Of an exit, only the time is noted that this project's answer takes, not that of the way there and back. RDTSC and others that are
answered without Python (`kev.engine.base.Engine.take_shortcuts`) take none.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from kev.exits import Exit, Hlt, PreemptionTimer, TripleFault
from kev.machine.machine import Machine
from kev.machine.start import start
from kev.measure.dialogue import Dialogue
from kev.spec.machine_spec import MachineSpec

_ANSWERED_BY_THE_STEP: Final = {Hlt, PreemptionTimer, TripleFault}
_ANYTHING: Final = re.compile(b".", re.DOTALL)


def main() -> None:
    import trio

    wanted = json.load(sys.stdin)
    spec = MachineSpec.from_json(json.dumps(wanted["spec"]))
    dialogue = Dialogue(wanted["until"], tuple(map(tuple, wanted["answers"])), wanted["timeout"])
    json.dump(trio.run(_run, spec, dialogue), sys.stdout)


async def _run(spec: MachineSpec, dialogue: Dialogue) -> dict[str, Any]:
    """Seconds of this process on processors: of all, before the first instruction, and by kind of exit; and how many exits."""
    async with start(spec, paused=True) as machine:
        exits = _time_exits(machine)
        began = time.process_time()
        await machine.resume()
        for prompt, answer in dialogue.answers:
            await machine.expect(prompt, dialogue.timeout)
            machine.send(answer)
        await machine.expect(dialogue.until or _ANYTHING, dialogue.timeout)
        report = machine.report()
        return {"all": time.process_time(), "before": began, "exits": exits, "counts": report.exits}


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
