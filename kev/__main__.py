"""`kev` and `python -m kev`."""

import gc
import sys

_EXIT_CODE_INTERRUPTED = 130


def main() -> None:
    """Runs the command line. A user's error is one line on stderr and exit code 2; Ctrl-C, whenever it comes, ends it with 130."""
    if sys.argv[1:] == ["--version"]:
        from kev.version import __version__

        sys.stdout.write(f"kev {__version__}\n")
        return
    # By default the collector would run 50 times while modules are imported, and find nothing.
    gc.set_threshold(100_000)
    try:
        from kev.cli.main import kev

        kev(prog_name="kev")
    except KeyboardInterrupt:
        sys.stderr.write("kev: interrupted\n")
        sys.exit(_EXIT_CODE_INTERRUPTED)


if __name__ == "__main__":
    main()
