"""What the methods of a machine are given: refused, by name, value and limit, where it cannot be that."""

from typing import Any

from kev.machine.errors import MachineError


def whole(name: str, value: Any, what: str, least: int = 0) -> int:
    """`value`, which is so many of `what`. MachineError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise MachineError(f"{name}: {value!r}: it must be {what}, a whole number of at least {least}")
    return value


def one_address(gpa: Any, gva: Any) -> None:
    """MachineError unless exactly one of them is given, and is a number."""
    if (gpa is None) == (gva is None):
        raise MachineError(f"one address is given, as gpa= or as gva=, not {'none' if gpa is None else 'both'}")
    whole(*(("gpa", gpa) if gva is None else ("gva", gva)), "an address")


def byte_string(name: str, value: Any) -> bytes:
    """MachineError if it is nothing that has bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise MachineError(f"{name}: {value!r}: it must be bytes")
    return bytes(value)
