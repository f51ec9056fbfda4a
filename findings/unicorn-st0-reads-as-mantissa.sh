#!/bin/sh
# Unicorn's UC_X86_REG_ST0 reads as the significand alone: pi, -pi and 2 pi are the same number.
#
# Version: unicorn 2.1.4, x86, Python binding.
# Where it matters: a debugger or trace that shows x87 registers.
# Expected: the 80-bit value (Intel SDM volume 1, "Floating-Point Data Types"), as for UC_X86_REG_FP0 to FP7, which give
# (significand, sign and exponent).
# Seen: ST0 gives an int of 64 bits, without sign and exponent. And FP0 to FP7 are the physical registers, not ST(0) to
# ST(7): the value on top of the stack after one push is in FP7.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import sys

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import *


def top(code):
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, code)
    uc.emu_start(0x1000, 0x1000 + len(code))
    return uc.reg_read(UC_X86_REG_ST0), uc.reg_read(UC_X86_REG_FP0), uc.reg_read(UC_X86_REG_FP7)


significand = 0xC90FDAA22168C235
seen = {}
for name, code in ("pi", "d9eb"), ("-pi", "d9eb d9e0"), ("2 pi", "d9eb d8c0"):  # fldpi; fchs; fadd st, st
    seen[name] = top(bytes.fromhex(code))
    print(name, seen[name])
if seen != {
    "pi": (significand, (0, 0), (significand, 0x4000)),
    "-pi": (significand, (0, 0), (significand, 0xC000)),
    "2 pi": (significand, (0, 0), (significand, 0x4001)),
}:
    sys.exit("this has changed")
EOF
