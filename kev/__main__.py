"""`kev` and `python -m kev`."""

import gc
import sys


def main() -> None:
    """Runs the command line. A user's error is one line on stderr and exit code 2."""
    if sys.argv[1:] == ["--version"]:
        from kev.version import __version__

        sys.stdout.write(f"kev {__version__}\n")
        return
    # By default the collector would run 50 times while modules are imported, and find nothing.
    gc.set_threshold(100_000)
    from kev.cli.main import kev

    kev(prog_name="kev")


if __name__ == "__main__":
    main()
