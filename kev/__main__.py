"""`kev` and `python -m kev`."""

import gc
import io
import os
import sys

# By default the collector would run 60 times while modules are imported, and find nothing.
gc.set_threshold(100_000)

from kev.cli.interrupts import Interrupts, conclude, interrupt_behind  # noqa: E402

_EXIT_CODE_MISTAKE = 2
_STANDARD_DESCRIPTORS = 3
_STANDARD_OUTPUT = 1
_STANDARD_ERROR = 2


class _StandardError(io.TextIOWrapper):
    """What cannot be written to it is dropped: there is nowhere to say so, and the exit code says the rest."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BlockingIOError:
            raise
        except OSError:
            return len(text)


def main() -> None:
    """Runs the command line. A user's error is one line on stderr and exit code 2.

    Ctrl-C, SIGTERM and SIGHUP, whenever they come, end it with the exit code that a shell has for them, when all that is
    half-written is gone.
    """
    interrupts = Interrupts()
    try:
        interrupts.begin()
        _prepare()
        _run(sys.argv[1:])
    except KeyboardInterrupt as interrupt:
        sys.exit(conclude(interrupt))
    except (Exception, BaseExceptionGroup) as error:
        behind = interrupt_behind(error)
        if behind is None:
            raise
        sys.exit(conclude(behind))
    finally:
        interrupts.end()
        # Else the collector would look through all that there is before the process ends, for longer than some guests run.
        gc.freeze()


def _prepare() -> None:
    _keep_standard_descriptors()
    _let_standard_error_fail()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As standard error has it: names of files need not be Unicode, and a terminal need not know every character.
        sys.stdout.reconfigure(errors="backslashreplace")
    if not (os.get_blocking(_STANDARD_OUTPUT) and os.get_blocking(_STANDARD_ERROR)):
        from kev.cli.standard_output import wait_for_readers

        wait_for_readers()


def _run(words: list[str]) -> None:
    if words == ["--version"]:
        from kev.version import __version__

        _print(f"kev {__version__}\n")
        return
    if words[:1] == ["run"] and "_KEV_COMPLETE" not in os.environ:
        from kev.bytecode import KeptBytecode

        kept = KeptBytecode.of_kev()
        sys.meta_path.insert(0, kept)
        kept.import_together("kev.cli.launch")
        from kev.cli.launch import main as run

        # The parser of command lines takes as long to import as half of the hypervisor: it is asked only when it is needed.
        exit_code = run(words[1:], kept.import_together)
        kept.update()
        if exit_code is not None:
            sys.exit(exit_code)
    from kev.cli.main import kev

    kev(prog_name="kev")


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _give_up()
        sys.stderr.write(f"kev: standard output cannot be written: {error.strerror}\n")
        sys.exit(_EXIT_CODE_MISTAKE)


def _keep_standard_descriptors() -> None:
    """No file that is opened later takes the place of one that is closed. What would be written to stderr is dropped."""
    descriptor = 0
    while descriptor < _STANDARD_DESCRIPTORS:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        from kev.cli.standard_output import ClosedOutput

        sys.stdout = ClosedOutput()


def _let_standard_error_fail() -> None:
    stream = sys.stderr
    try:
        # No buffer: of a line that a signal comes behind, it would not know that it was written, and write it again.
        raw = io.FileIO(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):
        return
    sys.stderr = _StandardError(raw, stream.encoding, stream.errors, write_through=True)


def _give_up() -> None:
    """Whoever does not read standard output is not waited for."""
    from kev.cli.standard_output import give_up_standard_output

    give_up_standard_output()


if __name__ == "__main__":
    main()
