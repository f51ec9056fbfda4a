"""32-bit code is told from 64-bit code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.boot.entry_code import code_bits


@pytest.mark.parametrize(
    "code",
    [
        "f3 0f 1e fa 55",  # endbr64
        "48 8d 25 f9 3f 80 01",  # lea rsp, [rip + ...]
        "55 48 89 e5",  # push rbp; mov rbp, rsp
        "31 ed 49 89 d1 5e",  # xor ebp, ebp; mov r9, rdx
        "fa fc bc 00 00 10 00 4c 89 e7",  # cli; cld; mov esp, ...; mov rdi, r12
        "eb 03 ff ff ff 48 31 c0",  # jmp
        "e9 01 00 00 00 ff 48 c7 c0 01 00 00 00",
        "0f 20 c0 0f ba e8 1f 0f 22 c0 4c 8d 05 00 00 00 00",  # mov cr0; bts
        "c7 05 00 00 00 00 01 00 00 00 48 83 ec 08",
        "f7 c3 01 00 00 00 48 83 c0 01",  # test ebx, 1
        "f3 48 ab",  # rep stosq
        "fa 31 c0 31 db 31 c9 31 d2 31 f6 31 ff 48 b8 00 00 00 00 80 ff ff ff 31 c0 48 01 f8 31 c0 48 29 f0",
        "66 b8 10 00 8e d8 48 8b 1c 25 00 00 00 00",  # mov ax, 0x10
    ],
)
def test_64_bit_code(code: str) -> None:
    assert code_bits(bytes.fromhex(code)) == 64


@pytest.mark.parametrize(
    "code",
    [
        "f3 0f 1e fb",  # endbr32
        "fa 60",  # pusha
        "ea 00 00 10 00 10 00",  # ljmp
        "bc 00 00 20 00 89 c7 89 de 0f 01 15 00 00 10 00 ea 00 00 00 00 08 00",
        "1e",  # push ds
    ],
)
def test_32_bit_code(code: str) -> None:
    assert code_bits(bytes.fromhex(code)) == 32


DECREMENT = "fc fa e8 00 00 00 00 5a 81 c2 f3 ef 57 00 8d 82 00 d0 fe ff 8b 86 30 02 00 00 48 01 c3 f7 d0 21 c3"
"""Of code that rounds up: DEC EAX, and ADD EBX, EAX."""


@pytest.mark.parametrize(
    "code", ["", "f4", "eb fe", "bc 00 00 20 00 e8 00 00 00 00 f4", "55 89 e5", "40 40", "48", "90 90", DECREMENT]
)
def test_code_that_could_be_both(code: str) -> None:
    assert code_bits(bytes.fromhex(code)) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_something(code: bytes) -> None:
    assert code_bits(code) in (None, 32, 64)
