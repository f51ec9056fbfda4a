#!/bin/sh
# In Unicorn, writing a register's own value back to it changes what the guest computes.
#
# Version: unicorn 2.1.4, x86.
# Where it matters: snapshots and debuggers that read all registers and write them back, one by one.
# Expected: after reset FCW is 0x40, after FNINIT 0x37f, and MXCSR starts as 0x1f80 (Intel SDM volume 3, the table of
# processor states following power-up, reset or INIT). Whatever it is, reg_write(r, reg_read(r)) changes nothing.
# Seen: FPCW and MXCSR read 0 at first, yet 1/3 has full precision. After FPCW is written with the 0 that was read,
# precision control takes effect (00 = 24 bits, SDM volume 1, "Precision Control Field") and the same code gives a
# rounded 1/3.
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


def third(write_back):
    code = bytes.fromhex("d9e8 da342500210000 dd1c2500200000")  # fld1; fidiv dword [0x2100]; fstp qword [0x2000]
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x2000)
    uc.mem_write(0x1000, code)
    uc.mem_write(0x2100, struct.pack("<i", 3))
    if write_back:
        uc.reg_write(UC_X86_REG_FPCW, uc.reg_read(UC_X86_REG_FPCW))
    start = uc.reg_read(UC_X86_REG_FPCW), uc.reg_read(UC_X86_REG_MXCSR)
    uc.emu_start(0x1000, 0x1000 + len(code))
    return *start, struct.unpack("<d", uc.mem_read(0x2000, 8))[0]


for write_back in False, True:
    fpcw, mxcsr, result = third(write_back)
    print(f"written back: {write_back}; FPCW = {fpcw:#x}, MXCSR = {mxcsr:#x}, 1/3 = {result!r}")
if (third(False), third(True)) != ((0, 0, 0.3333333333333333), (0, 0, 0.3333333432674408)):
    sys.exit("this has changed")
EOF
