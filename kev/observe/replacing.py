"""Files that a command would write in the place of one that it reads, or that it writes already."""

import os
from collections.abc import Iterable, Mapping

from kev.observe.output import OutputError, check_writable, is_standard_output
from kev.user_files import real_path


def check_all_writable(
    files: Mapping[str, str | os.PathLike[str] | None], read: Iterable[tuple[str, str | os.PathLike[str]]] = ()
) -> bool:
    """`check_writable` for each, by the option that names it, and `check_none_replaced`. Whether one is standard output.

    OutputError, also if two of them are standard output.
    """
    printed = [option for option, file in files.items() if is_standard_output(file)]
    if len(printed) > 1:
        raise OutputError(f"{printed[0]} and {printed[1]} cannot both be standard output: name a file")
    named = {option: file for option, file in files.items() if file is not None}
    for file in named.values():
        check_writable(file)
    check_none_replaced({option: file for option, file in named.items() if option not in printed}, read)
    return bool(printed)


def check_none_replaced(files: Mapping[str, str | os.PathLike[str]], read: Iterable[tuple[str, str | os.PathLike[str]]]) -> None:
    """`files` are what is written, by option; `read` is what else there is: what each is for the command, and its name.

    OutputError if one is written where another one is. A device or a FIFO is written to, and never replaced.
    """
    taken = {real_path(file): f"is {what}" for what, file in read}
    for option, file in files.items():
        path = real_path(file)
        if os.path.exists(path) and not os.path.isfile(path):
            continue
        if path in taken:
            raise OutputError(f"{option}: {os.fspath(file)}: {taken[path]}, and would be replaced")
        taken[path] = f"is what {option} writes"
