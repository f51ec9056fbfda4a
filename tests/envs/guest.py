"""Guests of the JOS VMM that make file requests: 32-bit code, put together request by request."""

import struct
from pathlib import Path
from typing import Final

import kev
from kev.envs.file_protocol import FileRequest
from kev.machine.run_report import RunReport
from tests.abi.calls import DATA, POWER_OFF, load
from tests.abi.calls import kernel as kernel_of
from tests.boot.images import source
from tests.machine.code import VMCALL, code

MIB: Final = 1 << 20
REQUEST: Final = 0x20_0000
"""Where the page of a request is."""
FD: Final = 0x20_1000
"""Where a page that comes with an answer goes."""
_OUT_DWORD: Final = code("56 b9 04 00 00 00 89 f0 ba e9 00 00 00 ee c1 e8 08 e2 fa 5e")
"""push esi; mov ecx, 4; mov eax, esi; mov edx, 0xe9; 1: out dx, al; shr eax, 8; loop 1b; pop esi"""
SEND: Final = code("b8 02 00 00 00 0f 01 c1 83 f8 f8 74 f3 ; 1: mov eax, 2; vmcall; cmp eax, -E_IPC_NOT_RECV; je 1b")
"""As long as the host's file system is busy with another."""
STACK: Final = code("bc 00 00 30 00 ; mov esp, 0x300000")


class Program:
    """Code and data of a guest, of which every request prints the answer's value as 4 bytes."""

    def __init__(self) -> None:
        self.text = STACK
        self.data = b""

    def store(self, gpa: int, data: bytes) -> "Program":
        """Copies data to an address."""
        place = DATA + len(self.data)
        self.data += data
        self.text += load(rsi=place, rdi=gpa, rcx=len(data)) + code("fc f3 a4 ; cld; rep movsb")
        return self

    def show(self, gpa: int, length: int) -> "Program":
        """Prints memory."""
        self.text += load(rsi=gpa, rcx=length, rdx=0xE9) + code("fc f3 6e ; cld; rep outsb")
        return self

    def call(self, **registers: int) -> "Program":
        self.text += load(**registers) + VMCALL
        return self

    def show_rsi(self) -> "Program":
        self.text += _OUT_DWORD
        return self

    def show_rax(self) -> "Program":
        self.text += code("89 c6 ; mov esi, eax")
        return self.show_rsi()

    def request(self, number: int, page: int = REQUEST, answer: int = FD, permissions: int = 7) -> "Program":
        """Sends a request and prints the value of the answer."""
        self.text += load(rbx=1, rcx=number, rdx=page, rsi=permissions) + SEND
        return self.call(rax=3, rbx=answer).show_rsi()

    def open(self, path: str, mode: int = 2) -> "Program":
        return self.store(REQUEST, path.encode().ljust(1024, b"\0") + struct.pack("<i", mode)).request(FileRequest.OPEN)

    def transfer(self, request: int, id: int, length: int, position: int, data: bytes = b"") -> "Program":
        self.store(FD + 4, struct.pack("<i", position))
        return self.store(REQUEST, struct.pack("<i4xQ", id, length) + data).request(request)

    def image(self) -> bytes:
        text = self.text + POWER_OFF
        assert len(text) < DATA - MIB - 32, len(text)
        return kernel_of(text, self.data)

    def run(self, disk: Path | None = None, access: str = "", **wishes: object) -> RunReport:
        disks = [] if disk is None else [f"{disk},ipc{access}"]
        return kev.launch(source(self.image()), abi="jos", memory=16 * MIB, disks=disks, timeout=30, **wishes)  # type: ignore[arg-type]
