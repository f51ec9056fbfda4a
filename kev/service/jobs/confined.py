"""The process of a job: it is confined, and then does what a command line of kev says.

`python -m kev.service.jobs.confined RULES WORD...`, where RULES is JSON that `Rules.text` has made. Standard input is a pipe that
the service holds: when that is closed, however it comes, the system kills all processes of the job (fcntl(2), F_SETSIG).
"""

import fcntl
import json
import os
import resource
import runpy
import signal
import sys
from typing import Final, NamedTuple

from kev.addressing import GIB
from kev.service.workers.confinement import describe
from kev.service.workers.confinement.limits import limit

_OPEN_FILES: Final = 4096
_LARGEST_FILE: Final = GIB
_SET_SIGNAL: Final = 10
_ASYNCHRONOUS: Final = 0o20000
_KEPT_FROM: Final = 100
"""The least descriptor that standard input is kept as: no process of the job closes that one."""


class Rules(NamedTuple):
    """What a job may beside what every machine may: `kev.service.workers.confinement`."""

    reads: tuple[str, ...]
    """Files, and folders with all that is in them."""
    writes: tuple[str, ...]
    """Folders, in which it may make and remove what it likes."""
    network: bool
    """It reads an image behind a URL: what that takes, nobody knows."""

    def text(self) -> str:
        return json.dumps(self)


def main() -> None:
    rules = Rules(*json.loads(sys.argv[1]))
    _end_with_service()
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  for as long as the process is there
    _limit()
    confine(rules)
    sys.argv[:] = ["kev", *sys.argv[2:]]
    runpy.run_module("kev", run_name="__main__", alter_sys=True)


def _end_with_service() -> None:
    """On Linux only. Elsewhere, jobs of a service that is killed go on."""
    if sys.platform == "linux":
        pipe = fcntl.fcntl(0, fcntl.F_DUPFD, _KEPT_FROM)
        fcntl.fcntl(pipe, _SET_SIGNAL, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | _ASYNCHRONOUS)


def _limit() -> None:
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    limit(resource.RLIMIT_FSIZE, _LARGEST_FILE)


def confine(rules: Rules) -> None:
    """This process and all that it starts: what of it the host offers. OSError if the kernel refuses."""
    in_force = {measure.name for measure in describe() if measure.in_force}
    if "landlock" in in_force:
        from kev.service.workers.confinement import landlock

        program = landlock.READ | landlock.EXECUTE
        landlock.restrict(
            {
                # Where modules are looked for, as a folder that kev is in and that nobody has installed it into.
                **dict.fromkeys(filter(os.path.isdir, sys.path), landlock.READ_FOLDER),
                **dict.fromkeys(landlock.libraries(), program),
                os.path.realpath(sys.executable): program,
                "/proc": landlock.READ,
                os.devnull: landlock.READ_WRITE,
                **dict.fromkeys(rules.reads, landlock.READ),
                **dict.fromkeys(rules.writes, landlock.ALL_OF_FOLDER),
                **({"/": landlock.READ} if rules.network else {}),
            },
            network=rules.network,
        )
    if "seccomp" in in_force:
        from kev.service.workers.confinement import seccomp

        seccomp.restrict(network=rules.network, processes=True)
    if "capabilities" in in_force:
        from kev.service.workers.confinement import capabilities

        capabilities.give_away()


if __name__ == "__main__":
    main()
