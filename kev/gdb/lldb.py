"""What lldb asks for besides what gdb does (LLDB's "GDB Remote Protocol Extensions")."""

from kev.gdb.target_description import Architecture


def host_info(architecture: Architecture) -> bytes:
    """The reply to qHostInfo."""
    return _pairs(architecture, "")


def process_info(architecture: Architecture) -> bytes:
    """The reply to qProcessInfo: the machine is process 1."""
    return _pairs(architecture, "pid:1;")


def _pairs(architecture: Architecture, first: str) -> bytes:
    triple = "x86_64-unknown-none" if architecture.bits == 64 else "i386-unknown-none"
    return f"{first}triple:{triple.encode().hex()};ostype:unknown;endian:little;ptrsize:{architecture.bits // 8};".encode()
