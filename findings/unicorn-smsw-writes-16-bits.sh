#!/bin/sh
# SMSW with a 32-bit register writes 16 bits in Unicorn's 32-bit mode, and all of them in its 64-bit mode.
#
# Version: unicorn 2.1.4, x86.
# Where it matters: kernels and boot code that read CR0 by SMSW, which needs no privilege: bits 16 to 31 (WP, AM, NW, CD, PG)
# are whatever the register held before.
# Expected: with a 32-bit operand, CR0[31:0] goes to the register (AMD64 Architecture Programmer's Manual vol. 3, "SMSW").
# Seen: the same two bytes, 0F 01 /4, leave the upper half of EAX alone in 32-bit mode.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import sys

from unicorn import UC_ARCH_X86, UC_MODE_32, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_CR0, UC_X86_REG_EAX

seen = {}
for bits, mode in ((32, UC_MODE_32), (64, UC_MODE_64)):
    uc = Uc(UC_ARCH_X86, mode)
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, bytes.fromhex("0f01e0"))  # smsw eax
    uc.reg_write(UC_X86_REG_EAX, 0x5A5A5A5A)
    uc.emu_start(0x1000, 0x1003)
    cr0 = uc.reg_read(UC_X86_REG_CR0) & 0xFFFFFFFF
    eax = uc.reg_read(UC_X86_REG_EAX) & 0xFFFFFFFF
    seen[bits] = eax == cr0, eax >> 16 == 0x5A5A
    print(f"{bits}-bit mode: CR0 is {cr0:#x}, SMSW EAX gives {eax:#x}")
if seen != {32: (False, True), 64: (True, False)}:
    sys.exit("this has changed")
EOF
