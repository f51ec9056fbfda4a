#!/bin/sh
# Unicorn runs a VEX instruction as its SSE form: the destination takes the place of the first source.
#
# Version: unicorn 2.1.4, x86, default CPU model.
# Where it matters: guests built with -mavx, and guests that probe AVX by running it.
# Expected: CPUID.1:ECX.AVX[28] is 0, so VADDPS raises #UD (Intel SDM volume 1, "Detection of Intel AVX Instructions").
# A processor with AVX would compute DEST[127:0] = SRC1 + SRC2 and zero the bits above 127 (SDM volume 2, ADDPS, VEX.128
# encoded version).
# Seen: no exception; xmm0 = old xmm0 + SRC2 instead of SRC1 + SRC2, and the upper half of ymm0 keeps its value.
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


def bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


uc = Uc(UC_ARCH_X86, UC_MODE_64)
uc.mem_map(0x1000, 0x1000)
uc.mem_write(0x1000, bytes.fromhex("0fa2 c5f058c2"))  # cpuid; vaddps xmm0, xmm1, xmm2
uc.reg_write(UC_X86_REG_RAX, 1)
uc.reg_write(UC_X86_REG_YMM0, 1 << 255 | bits(10.0))
uc.reg_write(UC_X86_REG_XMM1, bits(1.0))
uc.reg_write(UC_X86_REG_XMM2, bits(2.0))
uc.emu_start(0x1000, 0x1002)
avx = uc.reg_read(UC_X86_REG_RCX) >> 28 & 1
uc.emu_start(0x1002, 0x1006)
ymm0 = uc.reg_read(UC_X86_REG_YMM0)
lowest = struct.unpack("<f", struct.pack("<I", ymm0 & 0xFFFFFFFF))[0]
print(f"CPUID says AVX = {avx}; 1.0 + 2.0 with 10.0 in the destination gives {lowest}; bit 255 is {ymm0 >> 255}")
if (avx, lowest, ymm0 >> 255) != (0, 12.0, 1):
    sys.exit("this has changed")
EOF
