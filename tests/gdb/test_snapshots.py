"""Debugging what goes on from a snapshot."""

from pathlib import Path

from kev.cli.launch import main
from tests.gdb.debugging import NEEDS_GDB, debug, guest_file


@NEEDS_GDB
def test_a_machine_that_goes_on_from_a_snapshot_goes_back_as_well(folder: Path) -> None:
    main(["lost-update", "--smp", "2", "--seed", "3", "--snapshot-at", "symbol:main", str(folder / "snapshot")])
    symbols = guest_file("lost-update", folder)
    commands = ("print $pc == main", "stepi 40", "print $pc == main", "reverse-stepi 40", "print $pc == main", "continue")
    once = debug(folder / "snapshot", commands, symbols=symbols, folder=folder)
    alone = debug(folder / "snapshot", ("continue",), symbols=symbols, folder=folder)
    assert once.values() == ["1", "0", "1"]
    assert (once.printed, once.exit_code) == (alone.printed, alone.exit_code)
