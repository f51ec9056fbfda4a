"""A guest that exchanges messages with the host's file system, and dies if one is lost or a page holds anything else."""

import struct
from typing import Final

from tests.abi.calls import DATA, POWER_OFF, kernel, load
from tests.boot.images import MIB
from tests.envs.guest import FD, REQUEST, SEND, STACK
from tests.machine.code import VMCALL, code

MESSAGES_EACH: Final = 6
"""A round is three requests, OPEN, WRITE and READ, with an answer each. A page goes with each but two of the answers."""
POSITION: Final = 8192
_ENTRY: Final = MIB + 32


class _Code:
    """Machine code with labels."""

    def __init__(self) -> None:
        self.text = b""
        self.labels: dict[str, int] = {}
        self.jumps: list[tuple[int, str]] = []

    def add(self, text: bytes) -> None:
        self.text += text

    def label(self, name: str) -> None:
        self.labels[name] = len(self.text)

    def jump(self, opcode: str, label: str) -> None:
        """A jump with 32 bits."""
        self.text += bytes.fromhex(opcode) + bytes(4)
        self.jumps.append((len(self.text), label))

    def linked(self) -> bytes:
        text = bytearray(self.text)
        for end, label in self.jumps:
            struct.pack_into("<i", text, end - 4, self.labels[label] - end)
        return bytes(text)


_JNE, _CALL = "0f 85", "e8"


def exchanging(path: str, rounds: int) -> bytes:
    """The image of such a guest: each round opens the file, writes the number of the round to it, and reads that again."""
    name = path.encode() + b"\0"
    text = _Code()
    text.add(STACK + load(rbp=rounds))
    text.label("round")
    text.add(load(rsi=DATA, rdi=REQUEST, rcx=len(name)) + code("fc f3 a4 ; cld; rep movsb") + _store(REQUEST + 1024, 2))
    _request(text, 1, code("83 fe 00 ; cmp esi, 0"))
    text.add(_take_id() + _store(REQUEST + 8, 4) + _store(REQUEST + 12, 0) + _store(FD + 4, POSITION))
    text.add(code("89 2d ; mov [REQUEST + 16], ebp") + struct.pack("<I", REQUEST + 16))
    _request(text, 4, code("83 fe 04 ; cmp esi, 4"))
    text.add(code("81 3d ; cmp dword [FD + 4], POSITION + 4") + struct.pack("<II", FD + 4, POSITION + 4))
    text.jump(_JNE, "fail")
    text.add(_take_id() + _store(FD + 4, POSITION))
    _request(text, 3, code("83 fe 04 ; cmp esi, 4"))
    text.add(code("39 2d ; cmp [REQUEST], ebp") + struct.pack("<I", REQUEST))
    text.jump(_JNE, "fail")
    text.add(code("4d ; dec ebp"))
    text.jump(_JNE, "round")
    text.add(POWER_OFF)
    text.label("fail")
    text.add(code("0f 0b ; ud2"))
    text.label("exchange")
    text.add(load(rbx=1, rdx=REQUEST, rsi=7) + SEND + code("85 c0 ; test eax, eax"))
    text.jump(_JNE, "fail")
    text.add(load(rax=3, rbx=FD) + VMCALL + code("85 c0 ; test eax, eax"))
    text.jump(_JNE, "fail")
    text.add(code("c3 ; ret"))
    return kernel(text.linked(), name)


def _request(text: _Code, number: int, compare: bytes) -> None:
    """Sends a request, and dies unless the value of the answer compares as equal."""
    text.add(load(rcx=number))
    text.jump(_CALL, "exchange")
    text.add(compare)
    text.jump(_JNE, "fail")


def _store(address: int, value: int) -> bytes:
    return code("c7 05 ; mov dword [address], value") + struct.pack("<II", address, value)


def _take_id() -> bytes:
    """The file id in the struct Fd goes into the request."""
    return (
        code("a1 ; mov eax, [FD + 12]") + struct.pack("<I", FD + 12) + code("a3 ; mov [REQUEST], eax") + struct.pack("<I", REQUEST)
    )
