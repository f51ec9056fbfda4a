#!/bin/sh
# Unicorn never sets an exception flag in MXCSR, though it does in the x87 status word.
#
# Version: unicorn 2.1.4, x86.
# Where it matters: guests that test floating point for inexact or divide by zero, as fetestexcept() does on x86-64.
# Expected: SSE sets PE (bit 5) for 1.0 / 3.0 and ZE (bit 2) for 1.0 / 0.0, and they stay set (Intel SDM volume 1, "SIMD
# Floating-Point Mask and Flag Bits").
# Seen: MXCSR is still 0x1f80 after both. FDIV by zero with masked exceptions does set ZE in the x87 status word.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import struct
import sys

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import *


def run(code, divisor=0.0):
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x2000)
    uc.mem_write(0x1000, code)
    uc.mem_write(0x2000, struct.pack("<I", 0x1F80))
    uc.reg_write(UC_X86_REG_XMM0, struct.unpack("<I", struct.pack("<f", 1.0))[0])
    uc.reg_write(UC_X86_REG_XMM1, struct.unpack("<I", struct.pack("<f", divisor))[0])
    uc.emu_start(0x1000, 0x1000 + len(code))
    return uc


# ldmxcsr [0x2000]; divss xmm0, xmm1; stmxcsr [0x2000]
sse = bytes.fromhex("0fae142500200000 f30f5ec1 0fae1c2500200000")
inexact = struct.unpack("<I", run(sse, 3.0).mem_read(0x2000, 4))[0]
zero = struct.unpack("<I", run(sse, 0.0).mem_read(0x2000, 4))[0]
# fninit; fld1; fldz; fdivp; fnstsw ax
x87 = run(bytes.fromhex("dbe3 d9e8 d9ee def9 dfe0")).reg_read(UC_X86_REG_AX)
print(f"MXCSR after 1/3: {inexact:#x}, after 1/0: {zero:#x}; x87 status after 1/0: ZE = {x87 >> 2 & 1}")
if (inexact, zero, x87 >> 2 & 1) != (0x1F80, 0x1F80, 1):
    sys.exit("this has changed")
EOF
