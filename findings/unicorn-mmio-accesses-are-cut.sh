#!/bin/sh
# A memory-mapped device in Unicorn never sees an access wider than 4 bytes, and unaligned ones change shape.
#
# Version: unicorn 2.1.4, mmio_map.
# Where it matters: device models with 64-bit registers, where one read must be one read (counters, clear-on-read
# status).
# Expected: an aligned quadword access is one access (Intel SDM volume 3, "Guaranteed Atomic Operations"), and the
# callback is told its size.
# Seen: loads of 8 and 16 bytes arrive as 2 and 4 loads of 4. An unaligned load of 4 arrives as loads of both aligned
# words; the unaligned store of 4 arrives as four stores of 1, so load and store of one address reach different
# registers.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import sys

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import *


def accesses(code):
    log = []
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x1000)
    uc.mmio_map(
        0x8000,
        0x1000,
        lambda uc, offset, size, data: log.append(("load", offset, size)) or 0,
        None,
        lambda uc, offset, size, value, data: log.append(("store", offset, size)),
        None,
    )
    uc.mem_write(0x1000, bytes.fromhex(code))
    uc.emu_start(0x1000, 0x1000 + len(bytes.fromhex(code)))
    return log


seen = {
    "mov rax, [0x8000]": accesses("488b042500800000"),
    "movaps xmm0, [0x8000]": accesses("0f28042500800000"),
    "mov eax, [0x8002]": accesses("8b042502800000"),
    "mov [0x8002], eax": accesses("89042502800000"),
}
for name, log in seen.items():
    print(name, log)
if list(seen.values()) != [
    [("load", 0, 4), ("load", 4, 4)],
    [("load", offset, 4) for offset in (0, 4, 8, 12)],
    [("load", 0, 4), ("load", 4, 4)],
    [("store", offset, 1) for offset in (2, 3, 4, 5)],
]:
    sys.exit("this has changed")
EOF
