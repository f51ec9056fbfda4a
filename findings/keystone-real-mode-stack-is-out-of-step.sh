#!/bin/sh
# Keystone's 16-bit code pushes 2 bytes and pops 4, or the other way round: constants, CALL and RET take 32 bits.
#
# Version: keystone-engine 0.9.2, read back by iced-x86 1.21.0.
# Where it matters: boot sectors, firmware and the first instructions of a processor that was just started.
# Expected: in 16-bit mode these instructions have 16-bit operands without a prefix (Intel SDM volume 2, "PUSH", "CALL",
# "RET"; volume 1, "Operand-Size and Address-Size Attributes"). GNU as does so after .code16.
# Seen: PUSH of a constant, even of "word", CALL of an address, RET and RETF get the prefix 66; POP AX, CALL AX, PUSH DS
# and far CALL do not. "push 1; pop ax" leaves 2 bytes, and RET takes 4 bytes where CALL AX put 2.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq keystone-engine==0.9.2 iced-x86==1.21.0
"$dir/venv/bin/python" - <<'EOF'
import sys

from iced_x86 import Decoder
from keystone import KS_ARCH_X86, KS_MODE_16, Ks

PAIRS = (
    ("push 1", "pop ax"),
    ("push word 0x1234", "pop ax"),
    ("call ax", "ret"),
    ("call 0x8000", "ret"),
    ("lcall 8:0", "retf"),
)
assembler = Ks(KS_ARCH_X86, KS_MODE_16)


def moved(text):
    """By how many bytes the instruction moves SP."""
    return Decoder(16, bytes(assembler.asm(text, 0)[0])).decode().stack_pointer_increment


seen = [(moved(first), moved(second)) for first, second in PAIRS]
for (first, second), (down, up) in zip(PAIRS, seen):
    print(f"{first!r} moves SP by {down}, {second!r} by {up}")
if seen != [(-4, 2), (-4, 2), (-2, 4), (-4, 4), (-4, 8)]:
    sys.exit("this has changed")
EOF
