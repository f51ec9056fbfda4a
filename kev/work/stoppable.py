"""Jobs that a shell can stop while they start other programs."""

import subprocess


def start_stoppably() -> None:
    """Lets this process start others by fork instead of vfork from now on (`subprocess` has no other way to ask for that).

    SIGTSTP between vfork and exec stops the child alone: this process waits for it, and the shell for this process.
    """
    vars(subprocess)["_USE_VFORK"] = False
