#!/bin/sh
# What a guest's TLB still holds depends on how fast the host is: Unicorn makes the TLB smaller by the host's clock.
#
# Version: unicorn 2.1.4, x86.
# Where it matters: runs that are to be repeated, bit for bit: fuzzing, recorded executions, kernels under test. A kernel that changes a
# page table without INVLPG, or clears accessed bits, does other things on a busy host.
# Expected: a processor may drop any TLB entry at any time (Intel SDM volume 3, "Details of TLB Use"), but an emulator that is given the
# same code, memory and registers in the same calls ends with the same memory.
# Seen: the size of the software TLB is decided at each flush. It is halved or more if few entries were used in 100 ms of
# CLOCK_REALTIME, so that entries displace each other from then on.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import sys
import time

from unicorn import UC_ARCH_X86, UC_MODE_32, UC_PROT_ALL, Uc
from unicorn.x86_const import UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_EBX

TABLES, CODE = 0x10000, 0x8000
TOUCH = bytes.fromhex("b900010000 89c8 c1e00c 8a00 41 81f900040000 75f0")  # reads a byte of each of 768 pages
CLEAR = bytes.fromhex("b900010000 80248d00100100df 41 81f900040000 75ef")  # clears the accessed bits of their entries
COUNT = bytes.fromhex("31db b900010000 0fba248d0010010005 83d300 41 81f900040000 75eb")  # EBX: how many are set again
RELOAD = bytes.fromhex("0f20d8 0f22d8")  # mov eax, cr3; mov cr3, eax


def forgotten(pause):
    uc = Uc(UC_ARCH_X86, UC_MODE_32)
    uc.mem_map(0, 4 << 20, UC_PROT_ALL)
    uc.mem_write(TABLES, (TABLES + 0x1007).to_bytes(4, "little"))
    uc.mem_write(TABLES + 0x1000, b"".join((page << 12 | 7).to_bytes(4, "little") for page in range(1024)))
    uc.reg_write(UC_X86_REG_CR3, TABLES)
    uc.reg_write(UC_X86_REG_CR0, 0x80010001)

    def run(code):
        uc.mem_write(CODE, code)
        uc.ctl_remove_cache(CODE, CODE + 128)
        uc.emu_start(CODE, CODE + len(code))

    for _ in range(3):
        run(TOUCH + RELOAD)
    for _ in range(2):
        time.sleep(pause)
        run(RELOAD)
    run(TOUCH + CLEAR + TOUCH + COUNT)
    return uc.reg_read(UC_X86_REG_EBX)


at_once = min(forgotten(0) for _ in range(5))  # a busy host pauses by itself
later = forgotten(0.11)
print(f"pages whose accessed bit is set again: {at_once} of 768, and {later} if the host pauses twice for 0.11 s")
if (at_once, later) != (0, 768):
    sys.exit("this has changed")
EOF
