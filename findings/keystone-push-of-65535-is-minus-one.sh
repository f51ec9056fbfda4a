#!/bin/sh
# Keystone assembles PUSH of 0xffff as PUSH of -1 and, in 64-bit mode, PUSH of 0xffffffff as one of 2 bytes.
#
# Version: keystone-engine 0.9.2, read back by iced-x86 1.21.0.
# Where it matters: entry code of kernels, where error codes, vectors and masks are pushed: a mask of 16 bits becomes one of
# 64, and a push of 2 bytes takes the frame that it is a part of out of step.
# Expected: 6A ib and 68 id are sign-extended to the stack's width (Intel SDM volume 2, "PUSH"), so 0xffff takes 68 and
# 0xffffffff has no encoding in 64-bit mode: GNU as refuses it.
# Seen: 0xff80 to 0xffff lose their upper bits and become -128 to -1, though the same number in MOV does not; from
# 0x80000000 on 64-bit mode pushes the lower 16 bits, and 2 bytes. No error, no warning.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq keystone-engine==0.9.2 iced-x86==1.21.0
"$dir/venv/bin/python" - <<'EOF'
import sys

from iced_x86 import Decoder
from keystone import KS_ARCH_X86, KS_MODE_32, KS_MODE_64, Ks


def pushed(mode, bits, number):
    """The number on the stack and the bytes that it takes there."""
    code = bytes(Ks(KS_ARCH_X86, mode).asm(f"push {number:#x}", 0)[0])
    instruction = Decoder(bits, code).decode()
    size = -instruction.stack_pointer_increment
    return hex(instruction.immediate(0) & (1 << 8 * size) - 1), size


seen = {}
for mode, bits in (KS_MODE_64, 64), (KS_MODE_32, 32):
    for number in 0xFF7F, 0xFF80, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF:
        seen[bits, hex(number)] = pushed(mode, bits, number)
        print(f"{bits}-bit mode: push {number:#x} pushes %s in %d bytes" % seen[bits, hex(number)])
wrong = {key: value for key, value in seen.items() if value != (key[1], key[0] // 8)}
if wrong != {
    (64, "0xff80"): ("0xffffffffffffff80", 8),
    (64, "0xffff"): ("0xffffffffffffffff", 8),
    (64, "0x80000000"): ("0x0", 2),
    (64, "0xffffffff"): ("0xffff", 2),
    (32, "0xff80"): ("0xffffff80", 4),
    (32, "0xffff"): ("0xffffffff", 4),
}:
    sys.exit("this has changed")
EOF
