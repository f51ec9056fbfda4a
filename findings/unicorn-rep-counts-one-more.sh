#!/bin/sh
# In Unicorn a REP instruction with RCX = n is n + 1 instructions: count and UC_HOOK_CODE agree on it.
#
# Version: unicorn 2.1.4, x86.
# Where it matters: instruction budgets, time derived from instructions, and traces compared with another emulator.
# Expected: one instruction (Intel SDM volume 2, REP), or n if iterations are counted.
# Seen: after count = n all bytes are stored and RCX is 0, but RIP is still on the REP instruction; it takes n + 1 to
# pass it. The code hook is called n + 1 times, with a RCX of 0 the last time. With RCX = 0 it is 1.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import sys

from unicorn import UC_ARCH_X86, UC_HOOK_CODE, UC_MODE_64, Uc
from unicorn.x86_const import *


def stosb(rcx, count):
    calls = []
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x2000)
    uc.mem_write(0x1000, bytes.fromhex("f3aa 90"))  # rep stosb; nop
    uc.reg_write(UC_X86_REG_RCX, rcx)
    uc.reg_write(UC_X86_REG_RDI, 0x2000)
    uc.hook_add(UC_HOOK_CODE, lambda uc, address, size, data: calls.append(address))
    uc.emu_start(0x1000, 0x1002, count=count)
    return uc.reg_read(UC_X86_REG_RCX), uc.reg_read(UC_X86_REG_RIP) - 0x1000, len(calls)


seen = [stosb(5, 4), stosb(5, 5), stosb(5, 6), stosb(5, 0), stosb(0, 0)]
for what, (rcx, rip, calls) in zip(("count = 4", "count = 5", "count = 6", "to the end", "RCX = 0"), seen):
    print(f"{what}: RCX = {rcx}, RIP = +{rip}, code hook called {calls} times")
if seen[1][:2] != (0, 0) or seen[2][:2] != (0, 2) or seen[3] != (0, 2, 6) or seen[4] != (0, 2, 1):
    sys.exit("this has changed")
EOF
