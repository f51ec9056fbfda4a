#!/bin/sh
# Capstone says that CMPXCHG, CMPXCHG8B and MOVNTI read their memory operand and do not write it; iced-x86 says that they write.
#
# Version: capstone 5.0.9 against iced-x86 1.21.0.
# Where it matters: finding a kernel's stores by its code, for a race detector, a taint analysis or a watchpoint: the store that
# takes a lock is not among them.
# Expected: the access of a memory operand that is written has CS_AC_WRITE (capstone.h, cs_ac_type). CMPXCHG stores to its
# destination, with the old value if the comparison fails (Intel SDM vol. 2A, "CMPXCHG"); MOVNTI is a store and nothing else.
# Seen: CS_AC_READ alone. XADD and XCHG, which take locks as well, are read and written, as they should be.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq capstone==5.0.9 iced-x86==1.21.0
"$dir/venv/bin/python" - <<'EOF'
import sys

import capstone
import iced_x86

WRITES = {
    iced_x86.OpAccess.WRITE,
    iced_x86.OpAccess.COND_WRITE,
    iced_x86.OpAccess.READ_WRITE,
    iced_x86.OpAccess.READ_COND_WRITE,
}
by_capstone = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
by_capstone.detail = True
by_iced = iced_x86.InstructionInfoFactory()
seen = []
for code in (b"\xf0\x0f\xb1\x0f", b"\xf0\x0f\xc7\x0f", b"\x0f\xc3\x07", b"\xf0\x0f\xc1\x07", b"\x87\x07"):
    instruction = next(by_capstone.disasm(code, 0))
    memory = next(operand for operand in instruction.operands if operand.type == capstone.CS_OP_MEM)
    info = by_iced.info(iced_x86.Decoder(64, code).decode())
    writes = bool(memory.access & capstone.CS_AC_WRITE), any(used.access in WRITES for used in info.used_memory())
    print(f"{instruction.mnemonic} {instruction.op_str}: writes memory by Capstone {writes[0]}, by iced-x86 {writes[1]}")
    seen.append(writes)
if seen != [(False, True)] * 3 + [(True, True)] * 2:
    sys.exit("this has changed")
EOF
