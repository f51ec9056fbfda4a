"""Exits in words: one line each, for logs, traces and messages."""

from kev.exits import (
    Access,
    Cpuid,
    CpuidResult,
    CrAccess,
    EptViolation,
    Exit,
    GuestException,
    IoIn,
    IoOut,
    MmioRead,
    MmioWrite,
    Rdmsr,
    Reply,
    TripleFault,
    Vmcall,
    Wrmsr,
)


def describe_exit(exit: Exit, rax: int) -> str:
    """An exit by Intel's name, for example `IoOut port 0x3f8 size 1 value 0x41`. `rax` at the exit is a hypercall's number."""
    name = type(exit).__name__
    match exit:
        case EptViolation(gpa, access, present):
            wanted = (Access(access).name or "").lower()
            return f"{name} gpa {gpa:#x} {wanted}{' present' if present else ''}"
        case IoIn(port, size):
            return f"{name} port {port:#x} size {size}"
        case IoOut(port, size, value):
            return f"{name} port {port:#x} size {size} value {value:#x}"
        case MmioRead(gpa, size):
            return f"{name} gpa {gpa:#x} size {size}"
        case MmioWrite(gpa, size, value):
            return f"{name} gpa {gpa:#x} size {size} value {value:#x}"
        case Cpuid(leaf, subleaf):
            return f"{name} leaf {leaf:#x} subleaf {subleaf:#x}"
        case Rdmsr(index):
            return f"{name} msr {index:#x}"
        case Wrmsr(index, value):
            return f"{name} msr {index:#x} value {value:#x}"
        case CrAccess(register, value):
            return f"{name} CR{register}" + ("" if value is None else f" value {value:#x}")
        case Vmcall():
            return f"{name} number {rax:#x}"
        case TripleFault(vector):
            return name if vector is None else f"{name} that began with exception {vector}"
        case _:
            return name


def describe_reply(reply: Reply | None) -> str:
    """How an exit was finished: what the instruction reads, the exception that the guest gets, or nothing yet."""
    match reply:
        case None:
            return "ends the slice"
        case GuestException(vector, error_code):
            return f"exception {vector}" + ("" if error_code is None else f" error code {error_code:#x}")
        case CpuidResult(eax, ebx, ecx, edx):
            return f"{eax:#x} {ebx:#x} {ecx:#x} {edx:#x}"
        case int(value):
            return f"{value:#x}"
