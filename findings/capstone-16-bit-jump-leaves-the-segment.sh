#!/bin/sh
# Capstone gives targets outside the segment for 16-bit jumps and calls over more than 32 KiB.
#
# Version: capstone 5.0.9 against iced-x86 1.21.0, 16-bit mode.
# Where it matters: firmware of 64 KiB, whose reset code and interrupt handlers are at its end and jump to its beginning
# or the other way round: a trace or a graph of calls has addresses that no such code can reach.
# Expected: with an operand size of 16 bits the target is IP + rel16, modulo 64 Ki (Intel SDM volume 2, "JMP" and "CALL":
# tempEIP AND 0000FFFFH). GNU objdump -m i8086 does so.
# Seen: rel16 is sign-extended and nothing is cut off: 0x100 to 0xf000 comes out as 0xfffff000, 0xfff0 to 0x100 as
# 0x10100.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq capstone==5.0.9 iced-x86==1.21.0
"$dir/venv/bin/python" - <<'EOF'
import struct
import sys

from capstone import CS_ARCH_X86, CS_MODE_16, Cs
from iced_x86 import Decoder

disassembler = Cs(CS_ARCH_X86, CS_MODE_16)
seen = []
for opcode, start, target in (0xE9, 0x100, 0x7000), (0xE9, 0x100, 0xF000), (0xE8, 0x100, 0xF000), (0xE9, 0xFFF0, 0x100):
    code = struct.pack("<BH", opcode, (target - start - 3) & 0xFFFF)
    instruction = next(disassembler.disasm(code, start))
    by_iced = Decoder(16, code, ip=start).decode().near_branch_target
    seen.append((hex(target), hex(by_iced), instruction.op_str))
    print(f"{instruction.mnemonic} from {start:#x} to %s: iced-x86 %s, capstone %s" % seen[-1])
if [by_capstone for _, _, by_capstone in seen] != ["0x7000", "0xfffff000", "0xfffff000", "0x10100"] or any(
    target != by_iced for target, by_iced, _ in seen
):
    sys.exit("this has changed")
EOF
