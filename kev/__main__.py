"""`kev` and `python -m kev`."""

import gc
import os
import sys

_EXIT_CODE_INTERRUPTED = 130


def main() -> None:
    """Runs the command line. A user's error is one line on stderr and exit code 2; Ctrl-C, whenever it comes, ends it with 130."""
    if sys.argv[1:] == ["--version"]:
        from kev.version import __version__

        sys.stdout.write(f"kev {__version__}\n")
        return
    if sys.stderr is None:
        # It is closed. What would be written there is dropped; no file that is opened later takes its place.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    # By default the collector would run 50 times while modules are imported, and find nothing.
    gc.set_threshold(100_000)
    try:
        if sys.argv[1:2] == ["run"] and "_KEV_COMPLETE" not in os.environ:
            from kev.cli.launch import main as run

            # The parser of command lines takes as long to import as half of the hypervisor: it is asked only when it is needed.
            exit_code = run(sys.argv[2:])
            if exit_code is not None:
                sys.exit(exit_code)
        from kev.cli.main import kev

        kev(prog_name="kev")
    except KeyboardInterrupt:
        sys.stderr.write("kev: interrupted\n")
        sys.exit(_EXIT_CODE_INTERRUPTED)


if __name__ == "__main__":
    main()
