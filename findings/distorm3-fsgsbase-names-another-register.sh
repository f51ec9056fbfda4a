#!/bin/sh
# distorm3 names the register of RDFSBASE, RDGSBASE, WRFSBASE and WRGSBASE after the opcode, not after the operand.
#
# Version: distorm3 3.5.2 against capstone 5.0.9, 64-bit mode. pip compiles distorm3: a C compiler is needed.
# Where it matters: context switches and system call entries, and an emulator that decodes with distorm3.
# Expected: F3 REX.W 0F AE /0 to /3 has its register in the r/m field; reg is a part of the opcode (Intel SDM volume 2,
# "RDFSBASE/RDGSBASE" and "WRFSBASE/WRGSBASE").
# Seen: whatever the operand, RDFSBASE has RAX, RDGSBASE RCX, WRFSBASE RDX and WRGSBASE RBX: the numbers 0 to 3 of reg.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq distorm3==3.5.2 capstone==5.0.9
"$dir/venv/bin/python" - <<'EOF'
import sys

import capstone
import distorm3

REGISTERS = "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"
disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
by_capstone, by_distorm3 = {}, {}
for reg in range(4):
    for rm in range(8):
        code = bytes([0xF3, 0x48, 0x0F, 0xAE, 0xC0 | reg << 3 | rm])
        instruction = next(disassembler.disasm(code, 0))
        by_capstone.setdefault(instruction.mnemonic, []).append(instruction.op_str)
        name, register = distorm3.Decode(0, code, distorm3.Decode64Bits)[0][2].lower().split()
        by_distorm3.setdefault(name, []).append(register)
for name, registers in by_capstone.items():
    print(f"{name}: capstone: {' '.join(registers)}; distorm3: {' '.join(by_distorm3[name])}")
names = ["rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase"]
if by_capstone != {name: [*REGISTERS] for name in names} or by_distorm3 != {
    name: [REGISTERS[reg]] * 8 for reg, name in enumerate(names)
}:
    sys.exit("this has changed")
EOF
