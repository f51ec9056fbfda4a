#!/bin/sh
# A store across two pages that faults on the second has already written the first, in Unicorn.
#
# Version: unicorn 2.1.4, x86.
# Where it matters: demand paging (another processor sees half a store), logs for reverse execution, watchpoints by
# comparison.
# Expected: a fault leaves the state as it was before the instruction, so that it can be restarted (Intel SDM volume 3,
# "Exception Classifications").
# Seen: UC_ERR_WRITE_UNMAPPED with RIP on the store, and the 4 bytes that fit on the first page are in memory. The hook
# is told of 1 byte at the second page's start, not of the 8-byte store; for a load it is told of 8 bytes there.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import sys

from unicorn import UC_ARCH_X86, UC_ERR_WRITE_UNMAPPED, UC_HOOK_MEM_UNMAPPED, UC_MODE_64, Uc, UcError
from unicorn.x86_const import *


def access(code):
    told = []
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x2000)
    uc.mem_write(0x1000, bytes.fromhex(code))
    uc.reg_write(UC_X86_REG_RAX, 0x1122334455667788)
    uc.hook_add(UC_HOOK_MEM_UNMAPPED, lambda uc, kind, address, size, value, data: told.append((address, size)))
    try:
        uc.emu_start(0x1000, 0x1008)
    except UcError as error:
        return error.errno, uc.reg_read(UC_X86_REG_RIP), uc.mem_read(0x2FFC, 4).hex(), told[0]


store = access("48890425fc2f0000")  # mov [0x2ffc], rax
load = access("488b0425fc2f0000")  # mov rax, [0x2ffc]
print("store: errno {}, RIP {:#x}, first page ends with {}, hook told of (address, size) {}".format(*store))
print("load: hook told of (address, size) {}".format(load[3]))
if store != (UC_ERR_WRITE_UNMAPPED, 0x1000, "88776655", (0x3000, 1)) or load[3] != (0x3000, 8):
    sys.exit("this has changed")
EOF
